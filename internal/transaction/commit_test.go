//go:build unix

package transaction

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCommit(t *testing.T) {
	c := simple(t)
	first := strings.TrimSpace(c.git("rev-parse", "HEAD"))
	hash := c.mustCommit(pinWeb, CommitOptions{Message: "\n\npin web  \n\n\n\nbody\n\nPinned: web\n\n", Author: &Identity{"Grace", "grace@example.com"}})
	if got := c.read("web.yaml"); got != pinned {
		t.Errorf("the file holds %q", got)
	}
	for args, want := range map[string]string{
		"log -1 --format=%H":          hash + "\n",
		"log -1 --format=%P":          first + "\n",
		"log -1 --format=%an,%ae,%cn": "Grace,grace@example.com,Ada\n",
		"log -1 --format=%B":          "pin web\n\nbody\n\nPinned: web\n\n",
		"log -1 --format=%(trailers)": "Pinned: web\n\n",
		"log -1 -g --format=%gs":      "commit: pin web\n",
		"log -1 -g --format=%gs main": "commit: pin web\n",
		"symbolic-ref HEAD":           "refs/heads/main\n",
		"show HEAD:web.yaml":          pinned,
		"show HEAD:other.yaml":        "a: 1\n",
		"status --porcelain":          "",
		"diff-files --name-only":      "", // the index knows the new files, without a refresh
	} {
		if got := c.git(strings.Fields(args)...); got != want {
			t.Errorf("git %s: %q, want %q", args, got, want)
		}
	}
	if err := c.tidy(); err != nil {
		t.Error(err)
	}
	if _, err := c.commit([]Change{{"web.yaml", []byte(pinned), []byte(pinned)}}, CommitOptions{}); !errors.Is(err, ErrNothingToCommit) {
		t.Errorf("a change that changes nothing: %v", err)
	}
}

// What a commit may contain of a checkout full of other work, and what it must
// leave: read from git, not from a run of ours.
func TestCommitAmongUsersWork(t *testing.T) {
	c := busy(t)
	type user struct{ diff, cached, stash, status string }
	look := func() (u user) {
		u.diff = c.git("diff", "--", "user")
		u.cached = c.git("diff", "--cached", "--", "user")
		u.stash = c.git("stash", "list")
		u.status = c.git("status", "--porcelain", "--", "user")
		return u
	}
	before := look()
	c.mustCommit(busyChanges(), CommitOptions{AllowDirty: onlyMarks})
	if after := look(); after != before {
		t.Errorf("the user's work was\n%+v\nand is\n%+v", before, after)
	}
	if got := c.git("status", "--porcelain", "--", "apps"); got != "" {
		t.Errorf("the committed files are not clean:\n%s", got)
	}
	changed := strings.Split(strings.TrimSuffix(c.git("diff", "-z", "--name-only", "HEAD~", "HEAD"), "\x00"), "\x00")
	if len(changed) != len(busyFiles) {
		t.Errorf("the commit changes %q", changed)
	}
	for _, f := range busyFiles {
		if got := c.read(f.path); got != f.content(pinned) {
			t.Errorf("%s holds %q", f.path, got)
		}
		info, err := os.Stat(c.path(f.path))
		if err != nil || info.Mode() != f.mode {
			t.Errorf("%s has mode %v, want %v (%v)", f.path, info.Mode(), f.mode, err)
		}
		mode, want := c.git("ls-tree", "--format=%(objectmode)", "HEAD", f.path), "100644\n"
		if f.mode&0o100 != 0 {
			want = "100755\n"
		}
		if mode != want {
			t.Errorf("%s is committed with mode %q, want %q", f.path, mode, want)
		}
		stored := pinned
		if strings.Contains(f.path, ".rot.") {
			stored = rot13(pinned)
		}
		if got := c.git("cat-file", "-p", "HEAD:"+f.path); got != stored {
			t.Errorf("%s is stored as %q, want %q", f.path, got, stored)
		}
	}
	if err := c.tidy(); err != nil {
		t.Error(err)
	}
}

func rot13(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return 'a' + (r-'a'+13)%26
		}
		return r
	}, s)
}

// The index comes in several shapes, and the user keeps the one chosen.
func TestCommitWithEveryKindOfIndex(t *testing.T) {
	for _, test := range []struct {
		name    string
		init    []string
		prepare [][]string
	}{
		{"sha256", []string{"--object-format=sha256"}, nil},
		{"version 4", nil, [][]string{{"update-index", "--index-version", "4"}}},
		{"split", nil, [][]string{{"update-index", "--split-index"}, {"config", "core.splitIndex", "true"}}},
		{"untracked cache", nil, [][]string{{"update-index", "--force-untracked-cache"}, {"status"}}},
		{"sparse", nil, [][]string{{"sparse-checkout", "set", "--cone", "--sparse-index", "near"}}},
		{"a file system monitor that sees nothing", nil, [][]string{{"config", "core.fsmonitor", "true #"}, {"status"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := checkout{t, t.TempDir()}
			c.git(append([]string{"init", "-q"}, test.init...)...)
			for _, name := range []string{"web.yaml", "near/web.yaml", "far/deep/web.yaml", "far/other.yaml"} {
				c.write(name, marked)
			}
			c.git("add", ".")
			c.git("commit", "-qm", "first")
			for _, args := range test.prepare {
				c.git(args...)
			}
			c.write("near/staged.yaml", "staged: 1\n")
			c.git("add", "near/staged.yaml")
			before := c.git("-c", "core.fsmonitor=false", "ls-files", "-v", "--", "far")
			c.mustCommit([]Change{{"near/web.yaml", []byte(marked), []byte(pinned)}, pinWeb[0]}, CommitOptions{})
			if got := c.git("diff", "--name-status", "HEAD~", "HEAD"); got != "M\tnear/web.yaml\nM\tweb.yaml\n" {
				t.Errorf("the commit changes %q", got)
			}
			c.git("config", "core.fsmonitor", "false")
			if got := c.git("status", "--porcelain"); got != "A  near/staged.yaml\n" {
				t.Errorf("git status: %q", got)
			}
			if got := c.git("ls-files", "-v", "--", "far"); got != before {
				t.Errorf("the entries elsewhere were %q and are %q", before, got)
			}
			if err := c.tidy(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A file that was committed with CRLF stays so under core.autocrlf: git would
// not convert it either, and hashing it outside of the index would.
func TestCommitKeepsCarriageReturnsInTheIndex(t *testing.T) {
	c := newCheckout(t)
	old, next := strings.ReplaceAll(marked, "\n", "\r\n"), strings.ReplaceAll(pinned, "\n", "\r\n")
	c.write("web.yaml", old)
	c.git("add", ".")
	c.git("commit", "-qm", "first")
	c.git("config", "core.autocrlf", "input")
	c.mustCommit([]Change{{"web.yaml", []byte(old), []byte(next)}}, CommitOptions{})
	if got := c.git("diff", "--numstat", "HEAD~", "HEAD"); got != "1\t1\tweb.yaml\n" {
		t.Errorf("the commit changes more than one line: %q", got)
	}
	if got := c.git("status", "--porcelain"); got != "" {
		t.Errorf("git status: %s", got)
	}
}

// An edit of the same second and size as the index is seen by git only because
// it compares times; a copy of the index must not lose that.
func TestCommitDoesNotHideARacyEdit(t *testing.T) {
	c := simple(t)
	c.git("config", "core.checkStat", "minimal")
	c.git("config", "core.trustctime", "false")
	then := time.Now().Add(-time.Minute)
	date := func(name string) {
		t.Helper()
		if err := os.Chtimes(c.path(name), then, then); err != nil {
			t.Fatal(err)
		}
	}
	date("other.yaml")
	c.git("update-index", "--refresh")
	c.write("other.yaml", "a: 2\n")
	date("other.yaml")
	date(".git/index")
	if got := c.git("status", "--porcelain"); got != " M other.yaml\n" {
		t.Fatalf("the edit is not visible before: %q", got)
	}
	c.mustCommit(pinWeb, CommitOptions{})
	if got := c.git("status", "--porcelain"); got != " M other.yaml\n" {
		t.Fatalf("the edit is not visible after: %q", got)
	}
}

// "git add -N" on a path that HEAD has as an empty file leaves an entry that
// looks like HEAD's, and that write-tree leaves out.
func TestCommitKeepsAnEmptyFileUnderIntentToAdd(t *testing.T) {
	c := simple(t)
	c.write("empty.yaml", "")
	c.git("add", ".")
	c.git("commit", "-qm", "second")
	c.git("rm", "-q", "--cached", "empty.yaml")
	c.git("add", "-N", "empty.yaml")
	c.mustCommit(pinWeb, CommitOptions{})
	if got := c.git("diff", "--name-status", "HEAD~", "HEAD"); got != "M\tweb.yaml\n" {
		t.Errorf("the commit changes %q", got)
	}
}

func TestCommitInLinkedWorktree(t *testing.T) {
	c := simple(t)
	before := c.snapshot()
	linked := checkout{t, filepath.Join(filepath.Dir(c.dir), "linked")}
	c.git("worktree", "add", "-q", "-b", "feature", linked.dir)
	indexBefore := c.index()
	hash := linked.mustCommit(pinWeb, CommitOptions{})
	if got := linked.git("rev-parse", "feature"); got != hash+"\n" {
		t.Errorf("feature is at %s", got)
	}
	if got := linked.git("status", "--porcelain"); got != "" {
		t.Errorf("the work tree is not clean: %s", got)
	}
	if err := linked.tidy(); err != nil {
		t.Error(err)
	}
	delete(before, "git for-each-ref")
	after := c.snapshot()
	delete(after, "git for-each-ref")
	if d := before.difference(after); d != "" || c.index() != indexBefore {
		t.Errorf("the main work tree changed:\n%s", d)
	}
}

// A crash in one work tree is none of the other's business.
func TestWorktreesHaveJournalsOfTheirOwn(t *testing.T) {
	c := simple(t)
	linked := checkout{t, filepath.Join(filepath.Dir(c.dir), "linked")}
	c.git("worktree", "add", "-q", "-b", "feature", linked.dir)
	cmd, _ := spawn(t, order{Do: "commit", Dir: linked.dir, Changes: pinWeb, At: "files", Then: "kill"})
	if err := cmd.Run(); !killed(err) {
		t.Fatal(err)
	}
	if r, err := Recover(context.Background(), InRepo(c.open()), nil); r != nil || err != nil {
		t.Errorf("the main work tree recovers %v, %v", r, err)
	}
	c.mustCommit(pinWeb, CommitOptions{})
	if _, err := linked.commit(pinWeb, CommitOptions{}); !errors.Is(err, ErrUnfinished) {
		t.Errorf("a commit on top of an interrupted one: %v", err)
	}
	if r, err := Recover(context.Background(), InRepo(linked.open()), nil); err != nil || r == nil || r.Action != Undo {
		t.Errorf("the linked work tree recovers %v, %v", r, err)
	}
	if got := linked.read("web.yaml"); got != marked {
		t.Errorf("the file holds %q", got)
	}
}

func TestCommitInSubmodule(t *testing.T) {
	outer, inner := simple(t), simple(t)
	outer.git("submodule", "-q", "add", inner.dir, "lib")
	outer.git("commit", "-qm", "add lib")
	lib := checkout{t, outer.path("lib")}
	lib.mustCommit(pinWeb, CommitOptions{})
	if got := outer.git("status", "--porcelain"); got != " M lib\n" {
		t.Errorf("git status outside: %q", got)
	}
	if err := lib.tidy(); err != nil {
		t.Error(err)
	}
}

func TestCommitOnDetachedHead(t *testing.T) {
	c := simple(t)
	c.git("checkout", "-q", "--detach")
	hash := c.mustCommit(pinWeb, CommitOptions{})
	if got := c.git("rev-parse", "HEAD"); got != hash+"\n" {
		t.Errorf("HEAD is %s", got)
	}
	if got := c.git("rev-parse", "main"); got == hash+"\n" {
		t.Error("the branch moved too")
	}
	if out, err := c.try("symbolic-ref", "-q", "HEAD"); err == nil {
		t.Errorf("HEAD is no longer detached: %s", out)
	}
}

// Signing is git's: a program that stands in for gpg or ssh-keygen proves that
// it is asked when the configuration says so. Real keys are in test/git.
func TestCommitSigns(t *testing.T) {
	for format, script := range map[string]string{
		"openpgp": "cat >/dev/null\nprintf '\\n[GNUPG:] SIG_CREATED D 1 8 00 1 F\\n' >&2\nprintf -- '-----BEGIN PGP SIGNATURE-----\\n\\nstand-in\\n-----END PGP SIGNATURE-----\\n'",
		"ssh":     "for last; do :; done\nprintf -- '-----BEGIN SSH SIGNATURE-----\\nstand-in\\n-----END SSH SIGNATURE-----\\n' >\"$last.sig\"",
	} {
		t.Run(format, func(t *testing.T) {
			c := simple(t)
			program := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			c.git("config", "gpg.format", format)
			c.git("config", "gpg."+format+".program", program)
			c.git("config", "user.signingKey", "key::ssh-ed25519 AAAA")
			c.mustCommit(pinWeb, CommitOptions{})
			if got := c.git("cat-file", "-p", "HEAD"); strings.Contains(got, "gpgsig") {
				t.Errorf("signed although nobody asked:\n%s", got)
			}
			c.git("config", "commit.gpgSign", "true")
			again := []Change{{"web.yaml", []byte(pinned), []byte(settled)}}
			c.mustCommit(again, CommitOptions{})
			if got := c.git("cat-file", "-p", "HEAD"); !strings.Contains(got, "gpgsig") || !strings.Contains(got, "stand-in") {
				t.Errorf("not signed:\n%s", got)
			}
			before, index := c.snapshot(), c.index()
			c.git("config", "gpg."+format+".program", "false")
			if _, err := c.commit([]Change{{"web.yaml", []byte(settled), []byte(marked)}}, CommitOptions{}); err == nil || !strings.Contains(err.Error(), "sign") {
				t.Errorf("signing failed with %v", err)
			}
			c.mustBe(before)
			if c.index() != index {
				t.Error("the index has other bytes than before")
			}
		})
	}
}

func TestWriteFiles(t *testing.T) {
	c := busy(t)
	index, status := c.index(), c.git("status", "--porcelain", "--", "user")
	if err := WriteFiles(context.Background(), InRepo(c.open()), busyChanges()); err != nil {
		t.Fatal(err)
	}
	for _, f := range busyFiles {
		info, err := os.Stat(c.path(f.path))
		if got := c.read(f.path); err != nil || got != f.content(pinned) || info.Mode() != f.mode {
			t.Errorf("%s holds %q, mode %v (%v)", f.path, got, info.Mode(), err)
		}
	}
	if c.index() != index || c.git("status", "--porcelain", "--", "user") != status {
		t.Error("index or user's files changed")
	}
	if err := c.tidy(); err != nil {
		t.Error(err)
	}
}

func TestWriteFilesOutsideGit(t *testing.T) {
	dir := t.TempDir()
	changes := []Change{{"a.yaml", []byte(marked), []byte(pinned)}, {"sub/b.yaml", []byte(marked), []byte(pinned)}}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		if err := os.WriteFile(filepath.Join(dir, change.Path), change.Old, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(want func(Change) []byte) {
		t.Helper()
		for _, change := range changes {
			if got, err := os.ReadFile(filepath.Join(dir, change.Path)); err != nil || !bytes.Equal(got, want(change)) {
				t.Errorf("%s holds %q (%v)", change.Path, got, err)
			}
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
			t.Errorf("left behind: %v (%v)", entries, err)
		}
	}
	cmd, out := spawn(t, order{Do: "write", Dir: dir, Outside: true, Changes: changes, At: "file a.yaml", Then: "kill"})
	if err := cmd.Run(); !killed(err) {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := WriteFiles(context.Background(), InDir(dir), changes); !errors.Is(err, ErrUnfinished) {
		t.Errorf("writing on top of an interrupted change: %v", err)
	}
	var said []string
	if _, err := Recover(context.Background(), InDir(dir), func(r *Recovery) { said = append(said, r.String()) }); err != nil {
		t.Fatal(err)
	}
	if want := "an earlier run was interrupted: putting 2 files back as before"; len(said) != 1 || said[0] != want {
		t.Errorf("recovery said %q", said)
	}
	holds(func(c Change) []byte { return c.Old })
	if err := WriteFiles(context.Background(), InDir(dir), changes); err != nil {
		t.Fatal(err)
	}
	holds(func(c Change) []byte { return c.New })
	if r, err := Recover(context.Background(), InDir(dir), nil); r != nil || err != nil {
		t.Errorf("nothing to recover: %v, %v", r, err)
	}
}

// A canceled context undoes what was done until then.
func TestCommitCanceled(t *testing.T) {
	t.Parallel()
	c := busy(t)
	before, index := c.snapshot(), c.index()
	for _, at := range []string{"journal", "stage and check", "file apps/exec.yaml", "files", "add", "tree", "pre-commit", "message"} {
		ctx, cancel := context.WithCancel(context.Background())
		_, err := Commit(ctx, c.open(), busyChanges(), CommitOptions{Message: commitMessage, AllowDirty: onlyMarks, step: func(name string) {
			if name == at {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("canceled at %q: %v", at, err)
		}
		c.mustBe(before)
		if c.index() != index {
			t.Errorf("canceled at %q: the index has other bytes", at)
		}
	}
}

// A disk that fills up at any step: the change is undone without a byte of
// space, or it is complete.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	start := busy(t)
	run := rehearse(t, start, order{Do: "commit", Changes: busyChanges()})
	for n, name := range run.steps {
		c := start.copyOf(t)
		cmd, out := spawn(t, order{Do: "commit", Dir: c.dir, Changes: busyChanges(), At: name, Then: "nospace"})
		err := cmd.Run()
		if done := n > slices.Index(run.steps, "journal with commit"); (err == nil) != done {
			t.Errorf("full from step %q on: %v\n%s", name, err, out)
		}
		want := run.before
		if err == nil {
			want = run.after
		}
		c.mustBe(want)
		if err != nil && c.index() != run.index {
			t.Errorf("full from step %q on: the index has other bytes", name)
		}
	}
}
