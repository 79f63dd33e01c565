package render

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// kustomizeRoot is where kustomize sees the checkout. It is a directory, not
// "/", so that a path with one ".." too many is seen to leave the checkout
// instead of being clipped to it.
const kustomizeRoot = "/checkout"

// kustomizeFS is the file system that kustomize is given: the checkout below
// kustomizeRoot, and what has been written over it. The checkout itself is
// never changed. Relative paths are relative to the application's directory.
type kustomizeFS struct {
	checkout *checkout
	cwd      string
	// written holds what `kustomize edit` wrote, by path in the checkout.
	written map[string][]byte
	// fault is the first error of our own. kustomize tries a path as this, then
	// as that, and loses the reason on the way.
	fault error
}

var _ filesys.FileSystem = (*kustomizeFS)(nil)

// name is the path in the checkout of one of kustomize's.
func (f *kustomizeFS) name(p string) (string, error) {
	if !filepath.IsAbs(p) {
		p = path.Join(kustomizeRoot, f.cwd, p)
	}
	p = path.Clean(p)
	if p == kustomizeRoot {
		return ".", nil
	}
	name, ok := strings.CutPrefix(p, kustomizeRoot+"/")
	if !ok {
		return "", &Error{
			Message: "the path " + p + " is outside the checkout",
			Fix:     "an application can use files of its repository only", Err: ErrOutside,
		}
	}
	return name, nil
}

func (f *kustomizeFS) resolve(p string) (string, fs.FileInfo, error) {
	name, err := f.name(p)
	if err != nil {
		// kustomize asks for paths that need not be there; only reading is a
		// fault.
		return "", nil, err
	}
	return f.checkout.resolve(name)
}

func (f *kustomizeFS) noteFault(err error) error {
	var e *Error
	if f.fault == nil && errors.As(err, &e) {
		f.fault = e
	}
	return err
}

// ReadFile implements filesys.FileSystem.
func (f *kustomizeFS) ReadFile(p string) ([]byte, error) {
	actual, _, err := f.resolve(p)
	if err != nil {
		return nil, f.noteFault(err)
	}
	if data, ok := f.written[actual]; ok {
		return bytes.Clone(data), nil
	}
	data, err := f.checkout.readFile(actual)
	if err == nil {
		err = checkBombs(actual, data)
	}
	if err != nil {
		return nil, f.noteFault(err)
	}
	return data, nil
}

// WriteFile implements filesys.FileSystem. Like a disk's, it writes through a
// symbolic link.
func (f *kustomizeFS) WriteFile(p string, data []byte) error {
	actual, info, err := f.resolve(p)
	if err != nil {
		return f.noteFault(err)
	}
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "write", Path: actual, Err: fs.ErrInvalid}
	}
	f.written[actual] = bytes.Clone(data)
	return nil
}

// CleanedAbs implements filesys.FileSystem.
func (f *kustomizeFS) CleanedAbs(p string) (filesys.ConfirmedDir, string, error) {
	actual, info, err := f.resolve(p)
	if err != nil {
		return "", "", f.noteFault(err)
	}
	abs := path.Join(kustomizeRoot, actual)
	if info.IsDir() {
		return filesys.ConfirmedDir(abs), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(abs)), path.Base(abs), nil
}

// Exists implements filesys.FileSystem.
func (f *kustomizeFS) Exists(p string) bool {
	_, _, err := f.resolve(p)
	return err == nil
}

// IsDir implements filesys.FileSystem.
func (f *kustomizeFS) IsDir(p string) bool {
	_, info, err := f.resolve(p)
	return err == nil && info.IsDir()
}

// ReadDir implements filesys.FileSystem.
func (f *kustomizeFS) ReadDir(p string) ([]string, error) {
	actual, _, err := f.resolve(p)
	if err != nil {
		return nil, f.noteFault(err)
	}
	entries, err := f.checkout.readDir(actual)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, nil
}

// Glob implements filesys.FileSystem as filepath.Glob does, hidden files left
// out unless the pattern names them.
func (f *kustomizeFS) Glob(pattern string) ([]string, error) {
	matches, err := f.glob(pattern)
	if err != nil || filesys.IsHiddenFilePath(pattern) {
		return matches, err
	}
	return filesys.RemoveHiddenFiles(matches), nil
}

func (f *kustomizeFS) glob(pattern string) ([]string, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, err
	}
	if !strings.ContainsAny(pattern, `*?[\`) {
		if !f.Exists(pattern) {
			return nil, nil
		}
		return []string{pattern}, nil
	}
	dir, file := path.Split(pattern)
	dirs := []string{strings.TrimSuffix(dir, "/")}
	if strings.ContainsAny(dir, `*?[\`) {
		var err error
		if dirs, err = f.glob(dirs[0]); err != nil {
			return nil, err
		}
	}
	var matches []string
	for _, d := range dirs {
		from := d
		if from == "" {
			from = "."
		}
		if !f.IsDir(from) {
			continue
		}
		names, err := f.ReadDir(from)
		if err != nil {
			continue
		}
		slices.Sort(names)
		for _, name := range names {
			if ok, _ := path.Match(file, name); ok {
				matches = append(matches, path.Join(d, name))
			}
		}
	}
	return matches, nil
}

// Walk implements filesys.FileSystem.
func (f *kustomizeFS) Walk(p string, fn filepath.WalkFunc) error {
	actual, info, err := f.resolve(p)
	if err != nil {
		return fn(p, nil, err)
	}
	err = f.walk(p, actual, info, fn)
	if errors.Is(err, filepath.SkipDir) || errors.Is(err, filepath.SkipAll) {
		return nil
	}
	return err
}

func (f *kustomizeFS) walk(p, actual string, info fs.FileInfo, fn filepath.WalkFunc) error {
	if err := fn(p, info, nil); err != nil || !info.IsDir() {
		return err
	}
	entries, err := f.checkout.readDir(actual)
	if err != nil {
		return fn(p, info, err)
	}
	for _, entry := range entries {
		child, err := entry.Info()
		if err != nil {
			return err
		}
		err = f.walk(path.Join(p, entry.Name()), path.Join(actual, entry.Name()), child, fn)
		if err != nil && (!child.IsDir() || !errors.Is(err, filepath.SkipDir)) {
			return err
		}
	}
	return nil
}

// Open implements filesys.FileSystem.
func (f *kustomizeFS) Open(p string) (filesys.File, error) {
	data, err := f.ReadFile(p)
	if err != nil {
		return nil, err
	}
	_, info, err := f.resolve(p)
	if err != nil {
		return nil, err
	}
	return &readOnlyFile{bytes.NewReader(data), info}, nil
}

// What follows is never part of a build without plugins and remote bases.

// Create implements filesys.FileSystem.
func (f *kustomizeFS) Create(p string) (filesys.File, error) { return nil, readOnly("create", p) }

// Mkdir implements filesys.FileSystem.
func (f *kustomizeFS) Mkdir(p string) error { return readOnly("mkdir", p) }

// MkdirAll implements filesys.FileSystem.
func (f *kustomizeFS) MkdirAll(p string) error { return readOnly("mkdir", p) }

// RemoveAll implements filesys.FileSystem.
func (f *kustomizeFS) RemoveAll(p string) error { return readOnly("remove", p) }

func readOnly(op, p string) error {
	return &fs.PathError{Op: op, Path: p, Err: errors.New("the checkout is read-only")}
}

type readOnlyFile struct {
	io.Reader
	info os.FileInfo
}

func (f *readOnlyFile) Stat() (os.FileInfo, error) { return f.info, nil }
func (f *readOnlyFile) Close() error               { return nil }
func (f *readOnlyFile) Write([]byte) (int, error)  { return 0, readOnly("write", f.info.Name()) }
