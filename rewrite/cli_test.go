//go:build unix

package rewrite

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// released is a checkout in which two components are marked in three files, and
// the user has work of their own: staged, not staged, not tracked. command is how
// web is built.
func released(t *testing.T, registry string, command ...string) checkout {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if command == nil {
		command = []string{self, buildCommand}
	}
	quoted := make([]string, len(command))
	for i, word := range command {
		quoted[i] = strconv.Quote(word)
	}
	pin := func(name string) string {
		return fmt.Sprintf("apiVersion: pin-cmp/v1\nkind: Component\nimage: %s/acme/%s\nbuild: {command: [%s]}\n", registry, name, strings.Join(quoted, ", "))
	}
	c := newCheckout(t, map[string]string{
		"web/pin.yaml":  pin("web"),
		"api/pin.yaml":  pin("api"),
		"web.yaml":      "image: " + registry + "/acme/web:1.3.9@build+minor  # web\n",
		"api.yaml":      "image: \"" + registry + "/acme/api@build\"\r\n",
		"values.yaml":   "image:\n    repository: " + registry + "/acme/web\n    digest: build\n",
		"staged.yaml":   "a: 1\n",
		"unstaged.yaml": "a: 1\n",
	})
	c.write("staged.yaml", "a: 2\n")
	c.git("add", "staged.yaml")
	c.write("unstaged.yaml", "a: 2\n")
	c.write("untracked.yaml", "a: 2\n")
	return c
}

// usersWork is the state of what the user works on.
const usersWork = "M  staged.yaml\n M unstaged.yaml\n?? untracked.yaml\n"

// args commits, in a registry over HTTP.
func args(registry string, more ...string) []string {
	return append([]string{"rewrite", "--commit", "--plain-http", registry}, more...)
}

// outcome is what a rewrite leaves: the commits, the tree, and the user's work.
func (c checkout) outcome() string {
	c.t.Helper()
	return c.git("rev-list", "--count", "HEAD") + c.git("rev-parse", "HEAD^{tree}") + c.git("status", "--porcelain") + c.git("diff", "HEAD")
}

// Two at once: one commits; the other has nothing left to do, or says that the
// first one is at it. Nothing is lost.
func TestTwoRewritesAtOnce(t *testing.T) {
	registry := startRegistry(t).Addr
	start := released(t, registry)
	done := start.copyOf(t)
	if status, _, stderr := done.pinCmp(args(registry)...); status != 0 {
		t.Fatal(stderr)
	}
	want := done.outcome()
	for range 4 {
		c := start.copyOf(t)
		var group sync.WaitGroup
		var statuses [2]int
		var said [2]string
		for i := range statuses {
			group.Go(func() { statuses[i], _, said[i] = c.pinCmp(args(registry)...) })
		}
		group.Wait()
		if statuses[0] != 0 && statuses[1] != 0 {
			t.Errorf("both failed:\n%s\n%s", said[0], said[1])
		}
		for i, status := range statuses {
			if status != 0 && !strings.Contains(said[i], "run this again") && !strings.Contains(said[i], "it changed since it was read") {
				t.Errorf("one ends with %d and says\n%s", status, said[i])
			}
		}
		if got := c.outcome(); got != want {
			t.Errorf("got\n%s\nwant\n%s\nthey said\n%s\n%s", got, want, said[0], said[1])
		}
		c.sound()
	}
}

// The user commits all the time: every commit, of theirs and of ours, is in the
// history, and a refused rewrite can be run again.
func TestRewriteRacesGitCommit(t *testing.T) {
	registry := startRegistry(t).Addr
	c := released(t, registry)
	c.git("reset", "-q", "--hard")
	c.git("add", ".")
	c.git("commit", "-qm", "the user's")
	base := strings.TrimSpace(c.git("rev-parse", "HEAD"))
	stop := make(chan struct{})
	var group sync.WaitGroup
	theirs := 0
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, _, err := c.exec("git", "commit", "-q", "--allow-empty", "-m", "theirs"); err == nil {
				theirs++
			}
		}
	})
	ours, refused := 0, 0
	for ours < 6 {
		tag := fmt.Sprintf("1.%d.0", ours)
		c.write("web.yaml", "image: "+registry+"/acme/web:"+tag+"@build  # web\n")
		for {
			status, _, stderr := c.pinCmp(args(registry)...)
			if status == 0 {
				break
			}
			if refused++; !strings.Contains(stderr, "run this again") && !strings.Contains(stderr, "three times") {
				t.Errorf("refused: %s", stderr)
				break
			}
		}
		if got := c.read("web.yaml"); !strings.Contains(got, ":"+tag+"@sha256:") {
			t.Errorf("web.yaml is %s", got)
		}
		ours++
	}
	close(stop)
	group.Wait()
	count := map[string]int{}
	for subject := range strings.Lines(c.git("log", "--format=%s", base+"..HEAD")) {
		word, _, _ := strings.Cut(strings.TrimSpace(subject), " ")
		count[word]++
	}
	if count["Pin"] != ours || count["theirs"] != theirs {
		t.Errorf("the history has %v; we made %d and the user %d", count, ours, theirs)
	}
	if status := c.git("status", "--porcelain"); status != "" {
		t.Errorf("git status: %s", status)
	}
	c.sound()
	t.Logf("%d commits of ours, %d of the user's; %d of ours refused", ours, theirs, refused)
}

// killsEnv is how many kills TestKilledRewrite makes.
const killsEnv = "REWRITE_TEST_KILLS"

// However it is killed, the next run ends where an undisturbed one does, and the
// user's work is as it was.
func TestKilledRewrite(t *testing.T) {
	kills := 20
	if text, ok := os.LookupEnv(killsEnv); ok {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", killsEnv, err)
		}
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	registry := startRegistry(t).Addr
	start := released(t, registry)
	done := start.copyOf(t)
	began := time.Now()
	if status, _, stderr := done.pinCmp(args(registry)...); status != 0 {
		t.Fatal(stderr)
	}
	took := time.Since(began)
	want := done.outcome()
	if !strings.Contains(want, usersWork) {
		t.Fatalf("the user's work is not there:\n%s", want)
	}
	dead, recovered := 0, 0
	for range kills {
		c := start.copyOf(t)
		cmd := c.command(path, args(registry)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(took))
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err != nil {
			dead++
		}
		status, _, stderr := c.pinCmp(args(registry)...)
		if status != 0 {
			t.Errorf("the next run: %s", stderr)
		}
		if strings.Contains(stderr, "an earlier run was interrupted") {
			recovered++
		}
		if got := c.outcome(); got != want {
			t.Errorf("got\n%s\nwant\n%s\nthe next run said %s", got, want, stderr)
		}
		c.sound()
	}
	t.Logf("%d runs: %d killed before their end, %d of these found and settled by the next run's recovery", kills, dead, recovered)
}

// Ctrl-C while a build hangs ends the build, its children and the program, and
// nothing is written.
func TestInterruptedBuild(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	registry := startRegistry(t).Addr
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		pids := filepath.Join(t.TempDir(), "pids")
		c := released(t, registry, self, hangCommand, pids)
		before := c.outcome()
		cmd := c.command(path, args(registry, "web")...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var processes []string
		for len(processes) < 2 {
			content, _ := os.ReadFile(pids)
			processes = strings.Fields(string(content))
			time.Sleep(time.Millisecond)
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%v: it ended with %v", signal, err)
		}
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "pin-cmp: stopped") {
			t.Errorf("%v: the last line is %q", signal, last)
		}
		for _, text := range processes {
			pid, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			waitGone(t, pid)
		}
		if got := c.outcome(); got != before {
			t.Errorf("%v: something was written:\n%s", signal, got)
		}
		c.sound()
	}
}

// waitGone waits until a process has ended; one that nobody has reaped yet has.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	for syscall.Kill(pid, 0) == nil {
		if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
