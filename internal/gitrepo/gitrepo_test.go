//go:build unix

package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	home, err := os.MkdirTemp("", "gitrepo-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "GIT_") {
			_ = os.Unsetenv(name)
		}
	}
	config := filepath.Join(home, "gitconfig")
	_ = os.WriteFile(config, []byte("[user]\n\tname = Ada\n\temail = ada@example.com\n[init]\n\tdefaultBranch = main\n[protocol \"file\"]\n\tallow = always\n"), 0o644)
	for name, value := range map[string]string{"HOME": home, "XDG_CONFIG_HOME": home, "GIT_CONFIG_GLOBAL": config, "GIT_CONFIG_NOSYSTEM": "1"} {
		_ = os.Setenv(name, value)
	}
	code := m.Run()
	_ = os.RemoveAll(home)
	os.Exit(code)
}

type checkout struct {
	t   testing.TB
	dir string
}

func newCheckout(t testing.TB) checkout {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := checkout{t, dir}
	c.git("init", "-q")
	return c
}

func (c checkout) git(args ...string) string {
	c.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = c.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (c checkout) write(name, content string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c checkout) commit(message string) string {
	c.t.Helper()
	c.git("add", ".")
	c.git("commit", "-q", "--allow-empty", "-m", message)
	return c.git("rev-parse", "HEAD")
}

func (c checkout) open() *Repo {
	c.t.Helper()
	r, err := Open(context.Background(), c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func TestOpen(t *testing.T) {
	c := newCheckout(t)
	c.write("deep/down/a.yaml", "a: 1\n")
	c.commit("first")
	linked := filepath.Join(t.TempDir(), "linked")
	c.git("worktree", "add", "-q", linked)
	linked, err := filepath.EvalSymlinks(linked)
	if err != nil {
		t.Fatal(err)
	}
	outer := newCheckout(t)
	outer.git("submodule", "-q", "add", c.dir, "lib")
	for _, test := range []struct{ dir, top, gitDir, commonDir string }{
		{c.dir, c.dir, c.dir + "/.git", c.dir + "/.git"},
		{c.dir + "/deep/down", c.dir, c.dir + "/.git", c.dir + "/.git"},
		{c.dir + "/deep/down/a.yaml", c.dir, c.dir + "/.git", c.dir + "/.git"},
		{linked + "/deep", linked, c.dir + "/.git/worktrees/linked", c.dir + "/.git"},
		{outer.dir + "/lib/deep", outer.dir + "/lib", outer.dir + "/.git/modules/lib", outer.dir + "/.git/modules/lib"},
	} {
		r, err := Open(context.Background(), test.dir)
		if err != nil {
			t.Errorf("%s: %v", test.dir, err)
			continue
		}
		if r.Top() != test.top || r.GitDir() != test.gitDir || r.CommonDir() != test.commonDir {
			t.Errorf("%s: top %s, git directory %s, common %s", test.dir, r.Top(), r.GitDir(), r.CommonDir())
		}
	}
}

func TestOpenRefused(t *testing.T) {
	c := newCheckout(t)
	c.commit("first")
	bare := t.TempDir()
	checkout{t, bare}.git("init", "-q", "--bare")
	for _, test := range []struct {
		name, dir string
		is        error
		want      string
	}{
		{"no repository", t.TempDir(), ErrNotRepository, "not a git repository: run this inside a clone"},
		{"bare", bare, ErrInsideGitDir, "give the directory of the checkout"},
		{"git directory", c.dir + "/.git", ErrInsideGitDir, "give the directory of the checkout"},
		{"missing", c.dir + "/missing", os.ErrNotExist, "missing"},
	} {
		if _, err := Open(context.Background(), test.dir); !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	broken := newCheckout(t)
	broken.git("config", "core.repositoryFormatVersion", "99")
	if _, err := Open(context.Background(), broken.dir); err == nil || !strings.Contains(err.Error(), "Expected git repo version <= 1, found 99") {
		t.Errorf("a repository of the future: %v", err)
	}
	worktreeOfBare := checkout{t, t.TempDir()}
	worktreeOfBare.git("init", "-q")
	worktreeOfBare.git("config", "core.bare", "true")
	if _, err := Open(context.Background(), worktreeOfBare.dir); !errors.Is(err, ErrBare) {
		t.Errorf("a repository that says it is bare: %v", err)
	}
}

// fakeGit puts a script called git first on PATH.
func fakeGit(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "git"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestOpenWithoutGit(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Open(context.Background(), "."); !errors.Is(err, ErrNoGit) || !strings.Contains(err.Error(), "install git 2.36 or newer") {
		t.Error(err)
	}
}

func TestOpenWithOldGit(t *testing.T) {
	for said, old := range map[string]bool{
		"git version 2.35.8": true, "git version 1.9.1": true, "hello": true,
		"git version 2.39.5 (Apple Git-154)": false, "git version 3.0.0": false, "git version 2.51.0.windows.1": false,
	} {
		t.Run(said, func(t *testing.T) {
			fakeGit(t, "echo '"+said+"'")
			_, err := Open(context.Background(), t.TempDir())
			if errors.Is(err, ErrGitTooOld) != old {
				t.Error(err)
			}
		})
	}
}

// git's message about another owner's repository names the way out.
func TestOpenPassesOnSafeDirectory(t *testing.T) {
	c := newCheckout(t)
	t.Setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1") // git's own switch for its tests
	if _, err := Open(context.Background(), c.dir); err == nil || !strings.Contains(err.Error(), "git config --global --add safe.directory "+c.dir) {
		t.Error(err)
	}
}

// Run from a hook, git's variables point at the repository of the hook.
func TestOpenInsideAHook(t *testing.T) {
	c, other := newCheckout(t), newCheckout(t)
	t.Setenv("GIT_DIR", c.dir+"/.git")
	t.Setenv("GIT_INDEX_FILE", c.dir+"/.git/index.lock")
	t.Setenv("GIT_PREFIX", "deep/")
	c.write("a.yaml", "a: 1\n")
	r := c.open()
	if _, err := r.Run(context.Background(), Command{Args: []string{"add", "a.yaml"}}); err != nil {
		t.Fatal(err)
	}
	if l, err := r.ListFiles(context.Background(), ListOptions{}); err != nil || len(l.Files) != 1 {
		t.Errorf("%v, %v", l, err)
	}
	if _, err := Open(context.Background(), other.dir); err == nil || !strings.Contains(err.Error(), "unset GIT_DIR") {
		t.Errorf("GIT_DIR of another repository: %v", err)
	}
}

func TestListFiles(t *testing.T) {
	c, lib := newCheckout(t), newCheckout(t)
	lib.commit("first")
	odd := "odd \"name\"\nwith\tall ü.yaml"
	for _, name := range []string{"a.yaml", "b/c.yaml", odd, "conflict.yaml", "skip.yaml", "assume.yaml", "run.sh"} {
		c.write(name, name+"\n")
	}
	if err := os.Chmod(filepath.Join(c.dir, "run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.yaml", filepath.Join(c.dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	c.git("submodule", "-q", "add", lib.dir, "lib")
	c.write(".gitignore", "*.log\n")
	c.commit("first")
	c.write("new.yaml", "")
	c.write("x.log", "")
	if err := os.Mkdir(filepath.Join(c.dir, "nested"), 0o755); err != nil {
		t.Fatal(err)
	}
	nested := checkout{t, filepath.Join(c.dir, "nested")} // a repository inside, no submodule
	nested.git("init", "-q")
	nested.write("n.yaml", "")
	nested.commit("first")
	c.git("update-index", "--skip-worktree", "skip.yaml")
	c.git("update-index", "--assume-unchanged", "assume.yaml")
	blob := c.git("rev-parse", "HEAD:conflict.yaml")
	c.git("rm", "-q", "--cached", "conflict.yaml")
	cmd := exec.Command("git", "update-index", "--index-info")
	cmd.Dir = c.dir
	cmd.Stdin = strings.NewReader("100644 " + blob + " 1\tconflict.yaml\n100644 " + blob + " 2\tconflict.yaml\n100644 " + blob + " 3\tconflict.yaml\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := c.open().ListFiles(context.Background(), ListOptions{Untracked: true})
	if err != nil {
		t.Fatal(err)
	}
	type file struct {
		path              string
		mode              uint32
		skip, assume, not bool
	}
	var have []file
	for _, f := range l.Files {
		have = append(have, file{f.Path, f.Mode, f.SkipWorktree, f.AssumeUnchanged, f.Untracked()})
		if !f.Untracked() && f.Object != c.git("rev-parse", ":"+f.Path) {
			t.Errorf("%q has object %s", f.Path, f.Object)
		}
	}
	want := []file{
		{".gitignore", 0o100644, false, false, false},
		{".gitmodules", 0o100644, false, false, false},
		{"a.yaml", 0o100644, false, false, false},
		{"assume.yaml", 0o100644, false, true, false},
		{"b/c.yaml", 0o100644, false, false, false},
		{odd, 0o100644, false, false, false},
		{"run.sh", 0o100755, false, false, false},
		{"skip.yaml", 0o100644, true, false, false},
		{"new.yaml", 0, false, false, true},
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("files\n%v\nwant\n%v", have, want)
	}
	if !reflect.DeepEqual(l.Symlinks, []string{"link.yaml"}) || !reflect.DeepEqual(l.Submodules, []string{"lib"}) || !reflect.DeepEqual(l.Unmerged, []string{"conflict.yaml"}) {
		t.Errorf("symlinks %q, submodules %q, unmerged %q", l.Symlinks, l.Submodules, l.Unmerged)
	}
}

func TestAttributes(t *testing.T) {
	c := newCheckout(t)
	c.write(".gitattributes", "*.big filter=lfs\n*.win text eol=crlf\n")
	paths := []string{"a.big", "b.win", "odd\nname.big", "c"}
	r := c.open()
	got, err := r.Attributes(context.Background(), paths, "filter", "eol")
	want := []map[string]string{
		{"filter": "lfs", "eol": "unspecified"},
		{"filter": "unspecified", "eol": "crlf"},
		{"filter": "lfs", "eol": "unspecified"},
		{"filter": "unspecified", "eol": "unspecified"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if lfs, err := r.LFS(context.Background(), paths); err != nil || !reflect.DeepEqual(lfs, []string{"a.big", "odd\nname.big"}) {
		t.Errorf("%q, %v", lfs, err)
	}
	if lfs, err := r.LFS(context.Background(), nil); err != nil || lfs != nil {
		t.Errorf("%q, %v", lfs, err)
	}
}

func TestConfig(t *testing.T) {
	c := newCheckout(t)
	c.git("config", "commit.gpgSign", "false")
	c.git("config", "--add", "commit.gpgSign", "yes")
	c.git("config", "Remote.Up.Stream.pushURL", "a\nb=c")
	f, err := os.OpenFile(filepath.Join(c.dir, ".git/config"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("[tag]\n\tgpgSign\n[x]\n\tone = 1\n\tzero = 0\n\toff = OFF\n\tempty =\n"); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	config, err := c.open().Config(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Get("remote.Up.Stream.PushUrl"); got != "a\nb=c" {
		t.Errorf("got %q", got)
	}
	if got := config.Get("remote.up.stream.pushurl"); got != "" {
		t.Errorf("a subsection in another case: %q", got)
	}
	for key, want := range map[string]bool{"commit.gpgsign": true, "tag.gpgSign": true, "x.one": true, "x.zero": false, "x.off": false, "x.empty": false, "x.missing": false} {
		if config.Bool(key) != want {
			t.Errorf("%s is %v (git: %q)", key, !want, config.Get(key))
		}
	}
}

func TestHead(t *testing.T) {
	c := newCheckout(t)
	r := c.open()
	ctx := context.Background()
	if h, err := r.Head(ctx); err != nil || h != (Head{Ref: "refs/heads/main"}) {
		t.Errorf("unborn: %+v, %v", h, err)
	}
	first := c.commit("first")
	c.git("checkout", "-qb", "team/feature")
	if h, err := r.Head(ctx); err != nil || h != (Head{Ref: "refs/heads/team/feature", Commit: first}) || h.Branch() != "team/feature" {
		t.Errorf("branch: %+v, %v", h, err)
	}
	c.git("checkout", "-q", "--detach")
	if h, err := r.Head(ctx); err != nil || h != (Head{Commit: first}) || h.Branch() != "" {
		t.Errorf("detached: %+v, %v", h, err)
	}
	second := c.commit("second")
	if base, err := r.MergeBase(ctx, "main", "HEAD"); err != nil || base != first {
		t.Errorf("merge base %q, %v", base, err)
	}
	if is, err := r.IsAncestor(ctx, "main", second); err != nil || !is {
		t.Errorf("%v, %v", is, err)
	}
	if is, err := r.IsAncestor(ctx, second, "main"); err != nil || is {
		t.Errorf("%v, %v", is, err)
	}
	if _, err := r.IsAncestor(ctx, "nonsense", "main"); err == nil {
		t.Error("no error for a revision that is not there")
	}
	c.git("checkout", "-q", "--orphan", "alone")
	c.commit("alone")
	if base, err := r.MergeBase(ctx, "main", "alone"); err != nil || base != "" {
		t.Errorf("no common history: %q, %v", base, err)
	}
	if hash, err := r.RevParse(ctx, "main^{commit}"); err != nil || hash != first {
		t.Errorf("%q, %v", hash, err)
	}
	if hash, err := r.RevParse(ctx, "nothing"); err != nil || hash != "" {
		t.Errorf("%q, %v", hash, err)
	}
}

// What an older commit holds, as a checkout would write it: sizes change on the
// way, and contents may look like what surrounds them.
func TestFilesAt(t *testing.T) {
	c := newCheckout(t)
	c.git("config", "filter.grow.smudge", "sed 's/^/smudged: /'")
	c.git("config", "filter.grow.clean", "sed 's/^smudged: //'")
	want := map[string]string{
		"plain.yaml": "a: 1\n", "empty.yaml": "", "no-newline.yaml": "a", "win.crlf": "a: 1\r\nb: 2\r\n",
		"x.grow": "smudged: a\nsmudged: b\n", "blob.yaml": "deadbeef blob 3\nabc\n\nblob\n", "odd\nname.crlf": "a\r\n", "deep/down.yaml": "d\n",
	}
	c.write(".gitattributes", "*.crlf text eol=crlf\n*.grow filter=grow\n")
	var paths []string
	for name, content := range want {
		c.write(name, content)
		paths = append(paths, name)
	}
	if err := os.Symlink("plain.yaml", filepath.Join(c.dir, "link")); err != nil {
		t.Fatal(err)
	}
	c.commit("first")
	for name := range want {
		c.write(name, "changed\n")
	}
	c.commit("second")
	got, err := c.open().FilesAt(context.Background(), "HEAD~", append(paths, "missing", "link", "deep"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
	for name, content := range want {
		if string(got[name]) != content {
			t.Errorf("%q holds %q, want %q", name, got[name], content)
		}
	}
}

func TestTreeEntriesInChunks(t *testing.T) {
	c := newCheckout(t)
	long := strings.Repeat("d/", 60)
	var paths []string
	for i := range 1000 {
		path := fmt.Sprintf("%s%s%04d.yaml", long, strings.Repeat("x", 100), i)
		paths = append(paths, path)
		c.write(path, fmt.Sprint(i))
	}
	c.commit("first")
	entries, err := c.open().TreeEntries(context.Background(), "HEAD", paths)
	if err != nil || len(entries) != len(paths) {
		t.Fatalf("%d entries of %d: %v", len(entries), len(paths), err)
	}
	if got, want := entries[paths[999]].Object, c.git("rev-parse", "HEAD:"+paths[999]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A git that hangs ends with the context, and so does what it started.
func TestRunEndsWithTheContext(t *testing.T) {
	c := newCheckout(t)
	r := c.open()
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("the deadline of the caller")
	time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
	_, err := r.Run(ctx, Command{Args: []string{"-c", "alias.hang=!exec sleep 600", "hang"}})
	if !errors.Is(err, why) {
		t.Error(err)
	}
}

func TestRunError(t *testing.T) {
	r := newCheckout(t).open()
	_, err := r.Run(context.Background(), Command{Args: []string{"rev-parse", "--verify", "nothing"}})
	var failed *Error
	if !errors.As(err, &failed) || failed.Code != 128 || err.Error() != "git rev-parse: fatal: Needed a single revision" {
		t.Errorf("%#v", err)
	}
	if got := Redact("fatal: unable to access 'https://user:s3cret@git.example.com/x.git/': no"); got != "fatal: unable to access 'https://***@git.example.com/x.git/': no" {
		t.Error(got)
	}
}

func remoteWithClone(t *testing.T) (remote, clone checkout) {
	t.Helper()
	remote = checkout{t, t.TempDir()}
	remote.git("init", "-q", "--bare")
	clone = newCheckout(t)
	clone.git("remote", "add", "origin", remote.dir)
	clone.commit("first")
	clone.git("push", "-q", "origin", "main")
	return remote, clone
}

func TestPush(t *testing.T) {
	remote, c := remoteWithClone(t)
	ctx := context.Background()
	r := c.open()
	first := c.git("rev-parse", "HEAD")
	second := c.commit("second")
	if at, err := r.RemoteBranch(ctx, "origin", "main"); err != nil || at != first {
		t.Errorf("%q, %v", at, err)
	}
	if at, err := r.RemoteBranch(ctx, "origin", "missing"); err != nil || at != "" {
		t.Errorf("%q, %v", at, err)
	}
	if err := r.Push(ctx, "origin", "main", second, first); err != nil {
		t.Fatal(err)
	}
	if got := remote.git("rev-parse", "main"); got != second {
		t.Errorf("the remote is at %s", got)
	}
	if err := r.Push(ctx, "origin", "new", second, ""); err != nil {
		t.Fatal(err)
	}
	if got := remote.git("rev-parse", "new"); got != second {
		t.Errorf("the remote's new branch is at %s", got)
	}
	if remotes, err := r.Remotes(ctx); err != nil || !reflect.DeepEqual(remotes, []Remote{{"origin", remote.dir}}) {
		t.Errorf("%v, %v", remotes, err)
	}
}

func TestPushRefused(t *testing.T) {
	hook := func(c checkout, path, script string) {
		c.write(path, "#!/bin/sh\n"+script+"\n")
		if err := os.Chmod(filepath.Join(c.dir, path), 0o755); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name    string
		prepare func(remote, c checkout) (commit, expected string)
		is      error
		want    string
	}{
		{"moved", func(_, c checkout) (string, string) {
			base, expected := c.git("rev-parse", "HEAD"), c.commit("seen")
			c.git("reset", "-q", "--hard", base)
			c.commit("theirs")
			c.git("push", "-q", "origin", "main")
			c.git("reset", "-q", "--hard", expected)
			return c.commit("ours"), expected
		}, ErrBranchMoved, "stale info"},
		{"exists already", func(_, c checkout) (string, string) { return c.commit("ours"), "" }, ErrBranchMoved, ""},
		{"would drop commits", func(_, c checkout) (string, string) {
			expected := c.commit("seen")
			c.git("push", "-q", "origin", "main")
			c.git("reset", "-q", "--hard", "HEAD~")
			return c.commit("ours"), expected
		}, ErrBranchMoved, "is not in the history of"},
		{"moved while we push", func(remote, c checkout) (string, string) {
			hook(remote, "hooks/update", `git update-ref refs/heads/main "$(git -c user.name=a -c user.email=a@b.c commit-tree -p main -m meanwhile 'main^{tree}')"`)
			return c.commit("ours"), c.git("rev-parse", "HEAD~")
		}, ErrBranchMoved, ""},
		{"hook of the remote", func(remote, c checkout) (string, string) {
			hook(remote, "hooks/pre-receive", "echo 'main is protected'; exit 1")
			return c.commit("ours"), c.git("rev-parse", "HEAD~")
		}, ErrHookRefused, "remote: main is protected"},
		{"hook of the user", func(_, c checkout) (string, string) {
			hook(c, ".git/hooks/pre-push", "echo 'not on friday' >&2; exit 1")
			return c.git("commit-tree", "-m", "ours", "-p", "HEAD", "HEAD^{tree}"), c.git("rev-parse", "HEAD")
		}, ErrHookRefused, "not on friday"},
		{"no such remote", func(remote, c checkout) (string, string) {
			c.git("remote", "set-url", "origin", remote.dir+"/missing")
			return c.commit("ours"), c.git("rev-parse", "HEAD~")
		}, ErrPushFailed, "does not appear to be a git repository"},
		{"credentials", func(_, c checkout) (string, string) {
			script := filepath.Join(c.t.TempDir(), "ssh")
			hook(checkout{c.t, filepath.Dir(script)}, "ssh", "echo 'git@example.com: Permission denied (publickey).' >&2; exit 255")
			c.git("config", "core.sshCommand", script)
			c.git("remote", "set-url", "origin", "git@example.com:acme/web.git")
			return c.commit("ours"), c.git("rev-parse", "HEAD~")
		}, ErrAuthentication, "Permission denied (publickey)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			remote, c := remoteWithClone(t)
			commit, expected := test.prepare(remote, c)
			before := remote.git("for-each-ref")
			err := c.open().Push(context.Background(), "origin", "main", commit, expected)
			var push *PushError
			if !errors.Is(err, test.is) || !errors.As(err, &push) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
			if after := remote.git("for-each-ref"); after != before && test.name != "moved while we push" {
				t.Errorf("the remote went from %s to %s", before, after)
			}
		})
	}
}
