package layers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pin-cmp/pin-cmp/build/layers"
)

// TestMain is also the program that other users run: it builds the component in
// the directory that the environment names, and prints the digest and, on standard error, its peak
// memory in KiB.
func TestMain(m *testing.M) {
	top := os.Getenv("LAYERS_TEST_TOP")
	if top == "" {
		os.Exit(m.Run())
	}
	a, err := layers.Build(context.Background(), component, request(top))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(a.Digest())
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		_, peak, _ := strings.Cut(string(status), "VmHWM:")
		fmt.Fprintln(os.Stderr, "peak", strings.Fields(peak)[0])
	}
	if err := a.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// files are the source tree: a program that says how it was started.
var files = map[string]string{
	"app/go.mod": "module example.com/web\n\ngo 1.24\n",
	"app/main.go": `package main

import (
	"fmt"
	"os"
	"syscall"
)

func main() {
	where, err := os.Getwd()
	fmt.Println(os.Geteuid(), os.Getegid(), where, err, os.Args[1:], os.Getenv("PORT"), os.Getenv("BASE"))
	for _, name := range []string{"/tmp", "/usr", "/usr/bin", "/bin", "/srv", "/srv/www", "/srv/www/motd", "/opt/new/dir"} {
		var s syscall.Stat_t
		if err := syscall.Lstat(name, &s); err != nil {
			fmt.Println(name, err)
			continue
		}
		fmt.Printf("%s %o %d:%d\n", name, s.Mode, s.Uid, s.Gid)
	}
	motd, err := os.ReadFile("www/motd")
	fmt.Println(string(motd), err)
}
`,
	"app/static/motd":        "hello",
	"app/static/assets/a.js": "1",
	"lib/rates.tsv":          "EUR\t1\n",
}

var component = layers.Config{
	Command: []string{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", "$PIN_OUT/web", "."},
	Files: []layers.Copy{
		{Out: "web", To: "/bin/web"},
		{From: "static", To: "/srv/www"},
		{From: "../lib/rates.tsv", To: "/opt/new/dir/"},
	},
	Entrypoint: []string{"/bin/web"}, Cmd: []string{"--port", "8080"}, Env: map[string]string{"PORT": "8080"},
	User: "65532:65531", Workdir: "/srv", Labels: map[string]string{"team": "shop"}, Ports: []string{"8080"}, Owner: "12:34",
}

func request(top string) layers.Request {
	r := layers.Request{
		Top: top, Dir: "app", Image: "ghcr.io/acme/web", Epoch: time.Unix(1_700_000_000, 0),
		Source: "https://github.com/acme/shop", Revision: strings.Repeat("c", 40), Log: os.Stderr,
	}
	for name := range files {
		r.Files = append(r.Files, layers.File{Path: name, Mode: 0o100644})
	}
	return r
}

// checkout writes the source tree.
func checkout(t *testing.T, mode os.FileMode) string {
	t.Helper()
	top := t.TempDir()
	for name, content := range files {
		full := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

func build(t *testing.T, config layers.Config, r layers.Request) *layers.Artifact {
	t.Helper()
	a, err := layers.Build(context.Background(), config, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}
