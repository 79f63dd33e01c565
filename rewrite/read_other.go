//go:build !unix

package rewrite

import (
	"io/fs"
	"os"
	"path/filepath"
)

// errGone is a file that is not there any more.
var errGone = fs.ErrNotExist

// root is the work tree.
type root struct{ top string }

func openRoot(top string) (root, error) { return root{top}, nil }

func (root) close() {}

// readInto reads a file whole.
func (r root) readInto(name string, _ *[]byte) ([]byte, error) {
	return os.ReadFile(filepath.Join(r.top, filepath.FromSlash(name)))
}
