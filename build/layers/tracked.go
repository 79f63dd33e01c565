package layers

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// entry is something to put into a layer.
type entry struct {
	kind kind
	// rel is the path below the directory that is put, "" for that itself or for
	// a single file.
	rel  string
	mode int64 // of a file
	// target is where a link points.
	target string

	// root and path are where a file's content is; shown is what errors call it.
	root  *os.Root
	path  string
	shown string
	// object is the id of the blob in git that the content has to be; "" is any.
	object string
}

// Modes of git's index.
const (
	gitFile       = 0o100644
	gitExecutable = 0o100755
	gitLink       = 0o120000
)

// tracked is what from can put into an image: the files that git tracks, read in
// the work tree.
type tracked struct {
	top, dir string
	root     *os.Root
	files    []File          // by path
	plain    map[string]bool // directories that are no links
}

func openTracked(top, dir string, files []File) (*tracked, error) {
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, fmt.Errorf("open the work tree: %w", err)
	}
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return &tracked{top: top, dir: dir, root: root, files: files, plain: map[string]bool{".": true}}, nil
}

func (t *tracked) close() { _ = t.root.Close() }

// entries are the files of an item.
func (t *tracked) entries(ctx context.Context, item Copy) ([]entry, error) {
	from := path.Join(t.dir, item.source())
	if from == ".." || strings.HasPrefix(from, "../") {
		return nil, fmt.Errorf("build.layers.files: from: %s is outside the repository", item.From)
	}
	if i, found := slices.BinarySearchFunc(t.files, from, func(f File, name string) int { return strings.Compare(f.Path, name) }); found {
		f := t.files[i]
		if f.Mode == gitLink {
			return nil, fmt.Errorf("build.layers.files: from: %s is a symbolic link; name what it points at", item.From)
		}
		if strings.HasSuffix(item.From, "/") || strings.HasSuffix(item.From, "/.") {
			return nil, fmt.Errorf("build.layers.files: from: %s is a file, and no directory as the slash says", item.From)
		}
		e, err := t.entry(f, "")
		return []entry{e}, err
	}
	prefix := from + "/"
	if from == "." {
		prefix = ""
	}
	entries := []entry{{kind: directory}}
	made := map[string]bool{".": true}
	first, _ := slices.BinarySearchFunc(t.files, prefix, func(f File, name string) int { return strings.Compare(f.Path, name) })
	for _, f := range t.files[first:] {
		rel, ok := strings.CutPrefix(f.Path, prefix)
		if !ok {
			break
		}
		e, err := t.entry(f, rel)
		if err != nil {
			return nil, err
		}
		for dir := path.Dir(rel); !made[dir]; dir = path.Dir(dir) {
			made[dir] = true
			entries = append(entries, entry{kind: directory, rel: dir})
		}
		entries = append(entries, e)
	}
	if len(entries) == 1 {
		return nil, fmt.Errorf("build.layers.files: from: %s: %w", item.From, t.missing(ctx, from))
	}
	return entries, nil
}

// entry is the entry of a file that git tracks.
func (t *tracked) entry(f File, rel string) (entry, error) {
	if !validPath(f.Path) {
		return entry{}, fmt.Errorf("%q is no path of a work tree", f.Path)
	}
	if err := t.checkDirectory(path.Dir(f.Path)); err != nil {
		return entry{}, err
	}
	e := entry{kind: file, rel: rel, mode: 0o644, root: t.root, path: filepath.FromSlash(f.Path), shown: f.Path, object: f.Object}
	switch f.Mode {
	case gitFile:
	case gitExecutable:
		e.mode = 0o755
	case gitLink:
		e.kind, e.mode = link, 0o777
		target, err := t.root.Readlink(e.path)
		if err != nil {
			return entry{}, fmt.Errorf("%s is a symbolic link in git, and can't be read as one here: %w", f.Path, reason(err))
		}
		if err := checkObject(f, target); err != nil {
			return entry{}, err
		}
		e.target = filepath.ToSlash(target)
	default:
		return entry{}, fmt.Errorf("%s has git's mode %o, which is neither a file's nor a link's", f.Path, f.Mode)
	}
	return e, nil
}

// validPath tells whether git could have a file under that path. It need not be
// UTF-8, as for [io/fs.ValidPath].
func validPath(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return !hasNUL(name)
}

// checkDirectory refuses a directory of git's that is a link here: what is behind
// it is not what git tracks.
func (t *tracked) checkDirectory(dir string) error {
	if t.plain[dir] {
		return nil
	}
	if err := t.checkDirectory(path.Dir(dir)); err != nil {
		return err
	}
	info, err := t.root.Lstat(filepath.FromSlash(dir))
	if err != nil {
		return fmt.Errorf("%s can't be read: %w", dir, reason(err))
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is a directory in git, and something else here; run git status", dir)
	}
	t.plain[dir] = true
	return nil
}

// missing says why nothing that may be put is at a path.
func (t *tracked) missing(ctx context.Context, name string) error {
	if _, err := os.Lstat(filepath.Join(t.top, filepath.FromSlash(name))); err != nil {
		return fmt.Errorf("there is no %s in the repository", name)
	}
	repo, err := gitrepo.Open(ctx, t.top)
	if err != nil {
		return fmt.Errorf("%s is there, but git does not track it, or it is none of the component's inputs", name)
	}
	if listed, err := repo.Run(ctx, gitrepo.Command{Args: []string{"ls-files", "-z", "--", name}}); err == nil && len(listed) > 0 {
		return fmt.Errorf("%s is none of the component's inputs; add it to inputs", name)
	}
	if ignored, err := repo.Run(ctx, gitrepo.Command{Args: []string{"ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", name}}); err == nil && len(ignored) > 0 {
		return fmt.Errorf("%s is there, but git ignores it; let the command write it to $PIN_OUT and say out, or track it", name)
	}
	return fmt.Errorf("%s is there, but git does not track it; git add it", name)
}
