//go:build unix

package layers

import (
	"context"
	"reflect"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.yaml.in/yaml/v3"
)

func TestDecode(t *testing.T) {
	decoder := yaml.NewDecoder(strings.NewReader(`
base: gcr.io/distroless/static@sha256:0123456789012345678901234567890123456789012345678901234567890123
command: [go, build, -trimpath, -o, $PIN_OUT/web, .]
files:
- {out: web, to: /usr/bin/web}
- {from: ../../lib/rates.tsv, to: /srv/rates.tsv, mode: 0644}
- {from: static, to: /srv/www, mode: "0600"}
entrypoint: [/usr/bin/web]
cmd: []
env: {PORT: 8080, EMPTY: }
user: 65532:65532
workdir: /srv
labels: {team: shop}
ports: [8080, 53/udp]
owner: 0:0
mtime: commit
`))
	decoder.KnownFields(true)
	var got Config
	if err := decoder.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := Config{
		Base:    "gcr.io/distroless/static@sha256:0123456789012345678901234567890123456789012345678901234567890123",
		Command: []string{"go", "build", "-trimpath", "-o", "$PIN_OUT/web", "."},
		Files: []Copy{
			{Out: "web", To: "/usr/bin/web"},
			{From: "../../lib/rates.tsv", To: "/srv/rates.tsv", Mode: "0644"},
			{From: "static", To: "/srv/www", Mode: "0600"},
		},
		Entrypoint: []string{"/usr/bin/web"}, Cmd: []string{}, Env: map[string]string{"PORT": "8080", "EMPTY": ""},
		User: "65532:65532", Workdir: "/srv", Labels: map[string]string{"team": "shop"}, Ports: []string{"8080", "53/udp"},
		Owner: "0:0", Mtime: "commit",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nnot\n%+v", got, want)
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	file := []Copy{{From: "web", To: "/web"}}
	item := func(c Copy) Config { return Config{Command: []string{"make"}, Files: []Copy{file[0], c}} }
	for _, x := range []struct {
		config Config
		want   string
	}{
		{Config{}, "build.layers.files: there are none, and no command that could write any; give one of the two"},
		{Config{Command: []string{}}, "build.layers.command: has no program; it is a list of the program and its arguments, as [go, build]"},
		{Config{Command: []string{"", "x"}}, "build.layers.command: has no program"},
		{Config{Command: []string{"a", "b\x00"}}, "build.layers.command: has a NUL in it"},
		{Config{Command: []string{"make"}}, ""},
		{Config{Files: file, Base: "scratch"}, ""},
		{Config{Files: file, Base: "Not An Image"}, `build.layers.base: "Not An Image" is no image; it is repository@sha256:… or scratch`},
		{item(Copy{To: "/x"}), "build.layers.files: item 2: needs out, what the command wrote, or from, what is in the repository"},
		{item(Copy{Out: "a", From: "b", To: "/x"}), "build.layers.files: item 2: has both out and from; make two of it"},
		{Config{Files: []Copy{{Out: "a", To: "/x"}}}, "build.layers.files: item 1: out: a needs a command that writes it; for a file of the repository say from"},
		{item(Copy{Out: "../a", To: "/x"}), `item 2: out: "../a" is not below $PIN_OUT; give a relative path, with no .. in it`},
		{item(Copy{Out: "a/../..", To: "/x"}), `item 2: out: "a/../.." is not below $PIN_OUT`},
		{item(Copy{Out: "/a", To: "/x"}), `item 2: out: "/a" is not below $PIN_OUT`},
		{item(Copy{From: "/etc/passwd", To: "/x"}), `item 2: from: "/etc/passwd" is absolute; give it from the directory of the pin.yaml`},
		{item(Copy{From: "a\x00", To: "/x"}), "item 2: has a NUL in a path"},
		{item(Copy{From: "a"}), "item 2: to: is missing: the path in the image"},
		{item(Copy{From: "a", To: "srv"}), `item 2: to: "srv" is not absolute; it begins with a slash`},
		{item(Copy{From: "a", To: "/srv/../etc"}), `item 2: to: "/srv/../etc" is written as /etc`},
		{item(Copy{From: "a", To: "/srv//x"}), `item 2: to: "/srv//x" is written as /srv/x`},
		{item(Copy{From: "a", To: "/."}), `item 2: to: "/." is written as /`},
		{item(Copy{From: "a", To: "/srv/.wh.x"}), `item 2: to: "/srv/.wh.x": a name that begins with .wh. removes a file of the layers below, so it can't be put into an image`},
		{item(Copy{From: "a", To: "/srv/" + strings.Repeat("x", 256)}), "is a name of more than 255 bytes"},
		{item(Copy{From: "a", To: "/"}), ""},
		{item(Copy{From: "../..", To: "/srv/"}), ""},
		{item(Copy{From: "a", To: "/x", Mode: "rw-r--r--"}), `item 2: mode: "rw-r--r--" is not octal; write it as "0644"`},
		{item(Copy{From: "a", To: "/x", Mode: "420"}), ""}, // octal, for better or worse, as chmod takes it
		{item(Copy{From: "a", To: "/x", Mode: "77777"}), `mode: "77777" is not octal`},
		{item(Copy{From: "a", To: "/x", Mode: "-644"}), `mode: "-644" is not octal`},
		{item(Copy{From: "a", To: "/x", Mode: "4755"}), ""},
		{Config{Files: file, Owner: "nobody"}, `build.layers.owner: "nobody" is not uid:gid; write numbers, as "65532:65532"`},
		{Config{Files: file, Owner: "1:2:3"}, `build.layers.owner: "1:2:3" is not uid:gid`},
		{Config{Files: file, Owner: "1"}, `build.layers.owner: "1" is not uid:gid`},
		{Config{Files: file, Owner: "-1:0"}, `build.layers.owner: "-1:0" is not uid:gid`},
		{Config{Files: file, Mtime: "now"}, `build.layers.mtime: "now" is neither commit nor left out`},
		{Config{Files: file, User: "a b"}, `build.layers.user: "a b" is not user or user:group, as "65532:65532"`},
		{Config{Files: file, User: "web"}, ""},
		{Config{Files: file, Workdir: "srv"}, `build.layers.workdir: "srv" is not a clean absolute path`},
		{Config{Files: file, Workdir: "/srv/"}, `build.layers.workdir: "/srv/" is not a clean absolute path`},
		{Config{Files: file, Entrypoint: []string{""}}, "build.layers.entrypoint: the program is empty"},
		{Config{Files: file, Cmd: []string{"\x00"}}, "build.layers.entrypoint: it, or cmd, has a NUL in it"},
		{Config{Files: file, Ports: []string{"http"}}, `build.layers.ports: "http" is no port; write 8080 or 53/udp`},
		{Config{Files: file, Ports: []string{"0"}}, `build.layers.ports: "0" is no port`},
		{Config{Files: file, Ports: []string{"65536/tcp"}}, `build.layers.ports: "65536/tcp" is no port`},
		{Config{Files: file, Ports: []string{"80/http"}}, `build.layers.ports: "80/http" is no port`},
		{Config{Files: file, Env: map[string]string{"A=B": "1"}}, `build.layers.env: "A=B" can't be a variable`},
		{Config{Files: file, Env: map[string]string{"": "1"}}, `build.layers.env: "" can't be a variable`},
		{Config{Files: file, Labels: map[string]string{"": "1"}}, "build.layers.labels: one has no name"},
	} {
		err := x.config.Check()
		if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%+v: %v, not %s", x.config, err, x.want)
		}
		if x.want != "" {
			if _, buildErr := Build(context.Background(), x.config, Request{Top: t.TempDir()}); buildErr == nil || buildErr.Error() != err.Error() {
				t.Errorf("Build says %v", buildErr)
			}
		}
	}
}

func TestExpand(t *testing.T) {
	variables := [][2]string{{"A", "1"}, {"AB", "$A ${A}"}, {"EMPTY", ""}}
	for argument, want := range map[string]string{
		"$A": "1", "${A}": "1", "x$A/y": "x1/y", "$AB": "$A ${A}", "$ABC": "$ABC", "${A": "${A", "$A}": "1}", "$$A": "$1", "$": "$",
		"${A:-x}": "${A:-x}", "$EMPTY.": ".", "$(A)": "$(A)", "$1": "$1", "$a": "$a", "": "",
	} {
		if got := expand(argument, variables); got != want {
			t.Errorf("%s: %s, not %s", argument, got, want)
		}
	}
}

func TestFitness(t *testing.T) {
	parse := func(text string) v1.Platform {
		p, err := v1.ParsePlatform(text)
		if err != nil {
			t.Fatal(err)
		}
		return *p
	}
	for _, x := range []struct{ want, have, better string }{
		{"linux/amd64", "linux/amd64/v1", "linux/amd64/v2"},
		{"linux/amd64/v3", "linux/amd64/v2", "linux/amd64"},
		{"linux/amd64/v3", "linux/amd64/v3", "linux/amd64/v2"},
		{"linux/arm/v7", "linux/arm", "linux/arm/v6"},
		{"linux/arm/v7", "linux/arm/v6", "linux/arm/v8"},
		{"linux/arm/v6", "linux/arm/v5", "linux/arm/v7"},
		{"linux/arm64", "linux/arm64/v8", "linux/arm/v8"},
		{"linux/arm64", "linux/aarch64", "linux/arm64/v9"},
		{"linux/riscv64", "linux/riscv64", "linux/riscv64/rva23"},
		{"linux/amd64", "linux/amd64", "windows/amd64"},
	} {
		better, worse := fitness(parse(x.want), parse(x.have)), fitness(parse(x.want), parse(x.better))
		if better <= worse || better == 0 {
			t.Errorf("for %s, %s (%d) is not better than %s (%d)", x.want, x.have, better, x.better, worse)
		}
	}
}
