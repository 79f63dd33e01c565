package render

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir is a checkout in a directory of this machine. No access through it
// leaves the directory, whatever symbolic links the directory holds.
type Dir struct {
	root *os.Root
	// path is absolute, because a child process has its own working directory.
	path string
}

var (
	_ fs.ReadFileFS = (*Dir)(nil)
	_ fs.ReadDirFS  = (*Dir)(nil)
	_ fs.StatFS     = (*Dir)(nil)
	_ fs.ReadLinkFS = (*Dir)(nil)
)

// OpenDir opens the checkout in directory path. The caller closes it.
func OpenDir(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening the checkout %s: %w", path, err)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("opening the checkout: %w", err)
	}
	return &Dir{root: root, path: abs}, nil
}

// Close releases the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Open implements fs.FS.
func (d *Dir) Open(name string) (fs.File, error) { return d.fs().Open(name) }

// ReadFile implements fs.ReadFileFS.
func (d *Dir) ReadFile(name string) ([]byte, error) { return fs.ReadFile(d.fs(), name) }

// ReadDir implements fs.ReadDirFS.
func (d *Dir) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(d.fs(), name) }

// Stat implements fs.StatFS.
func (d *Dir) Stat(name string) (fs.FileInfo, error) { return fs.Stat(d.fs(), name) }

// Lstat implements fs.ReadLinkFS.
func (d *Dir) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(d.fs(), name) }

// ReadLink implements fs.ReadLinkFS.
func (d *Dir) ReadLink(name string) (string, error) { return fs.ReadLink(d.fs(), name) }

func (d *Dir) fs() fs.FS { return d.root.FS() }
