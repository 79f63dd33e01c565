package transaction

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// Place is where files are changed: a checkout, or a directory outside git.
type Place struct {
	top   string
	state string // the journal and the files in waiting
	repo  *gitrepo.Repo
}

// InRepo is the checkout of repo. Its journal is in the git directory of that
// work tree.
func InRepo(repo *gitrepo.Repo) Place {
	return Place{top: repo.Top(), state: filepath.Join(repo.GitDir(), "pin-cmp"), repo: repo}
}

// InDir is a directory that no git looks after. While files change, the journal
// is in a directory .pin-cmp inside.
func InDir(dir string) Place {
	return Place{top: dir, state: filepath.Join(dir, ".pin-cmp")}
}

func (p Place) abs(path string) string { return filepath.Join(p.top, filepath.FromSlash(path)) }

func (p Place) inState(name string) string { return filepath.Join(p.state, name) }

// shown is how a file of the state directory is named to the user: from the top
// of the checkout where it is inside.
func (p Place) shown(name string) string {
	full := p.inState(name)
	if rel, err := filepath.Rel(p.top, full); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return full
}

const (
	lockFile = "lock"

	// orphanWait is how long recovery waits for a git that a killed run left
	// behind: it has the lock file open until it ends.
	orphanWait = 2 * time.Second
	// indexWait is how long another git may hold index.lock: editors refresh the
	// index in the background, for milliseconds.
	indexWait = time.Second
	pollEvery = 10 * time.Millisecond
)

// hold takes the place for this process. The lock file is removed when the
// place is let go, so a lock that was won on a removed file does not count.
func (p Place) hold(ctx context.Context, wait time.Duration) (*os.File, error) {
	for deadline := time.Now().Add(wait); ; {
		f, err := p.tryHold()
		if f != nil || err != nil && !errors.Is(err, ErrBusy) {
			return f, err
		}
		if err != nil && !time.Now().Before(deadline) {
			return nil, err
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return nil, err
		}
	}
}

// tryHold returns nil and no error when the place was let go meanwhile.
func (p Place) tryHold() (*os.File, error) {
	if err := os.Mkdir(p.state, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	f, err := os.OpenFile(p.inState(lockFile), os.O_RDWR|os.O_CREATE, 0o666)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	won, err := flock(f)
	if err == nil && !won {
		err = fmt.Errorf("%s: %w: another pin-cmp is changing files here: wait for it and run this again", p.top, ErrBusy)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	mine, err := f.Stat()
	if err == nil {
		var current fs.FileInfo
		if current, err = os.Stat(f.Name()); err == nil && os.SameFile(mine, current) {
			return f, nil
		}
	}
	_ = f.Close()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return nil, nil
}

// letGo removes the lock file, and the state directory if nothing else is in
// it, before the lock itself goes.
func (p Place) letGo(held *os.File) {
	if entries, err := os.ReadDir(p.state); err == nil && len(entries) == 1 {
		_ = os.Remove(held.Name())
		_ = os.Remove(p.state)
	}
	_ = held.Close()
}

// drop ends a transaction: without a journal there is nothing to finish or undo.
// The journal is kept under another name until the files that wait beside
// their targets are gone, because it is what names them.
func (p Place) drop() error {
	if err := os.Rename(p.inState(journalFile), p.inState(doneFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := syncDir(p.state); err != nil {
		return err
	}
	p.sweep()
	return nil
}

// sweep removes what a transaction that is over left behind.
func (p Place) sweep() {
	if j, err := readJournal(p.inState(doneFile)); err == nil && j != nil {
		p.clearBeside(j)
	}
	entries, err := os.ReadDir(p.state)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if name := entry.Name(); name != lockFile && name != doneFile {
			_ = os.RemoveAll(p.inState(name))
		}
	}
	_ = os.Remove(p.inState(doneFile))
}

// indexLockText is what index.lock holds while it is ours. Who finds it there
// and holds the place knows that its owner is dead.
const indexLockText = "pin-cmp is changing this checkout. If none is running, run it again: it finishes or undoes what was interrupted.\n"

func (p Place) indexLock() string { return filepath.Join(p.repo.GitDir(), "index.lock") }

// lockIndex takes git's index.lock. The file appears with its text in one step,
// by link(2), where the file system has that: a crash between making and
// filling it would leave a lock that nobody can attribute.
func (p Place) lockIndex(ctx context.Context) error {
	if p.repo == nil {
		return nil
	}
	if err := p.breakIndexLock(); err != nil {
		return err
	}
	full := p.inState("index.lock")
	if err := os.WriteFile(full, []byte(indexLockText), 0o666); err != nil {
		return err
	}
	defer func() { _ = os.Remove(full) }()
	for deadline := time.Now().Add(indexWait); ; {
		err := os.Link(full, p.indexLock())
		if err != nil && !errors.Is(err, fs.ErrExist) {
			err = createExclusive(p.indexLock(), indexLockText)
		}
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return err
		}
		if !time.Now().Before(deadline) {
			return fmt.Errorf("%s: %w: another git is at work in this checkout: wait for it and run this again; if none is running, remove that file", p.indexLock(), ErrBusy)
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
}

func createExclusive(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
	}
	return err
}

// indexLocked reports whether index.lock is there and ours.
func (p Place) indexLocked() bool {
	content, err := os.ReadFile(p.indexLock())
	return err == nil && string(content) == indexLockText
}

// breakIndexLock removes index.lock if it is of a transaction. Only the holder
// of the place may call it.
func (p Place) breakIndexLock() error {
	if p.repo == nil || !p.indexLocked() {
		return nil
	}
	if err := os.Remove(p.indexLock()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
