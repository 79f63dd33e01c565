//go:build unix

package transaction

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// Every refusal names what is wrong and leaves everything as it was.
func TestRefused(t *testing.T) {
	change := func(path string) []Change { return []Change{{path, []byte(marked), []byte(pinned)}} }
	conflicted := func(c checkout) {
		c.git("checkout", "-qb", "other")
		c.write("other.yaml", "a: theirs\n")
		c.git("commit", "-qam", "theirs")
		c.git("checkout", "-q", "main")
		c.write("other.yaml", "a: ours\n")
		c.git("commit", "-qam", "ours")
	}
	for _, test := range []struct {
		name    string
		prepare func(c checkout)
		changes []Change
		allow   func(string, []byte, []byte) error
		is      error
		want    string
	}{
		{
			name: "rebase", prepare: func(c checkout) { conflicted(c); _, _ = c.try("rebase", "other") },
			changes: pinWeb, is: ErrInProgress, want: "git is in the middle of an operation (rebase): finish or abort it, then run this again",
		},
		{
			name: "merge", prepare: func(c checkout) { conflicted(c); _, _ = c.try("merge", "other") },
			changes: pinWeb, is: ErrInProgress, want: "(merge)",
		},
		{
			name: "cherry-pick", prepare: func(c checkout) { conflicted(c); _, _ = c.try("cherry-pick", "other") },
			changes: pinWeb, is: ErrInProgress, want: "(cherry-pick)",
		},
		{
			name: "revert", prepare: func(c checkout) { conflicted(c); _, _ = c.try("revert", "other") },
			changes: pinWeb, is: ErrInProgress, want: "(revert)",
		},
		{
			name: "am", prepare: func(c checkout) {
				conflicted(c)
				patch := c.git("format-patch", "-1", "--stdout", "other")
				c.write("p.patch", patch)
				_, _ = c.try("am", "p.patch")
			},
			changes: pinWeb, is: ErrInProgress, want: "(git am)",
		},
		{
			name: "bisect", prepare: func(c checkout) { c.git("bisect", "start") },
			changes: pinWeb, is: ErrInProgress, want: "(bisect)",
		},
		{
			name: "a conflict of a stash", prepare: func(c checkout) {
				c.write("other.yaml", "a: stashed\n")
				c.git("stash", "-q")
				c.write("other.yaml", "a: committed\n")
				c.git("commit", "-qam", "second")
				_, _ = c.try("stash", "pop")
			},
			changes: pinWeb, is: ErrInProgress, want: "unresolved conflicts: other.yaml",
		},
		{
			name: "uncommitted changes", prepare: func(c checkout) { c.write("web.yaml", marked+"more: 1\n") },
			changes: []Change{{"web.yaml", []byte(marked + "more: 1\n"), []byte(pinned + "more: 1\n")}},
			want:    "web.yaml: it has uncommitted changes",
		},
		{
			name: "uncommitted changes that are not admitted", prepare: func(c checkout) { c.write("web.yaml", marked+"more: 1\n") },
			changes: []Change{{"web.yaml", []byte(marked + "more: 1\n"), []byte(pinned + "more: 1\n")}}, allow: onlyMarks,
			want: "web.yaml: it has uncommitted changes: commit or stash them: more than marks",
		},
		{
			name: "staged changes that the file no longer has", prepare: func(c checkout) {
				c.write("web.yaml", marked+"staged: 1\n")
				c.git("add", "web.yaml")
				c.write("web.yaml", marked)
			},
			changes: pinWeb, allow: onlyMarks, want: "web.yaml: it has staged changes that would get lost: commit or unstage them: more than marks",
		},
		{
			name: "two files, one of them dirty", prepare: func(c checkout) { c.write("other.yaml", "a: 2\n") },
			changes: append([]Change{{"other.yaml", []byte("a: 2\n"), []byte("a: 3\n")}}, pinWeb...),
			want:    "nothing was written, because one file cannot be changed:\n  other.yaml: it has uncommitted changes",
		},
		{
			name: "a mode that is not committed", prepare: func(c checkout) { c.chmod("web.yaml", 0o755) },
			changes: pinWeb, allow: onlyMarks, want: "web.yaml: its mode has changed",
		},
		{
			name: "a mode that is staged", prepare: func(c checkout) { c.git("update-index", "--chmod=+x", "web.yaml") },
			changes: pinWeb, allow: onlyMarks, want: "web.yaml: its mode has changed",
		},
		{
			name: "changed since it was read", prepare: func(c checkout) { c.write("web.yaml", settled) },
			changes: pinWeb, want: "web.yaml: it changed since it was read: run this again",
		},
		{
			name: "gone", prepare: func(c checkout) { _ = os.Remove(c.path("web.yaml")) },
			changes: pinWeb, want: "web.yaml: it is not there any more",
		},
		{
			name: "untracked", prepare: func(c checkout) { c.write("new.yaml", marked) },
			changes: change("new.yaml"), allow: onlyMarks, want: "new.yaml: git does not track it",
		},
		{
			name: "added and not committed", prepare: func(c checkout) { c.write("new.yaml", marked); c.git("add", "new.yaml") },
			changes: change("new.yaml"), allow: onlyMarks, want: "new.yaml: it is in no commit yet",
		},
		{
			name: "intent to add", prepare: func(c checkout) { c.write("new.yaml", marked); c.git("add", "-N", "new.yaml") },
			changes: change("new.yaml"), allow: onlyMarks, want: "new.yaml: it is in no commit yet",
		},
		{
			name: "symbolic link", prepare: func(c checkout) {
				if err := os.Symlink("web.yaml", c.path("link.yaml")); err != nil {
					c.t.Fatal(err)
				}
				c.git("add", ".")
				c.git("commit", "-qm", "link")
			},
			changes: change("link.yaml"), want: "link.yaml: it is a symbolic link: change the file that it points at",
		},
		{
			name: "a link in git, a file on disk", prepare: func(c checkout) {
				if err := os.Symlink("web.yaml", c.path("link.yaml")); err != nil {
					c.t.Fatal(err)
				}
				c.git("add", ".")
				c.git("commit", "-qm", "link")
				_ = os.Remove(c.path("link.yaml"))
				c.write("link.yaml", marked)
			},
			changes: change("link.yaml"), allow: onlyMarks, want: "link.yaml: git tracks it as a symbolic link",
		},
		{
			name: "behind a linked directory", prepare: func(c checkout) {
				c.write("real/web.yaml", marked)
				c.git("add", ".")
				c.git("commit", "-qm", "real")
				if err := os.Symlink("real", c.path("alias")); err != nil {
					c.t.Fatal(err)
				}
			},
			changes: change("alias/web.yaml"), want: "alias/web.yaml: alias is a symbolic link",
		},
		{
			name: "submodule", prepare: func(c checkout) {
				c.git("submodule", "-q", "add", simple(c.t).dir, "lib")
				c.git("commit", "-qm", "lib")
			},
			changes: change("lib/web.yaml"), want: "lib/web.yaml: it belongs to the submodule lib",
		},
		{
			name: "LFS", prepare: func(c checkout) {
				c.write(".gitattributes", "*.big.yaml filter=lfs diff=lfs merge=lfs -text\n")
				c.write("x.big.yaml", marked)
				c.git("add", ".")
				c.git("commit", "-qm", "lfs")
			},
			changes: change("x.big.yaml"), want: "x.big.yaml: git LFS keeps its content elsewhere",
		},
		{
			name: "sparse checkout", prepare: func(c checkout) {
				c.write("far/web.yaml", marked)
				c.git("add", ".")
				c.git("commit", "-qm", "far")
				c.git("sparse-checkout", "set", "near")
				c.git("config", "sparse.expectFilesOutsideOfPatterns", "true")
				c.write("far/web.yaml", marked)
			},
			changes: change("far/web.yaml"), want: "far/web.yaml: the sparse checkout leaves it out",
		},
		{
			name: "assume unchanged", prepare: func(c checkout) { c.git("update-index", "--assume-unchanged", "web.yaml") },
			changes: pinWeb, want: "web.yaml: git is told not to look at it",
		},
		{
			name: "read-only file", prepare: func(c checkout) { c.chmod("web.yaml", 0o444) },
			changes: pinWeb, want: "web.yaml: it is read-only: make it writable (chmod u+w web.yaml)",
		},
		{
			name: "read-only directory", prepare: func(c checkout) {
				c.write("ro/web.yaml", marked)
				c.git("add", ".")
				c.git("commit", "-qm", "ro")
				c.chmod("ro", 0o555)
				c.t.Cleanup(func() { c.chmod("ro", 0o755) })
			},
			changes: append(change("ro/web.yaml"), pinWeb...), want: "ro/web.yaml: its directory is read-only: make it writable (chmod u+w ro)",
		},
		{name: "outside", changes: change("../web.yaml"), want: "../web.yaml: it is not a path inside the checkout"},
		{name: "absolute", changes: change("/web.yaml"), want: "/web.yaml: it is not a path inside the checkout"},
		{name: "git directory", changes: change(".git/config"), want: ".git/config: it is inside a git directory"},
		{name: "twice", changes: append(pinWeb, pinWeb...), want: "web.yaml: it is given twice"},
		{name: "a directory", prepare: func(c checkout) { c.write("d/x", "") }, changes: change("d"), want: "d: it is not a regular file"},
		{
			name: "index.lock of another git", prepare: func(c checkout) { c.write(".git/index.lock", "") },
			changes: pinWeb, is: ErrBusy, want: "index.lock: busy: another git is at work in this checkout",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := simple(t)
			if test.prepare != nil {
				test.prepare(c)
			}
			before, index := c.snapshot(), c.index()
			_, err := c.commit(test.changes, CommitOptions{AllowDirty: test.allow})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q, want one with %q", err, test.want)
			}
			var refused *RefusedError
			if test.is != nil && !errors.Is(err, test.is) || test.is == nil && !errors.As(err, &refused) {
				t.Errorf("error %#v is of another kind", err)
			}
			if d := before.difference(c.snapshot()); d != "" || c.index() != index {
				t.Errorf("something changed:\n%s", d)
			}
			if _, err := os.Lstat(c.path(".git/pin-cmp")); err == nil {
				t.Error("something is left in the git directory")
			}
		})
	}
}

func TestRefusedUnborn(t *testing.T) {
	c := newCheckout(t)
	c.write("web.yaml", marked)
	c.git("add", ".")
	index := c.index()
	_, err := c.commit(pinWeb, CommitOptions{})
	if !errors.Is(err, gitrepo.ErrUnborn) || !strings.Contains(err.Error(), "main: the branch has no commit yet: commit something first") {
		t.Errorf("error %v", err)
	}
	if c.index() != index || c.read("web.yaml") != marked {
		t.Error("something changed")
	}
}

func TestRefusedWithoutMessage(t *testing.T) {
	c := simple(t)
	before := c.snapshot()
	if _, err := Commit(context.Background(), c.open(), pinWeb, CommitOptions{Message: " \n\n"}); err == nil {
		t.Error("committed without a message")
	}
	c.mustBe(before)
}

// An ordinary user without write permission to the git directory. Whoever runs
// the tests as root gets another user for this one.
func TestRefusedGitDirectoryReadOnly(t *testing.T) {
	c := simple(t)
	before := c.snapshot()
	c.chmod(".git", 0o555)
	t.Cleanup(func() { c.chmod(".git", 0o755) })
	cmd, out := spawn(t, order{Do: "commit", Dir: c.dir, Changes: pinWeb})
	asOrdinaryUser(t, c, cmd)
	if err := cmd.Run(); err == nil || !strings.Contains(out.String(), "permission denied") {
		t.Errorf("%v: %s", err, out)
	}
	c.chmod(".git", 0o755)
	c.mustBe(before)
}

// Objects cannot be written: the files have been changed by then.
func TestNoPermissionHalfWay(t *testing.T) {
	c := busy(t)
	before, index := c.snapshot(), c.index()
	var changes []Change
	for i, change := range busyChanges() {
		if busyFiles[i].base == marked { // the others are hashed, and so stored, to be compared
			changes = append(changes, change)
		}
	}
	cmd, out := spawn(t, order{Do: "commit", Dir: c.dir, Changes: changes})
	asOrdinaryUser(t, c, cmd)
	c.git("config", "safe.directory", "*")
	c.chmod(".git/objects", 0o555)
	entries, err := filepath.Glob(c.path(".git/objects/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range entries {
		if err := os.Chmod(name, 0o555); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Run(); err == nil || !strings.Contains(out.String(), ": file apps/clean.yaml") || !strings.Contains(strings.ToLower(out.String()), "permission") {
		t.Errorf("%v: %s", err, out)
	}
	for _, name := range append(entries, c.path(".git/objects")) {
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c.mustBe(before)
	if c.index() != index {
		t.Error("the index has other bytes than before")
	}
}

// asOrdinaryUser takes the superuser's powers from cmd, if it would have them.
// The checkout is given to the other user, who has to reach it and the binary.
func asOrdinaryUser(t *testing.T, c checkout, cmd *exec.Cmd) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	const nobody = 65534
	self := filepath.Join(t.TempDir(), "self")
	if out, err := exec.Command("cp", cmd.Path, self).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd.Path = self
	for dir := filepath.Dir(self); dir != os.TempDir() && len(dir) > 1; dir = filepath.Dir(dir) {
		_ = os.Chmod(dir, 0o755)
	}
	for dir := filepath.Dir(c.dir); dir != os.TempDir() && len(dir) > 1; dir = filepath.Dir(dir) {
		_ = os.Chmod(dir, 0o755)
	}
	_ = os.Chmod(filepath.Dir(os.Getenv("GIT_CONFIG_GLOBAL")), 0o755)
	if out, err := exec.Command("chown", "-R", "65534:65534", c.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	// The tests look at the checkout as root, who then is not its owner.
	c.git("config", "--global", "--replace-all", "safe.directory", "*")
}
