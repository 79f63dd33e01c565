//go:build unix

package transaction

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// The second of two finds the first at work, says so, and changes nothing.
func TestTwoAtOnce(t *testing.T) {
	c := busy(t)
	signal := t.TempDir()
	c.hook("pre-commit", fmt.Sprintf("echo >%[1]s/in; while ! test -e %[1]s/out; do sleep 0.01; done", signal))
	first, out := spawn(t, order{Do: "commit", Dir: c.dir, Changes: busyChanges()})
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(signal, "in")); err == nil {
			break
		}
	}
	during, index := c.snapshot(), c.index()
	_, err := c.commit([]Change{{"apps/clean.yaml", []byte(pinned), []byte(settled)}}, CommitOptions{})
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "another pin-cmp is changing files here") {
		t.Errorf("the second commit: %v", err)
	}
	if err := WriteFiles(context.Background(), InRepo(c.open()), busyChanges()); !errors.Is(err, ErrBusy) {
		t.Errorf("writing files meanwhile: %v", err)
	}
	if _, err := Recover(context.Background(), InRepo(c.open()), nil); !errors.Is(err, ErrBusy) {
		t.Errorf("recovering what is under way: %v", err)
	}
	if err := Discard(context.Background(), InRepo(c.open())); !errors.Is(err, ErrBusy) {
		t.Errorf("discarding what is under way: %v", err)
	}
	if _, err := c.try("commit", "--no-verify", "-m", "meanwhile"); err == nil {
		t.Error("git commit works meanwhile")
	}
	if d := during.difference(c.snapshot()); d != "" || c.index() != index {
		t.Errorf("something changed:\n%s", d)
	}
	c.hook("none", "")
	if err := os.WriteFile(filepath.Join(signal, "out"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err != nil {
		t.Fatalf("the first commit: %v\n%s", err, out)
	}
	if err := c.tidy(); err != nil {
		t.Error(err)
	}
}

// Many at the same moment: one commit, and the others say why not.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	start := busy(t)
	run := rehearse(t, start, order{Do: "commit", Changes: busyChanges()})
	for range 5 {
		c := start.copyOf(t)
		var group sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for range 4 {
			cmd, out := spawn(t, order{Do: "commit", Dir: c.dir, Changes: busyChanges()})
			group.Go(func() {
				err := cmd.Run()
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if s := out.String(); !strings.Contains(s, "another pin-cmp is changing files here") && !strings.Contains(s, "it changed since it was read") {
					t.Errorf("a loser says: %s", s)
				}
			})
		}
		group.Wait()
		if won != 1 {
			t.Errorf("%d of 4 committed", won)
		}
		c.mustBe(run.after)
	}
}

// git commits in a loop while we do: neither loses a commit of the other, and a
// commit of ours that was refused changed nothing.
//
// git commit itself reads the index before it locks it (strace shows no read
// after index.lock), so what we wrote to it in between can be gone from it
// afterwards, as what a git add wrote would be. The branch and the file are right
// then, and the next commit of ours must be refused: to it, the index holds
// staged work.
func TestRaceWithGitCommit(t *testing.T) {
	t.Parallel()
	c := simple(t)
	c.write("git.yaml", "n: 0\n")
	c.git("add", ".")
	c.git("commit", "-qm", "second")
	base := c.git("rev-parse", "HEAD")
	const rounds = 30
	stop := make(chan struct{})
	var group sync.WaitGroup
	theirs := 0
	group.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := os.WriteFile(c.path("git.yaml"), fmt.Appendf(nil, "n: %d\n", n), 0o644); err != nil {
				t.Error(err)
			}
			if _, err := c.try("commit", "-qm", "theirs", "--only", "git.yaml"); err == nil {
				theirs++
			}
		}
	})
	ours, refused, overwritten := 0, 0, 0
	states := []string{marked, pinned}
	repaired := func(now, before string) bool {
		if c.git("show", "HEAD:web.yaml") != now || c.read("web.yaml") != now || c.git("show", ":web.yaml") != before {
			return false
		}
		overwritten++
		for {
			if _, err := c.try("reset", "-q", "--", "web.yaml"); err == nil {
				return true
			}
		}
	}
	for ours < rounds {
		old, next := states[ours%2], states[(ours+1)%2]
		hash, err := c.commit([]Change{{"web.yaml", []byte(old), []byte(next)}}, CommitOptions{Message: "ours"})
		switch {
		case err == nil:
			ours++
			if got := c.git("show", "--format=%s", "--name-only", hash); got != "ours\n\nweb.yaml\n" {
				t.Errorf("our commit is %q", got)
			}
		case errors.Is(err, ErrBusy) || errors.Is(err, ErrMoved):
			refused++
		case strings.HasSuffix(err.Error(), "it has staged changes that would get lost: commit or unstage them") && repaired(old, next):
			continue
		default:
			t.Errorf("refused for another reason: %v", err)
			close(stop)
			group.Wait()
			return
		}
		if got := c.read("web.yaml"); got != next {
			t.Errorf("after %v the file holds %q", err, got)
		}
	}
	close(stop)
	group.Wait()
	repaired(states[ours%2], states[(ours+1)%2])
	subjects := strings.Fields(c.git("log", "--format=%s", strings.TrimSpace(base)+"..HEAD"))
	count := map[string]int{}
	for _, s := range subjects {
		count[s]++
	}
	if count["ours"] != ours || count["theirs"] != theirs {
		t.Errorf("history has %v; we made %d and git %d", count, ours, theirs)
	}
	if got := c.git("log", "--merges", "--format=%H"); got != "" {
		t.Errorf("history is not a line: %s", got)
	}
	for line := range strings.Lines(c.git("status", "--porcelain")) {
		if line != " M git.yaml\n" && line != "M  git.yaml\n" && line != "MM git.yaml\n" {
			t.Errorf("git status: %q", line)
		}
	}
	if err := c.tidy(); err != nil {
		t.Error(err)
	}
	t.Logf("%d commits of ours and %d of git's; %d of ours refused, %d overwritten in the index", ours, theirs, refused, overwritten)
}
