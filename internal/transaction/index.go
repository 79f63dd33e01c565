package transaction

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// index is an index file of our own in the state directory, which git works on
// instead of the user's.
type index struct {
	place Place
	name  string
	held  *os.File
}

// Names in the state directory: what the commit is made of, and what becomes
// the user's index.
const (
	commitIndex = "commit.index"
	userIndex   = "user.index"
)

// newIndex copies the user's index to name.
func (p Place) newIndex(name string, held *os.File) (*index, error) {
	x := &index{place: p, name: name, held: held}
	return x, copyIndex(p.repo.IndexFile(), x.path())
}

// copyIndex keeps the modification time: git takes a file that is older than
// its index as unchanged without reading it, so a younger copy would hide an
// edit made in the second in which the index was written.
func copyIndex(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, content, info.Mode().Perm()); err != nil {
		return err
	}
	if err := os.Chmod(to, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}

func (x *index) path() string { return x.place.inState(x.name) }

// git runs git on this index. The lock file is inherited, so that recovery
// waits for a git whose pin-cmp was killed. A file system monitor is not asked:
// it may be behind, and what it knows belongs to the user's index.
func (x *index) git(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	return x.place.repo.Run(ctx, gitrepo.Command{
		Args: args, Stdin: stdin, Config: []string{"core.fsmonitor=false"},
		Env: []string{"GIT_INDEX_FILE=" + x.path()}, Inherit: x.held,
		AsUser: args[0] == "update-index", // runs the user's filters
	})
}

// readHead makes the entries those of HEAD, nothing else. What the user's index
// knows about unchanged files stays, so that hooks need not read them all.
func (x *index) readHead(ctx context.Context, commit string) error {
	_, err := x.git(ctx, nil, "read-tree", "-i", "-m", "--no-sparse-checkout", commit)
	return err
}

// readHeadAfresh does the same and keeps nothing of the user's index.
func (x *index) readHeadAfresh(ctx context.Context, commit string) error {
	if err := os.Remove(x.path()); err != nil {
		return err
	}
	_, err := x.git(ctx, nil, "read-tree", commit)
	return err
}

// add hashes files of the work tree as "git add" does, into the object store
// and this index.
func (x *index) add(ctx context.Context, paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	_, err := x.git(ctx, nulList(paths), "update-index", "-z", "--stdin")
	return err
}

// set gives paths the entries that a commit has.
func (x *index) set(ctx context.Context, entries map[string]string) error {
	if len(entries) == 0 {
		return nil
	}
	var info bytes.Buffer
	for path, entry := range entries {
		fmt.Fprintf(&info, "%s\t%s\x00", entry, path)
	}
	_, err := x.git(ctx, info.Bytes(), "update-index", "-z", "--index-info")
	return err
}

// difference is a path at which two trees, or a tree and an index, differ.
// Entries are "100644 <object>"; a path that one side lacks has mode 000000.
type difference struct{ from, to string }

func (d difference) onlyMode() bool {
	from, fromObject, _ := strings.Cut(d.from, " ")
	to, toObject, _ := strings.Cut(d.to, " ")
	return fromObject == toObject && from != to
}

// differences compares a tree with this index.
func (x *index) differences(ctx context.Context, tree string) (map[string]difference, error) {
	out, err := x.git(ctx, nil, "diff-index", "--cached", "--raw", "-z", "--no-renames", "--abbrev=64", "--ignore-submodules=none", tree, "--")
	if err != nil {
		return nil, err
	}
	return parseRaw(out)
}

// parseRaw reads git's ":<mode> <mode> <object> <object> <status>\0<path>\0".
func parseRaw(out []byte) (map[string]difference, error) {
	differences := map[string]difference{}
	fields := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(out) == 0 {
		return differences, nil
	}
	for ; len(fields) >= 2; fields = fields[2:] {
		words := strings.Fields(strings.TrimPrefix(fields[0], ":"))
		if len(words) != 5 {
			return nil, fmt.Errorf("git diff: cannot understand %q", fields[0])
		}
		differences[fields[1]] = difference{words[0] + " " + words[2], words[1] + " " + words[3]}
	}
	if len(fields) != 0 {
		return nil, fmt.Errorf("git diff: cannot understand %q", fields[0])
	}
	return differences, nil
}

// publish makes this index the user's, in one step. It must have been made
// while index.lock is ours.
func (x *index) publish() error {
	f, err := os.OpenFile(x.path(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(x.path(), x.place.repo.IndexFile())
}

// unchanged tells whether a file is the one that info describes, by what every
// write changes.
func unchanged(name string, info fs.FileInfo) bool {
	now, err := os.Lstat(name)
	return err == nil && os.SameFile(info, now) && info.Size() == now.Size() && info.ModTime().Equal(now.ModTime()) && info.Mode() == now.Mode()
}

func nulList(paths []string) []byte { return []byte(strings.Join(paths, "\x00") + "\x00") }
