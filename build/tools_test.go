//go:build unix

package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// recordedDigest is the one in testdata/recorded.
const recordedDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// tool puts a program on PATH that keeps the arguments of its calls, in which FILE is
// where $recorded is, and does what a script says then.
type tool struct {
	t        *testing.T
	dir      string
	recorded string
}

func newTool(t *testing.T, scripts map[string]string) tool {
	t.Helper()
	recorded, err := filepath.Abs("testdata/recorded")
	if err != nil {
		t.Fatal(err)
	}
	tl := tool{t, t.TempDir(), recorded}
	for name, script := range scripts {
		head := "#!/bin/sh\nfor a in " + name + ` "$@"; do printf '%s\000' "$a"; done >>'` + tl.dir + `/calls'; printf '\001\000' >>'` + tl.dir + `/calls'` + "\nrecorded='" + recorded + "'\n" +
			`value() { for a in "$@"; do case "$a" in "$name"=*) printf %s "${a#*=}";; esac; done; }` + "\n"
		if err := os.WriteFile(filepath.Join(tl.dir, name), []byte(head+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", tl.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("TMPDIR", t.TempDir())
	return tl
}

// calls returns the arguments of each call, temporary paths and names replaced.
func (tl tool) calls() []string {
	tl.t.Helper()
	content, err := os.ReadFile(filepath.Join(tl.dir, "calls"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		tl.t.Fatal(err)
	}
	var calls []string
	names := map[string]bool{}
	for call := range strings.SplitSeq(string(content), "\x01\x00") {
		var words []string
		for word := range strings.SplitSeq(strings.TrimSuffix(call, "\x00"), "\x00") {
			if i := strings.Index(word, os.Getenv("TMPDIR")); i >= 0 {
				rest := word[i+len(os.Getenv("TMPDIR"))+1:]
				_, rest, _ = strings.Cut(rest, "/")
				word = word[:i] + "TMP/" + rest
			}
			if i := strings.Index(word, "localhost/pin-cmp-"); i >= 0 {
				name, rest, _ := strings.Cut(word[i:], ":")
				names[strings.TrimPrefix(name, "localhost/")] = true
				word = word[:i] + "LOCAL:" + rest
			}
			if name, rest, ok := strings.Cut(word, ",src="); ok && strings.HasPrefix(name, "--secret=id=pin-cmp-") {
				names[strings.TrimPrefix(name, "--secret=id=")] = true
				word = "--secret=id=MARK,src=" + rest
			}
			words = append(words, word)
		}
		if call != "" {
			calls = append(calls, strings.Join(words, " | "))
		}
	}
	if len(names) > 1 {
		tl.t.Errorf("names that are not one build's: %v", names)
	}
	return calls
}

const labelFlags = "--label=org.opencontainers.image.source=https://example.com/acme/repo | --label=org.opencontainers.image.revision=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | --label=org.opencontainers.image.created=2024-05-06T07:08:09Z"

// How each tool is called, what of what it writes is the digest, and that nothing
// stays behind.
func TestTools(t *testing.T) {
	const epoch = `[ "$SOURCE_DATE_EPOCH" = 1714979289 ] || exit 9` + "\n"
	metadata := epoch + `name=--metadata-file; cp "$recorded/buildx-metadata.json" "$(value "$@")"`
	digestFile := `name=--digestfile; f=$(value "$@"); [ -z "$f" ] || cp "$recorded/buildah-digest" "$f"`
	plain := map[string]string{"app/Dockerfile": "FROM scratch\n"}
	for _, c := range []struct {
		name, section, platforms string
		plainHTTP                bool
		files, scripts           map[string]string
		calls                    []string
	}{
		{
			"docker", "docker: {}", "", false, plain,
			map[string]string{"docker": metadata},
			[]string{"docker | buildx | build | --progress=plain | --pull | --file=TMP/context/Dockerfile | --tag=ghcr.io/acme/web:pin-0123 | --output=type=image,push=true,unpack=false,store=false,rewrite-timestamp=true | --metadata-file=TMP/metadata.json | --provenance=false | --sbom=false | --platform=linux/amd64 | " + labelFlags + " | TMP/context"},
		},
		{
			"docker with everything",
			`docker: {context: .., file: sub/File, target: t, args: {B: "-x\n=y", A: ""}, secrets: [id=a], ssh: [default], cacheFrom: [x], cacheTo: [y, z], builder: b, provenance: mode=max, sbom: true, options: [--network, host]}`,
			"linux/amd64, linux/arm64", true,
			map[string]string{"app/sub/File": "FROM scratch", "app/sub/File.dockerignore": "x", "app/sub/other": ""},
			map[string]string{"docker": metadata},
			[]string{"docker | buildx | build | --progress=plain | --pull | --builder=b | --file=TMP/context/app/sub/File | --tag=ghcr.io/acme/web:pin-0123 | --output=type=image,push=true,unpack=false,store=false,rewrite-timestamp=true,registry.insecure=true | --metadata-file=TMP/metadata.json | --provenance=mode=max | --sbom=true | --platform=linux/amd64,linux/arm64 | --target=t | --build-arg=A= | --build-arg=B=-x\n=y | " + labelFlags + " | --secret=id=a | --ssh=default | --cache-from=x | --cache-to=y | --cache-to=z | --network | host | TMP/context"},
		},
		{
			"a Dockerfile beside the context", "docker: {context: src, file: deploy/D}", "", false,
			map[string]string{"app/src/a": "", "app/deploy/D": "FROM scratch", "app/deploy/D.dockerignore": "x", "app/deploy/other": ""},
			map[string]string{"docker": `name=--file; [ "$(ls -A "$(dirname "$(value "$@")")" | tr '\n' ' ')" = "D D.dockerignore " ] || exit 8; for last; do :; done; [ "$(ls "$last")" = a ] || exit 7` + "\n" + metadata},
			[]string{"docker | buildx | build | --progress=plain | --pull | --file=TMP/file/D | --tag=ghcr.io/acme/web:pin-0123 | --output=type=image,push=true,unpack=false,store=false,rewrite-timestamp=true | --metadata-file=TMP/metadata.json | --provenance=false | --sbom=false | --platform=linux/amd64 | " + labelFlags + " | TMP/context"},
		},
		{
			"buildah", "buildah: {}", "", false, plain,
			map[string]string{"buildah": digestFile},
			[]string{
				"buildah | build | --file=TMP/context/Dockerfile | --tag=LOCAL:0 | --timestamp=1714979289 | --identity-label=false | --force-rm | --pull=always | --layers=false | --platform=linux/amd64 | " + labelFlags + " | --secret=id=MARK,src=TMP/mark | TMP/context",
				"buildah | push | --digestfile=TMP/digest | LOCAL:0 | docker://ghcr.io/acme/web:pin-0123",
				"buildah | rmi | --force | LOCAL:0",
			},
		},
		{
			"podman for two platforms", "podman: {args: {A: b}, cacheFrom: [ghcr.io/acme/cache], secrets: [id=a], options: [--squash]}", "linux/amd64, linux/arm64", true,
			map[string]string{"app/Dockerfile": "FROM ghcr.io/acme/base"},
			map[string]string{"podman": digestFile},
			[]string{
				"podman | build | --file=TMP/context/Dockerfile | --tag=LOCAL:0 | --timestamp=1714979289 | --identity-label=false | --force-rm | --pull=always | --layers=true | --platform=linux/amd64 | --tls-verify=false | --build-arg=A=b | " + labelFlags + " | --secret=id=a | --secret=id=MARK,src=TMP/mark | --cache-from=ghcr.io/acme/cache | --squash | TMP/context",
				"podman | build | --file=TMP/context/Dockerfile | --tag=LOCAL:1 | --timestamp=1714979289 | --identity-label=false | --force-rm | --pull=always | --layers=true | --platform=linux/arm64 | --tls-verify=false | --build-arg=A=b | " + labelFlags + " | --secret=id=a | --secret=id=MARK,src=TMP/mark | --cache-from=ghcr.io/acme/cache | --squash | TMP/context",
				"podman | manifest | create | LOCAL:index",
				"podman | manifest | add | LOCAL:index | containers-storage:LOCAL:0",
				"podman | manifest | add | LOCAL:index | containers-storage:LOCAL:1",
				"podman | manifest | push | --digestfile=TMP/digest | --all | --tls-verify=false | LOCAL:index | docker://ghcr.io/acme/web:pin-0123",
				"podman | manifest | rm | LOCAL:index",
				"podman | rmi | --force | LOCAL:1",
				"podman | rmi | --force | LOCAL:0",
			},
		},
		{
			"a base over TLS keeps TLS", "buildah: {}", "", true,
			map[string]string{"app/Dockerfile": "FROM ghcr.io/acme/base\nFROM docker.io/library/alpine"},
			map[string]string{"buildah": digestFile},
			[]string{
				"buildah | build | --file=TMP/context/Dockerfile | --tag=LOCAL:0 | --timestamp=1714979289 | --identity-label=false | --force-rm | --pull=always | --layers=false | --platform=linux/amd64 | " + labelFlags + " | --secret=id=MARK,src=TMP/mark | TMP/context",
				"buildah | push | --digestfile=TMP/digest | --tls-verify=false | LOCAL:0 | docker://ghcr.io/acme/web:pin-0123",
				"buildah | rmi | --force | LOCAL:0",
			},
		},
		{
			"ko", "ko: {import: ./cmd/web, base: b, options: [--debug]}", "linux/amd64, linux/arm64", true, nil,
			map[string]string{"ko": epoch + `[ "$KO_DOCKER_REPO $KO_DEFAULTBASEIMAGE $KO_CONFIG_PATH $KO_DATA_DATE_EPOCH" = "ghcr.io/acme/web b  1714979289" ] || exit 8
case "$GOFLAGS" in *-buildvcs=false) ;; *) exit 7;; esac
cat "$recorded/ko-stderr" >&2; cat "$recorded/ko-stdout"`},
			[]string{"ko | build | --bare | --tags=pin-0123 | --sbom=none | --platform=linux/amd64,linux/arm64 | " + strings.ReplaceAll(labelFlags, "--label", "--image-label") + " | --insecure-registry | --debug | ./cmd/web"},
		},
		{
			"bazel", "bazel: {target: //web:push, options: [--config=ci]}", "", false, nil,
			map[string]string{"bazel": epoch + `echo INFO: Running command line >&2; cat "$recorded/bazel-stdout"; echo "2024/05/06 ghcr.io/acme/web:x: digest: sha256:9 size: 1" >&2; echo tagged`},
			[]string{"bazel | run | --config=ci | //web:push | -- | --repository | ghcr.io/acme/web | --tag | pin-0123"},
		},
		{
			"nix", "nix: {attribute: .#image, options: [--impure]}", "", true,
			map[string]string{"app/image.tar": "x"},
			map[string]string{"nix": `sed "s|@OUT@|$PWD/image.tar|" "$recorded/nix-stdout"`, "skopeo": digestFile},
			[]string{
				"nix | build | --json | --no-link | --extra-experimental-features | nix-command flakes | --impure | .#image",
				"skopeo | --insecure-policy | copy | --digestfile=TMP/digest | --dest-tls-verify=false | docker-archive:APP/image.tar | docker://ghcr.io/acme/web:pin-0123",
			},
		},
		{
			"nix with a script", "nix: {attribute: .#stream}", "", false,
			map[string]string{"app/stream": "#!/bin/sh\nprintf streamed; echo aside >&2\n"},
			map[string]string{"nix": `chmod +x stream; sed "s|@OUT@|$PWD/stream|" "$recorded/nix-stdout"`, "skopeo": `for a; do case $a in docker-archive:*) [ "$(cat "${a#*:}")" = streamed ] || exit 8;; esac; done` + "\n" + digestFile},
			[]string{
				"nix | build | --json | --no-link | --extra-experimental-features | nix-command flakes | .#stream",
				"skopeo | --insecure-policy | copy | --digestfile=TMP/digest | docker-archive:TMP/image.tar | docker://ghcr.io/acme/web:pin-0123",
			},
		},
		{
			"nix2container", "nix: {copyTo: .#image.copyTo}", "", false, nil,
			map[string]string{"nix": digestFile},
			[]string{"nix | run | --extra-experimental-features | nix-command flakes | .#image.copyTo | -- | --digestfile=TMP/digest | docker://ghcr.io/acme/web:pin-0123"},
		},
		{
			"pack", "pack: {builder: b, runImage: r, env: {A: '1'}, buildpacks: [x@1, 'docker://y'], options: [--trust-builder]}", "linux/arm64", true,
			map[string]string{"app/a": ""},
			map[string]string{"pack": `name=--path; [ "$(ls "$(value "$@")")" = a ] || exit 8; name=--report-output-dir; cp "$recorded/pack-report.toml" "$(value "$@")/report.toml"`},
			[]string{"pack | build | ghcr.io/acme/web:pin-0123 | --publish | --builder=b | --run-image=r | --path=TMP/context | --report-output-dir=TMP/report | --creation-time=1714979289 | --no-color | --platform=linux/arm64 | --env=A=1 | --buildpack=x@1 | --buildpack=docker://y | --insecure-registry=ghcr.io | --trust-builder"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tl := newTool(t, c.scripts)
			section := c.section + "}\nplatforms: [" + c.platforms + "]\n#"
			r := requestFor(t, section, c.files)
			said := &log{}
			r.Log = said
			if c.plainHTTP {
				r.Registry = &Registry{PlainHTTP: map[string]bool{"ghcr.io": true}}
			}
			digest, err := ByRecipe{}.Build(t.Context(), r)
			if err != nil || digest != recordedDigest {
				t.Errorf("%q, %v\n%s", digest, err, said)
			}
			calls := tl.calls()
			for i := range calls {
				calls[i] = strings.ReplaceAll(calls[i], r.dir(), "APP")
			}
			if !slices.Equal(calls, c.calls) {
				t.Errorf("called\n%s\nwant\n%s", strings.Join(calls, "\n"), strings.Join(c.calls, "\n"))
			}
			if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// A tool that reports no digest, or half of one, has not built anything.
func TestToolsReports(t *testing.T) {
	for _, c := range []struct{ name, section, tool, script, want string }{
		{"docker, no file", "docker: {}", "docker", "", `app/pin.yaml:1: the build of web ended well but reported no digest; docker buildx writes sha256:<64 hex> as containerimage.digest of its metadata, not ""`},
		{"docker, no JSON", "docker: {}", "docker", `name=--metadata-file; echo oops >"$(value "$@")"`, `not "oops\n"`},
		{"docker, no digest", "docker: {}", "docker", `name=--metadata-file; echo '{"containerimage.digest": 1}' >"$(value "$@")"`, "reported no digest"},
		{"docker, only the configuration's", "docker: {}", "docker", `name=--metadata-file; echo '{"containerimage.config.digest": "` + recordedDigest + `"}' >"$(value "$@")"`, `not ""`},
		{"docker, upper case", "docker: {}", "docker", `name=--metadata-file; echo '{"containerimage.digest": "sha256:` + strings.Repeat("A", 64) + `"}' >"$(value "$@")"`, "reported no digest"},
		{"buildah, no file", "buildah: {}", "buildah", "", `buildah writes sha256:<64 hex> into its --digestfile, not ""`},
		{"buildah, two", "buildah: {}", "buildah", `name=--digestfile; f=$(value "$@"); [ -z "$f" ] || printf '%s\n%s\n' ` + recordedDigest + ` ` + recordedDigest + ` >"$f"`, "reported no digest"},
		{"ko, nothing", "ko: {}", "ko", "", `ko writes sha256:<64 hex> behind ghcr.io/acme/web@ on its last line, not ""`},
		{"ko, another repository", "ko: {}", "ko", "echo ghcr.io/acme/other@" + recordedDigest, `not ""`},
		{"ko, on stderr", "ko: {}", "ko", "echo ghcr.io/acme/web@" + recordedDigest + " >&2", `not ""`},
		{"bazel, another repository", "bazel: {target: //a}", "bazel", "echo ghcr.io/acme/web2@" + recordedDigest, `//a writes sha256:<64 hex> behind ghcr.io/acme/web@ on a line of its output, not ""`},
		{"bazel, in a sentence", "bazel: {target: //a}", "bazel", "echo pushed ghcr.io/acme/web@" + recordedDigest, `not ""`},
		{"nix, two", "nix: {attribute: a}", "nix", `echo '[{"outputs":{"out":"/a"}},{"outputs":{"out":"/b"}}]'`, "app/pin.yaml:1: nix build a made no single output; it is to be one image"},
		{"nix, nothing there", "nix: {attribute: a}", "nix", `echo '[{"outputs":{"out":"/no/such/path"}}]'`, `nix build a made "/no/such/path", which is not there`},
		{"nix, relative", "nix: {attribute: a}", "nix", `echo '[{"outputs":{"out":"."}}]'`, "which is not there"},
		{"nix, a directory", "nix: {attribute: a}", "nix", `echo '[{"outputs":{"out":"/"}}]'`, "made no archive of an image"},
		{"pack, no report", "pack: {builder: b, runImage: r}", "pack", "", `pack writes sha256:<64 hex> as digest of [image] in its report, not ""`},
		{"pack, in a daemon", "pack: {builder: b, runImage: r}", "pack", `name=--report-output-dir; printf '[image]\nimage-id = "abc"\n' >"$(value "$@")/report.toml"`, `not ""`},
		{"pack, of another table", "pack: {builder: b, runImage: r}", "pack", `name=--report-output-dir; printf '[[build.bom]]\ndigest = "` + recordedDigest + `"\n[image]\n' >"$(value "$@")/report.toml"`, `not ""`},
		{"failing", "docker: {args: {TOKEN: hunter2}}", "docker", "exit 3", "app/pin.yaml:1: the build of web failed: docker ended with exit status 3; if it misses a file: it sees the inputs of web and nothing else"},
		{"failing without a context", "ko: {}", "ko", "exit 3", "app/pin.yaml:1: the build of web failed: ko ended with exit status 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			newTool(t, map[string]string{c.tool: c.script})
			r := requestFor(t, c.section, map[string]string{"app/Dockerfile": "FROM scratch\n"})
			said := &log{}
			r.Log = said
			digest, err := ByRecipe{}.Build(t.Context(), r)
			if digest != "" || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q, %v\nwant %s", digest, err, c.want)
			}
			if strings.Contains(err.Error()+said.String(), "hunter2") {
				t.Errorf("it prints an argument: %v\n%s", err, said)
			}
			if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// A program that is missing is named, with how to get it.
func TestToolsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for section, want := range map[string]string{
		"docker: {}":                      "app/pin.yaml:1: the program that builds web, docker, is not here; install it (https://docs.docker.com/engine/install/, with its plugin buildx), or correct build.docker",
		"buildah: {}":                     "the program that builds web, buildah, is not here; install it (apt install buildah, or https://github.com/containers/buildah/blob/main/install.md), or correct build.buildah",
		"podman: {}":                      "the program that builds web, podman, is not here",
		"ko: {}":                          "the program that builds web, ko, is not here; install it (go install github.com/google/ko@latest)",
		"bazel: {target: //a}":            "the program that builds web, bazel, is not here",
		"nix: {attribute: a}":             "the program that builds web, nix, is not here",
		"pack: {builder: b, runImage: r}": "the program that builds web, pack, is not here",
	} {
		r := requestFor(t, section, map[string]string{"app/Dockerfile": "FROM scratch\n"})
		_, err := ByRecipe{}.Build(t.Context(), r)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", section, err, want)
		}
	}
}

// ko reads its configuration from the disk; one that the key does not know is refused.
func TestKoConfigIsAnInput(t *testing.T) {
	newTool(t, map[string]string{"ko": `cat "$recorded/ko-stdout"`})
	r := requestFor(t, "ko: {}", map[string]string{"app/.ko.yaml": "defaultBaseImage: a\n"})
	if _, err := (ByRecipe{}).Build(t.Context(), r); err != nil {
		t.Error(err)
	}
	r.Inputs = nil
	_, err := ByRecipe{}.Build(t.Context(), r)
	if err == nil || err.Error() != "app/pin.yaml:1: app/.ko.yaml decides what ko builds, and is not among the inputs of web; add it" {
		t.Error(err)
	}
}

// A build that is stopped removes what it made, once its tool has ended; a tool
// that does not end is killed with its children.
func TestToolsStopped(t *testing.T) {
	for _, c := range []struct{ name, section, program, script string }{
		{"told to stop", "buildah: {}", "buildah", `if [ "$1" = build ]; then trap 'echo >>"$0.stopped"; exit 1' INT; sleep 1000 & echo $! >"$0.pid"; wait; fi`},
		{"killed", "docker: {}", "docker", `trap '' TERM INT; sleep 1000 & echo $! >"$0.pid"; wait`},
	} {
		t.Run(c.name, func(t *testing.T) {
			tl := newTool(t, map[string]string{c.program: c.script})
			r := requestFor(t, c.section, map[string]string{"app/Dockerfile": "FROM scratch\n"})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error)
			go func() {
				_, err := ByRecipe{}.Build(ctx, r)
				done <- err
			}()
			var pid int
			for pid == 0 {
				content, _ := os.ReadFile(filepath.Join(tl.dir, c.program+".pid"))
				pid, _ = strconv.Atoi(strings.TrimSpace(string(content)))
				time.Sleep(time.Millisecond)
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) || err.Error() != "build web: context canceled" {
				t.Error(err)
			}
			waitGone(t, pid)
			if c.program == "buildah" {
				if _, err := os.Stat(filepath.Join(tl.dir, "buildah.stopped")); err != nil {
					t.Error(err)
				}
				if calls := tl.calls(); calls[len(calls)-1] != "buildah | rmi | --force | LOCAL:0" {
					t.Errorf("%q", calls)
				}
			}
			if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// However a tool splits what it prints, the last reference counts, and a line that
// never ends takes no memory.
func TestPushedLine(t *testing.T) {
	p := &pushedLine{image: "docker.io/acme/web"}
	text := "ghcr.io/acme/web@" + recordedDigest + "\nindex.docker.io/acme/web:x@" + recordedDigest[:len(recordedDigest)-1] + "0\r\n  acme/web@" + recordedDigest + "\nacme/web@sha256:1\ndone"
	for i := range len(text) {
		if _, err := p.Write([]byte(text[i : i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.last(); got != recordedDigest {
		t.Errorf("%q", got)
	}
	endless := &pushedLine{image: "docker.io/acme/web"}
	for range 1000 {
		_, _ = endless.Write([]byte(strings.Repeat("x", 10_000)))
	}
	if cap(endless.line) > 4*maxLine {
		t.Errorf("%d bytes are kept", cap(endless.line))
	}
	if _, _ = endless.Write([]byte("\nacme/web@" + recordedDigest)); endless.last() != recordedDigest {
		t.Errorf("%q", endless.last())
	}
}
