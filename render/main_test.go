package render

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	ChildMain()
	os.Exit(m.Run())
}

// checkoutOf is a checkout of files by path. A content that starts with "-> "
// is a symbolic link.
func checkoutOf(t testing.TB, files map[string]string) *Memory {
	t.Helper()
	entries := map[string]MemoryFile{}
	for name, content := range files {
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			entries[name] = MemoryFile{Mode: fs.ModeSymlink, Link: target}
			continue
		}
		entries[name] = MemoryFile{Mode: 0o644, Data: []byte(content)}
	}
	m, err := NewMemory(entries)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// directoryOf is the same checkout in a directory.
func directoryOf(t testing.TB, files map[string]string) *Dir {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	d, err := OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// rendered is the output of a render in process.
func rendered(t testing.TB, checkout fs.FS, path string, options Options) (string, error) {
	t.Helper()
	result, err := InProcess{}.Render(context.Background(), Application{Checkout: checkout, Path: path, Options: options})
	if err != nil {
		return "", err
	}
	return text(result), nil
}

func text(result *Result) string {
	var texts []string
	for _, m := range result.Manifests {
		texts = append(texts, string(m.YAML))
	}
	return strings.Join(texts, "---\n")
}

// names are the objects of a result as kind/name.
func names(result *Result) string {
	var all []string
	for _, m := range result.Manifests {
		kind, _ := m.Object["kind"].(string)
		metadata, _ := m.Object["metadata"].(map[string]any)
		name, _ := metadata["name"].(string)
		all = append(all, kind+"/"+name)
	}
	return strings.Join(all, " ")
}

func configMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n"
}
