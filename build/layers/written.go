package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// written is what the command has left in $PIN_OUT.
type written struct {
	dir, top string
	root     *os.Root
}

func openWritten(dir, top string) (*written, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("the build command has removed $PIN_OUT, which is for what it makes: %w", reason(err))
	}
	if !info.IsDir() {
		return nil, errors.New("the build command has put something else in the place of $PIN_OUT; it is a directory for what the command makes, so copy to it")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("$PIN_OUT can't be read: %w", reason(err))
	}
	return &written{dir: dir, top: top, root: root}, nil
}

func (w *written) close() { _ = w.root.Close() }

// entries are the files of an item.
func (w *written) entries(ctx context.Context, item Copy) ([]entry, error) {
	out := item.source()
	info, err := w.root.Lstat(filepath.FromSlash(out))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("build.layers.files: out: the build command ended well but has not written $PIN_OUT/%s; %s", out, w.holds())
		}
		return nil, fmt.Errorf("build.layers.files: out: $PIN_OUT/%s can't be read: %w", out, reason(err))
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("build.layers.files: out: $PIN_OUT/%s is a symbolic link; name what it points at", out)
	case info.IsDir():
		entries, err := w.walk(ctx, []entry{{kind: directory}}, out, "")
		if err == nil && len(entries) == 1 && out == "." {
			return nil, fmt.Errorf("build.layers.files: out: the build command ended well but has written nothing to $PIN_OUT")
		}
		return entries, err
	case strings.HasSuffix(item.Out, "/"), strings.HasSuffix(item.Out, "/."):
		return nil, fmt.Errorf("build.layers.files: out: $PIN_OUT/%s is a file, and no directory as the slash says", out)
	}
	e, err := w.entry(out, "", info)
	return []entry{e}, err
}

// walk adds what is in a directory, and below it, to entries.
func (w *written) walk(ctx context.Context, entries []entry, dir, rel string) ([]entry, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if len(dir) > maxPath {
		// This also ends a walk through directories without end, of which some
		// file systems have a few.
		return nil, fmt.Errorf("$PIN_OUT/%s… is longer than %d bytes", strings.ToValidUTF8(dir[:60], ""), maxPath)
	}
	children, err := w.list(dir)
	if err != nil {
		return nil, fmt.Errorf("$PIN_OUT/%s can't be read: %w", dir, reason(err))
	}
	for _, child := range children {
		name, below := path.Join(dir, child.Name()), path.Join(rel, child.Name())
		if child.IsDir() {
			entries = append(entries, entry{kind: directory, rel: below})
			if entries, err = w.walk(ctx, entries, name, below); err != nil {
				return nil, err
			}
			continue
		}
		e, err := w.entry(name, below, child)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// list returns what is in a directory, by name.
func (w *written) list(dir string) ([]fs.FileInfo, error) {
	root, err := w.root.OpenRoot(filepath.FromSlash(dir))
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	_ = d.Close()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	infos := make([]fs.FileInfo, len(names))
	for i, name := range names {
		if infos[i], err = root.Lstat(name); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

func (w *written) entry(name, rel string, info fs.FileInfo) (entry, error) {
	e := entry{kind: file, rel: rel, mode: 0o644, root: w.root, path: filepath.FromSlash(name), shown: "$PIN_OUT/" + name}
	switch {
	case info.Mode().IsRegular():
		if info.Mode()&0o111 != 0 {
			e.mode = 0o755
		}
		return e, nil
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := w.root.Readlink(e.path)
		if err != nil {
			return entry{}, fmt.Errorf("%s can't be read: %w", e.shown, reason(err))
		}
		e.kind, e.mode, e.target = link, 0o777, filepath.ToSlash(target)
		return e, w.checkLink(e.shown, name, e.target)
	}
	return entry{}, fmt.Errorf("%s is %s; only files, directories and symbolic links can be put into an image", e.shown, special(info.Mode()))
}

// checkLink refuses links that mean something on this machine alone. One that is
// absolute otherwise points to a place in the image.
func (w *written) checkLink(shown, name, target string) error {
	if !path.IsAbs(target) {
		if inside := path.Join(path.Dir(name), target); inside == ".." || strings.HasPrefix(inside, "../") {
			return fmt.Errorf("%s is a symbolic link to %s, out of $PIN_OUT; make it absolute if it is for a place in the image", shown, target)
		}
		return nil
	}
	for _, here := range []string{w.dir, w.top} {
		here = filepath.ToSlash(here)
		if clean := path.Clean(target); here != "/" && (clean == here || strings.HasPrefix(clean, here+"/")) {
			return fmt.Errorf("%s is a symbolic link to a place on this machine, which no image has; make it relative", shown)
		}
	}
	return nil
}

// special names a file that is none.
func special(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "no regular file"
}

// shownNames is how many names an error lists.
const shownNames = 5

// holds says what is in $PIN_OUT instead.
func (w *written) holds() string {
	var names []string
	d, err := w.root.Open(".")
	if err == nil {
		names, _ = d.Readdirnames(-1)
		_ = d.Close()
	}
	if len(names) == 0 {
		return "it is empty"
	}
	slices.Sort(names)
	more := ""
	if n := len(names); n > shownNames {
		names, more = names[:shownNames], fmt.Sprintf(" and %d more", n-shownNames)
	}
	return fmt.Sprintf("it holds %s%s", strings.Join(quoted(names), ", "), more)
}

// quoted quotes the names that would be hard to read.
func quoted(names []string) []string {
	for i, name := range names {
		if q := fmt.Sprintf("%q", name); q != `"`+name+`"` {
			names[i] = q
		}
	}
	return names
}

// reason is an error of the file system without the path that it was for: that
// one is temporary.
func reason(err error) error {
	var one *fs.PathError
	var two *os.LinkError
	switch {
	case errors.As(err, &one):
		return one.Err
	case errors.As(err, &two):
		return two.Err
	}
	return err
}
