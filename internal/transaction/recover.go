package transaction

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// Action is what recovery does with an interrupted transaction.
type Action int

const (
	// Undo puts the files back: the branch has not moved.
	Undo Action = iota
	// Finish brings the index up to date with the commit, which is made.
	Finish
)

// Recovery is an interrupted transaction and what is done about it.
type Recovery struct {
	Action Action
	// Commit is the hash that Finish finishes.
	Commit string
	// Ref is the branch of the commit, HEAD when it was detached, or empty when
	// only files were to change.
	Ref string
	// Files are those of the transaction, and Edited the ones among them that
	// were edited since the commit, under Finish; they are left as they are.
	Files  []string
	Edited []string
}

// String says what is done, for the user.
func (r *Recovery) String() string {
	files := "1 file"
	if len(r.Files) != 1 {
		files = fmt.Sprintf("%d files", len(r.Files))
	}
	if r.Action == Undo {
		return fmt.Sprintf("an earlier run was interrupted: putting %s back as before", files)
	}
	s := fmt.Sprintf("an earlier run was interrupted after commit %s: finishing it (%s)", r.Commit, files)
	if len(r.Edited) > 0 {
		s += "; edited since, and left as they are: " + strings.Join(r.Edited, ", ")
	}
	return s
}

// Recover finishes or undoes the transaction that was interrupted in place. It
// calls announce, which may be nil, once it knows what to do and before it does
// it. Without an interrupted transaction it returns nil.
//
// A [*ConflictError] means that somebody edited the files since, or moved the
// branch elsewhere; nothing is touched then, but index.lock, if it is ours, is
// released so that git can be used to look. [ErrBusy] means that the
// transaction is not interrupted but under way.
func Recover(ctx context.Context, place Place, announce func(*Recovery)) (*Recovery, error) {
	return recoverSteps(ctx, place, announce, nil)
}

func recoverSteps(ctx context.Context, place Place, announce func(*Recovery), step func(string)) (*Recovery, error) {
	if _, err := os.Lstat(place.state); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	held, err := place.hold(ctx, orphanWait)
	if err != nil {
		return nil, err
	}
	t := &transaction{place: place, held: held, opts: CommitOptions{step: step}}
	if step == nil {
		t.opts.step = func(string) {}
	}
	defer t.end()
	if t.journal, err = place.journal(); err != nil || t.journal == nil {
		return nil, err
	}
	if err := place.lockIndex(ctx); err != nil {
		return nil, err
	}
	r := &Recovery{Ref: t.journal.Ref}
	for _, f := range t.journal.Files {
		r.Files = append(r.Files, f.Path)
	}
	if r.Action, err = t.decide(ctx); err != nil {
		return nil, err
	}
	if announce == nil {
		announce = func(*Recovery) {}
	}
	if r.Action == Finish {
		r.Commit = t.journal.New
		return r, t.rollForward(ctx, r, announce)
	}
	restore, err := place.toRestore(t.journal, nil)
	if err != nil {
		return nil, err
	}
	announce(r)
	if err := place.restore(ctx, t.journal, restore); err != nil {
		return r, err
	}
	t.step("restored")
	return r, place.drop()
}

// decide goes by the branch: it has the commit, or it has not.
func (t *transaction) decide(ctx context.Context) (Action, error) {
	j := t.journal
	if j.Ref == "" {
		return Undo, nil
	}
	repo := t.place.repo
	now, err := repo.RevParse(ctx, j.Ref)
	if err != nil {
		return Undo, err
	}
	head, err := repo.Head(ctx)
	if err != nil {
		return Undo, err
	}
	on := head.Ref == j.Ref || head.Ref == "" && j.Ref == "HEAD"
	if on && now == j.Old {
		return Undo, nil
	}
	if on && j.New != "" && now != "" {
		made := now == j.New
		if !made {
			if made, err = repo.IsAncestor(ctx, j.New, now); err != nil {
				return Undo, err
			}
		}
		if made {
			return Finish, nil
		}
	}
	// Somebody moved on. If no file of ours is left behind there is nothing to do.
	conflict := &ConflictError{Why: fmt.Sprintf("%s is not where it was (%s), or is not checked out any more, and these files are not as before", j.Ref, j.Old)}
	for i, f := range j.Files {
		state, err := t.place.classify(f)
		if err != nil {
			return Undo, err
		}
		if state != isOld {
			kept := t.place.kept(j, i)
			if kept != "" {
				kept = t.place.shownKept(j, i, kept)
			}
			conflict.Files, conflict.Kept = append(conflict.Files, f.Path), append(conflict.Kept, kept)
		}
	}
	if conflict.Files != nil {
		return Undo, conflict
	}
	return Undo, nil
}

// rollForward brings the index up to date with the commit, for the paths whose
// entry is still the one from before. The files were in place before the branch
// moved; one that is not has been edited since, which is none of our business:
// git shows it as an edit on top of the commit.
func (t *transaction) rollForward(ctx context.Context, r *Recovery, announce func(*Recovery)) error {
	next, err := t.place.newIndex(userIndex, t.held)
	if err != nil {
		return err
	}
	listing, err := t.place.repo.ListFiles(ctx, gitrepo.ListOptions{})
	if err != nil {
		return err
	}
	entries := make(map[string]string, len(listing.Files))
	for _, f := range listing.Files {
		entries[f.Path] = fmt.Sprintf("%06o %s", f.Mode, f.Object)
	}
	set := map[string]string{}
	redo := map[string]string{}
	var add []string
	for i, f := range t.journal.Files {
		state, err := t.place.classify(f)
		if err != nil {
			return err
		}
		if state == isOld { // the rename did not reach the disk before the power went
			if name := t.waitingNew(i); name != "" {
				redo[name] = t.place.abs(f.Path)
				state = isNew
			}
		}
		if state != isNew {
			r.Edited = append(r.Edited, f.Path)
		}
		if entries[f.Path] != f.Was && entries[f.Path] != f.Is {
			continue
		}
		set[f.Path] = f.Is
		if state == isNew {
			add = append(add, f.Path)
		}
	}
	announce(r)
	for from, to := range redo {
		if err := os.Rename(from, to); err != nil {
			return err
		}
	}
	if err := next.set(ctx, set); err != nil {
		return err
	}
	if err := next.add(ctx, add); err != nil {
		return err
	}
	t.step("next index")
	return t.finish(next)
}

// waitingNew finds the new content of file i if it still waits for its rename.
func (t *transaction) waitingNew(i int) string {
	at, beside := t.place.waiting(t.journal, i, "new")
	for _, name := range []string{at, beside} {
		if data, err := os.ReadFile(name); err == nil && sum(data) == t.journal.Files[i].New {
			return name
		}
	}
	return ""
}

// Discard gives up on an interrupted transaction: the files, the index and the
// branch stay as they are now, and the contents kept from before are removed.
func Discard(ctx context.Context, place Place) error {
	if _, err := os.Lstat(place.state); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	held, err := place.hold(ctx, orphanWait)
	if err != nil {
		return err
	}
	err = errors.Join(place.breakIndexLock(), place.drop())
	place.letGo(held)
	return err
}
