package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxFile bounds every file that a render reads, in bytes. It is Argo CD's
// bound for all manifests of a directory together (10M); the largest manifest
// in the public repositories we looked at is a CRD bundle of 5 MB.
const maxFile = 10 << 20

// checkout is one render's view of the files: it follows symbolic links,
// refuses what is too large, and remembers what was read.
type checkout struct {
	fsys  fs.FS
	root  string
	stats map[string]statResult
	reads map[string]bool
}

type statResult struct {
	info fs.FileInfo
	err  error
}

func newCheckout(fsys fs.FS) *checkout {
	c := &checkout{fsys: fsys, stats: map[string]statResult{}, reads: map[string]bool{}}
	if d, ok := fsys.(*Dir); ok {
		c.root = d.path
	}
	return c
}

func (c *checkout) lstat(name string) (fs.FileInfo, error) {
	if r, ok := c.stats[name]; ok {
		return r.info, r.err
	}
	info, err := fs.Lstat(c.fsys, name)
	c.stats[name] = statResult{info, err}
	return info, err
}

func (c *checkout) readLink(name string) (string, error) { return fs.ReadLink(c.fsys, name) }

// resolve returns the path of name without symbolic links, and what is there.
func (c *checkout) resolve(name string) (string, fs.FileInfo, error) {
	if name = path.Clean(name); !fs.ValidPath(name) {
		return "", nil, linkLeaves(name, "", "")
	}
	actual, info, err := resolveLinks(c.lstat, c.readLink, c.root, name)
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			err = &fs.PathError{Op: "open", Path: name, Err: cause(err)}
		}
		return "", nil, err
	}
	return actual, info, nil
}

// cause is the innermost error: the ones around it may hold paths of the host.
func cause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// readFile returns the content of a regular file.
func (c *checkout) readFile(name string) ([]byte, error) {
	actual, info, err := c.resolve(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	}
	if !info.Mode().IsRegular() {
		return nil, &Error{File: name, Message: "is neither a file nor a directory", Fix: "replace it by a file"}
	}
	if info.Size() > maxFile {
		return nil, tooLarge(name)
	}
	f, err := c.fsys.Open(actual)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: cause(err)}
	}
	defer func() { _ = f.Close() }()
	data := bytes.NewBuffer(make([]byte, 0, info.Size()+bytes.MinRead))
	if _, err := data.ReadFrom(io.LimitReader(f, maxFile+1)); err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: cause(err)}
	}
	if data.Len() > maxFile {
		return nil, tooLarge(name)
	}
	c.reads[actual] = true
	return data.Bytes(), nil
}

func tooLarge(name string) error {
	return &Error{
		File:    name,
		Message: fmt.Sprintf("the file is larger than %d MiB, more than any manifest is", maxFile>>20),
		Fix:     "split it, or take it out of the application",
		Err:     ErrLimit,
	}
}

// appDir returns the application's directory without symbolic links, and
// whether the directory itself is one.
func (c *checkout) appDir(name string) (dir string, link bool, err error) {
	clean := path.Clean(name)
	if name == "" || strings.HasPrefix(name, "/") || !fs.ValidPath(clean) {
		return "", false, &Error{
			Message: fmt.Sprintf("the application's path %q is not inside the checkout", name),
			Fix:     `use a path relative to the repository's root, "." for the root itself`, Err: ErrOutside,
		}
	}
	actual, info, err := c.resolve(clean)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, &Error{
			File: clean, Message: "the application's directory does not exist",
			Fix: "check the application's path against the repository at this revision",
		}
	}
	if err != nil {
		return "", false, err
	}
	if !info.IsDir() {
		return "", false, &Error{
			File: clean, Message: "the application's path is a file",
			Fix: "use the directory that holds it",
		}
	}
	if clean != "." {
		parent, _, err := c.resolve(path.Dir(clean))
		if err != nil {
			return "", false, err
		}
		last, err := c.lstat(path.Join(parent, path.Base(clean)))
		if err != nil {
			return "", false, &fs.PathError{Op: "open", Path: clean, Err: cause(err)}
		}
		link = last.Mode().Type() == fs.ModeSymlink
	}
	return actual, link, nil
}

// readDir lists a directory that holds no symbolic link in its path, sorted.
func (c *checkout) readDir(actual string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(c.fsys, actual)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: actual, Err: cause(err)}
	}
	return entries, nil
}

// files are the paths that were read, sorted.
func (c *checkout) files() []string {
	names := make([]string, 0, len(c.reads))
	for name := range c.reads {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
