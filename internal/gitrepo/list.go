package gitrepo

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Modes of index entries, as git writes them.
const (
	modeSymlink   = 0o120000
	modeSubmodule = 0o160000
)

// File is a regular file that git tracks, or could.
type File struct {
	// Path is relative to the top of the work tree, with slashes.
	Path string
	// Mode is 0o100644 or 0o100755, and 0 for an untracked file.
	Mode uint32
	// Object is the id of the blob in the index, empty for an untracked file.
	Object string
	// SkipWorktree: a sparse checkout left the file out of the work tree.
	SkipWorktree bool
	// AssumeUnchanged: the user told git not to look at the file.
	AssumeUnchanged bool
}

// Untracked reports whether git does not track the file.
func (f File) Untracked() bool { return f.Object == "" }

// Listing is what a checkout holds, each list in git's order (bytewise by
// path), untracked files last.
type Listing struct {
	Files []File
	// Symlinks are tracked symbolic links. They are not followed: what they
	// point at is listed where it is, or is not of this repository.
	Symlinks []string
	// Submodules are the directories that belong to other repositories.
	Submodules []string
	// Unmerged are paths with an unresolved conflict. They are in no other list.
	Unmerged []string
}

// ListOptions says what a listing holds beside the tracked files.
type ListOptions struct {
	// Untracked adds files that git does not track and does not ignore.
	Untracked bool
}

// ListFiles lists the index of the checkout.
func (r *Repo) ListFiles(ctx context.Context, opts ListOptions) (*Listing, error) {
	out, err := r.Run(ctx, Command{Args: []string{"ls-files", "-s", "-v", "-z"}})
	if err != nil {
		return nil, err
	}
	l := &Listing{}
	if err := l.parse(string(out)); err != nil {
		return nil, err
	}
	if !opts.Untracked {
		return l, nil
	}
	out, err = r.Run(ctx, Command{Args: []string{"ls-files", "--others", "--exclude-standard", "-z"}})
	if err != nil {
		return nil, err
	}
	for path := range strings.SplitSeq(string(out), "\x00") {
		// A path that ends in a slash is another repository inside this one.
		if path != "" && !strings.HasSuffix(path, "/") {
			l.Files = append(l.Files, File{Path: path})
		}
	}
	return l, nil
}

// parse reads "H 100644 <object> 0\t<path>\0" records. The letter is S for
// skip-worktree, and lower case for assume-unchanged.
func (l *Listing) parse(out string) error {
	const object = len("H 100644 ")
	l.Files = make([]File, 0, strings.Count(out, "\x00"))
	for len(out) > 0 {
		record, rest, _ := strings.Cut(out, "\x00")
		out = rest
		tab := strings.IndexByte(record, '\t')
		if tab < object+len(" 0") {
			return fmt.Errorf("git ls-files: cannot understand %q", record)
		}
		mode, err := strconv.ParseUint(record[2:object-1], 8, 32)
		if err != nil {
			return fmt.Errorf("git ls-files: cannot understand %q", record)
		}
		path := record[tab+1:]
		switch {
		case record[tab-1] != '0': // a stage of a conflict
			if n := len(l.Unmerged); n == 0 || l.Unmerged[n-1] != path {
				l.Unmerged = append(l.Unmerged, path)
			}
		case mode == modeSubmodule:
			l.Submodules = append(l.Submodules, path)
		case mode == modeSymlink:
			l.Symlinks = append(l.Symlinks, path)
		default:
			tag := record[0]
			l.Files = append(l.Files, File{
				Path: path, Mode: uint32(mode), Object: record[object : tab-len(" 0")],
				SkipWorktree:    tag == 'S' || tag == 's',
				AssumeUnchanged: tag >= 'a' && tag <= 'z',
			})
		}
	}
	return nil
}

// Attributes asks git what .gitattributes says about paths. The answer has one
// map per path, in the order asked: attribute to value, where "set", "unset"
// and "unspecified" are git's own words.
func (r *Repo) Attributes(ctx context.Context, paths []string, names ...string) ([]map[string]string, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	args := append([]string{"check-attr", "-z", "--stdin"}, names...)
	out, err := r.Run(ctx, Command{Args: args, Stdin: nulList(paths)})
	if err != nil {
		return nil, err
	}
	fields := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(fields) != 3*len(names)*len(paths) {
		return nil, fmt.Errorf("git check-attr: %d answers for %d paths", len(fields)/3, len(paths))
	}
	all := make([]map[string]string, len(paths))
	for i := range paths {
		all[i] = make(map[string]string, len(names))
		for range names {
			all[i][fields[1]] = fields[2]
			fields = fields[3:]
		}
	}
	return all, nil
}

// LFS returns those of paths that Git LFS keeps elsewhere (attribute
// filter=lfs): git holds a pointer, not the file.
func (r *Repo) LFS(ctx context.Context, paths []string) ([]string, error) {
	attributes, err := r.Attributes(ctx, paths, "filter")
	if err != nil {
		return nil, err
	}
	var found []string
	for i, path := range paths {
		if attributes[i]["filter"] == "lfs" {
			found = append(found, path)
		}
	}
	return found, nil
}

func nulList(paths []string) []byte {
	return []byte(strings.Join(paths, "\x00") + "\x00")
}
