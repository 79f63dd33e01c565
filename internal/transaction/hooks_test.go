//go:build unix

package transaction

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What hooks see, beside what they see of "git commit".
func TestHooksSeeTheCommit(t *testing.T) {
	for _, where := range []string{"hooks", "core.hooksPath"} {
		t.Run(where, func(t *testing.T) {
			c := busy(t)
			log := filepath.Join(t.TempDir(), "log")
			report := "{ echo \"== $(basename $0) $#\"; git diff --cached --name-only -z | tr '\\0' '\\n'; " +
				"git show :apps/clean.yaml; cat apps/clean.yaml; git show :user/staged.yaml; pwd -P; " +
				"echo editor $GIT_EDITOR author $GIT_AUTHOR_NAME; } >>" + log
			for _, name := range []string{"pre-commit", "prepare-commit-msg", "commit-msg", "post-commit"} {
				c.hook(name, report)
			}
			if where == "core.hooksPath" {
				c.git("config", "core.hooksPath", "../elsewhere")
				if err := os.Rename(c.path(".git/hooks"), filepath.Join(filepath.Dir(c.dir), "elsewhere")); err != nil {
					t.Fatal(err)
				}
			}
			staged := c.git("diff", "--cached", "--name-only", "-z", "--", "user")
			c.mustCommit(busyChanges(), CommitOptions{AllowDirty: onlyMarks, Author: &Identity{"Grace", "grace@example.com"}})
			content, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			resolved, err := filepath.EvalSymlinks(c.dir)
			if err != nil {
				t.Fatal(err)
			}
			files := "apps/clean.crlf.yaml\napps/clean.yaml\napps/exec.yaml\napps/secret.rot.yaml\napps/staged.yaml\napps/win.crlf.yaml\napps/ümlaut \"quoted\".yaml\n"
			during := files + pinned + pinned + "staged: 1\n" + resolved + "\neditor : author Grace\n"
			after := strings.ReplaceAll(staged, "\x00", "\n") + pinned + pinned + "staged: 2\n" + resolved + "\neditor : author Grace\n"
			want := "== pre-commit 0\n" + during + "== prepare-commit-msg 2\n" + during + "== commit-msg 1\n" + during + "== post-commit 0\n" + after
			if string(content) != want {
				t.Errorf("the hooks saw\n%s\nwant\n%s", content, want)
			}
			if err := c.tidy(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHooksEditTheMessage(t *testing.T) {
	c := simple(t)
	c.hook("prepare-commit-msg", `test "$2" = message && { cat "$1"; echo; echo "Prepared: yes"; } >"$1.new" && mv "$1.new" "$1"`)
	c.hook("commit-msg", `echo "Checked: yes" >>"$1"`)
	c.mustCommit(pinWeb, CommitOptions{Message: "pin web"})
	if got, want := c.git("log", "-1", "--format=%B"), "pin web\n\nPrepared: yes\nChecked: yes\n\n"; got != want {
		t.Errorf("the message is %q, want %q", got, want)
	}
	c.hook("commit-msg", `: >"$1"`)
	before := c.snapshot()
	if _, err := c.commit([]Change{{"web.yaml", []byte(pinned), []byte(settled)}}, CommitOptions{}); err == nil || err.Error() != "the commit message is empty" {
		t.Errorf("an emptied message: %v", err)
	}
	c.mustBe(before)
}

func TestHookRefuses(t *testing.T) {
	for _, name := range []string{"pre-commit", "prepare-commit-msg", "commit-msg"} {
		t.Run(name, func(t *testing.T) {
			c := busy(t)
			c.hook(name, "echo 'no releases on friday'; exit 3")
			before, index := c.snapshot(), c.index()
			var said bytes.Buffer
			_, err := c.commit(busyChanges(), CommitOptions{AllowDirty: onlyMarks, HookOutput: &said})
			if want := "hook " + name + " refused the commit: no releases on friday"; !errors.Is(err, ErrHook) || err.Error() != want {
				t.Errorf("error %v, want %q", err, want)
			}
			if said.String() != "no releases on friday\n" {
				t.Errorf("the hook's output: %q", &said)
			}
			if c.index() != index {
				t.Error("the index has other bytes than before")
			}
			c.mustBe(before)
			_, err = c.commit(busyChanges(), CommitOptions{AllowDirty: onlyMarks, NoVerify: true})
			if skipped := name != "prepare-commit-msg"; (err == nil) != skipped {
				t.Errorf("with NoVerify: %v", err)
			}
		})
	}
}

// A hook that edits: what it made is not committed, not left, and not lost.
func TestHookChangesTheCommit(t *testing.T) {
	for _, test := range []struct{ name, script, want string }{
		{"a file", "echo '# formatted' >>web.yaml", "pre-commit changed files while they were committed (web.yaml)"},
		{"a file, and refuses", "echo '# formatted' >>web.yaml; exit 1", "pre-commit refused the commit"},
		{"a file, by rename", "sed 's/keep/kept/' web.yaml >tmp && mv tmp web.yaml", "(web.yaml)"},
		{"a file, and adds it", "echo '# formatted' >>web.yaml; git add web.yaml", "pre-commit changed what is committed (web.yaml)"},
		{"the index alone", "git rm -q --cached other.yaml", "pre-commit changed what is committed (other.yaml)"},
		{"removes a file", "rm web.yaml", "(web.yaml)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := simple(t)
			c.hook("pre-commit", test.script)
			before, index := c.snapshot(), c.index()
			_, err := c.commit(pinWeb, CommitOptions{})
			if !errors.Is(err, ErrHook) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if c.index() != index {
				t.Error("the index has other bytes than before")
			}
			c.mustBe(before)
			if _, kept, ok := strings.Cut(err.Error(), "what the hook made of it is kept as "); ok {
				object, _, _ := strings.Cut(kept, " ")
				if got := c.git("cat-file", "-p", object); !strings.Contains(got, digest) || got == pinned {
					t.Errorf("kept is %q", got)
				}
			} else if strings.Contains(test.script, "web.yaml") && !strings.Contains(test.script, "rm web") {
				t.Errorf("the error does not say where the hook's work is: %v", err)
			}
		})
	}
}

// A hook that breaks the lock and stages something: it stays staged, and the
// commit is off, because the index it was made for is gone.
func TestHookBreaksTheLock(t *testing.T) {
	c := simple(t)
	c.hook("pre-commit", "unset GIT_INDEX_FILE; rm .git/index.lock; echo later >later.yaml; git add later.yaml")
	head := c.git("rev-parse", "HEAD")
	if _, err := c.commit(pinWeb, CommitOptions{}); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "another git changed the index although it is locked") {
		t.Errorf("error %v", err)
	}
	if got := c.git("status", "--porcelain"); got != "A  later.yaml\n" || c.git("rev-parse", "HEAD") != head {
		t.Errorf("git status: %q", got)
	}
	if err := c.tidy(); err != nil {
		t.Error(err)
	}
}

// A hook that only looks may refresh the index, and write it.
func TestHookRefreshesTheIndex(t *testing.T) {
	c := simple(t)
	c.hook("pre-commit", "git update-index -q --really-refresh; git status --porcelain; touch web.yaml")
	c.mustCommit(pinWeb, CommitOptions{})
	if err := c.tidy(); err != nil {
		t.Error(err)
	}
}

// A hook that moves the branch: the compare-and-swap sees it.
func TestBranchMovesMeanwhile(t *testing.T) {
	c := busy(t)
	c.hook("pre-commit", `git update-ref refs/heads/main "$(git commit-tree -p HEAD -m meanwhile 'HEAD^{tree}')"`)
	before, index := c.snapshot(), c.index()
	_, err := c.commit(busyChanges(), CommitOptions{AllowDirty: onlyMarks})
	if !errors.Is(err, ErrMoved) || !strings.Contains(err.Error(), "refs/heads/main went from ") {
		t.Errorf("error %v", err)
	}
	if c.index() != index {
		t.Error("the index has other bytes than before")
	}
	after := c.snapshot()
	if got := c.git("log", "-1", "--format=%s"); got != "meanwhile\n" {
		t.Errorf("the branch is at %q", got)
	}
	for _, key := range []string{"git rev-parse HEAD", "git for-each-ref", "git log -g --format=%H %gs"} {
		delete(before, key)
		delete(after, key)
	}
	if d := before.difference(after); d != "" {
		t.Errorf("something changed:\n%s", d)
	}
	if err := c.tidy(); err != nil {
		t.Error(err)
	}
}
