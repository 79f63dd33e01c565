//go:build unix

package layers

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// refused builds, and wants an error with the text.
func refused(t testing.TB, config Config, request Request, want string) {
	t.Helper()
	a, err := Build(context.Background(), config, request)
	if a != nil {
		_ = a.Close()
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v\nnot\n%s", err, want)
		return
	}
	if strings.Contains(err.Error(), os.TempDir()) {
		t.Errorf("%v: names a temporary path", err)
	}
}

// git runs git in the checkout.
func (c *checkout) git(args ...string) string {
	c.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = c.top
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("git %s: %v\n%s", args, err, out)
	}
	return string(out)
}

// tracked takes the list of files from git.
func (c *checkout) tracked() {
	c.t.Helper()
	repo, err := gitrepo.Open(context.Background(), c.top)
	if err != nil {
		c.t.Fatal(err)
	}
	listing, err := repo.ListFiles(context.Background(), gitrepo.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	c.files = nil
	for _, f := range listing.Files {
		c.files = append(c.files, File{Path: f.Path, Mode: f.Mode, Object: f.Object})
	}
	for _, name := range listing.Symlinks {
		object := strings.Fields(c.git("ls-files", "-s", "--", name))[1]
		c.files = append(c.files, File{Path: name, Mode: gitLink, Object: object})
	}
}

// from is a Config of one item of the repository.
func from(name string) Config { return Config{Files: []Copy{{From: name, To: "/srv"}}} }

// What git does not track never gets into an image, and the error says why.
func TestNotTracked(t *testing.T) {
	c := newCheckout(t)
	c.git("init", "-q")
	c.untracked(".gitignore", "*.log\nbuild/\n")
	c.untracked("app/pin.yaml", "")
	c.untracked("lib/a", "")
	c.git("add", ".")
	c.tracked()
	c.untracked("app/new", "")
	c.untracked("app/x.log", "")
	c.untracked("app/build/web", "")
	if err := os.Symlink("pin.yaml", filepath.Join(c.top, "app/link")); err != nil {
		t.Fatal(err)
	}
	request := c.request()
	refused(t, from("new"), request, "build.layers.files: from: new: app/new is there, but git does not track it; git add it")
	refused(t, from("link"), request, "build.layers.files: from: link: app/link is there, but git does not track it; git add it")
	refused(t, from("x.log"), request, "app/x.log is there, but git ignores it; let the command write it to $PIN_OUT and say out, or track it")
	refused(t, from("build"), request, "app/build is there, but git ignores it")
	refused(t, from("nothing"), request, "build.layers.files: from: nothing: there is no app/nothing in the repository")
	refused(t, from("../../x"), request, "build.layers.files: from: ../../x is outside the repository")
	refused(t, from("../.git"), request, "build.layers.files: from: ../.git: .git is there, but git does not track it")
	refused(t, from("pin.yaml/"), request, "build.layers.files: from: pin.yaml/ is a file, and no directory as the slash says")
	request.Files = request.Files[:2]
	refused(t, from("../lib"), request, "build.layers.files: from: ../lib: lib is none of the component's inputs; add it to inputs")
	request.Top, request.Files = t.TempDir(), nil
	refused(t, from("."), request, "build.layers.files: from: .: there is no app in the repository")
	if err := os.Mkdir(filepath.Join(request.Top, "app"), 0o755); err != nil {
		t.Fatal(err)
	}
	refused(t, from("."), request, "app is there, but git does not track it, or it is none of the component's inputs")
}

// A work tree that is not what git has: changed behind its back, or converted by
// this user's configuration alone.
func TestNotAsInGit(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		c := newCheckout(t)
		c.git("init", "-q", "--object-format="+format)
		c.write("app/static/a.txt", "one\ntwo\n", 0o100644)
		c.link("app/static/l", "a.txt")
		c.git("add", ".")
		c.tracked()
		first := build(t, from("static"), c.request()).Digest()

		c.untracked("app/static/a.txt", "one\r\ntwo\r\n") // as core.autocrlf checks it out
		want := "app/static/a.txt is not in the work tree as it is in git, so another checkout would make another image"
		refused(t, from("static"), c.request(), want)
		c.git("update-index", "--assume-unchanged", "app/static/a.txt")
		c.tracked()
		refused(t, from("static"), c.request(), want)
		c.untracked("app/static/a.txt", "one\ntwo\n")
		if again := build(t, from("static"), c.request()).Digest(); again != first {
			t.Errorf("%s and %s", first, again)
		}
		// The command may do what it likes, but not to what goes into the image.
		config := from("static")
		config.Command = []string{"sh", "-c", "echo more >>static/a.txt"}
		refused(t, config, c.request(), want)
		c.untracked("app/static/a.txt", "one\ntwo\n")

		link := filepath.Join(c.top, "app/static/l")
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
		refused(t, from("static"), c.request(), "app/static/l is a symbolic link in git, and can't be read as one here: no such file or directory")
		c.untracked("app/static/l", "a.txt") // as core.symlinks=false checks it out
		refused(t, from("static"), c.request(), "app/static/l is a symbolic link in git, and can't be read as one here: invalid argument")
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/etc/passwd", link); err != nil {
			t.Fatal(err)
		}
		refused(t, from("static"), c.request(), "app/static/l is not in the work tree as it is in git")
	}
}

// Clones of one commit by people whose gits are configured otherwise: the image is
// the same, or it is refused; it is never another.
func TestClones(t *testing.T) {
	c := newCheckout(t)
	c.git("init", "-q")
	c.write("app/static/text.txt", "a\nb\n", 0o100644)
	c.write("app/static/run", "#!/bin/sh\n", 0o100755)
	c.write("app/static/filtered", "x\n", 0o100644)
	c.link("app/static/link", "/etc/passwd")
	c.untracked(".gitattributes", "*.txt text=auto\nfiltered filter=mine\n")
	c.git("add", ".")
	c.git("commit", "-qm", "first")
	c.tracked()
	want := build(t, from("static"), c.request()).Digest()
	for _, x := range []struct{ setting, refused string }{
		{"core.autocrlf=input", ""},
		{"core.fileMode=false", ""},
		{"core.autocrlf=true", "app/static/filtered is not in the work tree as it is in git"},
		{"core.eol=crlf", "app/static/text.txt is not in the work tree as it is in git"},
		{"filter.mine.smudge=cat; cat /etc/passwd", "app/static/filtered is not in the work tree as it is in git"},
		{"core.symlinks=false", "app/static/link is a symbolic link in git, and can't be read as one here"},
	} {
		clone := newCheckout(t)
		clone.top = filepath.Join(clone.top, "clone")
		c.git("clone", "-q", "-c", x.setting, c.top, clone.top)
		if x.setting == "core.fileMode=false" {
			if err := os.Chmod(filepath.Join(clone.top, "app/static/run"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		clone.tracked()
		if x.refused != "" {
			refused(t, from("static"), clone.request(), x.refused)
		} else if got := build(t, from("static"), clone.request()).Digest(); got != want {
			t.Errorf("with %s it is %s, not %s", x.setting, got, want)
		}
	}
}

// A work tree that tries to have files of this machine taken for its own.
func TestHostileWorkTree(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	replace := func(c *checkout, name, target string) {
		full := filepath.Join(c.top, name)
		if err := os.RemoveAll(full); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, full); err != nil {
			t.Fatal(err)
		}
	}
	c := newCheckout(t)
	c.write("app/static/d/a", "a", 0o100644)
	c.untracked("hidden/a", "not tracked")
	for _, target := range []string{secret, "../../../../../../.." + secret, "../../hidden/a", "a", "/proc/self/environ"} {
		replace(c, "app/static/d/a", target)
		refused(t, from("static"), c.request(), "app/static/d/a can't be read: it is no regular file here")
	}
	replace(c, "app/static/d", filepath.Dir(secret))
	refused(t, from("static"), c.request(), "app/static/d is a directory in git, and something else here; run git status")
	replace(c, "app/static/d", "../../hidden")
	refused(t, from("static"), c.request(), "app/static/d is a directory in git, and something else here; run git status")
	replace(c, "app/static", "../hidden")
	refused(t, from("static"), c.request(), "app/static is a directory in git, and something else here; run git status")
	replace(c, "app", "hidden")
	refused(t, from("static"), Request{Top: c.top, Dir: "app", Files: c.files}, "app is a directory in git, and something else here")

	c = newCheckout(t)
	c.write("app/pipe", "", 0o100644)
	full := filepath.Join(c.top, "app/pipe")
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(full, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, from("pipe"), c.request(), "app/pipe can't be read: it is no regular file here")

	for _, odd := range []File{
		{Path: "app/../../x", Mode: gitFile},
		{Path: "app//x", Mode: gitFile},
		{Path: "app/x\x00", Mode: gitFile},
	} {
		request := c.request()
		request.Files = []File{odd}
		refused(t, from("."), request, "is no path of a work tree")
	}
	request := c.request()
	request.Files = []File{{Path: "app/pipe", Mode: 0o160000}}
	refused(t, from("."), request, "app/pipe has git's mode 160000, which is neither a file's nor a link's")
	c.link("app/link", secret)
	refused(t, from("link"), c.request(), "build.layers.files: from: link is a symbolic link; name what it points at")

	// A link that is tracked stays a link, wherever it points.
	c = newCheckout(t)
	c.link("app/static/passwd", "/etc/passwd")
	c.link("app/static/up", "../../../../../etc")
	c.link("app/static/loop", "loop")
	_, files := layerOf(t, build(t, from("static"), c.request()).Image(), 0)
	for name, target := range map[string]string{"srv/passwd": "/etc/passwd", "srv/up": "../../../../../etc", "srv/loop": "loop"} {
		if f := files[name]; f.Linkname != target || f.content != "" || f.Size != 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// What a command may leave behind, and what not.
func TestHostileOutput(t *testing.T) {
	c := newCheckout(t)
	c.untracked("app/.keep", "")
	out := func(script string, files ...Copy) Config {
		return Config{Command: []string{"sh", "-c", "cd \"$PIN_OUT\"\n" + script}, Files: files}
	}
	web := Copy{Out: "web", To: "/usr/bin/web"}
	holds := "build.layers.files: out: the build command ended well but has not written $PIN_OUT/web; it "
	for _, x := range []struct {
		config Config
		want   string
	}{
		{out("true", web), holds + "is empty"},
		{out("touch wbe", web), holds + "holds wbe"},
		{out("touch g f e d c b a 'x\ny'", web), holds + "holds a, b, c, d, e and 3 more"},
		{out("mkdir 'x\ny'", web), holds + `holds "x\ny"`},
		{out("true"), "build.layers.files: out: the build command ended well but has written nothing to $PIN_OUT"},
		{out("mkdir d; touch d/web", web), holds + "holds d"},
		{out("ln -s real web; touch real", web), "build.layers.files: out: $PIN_OUT/web is a symbolic link; name what it points at"},
		{out("touch web", Copy{Out: "web/", To: "/x"}), "build.layers.files: out: $PIN_OUT/web is a file, and no directory as the slash says"},
		{out("ln -s /etc d", Copy{Out: "d/passwd", To: "/x"}), "$PIN_OUT/d/passwd can't be read"},
		{out("ln -s ../../../../../etc d", Copy{Out: "d/passwd", To: "/x"}), "$PIN_OUT/d/passwd can't be read"},
		{out("ln -s loop loop", Copy{Out: "loop/x", To: "/x"}), "$PIN_OUT/loop/x can't be read"},
		{out("rmdir \"$PIN_OUT\""), "the build command has removed $PIN_OUT, which is for what it makes"},
		{out(`rmdir "$PIN_OUT"; ln -s /etc "$PIN_OUT"`), "the build command has put something else in the place of $PIN_OUT"},
		{out(`chmod 0 "$PIN_OUT"; [ $(id -u) = 0 ] && { rmdir "$PIN_OUT"; touch "$PIN_OUT"; }; true`), "$PIN_OUT"},
		{out("mkfifo p"), "$PIN_OUT/p is a pipe; only files, directories and symbolic links can be put into an image"},
		{out("ln -s ../x up"), "$PIN_OUT/up is a symbolic link to ../x, out of $PIN_OUT; make it absolute if it is for a place in the image"},
		{out("mkdir d; ln -s ../../x d/up"), "$PIN_OUT/d/up is a symbolic link to ../../x, out of $PIN_OUT"},
		{out(`touch a; ln -s "$PIN_OUT/a" l`), "$PIN_OUT/l is a symbolic link to a place on this machine, which no image has; make it relative"},
		{out(`ln -s "$PIN_CONTEXT/x" l`), "$PIN_OUT/l is a symbolic link to a place on this machine, which no image has; make it relative"},
		{out("touch .wh.passwd"), `"/.wh.passwd": a name that begins with .wh. removes a file`},
		{out("mkdir .wh..wh..opq"), `"/.wh..wh..opq": a name that begins with .wh. removes a file`},
	} {
		refused(t, x.config, c.request(), x.want)
	}
	// What no shell makes.
	config := out("true")
	config.Command = []string{os.Args[0], "-test.run=^TestHelper$"}
	t.Setenv("LAYERS_TEST", "socket")
	refused(t, config, c.request(), "$PIN_OUT/s is a socket; only files, directories and symbolic links can be put into an image")
	t.Setenv("LAYERS_TEST", "deep")
	refused(t, config, c.request(), "… is longer than 4095 bytes")
}

// TestHelper is a build command that leaves a socket, directories in directories
// without end, or many files.
func TestHelper(t *testing.T) {
	switch os.Getenv("LAYERS_TEST") {
	case "socket":
		t.Chdir(os.Getenv("PIN_OUT"))
		listener, err := net.Listen("unix", "s")
		if err != nil {
			t.Fatal(err)
		}
		listener.(*net.UnixListener).SetUnlinkOnClose(false)
		_ = listener.Close()
	case "many":
		t.Chdir(os.Getenv("PIN_OUT"))
		for i := range 100 {
			d := fmt.Sprintf("d%d", i)
			err := os.Mkdir(d, 0o755)
			if err == nil {
				err = os.WriteFile(d+"/f0", []byte(d), 0o644)
			}
			for j := 1; j < 1000 && err == nil; j++ {
				err = os.Link(d+"/f0", fmt.Sprintf("%s/f%d", d, j))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	case "deep":
		root, err := os.OpenRoot(os.Getenv("PIN_OUT"))
		for range 5000 {
			if err == nil {
				err = root.Mkdir("d", 0o755)
			}
			if err != nil {
				t.Fatal(err)
			}
			var below *os.Root
			below, err = root.OpenRoot("d")
			_ = root.Close()
			root = below
		}
	}
}

// Names that tar and its readers have had trouble with come out as they went in.
func TestOddNames(t *testing.T) {
	names := []string{
		"new\nline", "tab\t", "ünï", "u\u0308ni", "A", "a", "space ", " space", "-dash", "back\\slash", "quo\"te", "*", "$x", "日本語",
		"latin\xe9", strings.Repeat("l", 101), strings.Repeat("é", 127), strings.Repeat("p/", 60) + "end", strings.Repeat("long-directory/", 30) + "end",
		"a=b", "1 a=b", "...", "..x", "\x01", "wh.x", ".whx", "name\r",
	}
	c := newCheckout(t)
	for _, name := range names {
		c.write("app/static/"+name, "content of "+name, 0o100644)
	}
	script := `cp -R static/. "$PIN_OUT/"`
	image := build(t, Config{
		Command: []string{"sh", "-c", script}, Files: []Copy{{From: "static", To: "/from"}, {Out: ".", To: "/out"}},
	}, c.request()).Image()
	for i, prefix := range []string{"from/", "out/"} {
		_, files := layerOf(t, image, i)
		for _, name := range names {
			if f := files[prefix+name]; f.content != "content of "+name {
				t.Errorf("%q: %+v", prefix+name, f)
			}
		}
	}
}

// A hundred thousand files, which are few files with many names: hard links are
// copies in an image.
func TestManyFiles(t *testing.T) {
	c := newCheckout(t)
	c.untracked("app/.keep", "")
	t.Setenv("LAYERS_TEST", "many")
	image := build(t, Config{Command: []string{os.Args[0], "-test.run=^TestHelper$"}}, c.request()).Image()
	names, files := layerOf(t, image, 0)
	if len(names) != 100*1001 {
		t.Errorf("%d names", len(names))
	}
	if f := files["d50/f500"]; f.Typeflag != '0' || f.content != "d50" {
		t.Errorf("%+v", f)
	}
}

// A file that grows, shrinks or is replaced while it is read is not half in an
// image.
func TestChangingFile(t *testing.T) {
	c := newCheckout(t)
	c.write("app/a", strings.Repeat("x", 1<<20), 0o100644)
	full := filepath.Join(c.top, "app/a")
	root, err := os.OpenRoot(c.top)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	list, err := (&builder{}).place(Copy{From: "a", To: "/a"}, []entry{{kind: file, mode: 0o644, root: root, path: "app/a", shown: "app/a"}}, newTree())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() error{
		"grows":   func() error { return os.Truncate(full, 2<<20) },
		"shrinks": func() error { return os.Truncate(full, 1) },
	} {
		if err := os.WriteFile(full, make([]byte, 1<<20), 0o644); err != nil {
			t.Fatal(err)
		}
		ctx := &onSecondLook{Context: context.Background(), do: change}
		if _, err := newBlob(ctx, list); err == nil || err.Error() != "app/a changed while it was read; run this again when nothing writes to it" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// onSecondLook is a context that does something when it is asked for the second
// time: between the look at a file's size and the first read.
type onSecondLook struct {
	context.Context
	do    func() error
	looks int
}

func (c *onSecondLook) Err() error {
	if c.looks++; c.looks == 2 {
		return c.do()
	}
	return nil
}
