package gate

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pin-cmp/pin-cmp/render"
)

// Place is a directory of this machine as part of a checkout.
type Place struct {
	// Root is the checkout's root on this machine, absolute.
	Root string
	// Path is the directory in the checkout, slash-separated.
	Path string
}

// Find returns the place of a directory in the repository that holds it: root
// if it is given, else the closest directory above with a .git, else the
// working directory if it is above, else the directory itself.
func Find(dir, root string) (Place, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return Place{}, fmt.Errorf("%s: %w", dir, err)
	}
	// The checkout ends where the links in its own path lead, or a path
	// relative to it would not.
	if absolute, err = filepath.EvalSymlinks(absolute); err != nil {
		return Place{}, fmt.Errorf("%s: no such directory", dir)
	}
	if info, err := os.Stat(absolute); err != nil || !info.IsDir() {
		return Place{}, fmt.Errorf("%s is no directory", dir)
	}
	if root == "" {
		root = workTree(absolute)
	} else if root, err = filepath.Abs(root); err != nil {
		return Place{}, fmt.Errorf("%s: %w", root, err)
	} else if root, err = filepath.EvalSymlinks(root); err != nil {
		return Place{}, fmt.Errorf("%s: no such directory", root)
	}
	relative, err := filepath.Rel(root, absolute)
	if err != nil || !filepath.IsLocal(relative) {
		return Place{}, fmt.Errorf("%s is not inside %s", dir, root)
	}
	return Place{Root: root, Path: filepath.ToSlash(relative)}, nil
}

// workTree returns the git work tree around dir, else the working directory if
// dir is below it, else dir.
func workTree(dir string) string {
	for above := dir; ; above = filepath.Dir(above) {
		if _, err := os.Lstat(filepath.Join(above, ".git")); err == nil {
			return above
		}
		if above == filepath.Dir(above) {
			break
		}
	}
	if working, err := os.Getwd(); err == nil {
		if working, err = filepath.EvalSymlinks(working); err == nil {
			if relative, err := filepath.Rel(working, dir); err == nil && filepath.IsLocal(relative) {
				return working
			}
		}
	}
	return dir
}

// Open opens the checkout.
func (p Place) Open() (*render.Dir, error) { return render.OpenDir(p.Root) }
