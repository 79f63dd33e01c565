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
	"time"
)

// MemoryFile is one entry of a [Memory] checkout.
type MemoryFile struct {
	// Mode tells a file (0), a directory (fs.ModeDir) and a symbolic link
	// (fs.ModeSymlink) apart; the permission bits are kept.
	Mode fs.FileMode
	// Data is the content of a file.
	Data []byte
	// Link is the target of a symbolic link, as the link spells it.
	Link string
	// Size is the size of a file whose Data was left out because no render
	// would read a file of that size. Opening it is an error.
	Size int64
}

// Memory is a checkout held in memory.
type Memory struct {
	nodes map[string]*memoryNode
}

type memoryNode struct {
	name     string
	file     MemoryFile
	children []string // sorted names, of a directory
}

var (
	_ fs.ReadFileFS = (*Memory)(nil)
	_ fs.ReadDirFS  = (*Memory)(nil)
	_ fs.StatFS     = (*Memory)(nil)
	_ fs.ReadLinkFS = (*Memory)(nil)
)

// NewMemory makes a checkout of files by slash-separated path. Parent
// directories need no entry of their own. The files' Data is not copied.
func NewMemory(files map[string]MemoryFile) (*Memory, error) {
	m := &Memory{nodes: map[string]*memoryNode{
		".": {name: ".", file: MemoryFile{Mode: fs.ModeDir | 0o755}},
	}}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !fs.ValidPath(name) {
			return nil, fmt.Errorf("%q is not a path inside a checkout", name)
		}
		if name == "." {
			continue
		}
		if err := m.add(name, files[name]); err != nil {
			return nil, err
		}
	}
	for _, n := range m.nodes {
		slices.Sort(n.children)
	}
	return m, nil
}

func (m *Memory) add(name string, f MemoryFile) error {
	if old, ok := m.nodes[name]; ok {
		if old.file.Mode.IsDir() && f.Mode.IsDir() {
			old.file.Mode = f.Mode
			return nil
		}
		return fmt.Errorf("%s is both a directory and a file", name)
	}
	dir, base := path.Dir(name), path.Base(name)
	parent, ok := m.nodes[dir]
	if !ok {
		if err := m.add(dir, MemoryFile{Mode: fs.ModeDir | 0o755}); err != nil {
			return err
		}
		parent = m.nodes[dir]
	}
	if !parent.file.Mode.IsDir() {
		return fmt.Errorf("%s is both a directory and a file", dir)
	}
	parent.children = append(parent.children, base)
	m.nodes[name] = &memoryNode{name: base, file: f}
	return nil
}

// find follows the symbolic links of name, the last one only if follow.
func (m *Memory) find(op, name string, follow bool) (*memoryNode, string, error) {
	if !fs.ValidPath(name) {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	dir, base := name, ""
	if !follow && name != "." {
		dir, base = path.Dir(name), path.Base(name)
	}
	actual, info, err := resolveLinks(m.lstat, m.readLink, "", dir)
	if err != nil {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: err}
	}
	if base != "" {
		if !info.IsDir() {
			return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		actual = path.Join(actual, base)
	}
	n, ok := m.nodes[actual]
	if !ok {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return n, actual, nil
}

func (m *Memory) lstat(name string) (fs.FileInfo, error) {
	n, ok := m.nodes[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return memoryInfo{n}, nil
}

func (m *Memory) readLink(name string) (string, error) {
	n, ok := m.nodes[name]
	if !ok {
		return "", fs.ErrNotExist
	}
	return n.file.Link, nil
}

// Open implements fs.FS.
func (m *Memory) Open(name string) (fs.File, error) {
	n, actual, err := m.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if n.file.Mode.IsDir() {
		entries, err := m.ReadDir(actual)
		if err != nil {
			return nil, err
		}
		return &memoryDir{memoryInfo{n}, entries}, nil
	}
	if n.omitted() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("the content was left out")}
	}
	return &memoryOpen{memoryInfo{n}, bytes.NewReader(n.file.Data)}, nil
}

// ReadFile implements fs.ReadFileFS. The caller owns the result.
func (m *Memory) ReadFile(name string) ([]byte, error) {
	n, _, err := m.find("read", name, true)
	if err != nil {
		return nil, err
	}
	if !n.file.Mode.IsRegular() || n.omitted() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrInvalid}
	}
	return bytes.Clone(n.file.Data), nil
}

// ReadDir implements fs.ReadDirFS.
func (m *Memory) ReadDir(name string) ([]fs.DirEntry, error) {
	n, actual, err := m.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !n.file.Mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	entries := make([]fs.DirEntry, len(n.children))
	for i, child := range n.children {
		entries[i] = fs.FileInfoToDirEntry(memoryInfo{m.nodes[path.Join(actual, child)]})
	}
	return entries, nil
}

// Stat implements fs.StatFS.
func (m *Memory) Stat(name string) (fs.FileInfo, error) {
	n, _, err := m.find("stat", name, true)
	if err != nil {
		return nil, err
	}
	return memoryInfo{n}, nil
}

// Lstat implements fs.ReadLinkFS.
func (m *Memory) Lstat(name string) (fs.FileInfo, error) {
	n, _, err := m.find("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return memoryInfo{n}, nil
}

// ReadLink implements fs.ReadLinkFS.
func (m *Memory) ReadLink(name string) (string, error) {
	n, _, err := m.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	if n.file.Mode.Type() != fs.ModeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return n.file.Link, nil
}

func (n *memoryNode) omitted() bool { return n.file.Data == nil && n.file.Size > 0 }

type memoryInfo struct{ n *memoryNode }

func (i memoryInfo) Name() string       { return i.n.name }
func (i memoryInfo) Mode() fs.FileMode  { return i.n.file.Mode }
func (i memoryInfo) IsDir() bool        { return i.n.file.Mode.IsDir() }
func (i memoryInfo) ModTime() time.Time { return time.Time{} }
func (i memoryInfo) Sys() any           { return nil }
func (i memoryInfo) Size() int64 {
	switch {
	case i.n.omitted():
		return i.n.file.Size
	case i.n.file.Mode.Type() == fs.ModeSymlink:
		return int64(len(i.n.file.Link))
	}
	return int64(len(i.n.file.Data))
}

type memoryOpen struct {
	memoryInfo
	*bytes.Reader
}

func (f *memoryOpen) Stat() (fs.FileInfo, error) { return f.memoryInfo, nil }
func (f *memoryOpen) Size() int64                { return f.memoryInfo.Size() }
func (f *memoryOpen) Close() error               { return nil }

type memoryDir struct {
	memoryInfo
	rest []fs.DirEntry
}

func (d *memoryDir) Stat() (fs.FileInfo, error) { return d.memoryInfo, nil }
func (d *memoryDir) Close() error               { return nil }
func (d *memoryDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.Name(), Err: errors.New("is a directory")}
}

func (d *memoryDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		all := d.rest
		d.rest = nil
		return all, nil
	}
	if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	some := d.rest[:n]
	d.rest = d.rest[n:]
	return some, nil
}

// maxLinks bounds the symbolic links of one path, as Linux does (ELOOP).
const maxLinks = 40

// resolveLinks returns name without symbolic links, and what is there. Every
// step is relative to the checkout; a link that leaves it is an [*Error] that
// names the link. root is the checkout's absolute path on disk, or "": the
// plugin server of Argo CD up to 3.1 unpacks symbolic links as absolute paths
// into its own working directory, and those do not leave.
func resolveLinks(
	lstat func(string) (fs.FileInfo, error), readLink func(string) (string, error), root, name string,
) (string, fs.FileInfo, error) {
	rest := strings.Split(name, "/")
	actual, link, target := ".", "", ""
	info, err := lstat(actual)
	if err != nil {
		return "", nil, err
	}
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if actual == "." {
				return "", nil, linkLeaves(name, link, target)
			}
			actual = path.Dir(actual)
			if info, err = lstat(actual); err != nil {
				return "", nil, err
			}
			continue
		}
		if !info.IsDir() {
			return "", nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		next := path.Join(actual, part)
		if info, err = lstat(next); err != nil {
			return "", nil, err
		}
		if info.Mode().Type() != fs.ModeSymlink {
			actual = next
			continue
		}
		if links++; links > maxLinks {
			return "", nil, &Error{
				File: next, Message: "the symbolic link leads to itself, or through too many others",
				Fix: "point it at a file", Err: ErrOutside,
			}
		}
		if target, err = readLink(next); err != nil {
			return "", nil, err
		}
		link = next
		parent := actual
		if strings.HasPrefix(target, "/") {
			inside, ok := strings.CutPrefix(target, strings.TrimSuffix(root, "/")+"/")
			if root == "" || !ok {
				return "", nil, linkLeaves(name, link, target)
			}
			parent, target = ".", inside
		}
		actual = parent
		if info, err = lstat(actual); err != nil {
			return "", nil, err
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return actual, info, nil
}

func linkLeaves(name, link, target string) error {
	if link == "" {
		return &Error{File: name, Message: "the path leaves the checkout", Err: ErrOutside}
	}
	return &Error{
		File:    link,
		Message: fmt.Sprintf("the symbolic link points to %s, which is outside the checkout", target),
		Fix:     "point it, by a relative path, at a file of the repository",
		Err:     ErrOutside,
	}
}
