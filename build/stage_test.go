//go:build unix

package build

import (
	"context"
	"encoding/hex"
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
	"time"
)

var when = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// requestFor returns a request for a component in the directory app, whose pin.yaml
// has a section build, and whose work tree holds files. All of them below app are
// its inputs. A content that starts with "-> " is a link, one with "#!" executable.
func requestFor(t *testing.T, section string, files map[string]string) Request {
	t.Helper()
	r := Request{Top: t.TempDir(), Tag: "pin-0123", Time: when, Revision: strings.Repeat("a", 40)}
	text := "apiVersion: pin-cmp/v1\nkind: Component\nimage: ghcr.io/acme/web\nsource: https://example.com/acme/repo\nbuild: {" + section + "}\n"
	components, err := ParseComponents("app/pin.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r.Component = components[0]
	if err := os.MkdirAll(r.dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range sortedKeys(files) {
		r.add(t, name, files[name])
	}
	return r
}

// add writes a file and makes it an input.
func (r *Request) add(t *testing.T, name, content string) {
	t.Helper()
	full := filepath.Join(r.Top, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
		t.Fatal(err)
	}
	input := Input{Path: name, Mode: "100644"}
	link, isLink := strings.CutPrefix(content, "-> ")
	if isLink {
		input.Mode, content = "120000", link
		if err := os.Symlink(link, full); err != nil {
			t.Fatal(err)
		}
	} else if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(content, "#!") {
		input.Mode = "100755"
	}
	input.Object = blob(content)
	if r.Component.Holds(name) {
		r.Inputs = append(r.Inputs, input)
	}
}

func blob(content string) string {
	h := gitHash(40, int64(len(content)))
	h.Write([]byte(content))
	return hex.EncodeToString(h.Sum(nil))
}

// listing describes all that is in a directory.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s %q %d", info.Mode(), relative, info.ModTime().Unix()-when.Unix())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", content)
		} else if info.Mode().Type() == fs.ModeSymlink {
			text, err := os.Readlink(name)
			if err != nil {
				return err
			}
			line += " -> " + text
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// The context is what counts in the key, with git's modes and one time, whatever
// stands beside it and whoever has it checked out.
func TestStage(t *testing.T) {
	for _, umask := range []int{0o022, 0o077, 0} {
		r := requestFor(t, "docker: {}", map[string]string{
			"app/a.txt": "a", "app/sub/run.sh": "#!/bin/sh\n", "app/link": "-> sub/run.sh", "app/out": "-> /etc/passwd", "app/up": "-> ../../..",
			"app/deep/er/b": "", "app/new\nline \x01": "odd", "app/-rf": "dash", "other/c.txt": "c",
		})
		if err := os.WriteFile(filepath.Join(r.dir(), "ignored.log"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		into := t.TempDir()
		old := syscall.Umask(umask)
		err := r.stage(t.Context(), "app", into)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		want := `drwxr-xr-x "." 0
-rw-r--r-- "-rf" 0 "dash"
-rw-r--r-- "a.txt" 0 "a"
drwxr-xr-x "deep" 0
drwxr-xr-x "deep/er" 0
-rw-r--r-- "deep/er/b" 0 ""
Lrwxrwxrwx "link" 0 -> sub/run.sh
-rw-r--r-- "new\nline \x01" 0 "odd"
Lrwxrwxrwx "out" 0 -> /etc/passwd
drwxr-xr-x "sub" 0
-rwxr-xr-x "sub/run.sh" 0 "#!/bin/sh\n"
Lrwxrwxrwx "up" 0 -> ../../..`
		if got := listing(t, into); got != want {
			t.Errorf("umask %o:\n%s", umask, got)
		}
	}
}

// What the work tree has in place of what the key was made of is an error that
// names it, and never gets in.
func TestStageMistakes(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, r *Request)
		want   string
	}{
		{"changed", func(t *testing.T, r *Request) { rewriteFile(t, r, "app/a.txt", "b") }, `"app/a.txt", an input of web, is not what its last commit has; commit it, or put it back`},
		{"longer", func(t *testing.T, r *Request) { rewriteFile(t, r, "app/a.txt", "aa") }, "is not what its last commit has"},
		{"gone", func(t *testing.T, r *Request) { remove(t, r, "app/a.txt") }, `"app/a.txt", an input of web, is not in the work tree; run "git restore" on it`},
		{"a link in its place", func(t *testing.T, r *Request) {
			remove(t, r, "app/a.txt")
			symlink(t, r, "/etc/passwd", "app/a.txt")
		}, `"app/a.txt", an input of web, is no regular file in the work tree`},
		{"a directory in its place", func(t *testing.T, r *Request) {
			remove(t, r, "app/a.txt")
			if err := os.Mkdir(filepath.Join(r.Top, "app/a.txt"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is no regular file"},
		{"a pipe in its place", func(t *testing.T, r *Request) {
			remove(t, r, "app/a.txt")
			if err := syscall.Mkfifo(filepath.Join(r.Top, "app/a.txt"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is no regular file"},
		{"another link", func(t *testing.T, r *Request) {
			remove(t, r, "app/link")
			symlink(t, r, "/etc/passwd", "app/link")
		}, `"app/link", an input of web, is not what its last commit has`},
		{"a file for a link", func(t *testing.T, r *Request) {
			remove(t, r, "app/link")
			rewriteFile(t, r, "app/link", "a.txt")
		}, `"app/link", an input of web, is a link in git, and none in the work tree`},
		{"a directory that leads outside", func(t *testing.T, r *Request) {
			outside := t.TempDir()
			if err := os.WriteFile(filepath.Join(outside, "b"), []byte("b"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(r.Top, "app/dir")); err != nil {
				t.Fatal(err)
			}
			symlink(t, r, outside, "app/dir")
		}, `read "app/dir/b", an input of web`},
		{"a tree that nobody can check out", func(_ *testing.T, r *Request) {
			r.Inputs = append(r.Inputs, Input{Path: "app/link/x", Mode: "100644", Object: blob("x")})
		}, `"app/link`}, // which of the two is first is chance
		{"a file of Git LFS without its content", func(_ *testing.T, r *Request) { r.Inputs[0].LFS = true }, `"app/a.txt", an input of web, is a pointer of Git LFS; run "git lfs pull"`},
		{"a mode", func(_ *testing.T, r *Request) { r.Inputs[0].Mode = "040000" }, "has the mode 040000, which is neither a file nor a link"},
		{"a submodule that is not there", func(_ *testing.T, r *Request) {
			r.Inputs = append(r.Inputs, Input{Path: "app/sub", Mode: "160000", Object: strings.Repeat("1", 40)})
		}, `the submodule app/sub is not checked out at the commit that is recorded; run "git submodule update --init app/sub"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := requestFor(t, "docker: {}", map[string]string{"app/a.txt": "a", "app/link": "-> a.txt", "app/dir/b": "b"})
			gitInit(t, r.Top) // git is asked whether a filter explains a difference
			c.change(t, &r)
			into := t.TempDir()
			err := r.stage(t.Context(), "app", into)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "app/pin.yaml:1: ") {
				t.Errorf("%v\nwant %s", err, c.want)
			}
			if strings.Contains(fmt.Sprint(err), r.Top) {
				t.Errorf("the error names a temporary path: %v", err)
			}
		})
	}
}

func rewriteFile(t *testing.T, r *Request, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.Top, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, r *Request, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(r.Top, name)); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, r *Request, text, name string) {
	t.Helper()
	if err := os.Symlink(text, filepath.Join(r.Top, name)); err != nil {
		t.Fatal(err)
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func gitInit(t *testing.T, dir string) { t.Helper(); git(t, dir, "init", "-q", "-b", "main") }

// A file that a filter or an end-of-line conversion changed on its way out of git
// is the one that git has.
func TestStageFilters(t *testing.T) {
	r := requestFor(t, "docker: {}", map[string]string{"app/crlf.txt": "a\n", "app/.gitattributes": "crlf.txt text eol=crlf\n*.rot filter=rot\n", "app/x.rot": "nop\n"})
	gitInit(t, r.Top)
	git(t, r.Top, "config", "filter.rot.clean", "tr a-z n-za-m")
	rewriteFile(t, &r, "app/crlf.txt", "a\r\n")
	rewriteFile(t, &r, "app/x.rot", "abc\n")
	into := t.TempDir()
	if err := r.stage(t.Context(), "app", into); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, into); !strings.Contains(got, `"crlf.txt" 0 "a\r\n"`) || !strings.Contains(got, `"x.rot" 0 "abc\n"`) {
		t.Error(got)
	}
	rewriteFile(t, &r, "app/x.rot", "abd\n")
	if err := r.stage(t.Context(), "app", t.TempDir()); err == nil || !strings.Contains(err.Error(), `"app/x.rot", an input of web, is not what its last commit has`) {
		t.Error(err)
	}
}

// A submodule's files come along, those of the recorded commit, and of submodules
// in it.
func TestStageSubmodule(t *testing.T) {
	inner, lib := t.TempDir(), t.TempDir()
	for dir, name := range map[string]string{inner: "i.txt", lib: "l.txt"} {
		gitInit(t, dir)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		git(t, dir, "add", "-A")
		git(t, dir, "commit", "-q", "-m", "one")
	}
	git(t, lib, "submodule", "add", "-q", inner, "inner")
	git(t, lib, "commit", "-q", "-m", "two")
	r := requestFor(t, "docker: {}", map[string]string{"app/a.txt": "a"})
	gitInit(t, r.Top)
	git(t, r.Top, "submodule", "add", "-q", lib, "app/lib")
	git(t, r.Top, "submodule", "update", "-q", "--init", "--recursive")
	r.Inputs = append(r.Inputs, Input{Path: "app/lib", Mode: "160000", Object: git(t, lib, "rev-parse", "HEAD")})
	sub := filepath.Join(r.Top, "app/lib")
	if err := os.WriteFile(filepath.Join(sub, "untracked"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for under, want := range map[string][]string{
		"app":           {"a.txt", "lib", "lib/.gitmodules", "lib/inner", "lib/inner/i.txt", "lib/l.txt"},
		"app/lib/inner": {"i.txt"},
	} {
		into := t.TempDir()
		if err := r.stage(t.Context(), under, into); err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := filepath.WalkDir(into, func(name string, _ fs.DirEntry, err error) error {
			got = append(got, strings.TrimPrefix(strings.TrimPrefix(name, into), "/"))
			return err
		}); err != nil || !slices.Equal(got[1:], want) {
			t.Errorf("%s: %q, %v", under, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(sub, "l.txt"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.stage(t.Context(), "app", t.TempDir()); err == nil || !strings.Contains(err.Error(), `"app/lib/l.txt", an input of web, is not what its last commit has`) {
		t.Error(err)
	}
	r.Inputs[len(r.Inputs)-1].Object = strings.Repeat("1", 40)
	if err := r.stage(t.Context(), "app", t.TempDir()); err == nil || !strings.Contains(err.Error(), "the submodule app/lib is not checked out at the commit that is recorded") {
		t.Error(err)
	}
}

// The end of the context is the end of copying.
func TestStageIsStopped(t *testing.T) {
	r := requestFor(t, "docker: {}", map[string]string{"app/a.txt": "a"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.stage(ctx, "app", t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// BenchmarkStage copies 20,000 files in 400 directories.
func BenchmarkStage(b *testing.B) {
	r := Request{Top: b.TempDir(), Time: when}
	for i := range 20_000 {
		name := fmt.Sprintf("app/d%d/f%d", i%400, i)
		if i < 400 {
			if err := os.MkdirAll(filepath.Join(r.Top, filepath.Dir(name)), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		content := strings.Repeat(name, 64)
		if err := os.WriteFile(filepath.Join(r.Top, name), []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
		r.Inputs = append(r.Inputs, Input{Path: name, Mode: "100644", Object: blob(content)})
	}
	for b.Loop() {
		b.StopTimer()
		into := b.TempDir()
		b.StartTimer()
		if err := r.stage(b.Context(), "app", into); err != nil {
			b.Fatal(err)
		}
	}
}
