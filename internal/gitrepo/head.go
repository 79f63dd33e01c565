package gitrepo

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// ErrUnborn says that the branch has no commit yet.
var ErrUnborn = errors.New("the branch has no commit yet")

// Head is where the checkout stands.
type Head struct {
	// Ref is the full name of the branch ("refs/heads/main"), or empty when HEAD
	// is detached.
	Ref string
	// Commit is the full hash, or empty when the branch has no commit yet.
	Commit string
}

// Branch is the short name of the branch, or empty when HEAD is detached.
func (h Head) Branch() string { return strings.TrimPrefix(h.Ref, "refs/heads/") }

// Head reads HEAD.
func (r *Repo) Head(ctx context.Context) (Head, error) {
	out, err := r.Run(ctx, Command{Args: []string{"rev-parse", "HEAD", "--symbolic-full-name", "HEAD"}})
	if lines := strings.Fields(string(out)); err == nil && len(lines) == 2 {
		h := Head{Commit: lines[0], Ref: lines[1]}
		if h.Ref == "HEAD" {
			h.Ref = ""
		}
		return h, nil
	}
	ref, symErr := r.Run(ctx, Command{Args: []string{"symbolic-ref", "-q", "HEAD"}})
	if symErr != nil {
		return Head{}, errors.Join(err, symErr)
	}
	return Head{Ref: strings.TrimSpace(string(ref))}, nil
}

// operations are what git can be in the middle of, by the file or directory
// that says so. The order matters: a rebase may also have a CHERRY_PICK_HEAD.
var operations = []struct{ file, name string }{
	{"rebase-merge", "rebase"},
	{"rebase-apply/applying", "git am"},
	{"rebase-apply", "rebase"},
	{"MERGE_HEAD", "merge"},
	{"CHERRY_PICK_HEAD", "cherry-pick"},
	{"REVERT_HEAD", "revert"},
	{"sequencer", "cherry-pick or revert of several commits"},
	{"BISECT_LOG", "bisect"},
}

// InProgress names the operation that git is in the middle of (rebase, merge,
// cherry-pick, revert, bisect, am), or "".
func (r *Repo) InProgress(ctx context.Context) (string, error) {
	for _, op := range operations {
		if _, err := os.Lstat(filepath.Join(r.gitDir, filepath.FromSlash(op.file))); err == nil {
			return op.name, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	if _, err := os.Lstat(filepath.Join(r.commonDir, "reftable")); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	// The reftable backend keeps these two with the refs, not in files.
	for _, op := range []struct{ ref, name string }{{"CHERRY_PICK_HEAD", "cherry-pick"}, {"REVERT_HEAD", "revert"}} {
		if hash, err := r.RevParse(ctx, op.ref); err != nil {
			return "", err
		} else if hash != "" {
			return op.name, nil
		}
	}
	return "", nil
}

// RevParse returns the full hash that rev names, or "" when there is no such
// thing.
func (r *Repo) RevParse(ctx context.Context, rev string) (string, error) {
	out, err := r.Run(ctx, Command{Args: []string{"rev-parse", "--verify", "-q", "--end-of-options", rev}})
	if failedWith(err, 1) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	// Before 2.43 git repeats "--end-of-options" in front of the answer.
	lines := strings.Fields(string(out))
	if len(lines) == 0 {
		return "", nil
	}
	return lines[len(lines)-1], nil
}

// MergeBase returns the best common ancestor of two revisions, or "" when they
// share no history.
func (r *Repo) MergeBase(ctx context.Context, a, b string) (string, error) {
	out, err := r.Run(ctx, Command{Args: []string{"merge-base", "--", a, b}})
	if failedWith(err, 1) {
		return "", nil
	}
	return strings.TrimSpace(string(out)), err
}

// IsAncestor reports whether every commit of ancestor is in the history of rev.
func (r *Repo) IsAncestor(ctx context.Context, ancestor, rev string) (bool, error) {
	_, err := r.Run(ctx, Command{Args: []string{"merge-base", "--is-ancestor", "--", ancestor, rev}})
	if failedWith(err, 1) {
		return false, nil
	}
	return err == nil, err
}
