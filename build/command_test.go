//go:build unix

package build

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// log is a writer for the two streams of a command.
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

// run builds the component web of a work tree whose directory app holds the
// script build.sh.
func run(ctx context.Context, t *testing.T, script string, command ...string) (digest, top string, out *log, err error) {
	t.Helper()
	top = t.TempDir()
	if err := os.Mkdir(filepath.Join(top, "app"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "app", "build.sh"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	if command == nil {
		command = []string{"./build.sh"}
	}
	out = &log{}
	c := Component{Name: "web", Image: "ghcr.io/acme/web", Dir: "app", Recipe: Command(command), Kind: "command", File: "app/pin.yaml", Line: 3}
	digest, err = ByRecipe{}.Build(ctx, Request{Component: c, Top: top, Log: out})
	return digest, top, out, err
}

func TestCommand(t *testing.T) {
	for _, c := range []struct{ name, script string }{
		{"digest in the file", `echo ` + someDigest + ` >"$PIN_DIGEST_FILE"; echo sha256:no`},
		{"reference in the file", `printf %s "$PIN_IMAGE:1.0@` + someDigest + `" >"$PIN_DIGEST_FILE"`},
		{"digest as the last line", `echo building; echo ` + someDigest + `; echo; echo "  "`},
		{"reference as the last line", `echo "$PIN_IMAGE@` + someDigest + `"; echo done >&2`},
		{"no line break at the end", `printf ` + someDigest},
		{"an empty file counts for nothing", `: >"$PIN_DIGEST_FILE"; echo ` + someDigest},
		{"a long line before it", `head -c 100000 /dev/zero | tr '\0' x; echo; echo ` + someDigest},
	} {
		t.Run(c.name, func(t *testing.T) {
			digest, _, _, err := run(t.Context(), t, c.script)
			if digest != someDigest || err != nil {
				t.Errorf("%q, %v", digest, err)
			}
		})
	}
}

// What the command is given, and what becomes of what it prints.
func TestCommandEnvironment(t *testing.T) {
	t.Setenv("PIN_IMAGE", "of the user")
	t.Setenv("OTHER", "kept")
	digest, top, out, err := run(t.Context(), t, `pwd; echo "$PIN_IMAGE $PIN_CONTEXT $OTHER"; echo to stderr >&2; cat; echo `+someDigest)
	if err != nil || digest != someDigest {
		t.Fatal(digest, err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(top, "app"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{dir + "\n", "ghcr.io/acme/web " + filepath.Join(top, "app") + " kept\n", "to stderr\n", someDigest + "\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
}

func TestCommandFailures(t *testing.T) {
	for _, c := range []struct {
		name, script string
		command      []string
		want         string
	}{
		{"status", "echo " + someDigest + "; exit 7", nil, "app/pin.yaml:3: the build of web failed: ./build.sh ended with exit status 7"},
		{"signal", "kill -9 $$", nil, "app/pin.yaml:3: the build of web failed: ./build.sh ended with signal: killed"},
		{"nothing", "", nil, `app/pin.yaml:3: the build command of web ended well but reported no digest; it writes sha256:<64 hex> to $PIN_DIGEST_FILE or as its last line, not ""`},
		{"a tag", "echo ghcr.io/acme/web:1.0", nil, `not "ghcr.io/acme/web:1.0"`},
		{"half a digest", "echo sha256:abc", nil, `not "sha256:abc"`},
		{"upper case", "echo sha256:" + strings.Repeat("A", 64), nil, "reported no digest"},
		{"the digest is not last", "echo " + someDigest + "; echo done", nil, `not "done"`},
		{"two lines in the file", `printf '%s\n%s\n' a ` + someDigest + ` >"$PIN_DIGEST_FILE"`, nil, "reported no digest"},
		{"a long story", "head -c 5000 /dev/zero | tr '\\0' ü", nil, "…"},
		{"not installed", "", []string{"no-such-tool", "x"}, "app/pin.yaml:3: the program that builds web, no-such-tool, is not here; install it, or correct build.command"},
		{"not there", "", []string{"./no-such-script"}, "app/pin.yaml:3: the program that builds web, ./no-such-script, is not here"},
		{"not executable", "", []string{"./."}, "app/pin.yaml:3: the program that builds web, ./., may not be executed; chmod +x it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			digest, top, _, err := run(t.Context(), t, c.script, c.command...)
			if digest != "" || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%q, %v\nwant %s", digest, err, c.want)
			}
			if strings.Contains(err.Error(), top) {
				t.Errorf("the error names a temporary path: %v", err)
			}
		})
	}
}

// The end of the context is the end of the command and of what it started.
func TestCommandIsStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pids := filepath.Join(t.TempDir(), "pids")
	done := make(chan error)
	go func() {
		_, _, _, err := run(ctx, t, `(trap "" TERM; echo $$ >>`+pids+`; sleep 1000 & echo $! >>`+pids+`; wait) & echo $! >>`+pids+`; wait`)
		done <- err
	}()
	var started []string
	for len(started) < 3 {
		content, _ := os.ReadFile(pids)
		started = strings.Fields(string(content))
		time.Sleep(time.Millisecond)
	}
	cancel()
	err := <-done
	if !errors.Is(err, context.Canceled) || err.Error() != "build web: context canceled" {
		t.Errorf("%v", err)
	}
	for _, text := range started {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		waitGone(t, pid)
	}
}

// waitGone waits until a process has ended; one that nobody has reaped yet has.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	for {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err == nil && strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// A build that leaves a daemon behind, which has its output open, is done.
func TestCommandLeavesADaemon(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	digest, _, _, err := run(t.Context(), t, `sleep 1000 & echo $! >`+pid+`; echo `+someDigest)
	if digest != someDigest || err != nil {
		t.Errorf("%q, %v", digest, err)
	}
	content, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	daemon, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(daemon, syscall.SIGKILL); err != nil {
		t.Errorf("the daemon is gone: %v", err)
	}
}

// Nothing of a build stays in the directory for temporary files.
func TestCommandCleansUp(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for _, script := range []string{"echo " + someDigest + ` >"$PIN_DIGEST_FILE"`, "exit 1"} {
		_, top, _, _ := run(t.Context(), t, script)
		left, err := filepath.Glob(filepath.Join(tmp, "pin-cmp-build-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s: %v, %v", top, left, err)
		}
	}
}
