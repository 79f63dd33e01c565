//go:build unix

package transaction

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// crashed is a busy checkout in which a commit died at a step.
func crashed(t *testing.T, at string) (checkout, snapshot) {
	t.Helper()
	c := busy(t)
	before := c.snapshot()
	cmd, out := spawn(t, order{Do: "commit", Dir: c.dir, Changes: busyChanges(), At: at, Then: "kill"})
	if err := cmd.Run(); !killed(err) {
		t.Fatalf("%v\n%s", err, out)
	}
	return c, before
}

func (c checkout) recover() (*Recovery, string, error) {
	c.t.Helper()
	var said strings.Builder
	r, err := Recover(context.Background(), InRepo(c.open()), func(r *Recovery) { said.WriteString(r.String()) })
	return r, said.String(), err
}

func TestRecoverySaysWhatItDoes(t *testing.T) {
	c, before := crashed(t, "files")
	if _, said, err := c.recover(); err != nil || said != "an earlier run was interrupted: putting 7 files back as before" {
		t.Errorf("recovery said %q (%v)", said, err)
	}
	c.mustBe(before)
	c, _ = crashed(t, "update-ref")
	hash := strings.TrimSpace(c.git("rev-parse", "HEAD"))
	if _, said, err := c.recover(); err != nil || said != "an earlier run was interrupted after commit "+hash+": finishing it (7 files)" {
		t.Errorf("recovery said %q (%v)", said, err)
	}
	if r, said, err := c.recover(); r != nil || said != "" || err != nil {
		t.Errorf("a second recovery: %v, %q, %v", r, said, err)
	}
}

// A file that is neither old nor new is the user's: stop, touch nothing. Both
// ways out work.
func TestRecoveryStopsAtAnEdit(t *testing.T) {
	const edited = "apps/exec.yaml"
	for _, way := range []string{"put back", "discard"} {
		t.Run(way, func(t *testing.T) {
			c, before := crashed(t, "files")
			c.write(edited, "edited: by hand\n")
			during := c.snapshot()
			_, said, err := c.recover()
			var conflict *ConflictError
			if !errors.As(err, &conflict) || said != "" || len(conflict.Files) != 1 || conflict.Files[0] != edited {
				t.Fatalf("recovery: %v, said %q", err, said)
			}
			if want := "\n  apps/exec.yaml (its content from before is kept in .git/pin-cmp/1.old)\n"; !strings.Contains(err.Error(), want) {
				t.Errorf("the error does not say %q: %v", want, err)
			}
			if d := during.difference(c.snapshot()); d != "" {
				t.Errorf("something was touched:\n%s", d)
			}
			if _, err := c.commit(pinWeb, CommitOptions{}); !errors.Is(err, ErrUnfinished) {
				t.Errorf("a commit on top: %v", err)
			}
			if _, err := c.try("status"); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(c.path(".git/index.lock")); err == nil {
				t.Error("git is still locked out")
			}
			if way == "discard" {
				if err := Discard(context.Background(), InRepo(c.open())); err != nil {
					t.Fatal(err)
				}
				c.mustBe(during)
				return
			}
			kept, err := os.ReadFile(c.path(".git/pin-cmp/1.old"))
			if err != nil {
				t.Fatal(err)
			}
			c.write(edited, string(kept))
			if _, _, err := c.recover(); err != nil {
				t.Fatal(err)
			}
			c.mustBe(before)
		})
	}
}

// A file that was edited before its turn came is not in the way.
func TestRecoveryLeavesWhatItNeverTouched(t *testing.T) {
	for _, at := range []string{"journal", "stage and check", "file apps/clean.yaml"} {
		c, before := crashed(t, at)
		c.write("apps/secret.rot.yaml", "edited: by hand\n")
		if r, _, err := c.recover(); err != nil || r.Action != Undo {
			t.Fatalf("killed at %q: %+v, %v", at, r, err)
		}
		if got := c.read("apps/secret.rot.yaml"); got != "edited: by hand\n" {
			t.Errorf("killed at %q: the edit became %q", at, got)
		}
		c.write("apps/secret.rot.yaml", marked)
		c.mustBe(before)
	}
}

// After the commit an edit is only an edit: the rest is finished around it.
func TestRecoveryFinishesAroundAnEdit(t *testing.T) {
	c, _ := crashed(t, "update-ref")
	c.write("apps/clean.yaml", "edited: by hand\n")
	r, said, err := c.recover()
	if err != nil || r.Action != Finish || len(r.Edited) != 1 || r.Edited[0] != "apps/clean.yaml" {
		t.Fatalf("recovery: %+v, %v", r, err)
	}
	if !strings.HasSuffix(said, "; edited since, and left as they are: apps/clean.yaml") {
		t.Errorf("recovery said %q", said)
	}
	if got := c.git("status", "--porcelain", "--", "apps"); got != " M apps/clean.yaml\n" {
		t.Errorf("git status: %q", got)
	}
	if got := c.read("apps/clean.yaml"); got != "edited: by hand\n" {
		t.Errorf("the edit became %q", got)
	}
	if err := c.tidy(); err != nil {
		t.Error(err)
	}
}

// The user removes the stale index.lock, as git's own message advises, and goes
// on working before we run again.
func TestRecoveryAfterTheUserWentOn(t *testing.T) {
	unlock := func(c checkout) {
		if err := os.Remove(c.path(".git/index.lock")); err != nil {
			c.t.Fatal(err)
		}
	}
	t.Run("staged more, before the branch moved", func(t *testing.T) {
		c, _ := crashed(t, "files")
		unlock(c)
		c.write("user/later.yaml", "later: 1\n")
		c.git("add", "user/later.yaml")
		if r, _, err := c.recover(); err != nil || r.Action != Undo {
			t.Fatalf("%+v, %v", r, err)
		}
		if got := c.git("status", "--porcelain", "user/later.yaml"); got != "A  user/later.yaml\n" {
			t.Errorf("git status: %q", got)
		}
		if got := c.read("apps/exec.yaml"); got != marked {
			t.Errorf("the file holds %q", got)
		}
	})
	t.Run("staged more, after the branch moved", func(t *testing.T) {
		c, _ := crashed(t, "update-ref")
		unlock(c)
		c.write("user/later.yaml", "later: 1\n")
		c.git("add", "user/later.yaml")
		if r, _, err := c.recover(); err != nil || r.Action != Finish {
			t.Fatalf("%+v, %v", r, err)
		}
		if got := c.git("status", "--porcelain", "user/later.yaml", "apps"); got != "A  user/later.yaml\n" {
			t.Errorf("git status: %q", got)
		}
	})
	t.Run("staged a file of ours, after the branch moved", func(t *testing.T) {
		c, _ := crashed(t, "update-ref")
		unlock(c)
		c.write("apps/clean.yaml", "edited: by hand\n")
		c.git("add", "apps/clean.yaml")
		if r, _, err := c.recover(); err != nil || r.Action != Finish {
			t.Fatalf("%+v, %v", r, err)
		}
		if got := c.git("status", "--porcelain", "apps"); got != "M  apps/clean.yaml\n" {
			t.Errorf("git status: %q", got)
		}
	})
	t.Run("committed on top", func(t *testing.T) {
		c, _ := crashed(t, "update-ref")
		unlock(c)
		c.write("user/later.yaml", "later: 1\n")
		c.git("add", "user/later.yaml")
		c.git("commit", "-qm", "later", "--only", "user/later.yaml")
		if r, _, err := c.recover(); err != nil || r.Action != Finish {
			t.Fatalf("%+v, %v", r, err)
		}
		if got := c.git("status", "--porcelain", "apps"); got != "" {
			t.Errorf("git status: %q", got)
		}
	})
	t.Run("committed before the branch moved", func(t *testing.T) {
		c, _ := crashed(t, "files")
		unlock(c)
		c.write("user/later.yaml", "later: 1\n")
		c.git("add", "user/later.yaml")
		c.git("commit", "-qm", "later", "--only", "user/later.yaml")
		during := c.snapshot()
		_, _, err := c.recover()
		var conflict *ConflictError
		if !errors.As(err, &conflict) || len(conflict.Files) != len(busyFiles) {
			t.Fatalf("recovery: %v", err)
		}
		if d := during.difference(c.snapshot()); d != "" {
			t.Errorf("something was touched:\n%s", d)
		}
		for _, change := range busyChanges() { // the user puts them back
			if err := os.WriteFile(c.path(change.Path), change.Old, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := c.recover(); err != nil {
			t.Error(err)
		}
		if err := c.tidy(); err != nil {
			t.Error(err)
		}
	})
	t.Run("on another branch", func(t *testing.T) {
		c, _ := crashed(t, "files")
		unlock(c)
		c.git("symbolic-ref", "HEAD", "refs/heads/elsewhere")
		c.git("update-ref", "refs/heads/elsewhere", "main")
		var conflict *ConflictError
		if _, _, err := c.recover(); !errors.As(err, &conflict) {
			t.Fatalf("recovery: %v", err)
		}
	})
}

// git fails at the very moment the branch moves, and may or may not have moved
// it: the branch decides, and while it cannot be read nothing is undone.
func TestBranchMovedOrNot(t *testing.T) {
	program, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, script string
		works        bool // the commit, without recovery
		action       Action
	}{
		{"moved, and git says it failed", `update-ref) "$real" "$@"; exit 1;;`, true, 0},
		{"moved, and then git is broken", `update-ref) "$real" "$@"; touch "$broken"; exit 1;;`, false, Finish},
		{"not moved, and then git is broken", `update-ref) touch "$broken"; exit 1;;`, false, Undo},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := busy(t)
			before := c.snapshot()
			bin, broken := t.TempDir(), filepath.Join(t.TempDir(), "broken")
			script := fmt.Sprintf("#!/bin/sh\nreal='%s' broken='%s'\ntest -e \"$broken\" && exit 128\ncase $1 in\n%s\nesac\nexec \"$real\" \"$@\"\n", program, broken, test.script)
			if err := os.WriteFile(filepath.Join(bin, "git"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			path := os.Getenv("PATH")
			t.Setenv("PATH", bin+string(os.PathListSeparator)+path)
			hash, err := c.commit(busyChanges(), CommitOptions{AllowDirty: onlyMarks})
			t.Setenv("PATH", path)
			if (err == nil) != test.works || hash == "" {
				t.Fatalf("commit %q: %v", hash, err)
			}
			if err != nil && !strings.Contains(err.Error(), "git does not say whether refs/heads/main is at commit "+hash) {
				t.Error(err)
			}
			r, _, err := c.recover()
			if err != nil || (r == nil) != test.works || r != nil && r.Action != test.action {
				t.Fatalf("recovery: %+v, %v", r, err)
			}
			if !test.works && test.action == Undo {
				c.mustBe(before)
				return
			}
			if got := c.git("rev-parse", "HEAD"); got != hash+"\n" {
				t.Errorf("HEAD is %s", got)
			}
			if got := c.git("status", "--porcelain", "--", "apps"); got != "" {
				t.Errorf("git status: %q", got)
			}
			if err := c.tidy(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A journal of another version is not guessed at.
func TestRecoveryOfAnotherVersion(t *testing.T) {
	c, _ := crashed(t, "files")
	during := c.snapshot()
	name := c.path(".git/pin-cmp/journal.json")
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(content), `"version":1`, `"version":2`, 1)
	if err := os.WriteFile(name, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.recover(); err == nil || !strings.Contains(err.Error(), ".git/pin-cmp/journal.json: the journal of an interrupted change cannot be read: it has version 2") {
		t.Errorf("recovery: %v", err)
	}
	if d := during.difference(c.snapshot()); d != "" {
		t.Errorf("something was touched:\n%s", d)
	}
}
