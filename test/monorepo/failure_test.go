//go:build linux

package monorepo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// refused runs a rewrite that must fail, and leave everything as it was.
func (e *engineer) refused(code int, dir string, args ...string) string {
	e.t.Helper()
	before := e.state(dir)
	r := e.must(code, dir, append([]string{"rewrite", "--commit"}, args...)...)
	if after := e.state(dir); after != before {
		e.t.Errorf("the work tree was\n%s\nand is\n%s", before, after)
	}
	e.clean()
	return r.stderr
}

// clean demands that nothing is left in the temporary directory.
func (e *engineer) clean() {
	e.t.Helper()
	left, err := os.ReadDir(e.get("TMPDIR"))
	if err != nil {
		e.t.Fatal(err)
	}
	for _, entry := range left {
		e.t.Errorf("left in the temporary directory: %s", entry.Name())
	}
}

func TestWrongPassword(t *testing.T) {
	r := newRegistry(t, "")
	e := newEngineer(t, r)
	shop := e.clone(origin(t, r), "release")
	e.set("DOCKER_CONFIG", r.login(t, "wrong"))
	e.deniedBeforeBuilding(shop)
	// With no password at all, the same.
	e.set("DOCKER_CONFIG", t.TempDir())
	e.deniedBeforeBuilding(shop)
	for _, request := range writes(r.asked()) {
		if !strings.HasSuffix(request, " 401") {
			t.Errorf("something was sent: %s", request)
		}
	}
}

func (e *engineer) deniedBeforeBuilding(dir string) {
	e.t.Helper()
	contains(e.t, e.refused(1, dir), "the registry denies it (401)", "log in")
	expect(e.t, "compilers ran in", e.compiled(), "")
}

// A registry that takes nothing says so before anybody has waited for a build.
func TestReadOnlyRegistry(t *testing.T) {
	r := newRegistry(t, "  maintenance: {readonly: {enabled: true}}")
	e := newEngineer(t, r)
	shop := e.clone(origin(t, r), "release")
	contains(t, e.refused(1, shop), "can't be pushed, so nothing was built", "405")
	expect(t, "compilers ran in", e.compiled(), "")
}

// A registry that can't be reached decides nothing: 3.
func TestNoRegistry(t *testing.T) {
	r := newRegistry(t, "")
	e := newEngineer(t, r)
	shop := e.clone(origin(t, r), "release")
	host := freePort(t)
	e.git(shop, "grep", "-q", r.host)
	for _, file := range strings.Fields(e.git(shop, "grep", "-l", r.host)) {
		e.edit(shop, file, r.host, host)
	}
	e.git(shop, "commit", "-qam", "Move")
	contains(t, e.refused(3, shop), "connection refused")
	expect(t, "compilers ran in", e.compiled(), "")
}

// A build that fails: its own words are shown, the others' images stay, and when
// it is repaired only what was missing is built.
func TestBuildFails(t *testing.T) {
	r := newRegistry(t, "")
	e := newEngineer(t, r)
	shop := e.clone(origin(t, r), "release")
	e.edit(shop, "services/worker/worker.c", "return 0;", "return nought;")
	e.git(shop, "commit", "-qam", "Break it")
	said := e.refused(1, shop, "--jobs", "1")
	contains(t, said, "worker.c:29", "nought", "services/worker/pin.yaml", "exit status 1", "nothing was rewritten")
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, "worker") {
		t.Errorf("the last line is %q", last)
	}
	e.compiled()
	e.edit(shop, "services/worker/worker.c", "return nought;", "return 0;")
	e.git(shop, "commit", "-qam", "Repair it")
	e.must(0, shop, "rewrite", "--commit")
	if again := e.compiled(); !strings.Contains(again, "worker") || strings.Count(again, "api") > 1 {
		t.Errorf("compilers ran in %s", again)
	}
}

// The compiler is not here: which one, for what, and where that is written.
func TestNoCompiler(t *testing.T) {
	r := newRegistry(t, "")
	e := newEngineer(t, r)
	shop := e.clone(origin(t, r), "release")
	if err := os.Remove(filepath.Join(e.home, "bin", "gcc")); err != nil {
		t.Fatal(err)
	}
	tools := filepath.Join(e.home, "tools") // all that is needed, without gcc
	if err := os.Mkdir(tools, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "basename", "git", "go"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(tools, name)); err != nil {
			t.Fatal(err)
		}
	}
	e.set("PATH", filepath.Join(e.home, "bin")+":"+tools)
	contains(t, e.refused(1, shop), "services/worker/pin.yaml", "gcc", "is not here; install it")
}

// What is not committed is in no image.
func TestDirtyLibrary(t *testing.T) {
	r := newRegistry(t, "")
	e := newEngineer(t, r)
	shop := e.clone(origin(t, r), "release")
	e.edit(shop, "lib/rates/rates.def", "1084200", "1084300")
	write(t, filepath.Join(shop, "lib/rates/new.go"), "package rates\n")
	said := e.refused(1, shop)
	contains(t, said, "services/api/pin.yaml", "services/worker/pin.yaml", "not committed: lib/rates/new.go, lib/rates/rates.def")
	expect(t, "compilers ran in", e.compiled(), "")
	expect(t, "requests", len(r.asked()), 0)
	// What is not made from it can be released all the same.
	expect(t, "what happened", e.must(0, shop, "rewrite", "web", "static", "--output", "json").planned(t).actions(), "static build, web build")
}

// Ctrl-C, and the SIGTERM of a CI, while a build hangs: nobody is left, nothing is
// written, and the last line says so.
func TestInterrupted(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			r := newRegistry(t, "")
			e := newEngineer(t, r)
			shop := e.clone(origin(t, r), "release")
			pids := filepath.Join(e.home, "pids")
			// A compiler with a child that ignores everything.
			e.install("gcc", fmt.Sprintf("(trap '' INT TERM HUP; exec sleep 100000) &\necho $$ $! >%q.new && mv %q.new %q\nwait", pids, pids, pids))
			before := e.state(shop)
			cmd := e.command(shop, filepath.Join(built, "pin-cmp"), "rewrite", "worker", "--commit")
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			var written []byte
			for written == nil {
				select {
				case err := <-ended:
					t.Fatalf("it ended before it was stopped: %v\n%s", err, &out)
				case <-time.After(5 * time.Millisecond):
					written, _ = os.ReadFile(pids)
				}
			}
			if err := syscall.Kill(-cmd.Process.Pid, signal); err != nil {
				t.Fatal(err)
			}
			err := <-ended
			var status *exec.ExitError
			if !errors.As(err, &status) || status.ExitCode() != 1 {
				t.Errorf("it ended with %v", err)
			}
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			expect(t, "the last line", lines[len(lines)-1], "pin-cmp: stopped; nothing was written")
			for _, pid := range strings.Fields(string(written)) {
				if !gone(t, pid) {
					t.Errorf("the process %s is left:\n%s", pid, &out)
				}
			}
			expect(t, "the work tree", e.state(shop), before)
			e.clean()
		})
	}
}

// gone tells whether a process has ended: nobody may have waited for it yet.
func gone(t *testing.T, pid string) bool {
	t.Helper()
	if _, err := strconv.Atoi(pid); err != nil {
		t.Fatalf("%q is no process", pid)
	}
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return state != "" && (state[0] == 'Z' || state[0] == 'X')
}

// A disk with more and more room for what builds write: each time all or nothing
// has happened, the reason is told, and nothing is left on it.
func TestFullDisk(t *testing.T) {
	r := newRegistry(t, "")
	e := newEngineer(t, r)
	shop := e.clone(origin(t, r), "release")
	disk := t.TempDir()
	refused := 0
	for kib := 16; ; kib *= 2 {
		if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%dk", kib)); err != nil {
			t.Fatalf("this test mounts a small disk, so it needs root: %v", err)
		}
		e.set("TMPDIR", disk)
		before := e.state(shop)
		result := e.pin(shop, "rewrite", "--commit", "api", "worker", "--jobs", "1")
		e.clean()
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Fatal(err)
		}
		if result.code == 0 {
			break
		}
		refused++
		expect(t, "status", result.code, 1)
		expect(t, "the work tree", e.state(shop), before)
		if said := strings.ToLower(result.stderr); !strings.Contains(said, "no space left") && !strings.Contains(said, "disk quota") {
			t.Errorf("%d KiB: it does not say why:\n%s", kib, result.stderr)
		}
	}
	if refused < 3 {
		t.Errorf("the disk was full %d times only", refused)
	}
}
