// Package transaction changes files of a checkout all or nothing.
//
// [Commit] changes files, index and branch together, in one commit made with
// git's plumbing; [WriteFiles] changes files alone. Whatever happens half-way
// (an error, a hook that says no, a full disk, a branch that moved, SIGKILL)
// the outcome is everything or nothing, and the user's other work, staged,
// unstaged and untracked, is as it was.
//
// An error is undone before the call returns. After a crash it is [Recover]
// that finishes or undoes, at the next run: it reads the journal, which is on
// disk before the first file changes, and goes by the branch. If the branch
// has the commit, the rest is finished; if not, the files are put back. A file
// that is neither as it was before nor as it should be after was edited by
// somebody since: then nothing is touched and the files are named.
//
// # Order
//
//  1. One transaction at a time in a work tree: a lock file in the git
//     directory, held with flock, so that it dies with its holder. git's own
//     index.lock is taken too, and keeps out every other git.
//  2. Every file is checked: as the caller read it, and writable.
//  3. The journal is written, then each new content beside a hard link of the
//     old, all inside the git directory. From here on nothing needs disk space
//     to be undone. Meanwhile git is asked about the files: tracked, plain, and
//     without uncommitted changes but those the caller admits.
//  4. The files are renamed into place.
//  5. git hashes them, with the user's filters and attributes, into a temporary
//     index that holds HEAD and these files alone, and into a copy of the user's
//     index. The first becomes the commit's tree.
//  6. Hooks run, as for "git commit". The commit object is made, and signed if
//     the user's git signs.
//  7. The branch is moved with a compare-and-swap. This is the moment at which
//     the change has happened.
//  8. The copy replaces the user's index, index.lock goes, the journal goes.
//
// # Hooks
//
// pre-commit, prepare-commit-msg, commit-msg and post-commit run as "git commit
// --only" would run them: at the top of the work tree, the new contents in the
// files, GIT_INDEX_FILE naming the temporary index, GIT_EDITOR=: because no
// editor opens, the user's locale, no standard input. The message is in
// COMMIT_EDITMSG. post-commit runs when all is over, on the user's own index,
// and cannot undo it. A hook that changes what is being committed, the index or
// one of the files, stops the commit: the bytes that were checked are the bytes
// that are committed. "git maintenance run --auto", which git commit starts in
// the background, is not run.
package transaction

import (
	"errors"
	"fmt"
	"strings"
)

// Change is one file to change.
type Change struct {
	// Path is relative to the top of the checkout, with slashes.
	Path string
	// Old and New are the bytes in the work tree, before and after. A file that
	// does not hold Old is refused.
	Old, New []byte
}

var (
	// ErrBusy means: another transaction, or another git, is at work in this checkout.
	ErrBusy = errors.New("busy")
	// ErrMoved means: the branch moved while the commit was made. Nothing was changed;
	// plan again and try again.
	ErrMoved = errors.New("the branch moved")
	// ErrUnfinished means: a transaction was interrupted here; [Recover] comes first.
	ErrUnfinished = errors.New("an interrupted change has to be finished or undone first")
	// ErrNothingToCommit means: the files are in HEAD as they should be.
	ErrNothingToCommit = errors.New("nothing to commit")
	// ErrInProgress means: git is in the middle of a rebase, a merge or the like.
	ErrInProgress = errors.New("git is in the middle of an operation")
	// ErrHook means: a hook refused the commit, or changed it.
	ErrHook = errors.New("hook")
)

// Refusal is why one file cannot be changed.
type Refusal struct {
	Path string
	Err  error
}

// RefusedError lists the files that cannot be changed, in the order of the
// changes. Nothing was written.
type RefusedError struct {
	Files []Refusal
}

func (e *RefusedError) Error() string {
	var b strings.Builder
	if len(e.Files) == 1 {
		b.WriteString("nothing was written, because one file cannot be changed:")
	} else {
		fmt.Fprintf(&b, "nothing was written, because %d files cannot be changed:", len(e.Files))
	}
	for _, f := range e.Files {
		fmt.Fprintf(&b, "\n  %s: %v", f.Path, f.Err)
	}
	return b.String()
}

// Unwrap returns the reasons.
func (e *RefusedError) Unwrap() []error {
	errs := make([]error, len(e.Files))
	for i, f := range e.Files {
		errs[i] = f.Err
	}
	return errs
}

// ConflictError says that an interrupted transaction can be neither finished
// nor undone without losing something. Nothing was touched.
type ConflictError struct {
	// Why is what stands in the way, in a sentence.
	Why string
	// Files are the paths that changed since, and Kept where the content from
	// before the transaction is, file by file; "" when it is gone.
	Files []string
	Kept  []string
}

func (e *ConflictError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "an interrupted change cannot be undone: %s; nothing was touched", e.Why)
	for i, path := range e.Files {
		fmt.Fprintf(&b, "\n  %s", path)
		if e.Kept[i] != "" {
			fmt.Fprintf(&b, " (its content from before is kept in %s)", e.Kept[i])
		}
	}
	b.WriteString("\nput the old content back and run this again, or keep the files as they are and discard the interrupted change")
	return b.String()
}
