//go:build unix

package layers

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

func TestFailingCommands(t *testing.T) {
	c := newCheckout(t)
	c.untracked("app/plain", "#!/bin/sh\n")
	c.write("app/lost", "#!/no/such/interpreter\n", 0o100755)
	c.write("app/no-program", "this is no program", 0o100755)
	for _, x := range []struct {
		command []string
		want    string
	}{
		{[]string{"no-such-program-here"}, "its command, no-such-program-here, is not here; install it, or correct build.layers.command"},
		{[]string{"./nothing"}, "its command, ./nothing, is not here; install it, or correct build.layers.command"},
		{[]string{"./plain"}, "its command, ./plain, may not be executed; chmod +x it"},
		{[]string{"./lost"}, "its command, ./lost, is here, but the interpreter in its first line is not; install it, or correct that line"},
		{[]string{"./no-program"}, "./no-program: fork/exec ./no-program: exec format error"},
		{[]string{"sh", "-c", "exit 7"}, "sh ended with exit status 7"},
		{[]string{"sh", "-c", "kill -9 $$"}, "sh ended with signal: killed"},
	} {
		refused(t, Config{Command: x.command}, c.request(), x.want)
	}
	request := c.request()
	request.Dir = "gone"
	refused(t, Config{Command: []string{"sh"}}, request, "the directory gone, in which the build command of ghcr.io/acme/web runs, is not here")
	request.Platforms = []string{"linux/arm64", "linux/amd64"}
	request.Dir = "app"
	refused(t, Config{Command: []string{"sh", "-c", "[ $TARGETARCH = arm64 ] && touch $PIN_OUT/x"}}, request, "for linux/amd64: sh ended with exit status 1")
}

// What the command prints goes to the log, and it reads nothing.
func TestLog(t *testing.T) {
	c := newCheckout(t)
	var log bytes.Buffer
	request := c.request()
	request.Log = &log
	build(t, Config{Command: []string{"sh", "-c", `cat; echo out; echo err >&2; pwd; echo "$PIN_IMAGE"; touch "$PIN_OUT/x"`}}, request)
	if want := "out\nerr\n" + filepath.Join(c.top, "app") + "\nghcr.io/acme/web\n"; log.String() != want {
		t.Errorf("%q, not %q", log.String(), want)
	}
}

// Nothing of a command that is interrupted goes on: all that it started holds the
// pipe open.
func TestCancelledCommand(t *testing.T) {
	c := newCheckout(t)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	pipe := filepath.Join(c.top, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_PIPE", pipe)
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("interrupted")
	ended := make(chan error, 1)
	go func() {
		_, err := Build(ctx, Config{Command: []string{"sh", "-c", `
			exec 3>"$TEST_PIPE"
			trap '' TERM INT HUP
			(trap '' TERM; while :; do sleep 100; done) &
			(sleep 1000 >"$PIN_OUT/x" &) &
			mkdir -p "$PIN_OUT/a/b"; chmod 0500 "$PIN_OUT/a"
			echo started >&3
			while :; do sleep 100; done`}}, c.request())
		ended <- err
	}()
	r, err := os.Open(pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	started := make([]byte, len("started\n"))
	if _, err := io.ReadFull(r, started); err != nil {
		t.Fatal(err)
	}
	cancel(why)
	if err := <-ended; !errors.Is(err, why) || err.Error() != "build ghcr.io/acme/web: interrupted" {
		t.Error(err)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("%q %v", rest, err)
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// A build can be interrupted while it reads what the command wrote, too: here a
// file of 8 TiB, most of it a hole.
func TestCancelledReading(t *testing.T) {
	c := newCheckout(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("interrupted")
	log := &onWrite{func() { cancel(why) }}
	request := c.request()
	request.Log = log
	_, err := Build(ctx, Config{Command: []string{"sh", "-c", `truncate -s 8T "$PIN_OUT/huge"; (sleep 0.2; echo now) & `}}, request)
	if !errors.Is(err, why) {
		t.Error(err)
	}
}

type onWrite struct{ do func() }

func (w *onWrite) Write(p []byte) (int, error) {
	w.do()
	return len(p), nil
}

// A command that can't write all it has fails by itself, with its own words in
// the log.
func TestCommandThatFillsTheDisk(t *testing.T) {
	c := newCheckout(t)
	var log bytes.Buffer
	request := c.request()
	request.Log = &log
	refused(t, Config{Command: []string{"sh", "-c", `ulimit -f 8; trap '' XFSZ; head -c 1000000 /dev/zero >"$PIN_OUT/x"`}}, request, "sh ended with exit status 1")
	if log.Len() == 0 {
		t.Error("it said nothing")
	}
}

// The image is unpacked, and what it says is run.
func TestTheImageRuns(t *testing.T) {
	c := newCheckout(t)
	c.write("app/go.mod", "module example.com/web\n\ngo 1.24\n", 0o100644)
	c.write("app/main.go", `package main

import (
	"fmt"
	"os"
)

func main() {
	motd, err := os.ReadFile(os.Args[1])
	fmt.Print(string(motd), err)
}
`, 0o100644)
	c.write("app/static/motd", "hello\n", 0o100644)
	t.Setenv("GOFLAGS", "")
	request := c.request()
	platform := v1.Platform{OS: "linux", Architecture: goArch(t)}
	request.Platforms = []string{platform.String(), "linux/arm/v7"}
	config := Config{
		Command:    []string{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", "$PIN_OUT/web", "."},
		Files:      []Copy{{Out: "web", To: "/usr/bin/"}, {From: "static", To: "/srv"}},
		Entrypoint: []string{"/usr/bin/web"}, Cmd: []string{"/srv/motd"},
	}
	a := build(t, config, request)
	images := imagesOf(t, a)
	root := t.TempDir()
	unpack := exec.Command("tar", "-xf", "-", "-C", root)
	unpack.Stdin = mutate.Extract(images[0])
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	got, err := images[0].ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if goOS(t) == "linux" {
		out, err := exec.Command(filepath.Join(root, got.Config.Entrypoint[0]), filepath.Join(root, got.Config.Cmd[0])).CombinedOutput()
		if err != nil || string(out) != "hello\n<nil>" {
			t.Errorf("%q %v", out, err)
		}
	}
	program := []byte(whole(t, images[1])["usr/bin/web"].content)
	arm, err := elf.NewFile(bytes.NewReader(program))
	if err != nil || arm.Machine != elf.EM_ARM {
		t.Errorf("%v %v", arm, err)
	}
	// Built once more, somewhere else, it is the same.
	other := newCheckout(t)
	for _, f := range c.files {
		content, err := os.ReadFile(filepath.Join(c.top, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		other.write(f.Path, string(content), f.Mode)
	}
	other.untracked("app/README", "untracked")
	request.Top = other.top
	if again := build(t, config, request); again.Digest() != a.Digest() {
		t.Errorf("%s and %s", a.Digest(), again.Digest())
	}
}

func goArch(t *testing.T) string { return goEnv(t, "GOHOSTARCH") }

func goOS(t *testing.T) string { return goEnv(t, "GOHOSTOS") }

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
