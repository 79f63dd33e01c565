package builders

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pin-cmp/pin-cmp/build"
)

// at is when the commits of the tests are made.
var at = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// repository is a work tree with a commit.
type repository struct {
	t   *testing.T
	top string
}

// newRepository commits files, by their names; one that starts with #! is
// executable. The static program is there as web/program.
func newRepository(t *testing.T, files map[string]string) repository {
	t.Helper()
	r := repository{t, t.TempDir()}
	r.git("init", "-q", "-b", "main")
	program, err := os.ReadFile(filepath.Join(tools, "program"))
	if err != nil {
		t.Fatal(err)
	}
	r.write("web/program", string(program))
	if err := os.Chmod(filepath.Join(r.top, "web/program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		r.write(name, content)
	}
	r.git("add", "-A")
	r.git("commit", "-q", "-m", "all")
	return r
}

func (r repository) write(name, content string) {
	r.t.Helper()
	full := filepath.Join(r.top, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r repository) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", r.top, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	stamp := at.Format(time.RFC3339)
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_DATE="+stamp, "GIT_COMMITTER_DATE="+stamp, "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// log is what the tools print.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// request is one for the component that a pin.yaml in web declares.
func (r repository) request(host, platforms, section string) build.Request {
	r.t.Helper()
	text := "apiVersion: pin-cmp/v1\nkind: Component\nimage: " + host + "/acme/web\nsource: https://example.com/acme/repo\nplatforms: [" + platforms + "]\nbuild: {" + section + "}\n"
	components, err := build.ParseComponents("web/pin.yaml", []byte(text))
	if err != nil {
		r.t.Fatal(err)
	}
	request := build.Request{
		Component: components[0], Top: r.top, Tag: "pin-0123", Time: at,
		Revision: strings.TrimSpace(r.git("rev-parse", "HEAD")),
		Registry: &build.Registry{PlainHTTP: map[string]bool{host: true}}, Log: &log{},
	}
	for record := range strings.SplitSeq(r.git("ls-tree", "-r", "-z", "HEAD"), "\x00") {
		meta, name, ok := strings.Cut(record, "\t")
		if ok && request.Component.Holds(name) {
			fields := strings.Fields(meta)
			request.Inputs = append(request.Inputs, build.Input{Path: name, Mode: fields[0], Object: fields[2]})
		}
	}
	return request
}

// built runs a request that has to succeed.
func built(t *testing.T, request build.Request) string {
	t.Helper()
	digest, err := build.ByRecipe{}.Build(t.Context(), request)
	if err != nil {
		t.Fatalf("%v\n%s", err, request.Log)
	}
	return digest
}

// cancelled runs a request until the log has a text, ends its context, and returns
// the error.
func cancelled(t *testing.T, request build.Request, text string) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	found := make(chan struct{})
	request.Log = io.MultiWriter(request.Log, &watch{text: text, found: found})
	done := make(chan error, 1)
	go func() {
		_, err := build.ByRecipe{}.Build(ctx, request)
		done <- err
	}()
	select {
	case <-found:
		cancel()
		return <-done
	case err := <-done:
		t.Fatalf("it ended by itself: %v", err)
		return nil
	}
}

// watch closes a channel when a text has been written.
type watch struct {
	log
	text  string
	found chan struct{}
	once  sync.Once
}

func (w *watch) Write(p []byte) (int, error) {
	n, err := w.log.Write(p)
	if strings.Contains(w.String(), w.text) {
		w.once.Do(func() { close(w.found) })
	}
	return n, err
}
