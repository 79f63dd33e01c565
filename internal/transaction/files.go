package transaction

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// syncers is how many files are written and synced at a time. Most of the time
// goes to fsync, and file systems merge those that come together: 400 files on
// ext4 took 190 ms one after another, 115 ms eight at a time, and no less with
// more.
const syncers = 8

// target is one file under change.
type target struct {
	Change
	abs string
	// before is the file as it was found.
	before fs.FileInfo
	// after is the file once it was renamed into place, and nil until then.
	after fs.FileInfo
}

// inspect finds out whether every file is there as the caller read it, and may
// be replaced. It drops changes that change nothing.
func (p Place) inspect(changes []Change) ([]*target, error) {
	var targets []*target
	var refused RefusedError
	seen := map[string]bool{}
	dirs := map[string]error{}
	for _, c := range changes {
		t := &target{Change: c, abs: p.abs(c.Path)}
		err := checkPath(c.Path)
		if err == nil && seen[c.Path] {
			err = errors.New("it is given twice")
		}
		seen[c.Path] = true
		if err == nil {
			err = p.checkDirs(path.Dir(c.Path), dirs)
		}
		if err == nil {
			t.before, err = inspectFile(t)
		}
		if err != nil {
			refused.Files = append(refused.Files, Refusal{c.Path, err})
			continue
		}
		if !bytes.Equal(c.Old, c.New) {
			targets = append(targets, t)
		}
	}
	if refused.Files != nil {
		return nil, &refused
	}
	return targets, nil
}

func checkPath(name string) error {
	if !fs.ValidPath(name) || name == "." || strings.ContainsRune(name, 0) || !filepath.IsLocal(filepath.FromSlash(name)) {
		return errors.New("it is not a path inside the checkout")
	}
	if slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return strings.EqualFold(part, ".git") }) {
		return errors.New("it is inside a git directory")
	}
	return nil
}

// checkDirs checks dir and the directories above it, once each.
func (p Place) checkDirs(dir string, known map[string]error) error {
	if err, ok := known[dir]; ok {
		return err
	}
	var err error
	if dir != "." {
		err = p.checkDirs(path.Dir(dir), known)
	}
	if err == nil && dir != "." {
		var info fs.FileInfo
		if info, err = os.Lstat(p.abs(dir)); err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is a symbolic link or no directory: change the file where it really is", dir)
		}
	}
	known[dir] = err
	return err
}

func inspectFile(t *target) (fs.FileInfo, error) {
	info, err := os.Lstat(t.abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("it is not there any more: run this again")
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, errors.New("it is a symbolic link: change the file that it points at")
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	}
	// The superuser may write whatever the mode says, but a file made read-only
	// is meant to stay as it is.
	if info.Mode()&0o222 == 0 || writable(t.abs) != nil {
		return nil, fmt.Errorf("it is read-only: make it writable (chmod u+w %s)", t.Path)
	}
	dir := filepath.Dir(t.abs)
	if dirInfo, err := os.Stat(dir); err != nil {
		return nil, err
	} else if dirInfo.Mode()&0o222 == 0 || writable(dir) != nil {
		return nil, fmt.Errorf("its directory is read-only: make it writable (chmod u+w %s)", path.Dir(t.Path))
	}
	return info, stillOld(t)
}

// stillOld refuses a file that does not hold what the caller read.
func stillOld(t *target) error {
	content, err := os.ReadFile(t.abs)
	if err != nil {
		return err
	}
	if !bytes.Equal(content, t.Old) {
		return errors.New("it changed since it was read: run this again")
	}
	return nil
}

// waiting names the places where the new content of file i waits, and where
// the old one is kept: in the state directory, or beside the file when that is
// on another file system.
func (p Place) waiting(j *journal, i int, kind string) (inState, beside string) {
	name := strconv.Itoa(i) + "." + kind
	return p.inState(name), filepath.Join(filepath.Dir(p.abs(j.Files[i].Path)), ".pin-cmp-"+j.Nonce+"-"+name)
}

// stage writes every new content where it can be renamed from, and keeps every
// old one where it can be renamed back from.
func (p Place) stage(ctx context.Context, j *journal, targets []*target) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(syncers)
	for i, t := range targets {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := p.stageOne(j, i, t); err != nil {
				return fmt.Errorf("%s: %w", t.Path, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (p Place) stageOne(j *journal, i int, t *target) error {
	newAt, newBeside := p.waiting(j, i, "new")
	oldAt, oldBeside := p.waiting(j, i, "old")
	// The old content is kept as a link to the file itself: nothing is copied,
	// and undoing needs no space and brings back owner, time and attributes.
	err := os.Link(t.abs, oldAt)
	if otherDevice(err) {
		newAt, oldAt = newBeside, oldBeside
		err = os.Link(t.abs, oldAt)
	}
	if err != nil {
		if err := writeSynced(oldAt, t.Old, t.before.Mode(), t.before); err != nil {
			return err
		}
	}
	return writeSynced(newAt, t.New, t.before.Mode(), t.before)
}

// writeSynced makes a new file with the content, mode and, where like is given
// and the user may, the owner, and waits until it is on disk.
func writeSynced(name string, content []byte, mode fs.FileMode, like fs.FileInfo) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode.Perm())
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && like != nil {
		keepOwner(f, like)
		err = f.Chmod(mode.Perm() | mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// swap renames the new contents into place, one file after the other.
func (p Place) swap(ctx context.Context, j *journal, targets []*target, done func(path string)) error {
	for i, t := range targets {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if info, err := os.Lstat(t.abs); err != nil || !info.Mode().IsRegular() || stillOld(t) != nil {
			return &RefusedError{[]Refusal{{t.Path, errors.New("it changed while the change was made: run this again")}}}
		}
		from, beside := p.waiting(j, i, "new")
		if _, err := os.Lstat(from); err != nil {
			from = beside
		}
		if err := os.Rename(from, t.abs); err != nil {
			return err
		}
		var err error
		if t.after, err = os.Lstat(t.abs); err != nil {
			return err
		}
		done(t.Path)
	}
	return p.syncDirs(ctx, j)
}

// syncDirs makes the renames durable.
func (p Place) syncDirs(ctx context.Context, j *journal) error {
	seen := map[string]bool{}
	group, _ := errgroup.WithContext(ctx)
	group.SetLimit(syncers)
	for _, f := range j.Files {
		dir := filepath.Dir(p.abs(f.Path))
		if !seen[dir] {
			seen[dir] = true
			group.Go(func() error { return syncDir(dir) })
		}
	}
	return group.Wait()
}

// content is what a file of the journal holds.
type content int

const (
	other content = iota // neither, or gone: somebody's edit
	isOld
	isNew
)

func (p Place) classify(f journalled) (content, error) {
	name := p.abs(f.Path)
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return other, nil
	}
	if err != nil {
		return other, err
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return other, err
	}
	switch sum(data) {
	case f.Old:
		return isOld, nil
	case f.New:
		return isNew, nil
	}
	return other, nil
}

// kept finds the content from before of file i, or "".
func (p Place) kept(j *journal, i int) string {
	at, beside := p.waiting(j, i, "old")
	for _, name := range []string{at, beside} {
		if data, err := os.ReadFile(name); err == nil && sum(data) == j.Files[i].Old {
			return name
		}
	}
	return ""
}

// untouched reports whether file i is as the user has it: its new content still
// waits, or nothing waits for it, because it was not staged or is put back.
func (p Place) untouched(j *journal, i int) bool {
	exists := func(kind string) bool {
		at, beside := p.waiting(j, i, kind)
		for _, name := range []string{at, beside} {
			if _, err := os.Lstat(name); err == nil {
				return true
			}
		}
		return false
	}
	return exists("new") || !exists("old")
}

// toRestore finds the files that hold new content. A file that holds neither
// is a conflict, unless this transaction has not touched it, or it is among
// ours: those that are known to have been changed by what was started here.
func (p Place) toRestore(j *journal, ours map[string]bool) ([]int, error) {
	var restore []int
	conflict := &ConflictError{Why: "these files were edited since"}
	for i, f := range j.Files {
		state, err := p.classify(f)
		if err != nil {
			return nil, err
		}
		if state == isOld || state == other && !ours[f.Path] && p.untouched(j, i) {
			continue
		}
		kept := p.kept(j, i)
		if state == other && !ours[f.Path] || kept == "" {
			if kept != "" {
				kept = p.shownKept(j, i, kept)
			}
			conflict.Files, conflict.Kept = append(conflict.Files, f.Path), append(conflict.Kept, kept)
			continue
		}
		restore = append(restore, i)
	}
	if conflict.Files != nil {
		return nil, conflict
	}
	return restore, nil
}

// shownKept names the kept content of file i to the user.
func (p Place) shownKept(j *journal, i int, name string) string {
	if at, _ := p.waiting(j, i, "old"); at == name {
		return p.shown(filepath.Base(name))
	}
	return path.Join(path.Dir(j.Files[i].Path), filepath.Base(name))
}

// restore puts the content from before back. It may be repeated.
func (p Place) restore(ctx context.Context, j *journal, which []int) error {
	for _, i := range which {
		name := p.kept(j, i)
		if name == "" {
			return fmt.Errorf("%s: its content from before is gone", j.Files[i].Path)
		}
		if err := os.Rename(name, p.abs(j.Files[i].Path)); err != nil {
			return err
		}
	}
	return p.syncDirs(ctx, j)
}

// clearBeside removes what waits beside files.
func (p Place) clearBeside(j *journal) {
	for i := range j.Files {
		for _, kind := range []string{"new", "old"} {
			_, beside := p.waiting(j, i, kind)
			_ = os.Remove(beside)
		}
	}
}
