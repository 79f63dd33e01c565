//go:build unix

package transaction

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// checkout is a repository under test.
type checkout struct {
	t   testing.TB
	dir string
}

func newCheckout(t testing.TB) checkout {
	t.Helper()
	c := checkout{t, filepath.Join(t.TempDir(), "repo")}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c.git("init", "-q")
	return c
}

// simple has one commit with one marked file, and nothing else.
func simple(t testing.TB) checkout {
	t.Helper()
	c := newCheckout(t)
	c.write("web.yaml", marked)
	c.write("other.yaml", "a: 1\n")
	c.git("add", ".")
	c.git("commit", "-qm", "first")
	return c
}

const (
	marked  = "# web\nimage: ghcr.io/acme/web@build # keep\n"
	pinned  = "# web\nimage: ghcr.io/acme/web@" + digest + " # keep\n"
	settled = "# web\nimage: ghcr.io/acme/web@" + oldDigest + " # keep\n"
)

var pinWeb = []Change{{"web.yaml", []byte(marked), []byte(pinned)}}

func (c checkout) command(args ...string) *exec.Cmd {
	cmd := exec.Command("git", args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0") // looking changes nothing
	return cmd
}

func (c checkout) try(args ...string) (string, error) {
	out, err := c.command(args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (c checkout) git(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c checkout) path(name string) string { return filepath.Join(c.dir, filepath.FromSlash(name)) }

func (c checkout) write(name, content string) {
	c.t.Helper()
	if err := os.MkdirAll(filepath.Dir(c.path(name)), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(c.path(name), []byte(content), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c checkout) read(name string) string {
	c.t.Helper()
	content, err := os.ReadFile(c.path(name))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(content)
}

func (c checkout) chmod(name string, mode fs.FileMode) {
	c.t.Helper()
	if err := os.Chmod(c.path(name), mode); err != nil {
		c.t.Fatal(err)
	}
}

// hook installs a shell script.
func (c checkout) hook(name, script string) {
	c.t.Helper()
	path := filepath.Join(".git", "hooks", name)
	c.write(path, "#!/bin/sh\n"+script+"\n")
	c.chmod(path, 0o755)
}

func (c checkout) open() *gitrepo.Repo {
	c.t.Helper()
	repo, err := gitrepo.Open(context.Background(), c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	return repo
}

func (c checkout) commit(changes []Change, opts CommitOptions) (string, error) {
	c.t.Helper()
	if opts.Message == "" {
		opts.Message = commitMessage
	}
	return Commit(context.Background(), c.open(), changes, opts)
}

func (c checkout) mustCommit(changes []Change, opts CommitOptions) string {
	c.t.Helper()
	hash, err := c.commit(changes, opts)
	if err != nil {
		c.t.Fatal(err)
	}
	return hash
}

// copyOf returns the same checkout somewhere else, times and modes kept.
func (c checkout) copyOf(t testing.TB) checkout {
	t.Helper()
	d := checkout{t, filepath.Join(t.TempDir(), "repo")}
	if out, err := exec.Command("cp", "-a", c.dir, d.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return d
}

// acrossDevices moves the git directory to another file system, where files
// cannot be renamed or linked from.
func acrossDevices(c checkout) checkout {
	c.t.Helper()
	const other = "/dev/shm"
	var here, there syscall.Stat_t
	if syscall.Stat(c.dir, &here) != nil || syscall.Stat(other, &there) != nil || here.Dev == there.Dev {
		c.t.Skipf("there is no second file system at %s", other)
	}
	dir, err := os.MkdirTemp(other, "transaction-test-")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	gitDir := filepath.Join(dir, "git")
	if out, err := exec.Command("mv", c.path(".git"), gitDir).CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	c.write(".git", "gitdir: "+gitDir+"\n")
	return c
}

// busy is a checkout in the middle of the user's work: staged, unstaged and
// untracked, a stash, filters and end-of-line attributes. The files to change
// are listed by busyChanges.
func busy(t testing.TB) checkout {
	t.Helper()
	c := newCheckout(t)
	c.git("config", "filter.rot.clean", "tr a-z n-za-m")
	c.git("config", "filter.rot.smudge", "tr a-z n-za-m")
	c.write(".gitattributes", "*.crlf.yaml text eol=crlf\n*.rot.yaml filter=rot\n")
	c.write(".gitignore", "*.log\n")
	for _, f := range busyFiles {
		c.write(f.path, f.content(f.base))
		c.chmod(f.path, f.mode)
	}
	for _, name := range []string{"staged", "unstaged", "both", "deleted", "gone", "stashed", "racy"} {
		c.write("user/"+name+".yaml", name+": 1\n")
	}
	c.git("add", ".")
	c.git("commit", "-qm", "first")
	c.write("user/stashed.yaml", "stashed: 2\n")
	c.git("stash", "-q")
	for _, f := range busyFiles {
		c.write(f.path, f.content(marked))
		c.chmod(f.path, f.mode)
		if f.staged {
			c.git("add", f.path)
		}
	}
	c.write("user/staged.yaml", "staged: 2\n")
	c.write("user/both.yaml", "both: 2\n")
	c.write("user/new.yaml", "new: 1\n")
	c.git("add", "user/staged.yaml", "user/both.yaml", "user/new.yaml")
	c.git("rm", "-q", "user/deleted.yaml")
	c.write("user/intent.yaml", "intent: 1\n")
	c.git("add", "-N", "user/intent.yaml")
	c.write("user/both.yaml", "both: 3\n")
	c.write("user/unstaged.yaml", "unstaged: 2\n")
	if err := os.Remove(c.path("user/gone.yaml")); err != nil {
		t.Fatal(err)
	}
	c.write("user/untracked.yaml", "untracked: 1\n")
	c.write("user/ignored.log", "ignored\n")
	return c
}

type busyFile struct {
	path   string
	mode   fs.FileMode
	base   string // in HEAD
	staged bool
	crlf   bool
}

// busyFiles are the files to change: clean ones, ones whose marks are not
// committed, and ones whose marks are staged.
var busyFiles = []busyFile{
	{path: "apps/clean.yaml", mode: 0o640, base: marked},
	{path: "apps/exec.yaml", mode: 0o755, base: settled},
	{path: "apps/staged.yaml", mode: 0o644, base: settled, staged: true},
	{path: "apps/win.crlf.yaml", mode: 0o600, base: settled, crlf: true},
	{path: "apps/clean.crlf.yaml", mode: 0o644, base: marked, crlf: true},
	{path: "apps/secret.rot.yaml", mode: 0o644, base: settled},
	{path: "apps/ümlaut \"quoted\".yaml", mode: 0o644, base: marked},
}

func (f busyFile) content(s string) string {
	if f.crlf {
		return strings.ReplaceAll(s, "\n", "\r\n")
	}
	return s
}

func busyChanges() []Change {
	var changes []Change
	for _, f := range busyFiles {
		changes = append(changes, Change{f.path, []byte(f.content(marked)), []byte(f.content(pinned))})
	}
	return changes
}

// snapshot is everything that a transaction must leave alone, or change
// together: the files with their modes, what git thinks of them, the branch.
type snapshot map[string]string

func (c checkout) snapshot() snapshot {
	c.t.Helper()
	s := snapshot{}
	index := filepath.Join(c.t.TempDir(), "index")
	if err := copyIndex(c.indexFile(), index); err != nil {
		c.t.Fatal(err)
	}
	err := filepath.WalkDir(c.dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() == ".git" {
			return fs.SkipDir
		}
		if !entry.Type().IsRegular() || entry.Name() == ".git" {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(name)
		s["file "+strings.TrimPrefix(name, c.dir)] = fmt.Sprintf("%v %q", info.Mode(), content)
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, args := range [][]string{
		{"diff"},
		{"diff", "--cached"},
		{"ls-files", "-s", "-v"},
		{"stash", "list"},
		{"status", "--porcelain"},
		{"rev-parse", "HEAD"},
		{"symbolic-ref", "-q", "HEAD"},
		{"for-each-ref"},
		{"log", "-g", "--format=%H %gs"},
	} {
		cmd := c.command(args...)
		cmd.Env = append(cmd.Env, "GIT_INDEX_FILE="+index) // git diff writes it
		out, err := cmd.CombinedOutput()
		if err != nil && args[0] != "symbolic-ref" {
			c.t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
		s["git "+strings.Join(args, " ")] = string(out)
	}
	return s
}

// difference is empty when the snapshots are equal.
func (s snapshot) difference(other snapshot) string {
	var b strings.Builder
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for key := range s {
			if !yield(key) {
				return
			}
		}
		for key := range other {
			if _, ok := s[key]; !ok && !yield(key) {
				return
			}
		}
	}) {
		if s[key] != other[key] {
			fmt.Fprintf(&b, "%s:\n--- want\n%s\n--- have\n%s\n", key, s[key], other[key])
		}
	}
	return b.String()
}

func (c checkout) indexFile() string {
	c.t.Helper()
	return strings.TrimSpace(c.git("rev-parse", "--path-format=absolute", "--git-path", "index"))
}

// index is the bytes of the user's index.
func (c checkout) index() string {
	c.t.Helper()
	content, err := os.ReadFile(c.indexFile())
	if err != nil {
		c.t.Fatal(err)
	}
	return string(content)
}

// tidy checks that nothing of a transaction is left, and that git finds the
// repository in order.
func (c checkout) tidy() error {
	gitDir := strings.TrimSpace(c.git("rev-parse", "--absolute-git-dir"))
	for _, name := range []string{"pin-cmp", "index.lock"} {
		if _, err := os.Lstat(filepath.Join(gitDir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is left in the git directory (%w)", name, err)
		}
	}
	if out, err := c.try("fsck", "--strict", "--no-dangling"); err != nil || strings.TrimSpace(out) != "" {
		return fmt.Errorf("git fsck: %w: %s", err, out)
	}
	return nil
}

func (c checkout) mustBe(want snapshot) {
	c.t.Helper()
	if d := want.difference(c.snapshot()); d != "" {
		c.t.Errorf("the checkout is not as it should be:\n%s", d)
	}
	if err := c.tidy(); err != nil {
		c.t.Error(err)
	}
}

// spawn makes a process of this test binary that follows o.
func spawn(t testing.TB, o order) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+string(data))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}
