package builders

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const goMain = `package main

import "fmt"

func main() { fmt.Println("hello") }
`

// startKo puts ko on PATH, with the credentials and the certificate of a hub.
func startKo(t *testing.T, h hub) {
	t.Setenv("PATH", tools+string(os.PathListSeparator)+os.Getenv("PATH"))
	dir := t.TempDir()
	write(t, dir+"/config.json", h.credentials())
	t.Setenv("DOCKER_CONFIG", dir)
	if h.ca != "" {
		t.Setenv("SSL_CERT_FILE", h.ca)
	}
}

func koFiles(config string) map[string]string {
	files := map[string]string{"web/go.mod": "module example.com/Acme/web\n\ngo 1.24\n", "web/cmd/web/main.go": goMain}
	if config != "" {
		files["web/.ko.yaml"] = config
	}
	return files
}

// A Go program on a base, for two platforms and for one, from two clones of which
// one has another commit and another environment.
func TestKo(t *testing.T) {
	h := newTLSHub(t)
	startKo(t, h)
	base := h.base("amd64", "arm64")
	build := func(platforms string, change func(repository)) string {
		r := newRepository(t, koFiles("defaultBaseImage: "+base+"\n"))
		request := r.request(h.host, platforms, "ko: {import: ./cmd/web}")
		request.Registry.PlainHTTP = nil
		change(r)
		digest := built(t, request)
		images := h.images(digest)
		if len(images) != len(strings.Split(platforms, ",")) {
			t.Fatalf("%v", images)
		}
		for platform, image := range images {
			found := files(t, image)
			if found["base.txt"].content != "base\n" || found["ko-app/web"].content == "" {
				t.Errorf("%s: %v", platform, found)
			}
			config, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if !config.Created.Equal(at) || config.Config.Labels["org.opencontainers.image.revision"] != request.Revision {
				t.Errorf("%s %v", config.Created, config.Config.Labels)
			}
		}
		return digest
	}
	nothing := func(repository) {}
	for _, platforms := range []string{"linux/amd64", "linux/amd64,linux/arm64"} {
		first := build(platforms, nothing)
		second := build(platforms, func(r repository) {
			r.write("other.txt", "another commit, and a work tree with changes")
			r.git("add", "-A")
			r.git("commit", "-q", "-m", "other")
			r.write("other.txt", "changed")
			t.Setenv("KO_DEFAULTBASEIMAGE", "example.com/nowhere")
			t.Setenv("KO_CONFIG_PATH", "/nowhere")
		})
		if first != second {
			t.Errorf("%s: %s and %s", platforms, first, second)
		}
	}
}

// Which base ko takes is what Bases says.
func TestKoBases(t *testing.T) {
	h := newHub(t)
	startKo(t, h)
	good := h.base("amd64")
	missing := h.host + "/acme/missing@" + strings.Split(good, "@")[1]
	for _, c := range []struct{ name, config, section, want string }{
		{"field", "", "{import: ./cmd/web, base: '" + good + "'}", good},
		{"field before the default", "defaultBaseImage: " + missing + "\n", "{import: ./cmd/web, base: '" + good + "'}", good},
		{"override before the field", "baseImageOverrides:\n  example.com/acme/web/CMD/web: " + good + "\n", "{import: ./cmd/web, base: '" + missing + "'}", good},
		{"another's override", "defaultbaseimage: " + good + "\nbaseImageOverrides:\n  example.com/acme/web: " + missing + "\n", "{import: ko://example.com/Acme/web/cmd/web}", good},
		{"no such image", "defaultBaseImage: " + missing + "\n", "{import: ./cmd/web}", missing},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRepository(t, koFiles(c.config))
			request := r.request(h.host, "linux/amd64", "ko: "+c.section)
			bases, err := request.Component.Recipe.Bases(request.Component, func(name string) ([]byte, error) {
				return os.ReadFile(filepath.Join(r.top, name))
			})
			if err != nil || len(bases) != 1 || bases[0].Reference != c.want {
				t.Fatalf("%v, %v", bases, err)
			}
			digest, err := request.Component.Recipe.Build(t.Context(), request)
			if c.want == missing {
				var status *exec.ExitError
				if !errors.As(err, &status) || !strings.Contains(request.Log.(*log).String(), "missing") {
					t.Errorf("%v\n%s", err, request.Log)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, request.Log)
			}
			if found := files(t, h.images(digest)["linux/amd64"]); found["base.txt"].content != "base\n" {
				t.Errorf("%v", found)
			}
		})
	}
}

// ko and the compiler that it runs end with the context.
func TestKoCancelled(t *testing.T) {
	h := newHub(t)
	startKo(t, h)
	mark := "mark-" + filepath.Base(t.TempDir())
	// A go that takes for ever to build.
	compiler, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	slow := filepath.Join(t.TempDir(), "go")
	script := "#!/bin/sh\nif [ \"$1\" = build ]; then " + filepath.Join(tools, "program") + " sleep " + mark + "; fi\nexec " + compiler + " \"$@\"\n"
	if err := os.WriteFile(slow, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(slow)+string(os.PathListSeparator)+os.Getenv("PATH"))
	r := newRepository(t, koFiles("defaultBaseImage: "+h.base("amd64")+"\n"))
	request := r.request(h.host, "linux/amd64", "ko: {import: ./cmd/web}")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := request.Component.Recipe.Build(ctx, request)
		done <- err
	}()
	for running(t, "sleep\x00"+mark) == "" {
		select {
		case err := <-done:
			t.Fatalf("it ended by itself: %v\n%s", err, request.Log)
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	for running(t, mark) != "" {
		time.Sleep(time.Millisecond) // killed, and about to go
	}
}
