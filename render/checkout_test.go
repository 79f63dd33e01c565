package render

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func TestMemory(t *testing.T) {
	m := checkoutOf(t, map[string]string{
		"a.txt": "a", "dir/b.txt": "b", "dir/deep/c.txt": "c", "link.txt": "-> dir/b.txt", "dir/up.txt": "-> ../a.txt", "d": "-> dir/deep",
	})
	if err := fstest.TestFS(m, "a.txt", "dir/b.txt", "dir/deep/c.txt"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"link.txt": "b", "dir/up.txt": "a", "d/c.txt": "c"} {
		if got, err := m.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if target, err := m.ReadLink("link.txt"); err != nil || target != "dir/b.txt" {
		t.Errorf("the link is %q, %v", target, err)
	}
	if info, err := m.Lstat("d"); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("d is %v, %v", info, err)
	}
}

func TestMemoryRefuses(t *testing.T) {
	for _, files := range []map[string]MemoryFile{
		{"../a": {}},
		{"/a": {}},
		{"a//b": {}},
		{"a/./b": {}},
		{"a": {}, "a/b": {}},
		{"a": {Mode: fs.ModeSymlink, Link: "b"}, "a/b": {}},
	} {
		if _, err := NewMemory(files); err == nil {
			t.Errorf("no error for %v", files)
		}
	}
	m := checkoutOf(t, map[string]string{"out": "-> ../x", "abs": "-> /etc/passwd", "loop": "-> loop", "d/out": "-> ../../x", "sly": "-> d/../../x", "d/x": "x"})
	for _, name := range []string{"out", "abs", "loop", "d/out", "sly", "out/x"} {
		if _, err := m.ReadFile(name); !errors.Is(err, ErrOutside) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := m.ReadFile("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
}

func TestDirStaysInside(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := directoryOf(t, map[string]string{"a.yaml": configMap("a"), "out": "-> " + outside, "up": "-> ../../../../../../../.." + outside})
	for _, name := range []string{"out", "up", "../" + filepath.Base(d.path) + "/a.yaml"} {
		if data, err := d.ReadFile(name); err == nil {
			t.Errorf("%s was read: %s", name, data)
		}
		if _, err := newCheckout(d).readFile(name); !errors.Is(err, ErrOutside) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAbsoluteLinkInside: the plugin server of Argo CD up to 3.1 unpacks the
// links of a repository as absolute ones.
func TestAbsoluteLinkInside(t *testing.T) {
	d := directoryOf(t, map[string]string{"shared/x.yaml": configMap("x"), "app/a.yaml": configMap("a")})
	for link, target := range map[string]string{"app/b.yaml": "shared/x.yaml", "app/base": "shared"} {
		if err := os.Symlink(filepath.Join(d.path, target), filepath.Join(d.path, link)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := rendered(t, d, "app", Options{})
	if want := configMap("a") + "---\n" + configMap("x"); err != nil || got != want {
		t.Errorf("got\n%s\n%v", got, err)
	}
}

func TestApplicationPath(t *testing.T) {
	files := map[string]string{"app/a.yaml": configMap("a"), "link": "-> app", "deep": "-> .", "k/kustomization.yaml": "resources: [a.yaml]\n", "k/a.yaml": configMap("k"), "klink": "-> k"}
	for _, test := range []struct{ path, want, err string }{
		{path: "app", want: configMap("a")},
		{path: "app/", want: configMap("a")},
		{path: "./app", want: configMap("a")},
		{path: "deep/app", want: configMap("a")},
		{path: "", err: `the application's path "" is not inside the checkout`},
		{path: "/app", err: `the application's path "/app" is not inside the checkout`},
		{path: "../app", err: `the application's path "../app" is not inside the checkout`},
		{path: "none", err: "none: the application's directory does not exist"},
		{path: "app/a.yaml", err: "app/a.yaml: the application's path is a file"},
		{path: "link", err: "reached through a symbolic link, and Argo CD reads no manifests through one"},
		{path: "klink", err: "reached through a symbolic link"},
	} {
		for _, checkout := range []fs.FS{checkoutOf(t, files), directoryOf(t, files)} {
			got, err := rendered(t, checkout, test.path, Options{})
			if test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) || test.err == "" && (err != nil || got != test.want) {
				t.Errorf("%q: got %q, %v; want %q%s", test.path, got, err, test.want, test.err)
			}
		}
	}
	// A block of options forces the tool, and kustomize follows the link.
	got, err := rendered(t, checkoutOf(t, files), "klink", Options{Kustomize: &KustomizeOptions{}})
	if err != nil || got != configMap("k") {
		t.Errorf("got %q, %v", got, err)
	}
}
