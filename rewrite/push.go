package rewrite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// CheckPush returns why a push can't be made, before anything is built for it: a
// detached HEAD, or a remote that git does not know. "" is origin.
func CheckPush(ctx context.Context, repo *gitrepo.Repo, remote string) error {
	if remote == "" {
		remote = "origin"
	}
	head, err := repo.Head(ctx)
	if err != nil {
		return err
	}
	if head.Branch() == "" {
		return errDetached
	}
	remotes, err := repo.Remotes(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, r := range remotes {
		names = append(names, r.Name)
	}
	if !slices.Contains(names, remote) {
		return fmt.Errorf("there is no remote %s to push to; git has %s", remote, orNone(names))
	}
	return nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

var errDetached = errors.New("HEAD is detached, so there is no branch to push; git switch to one")

// Push makes the branch on a remote what it is here, unless somebody else moved
// it there since it was fetched: nothing that is on the remote is ever dropped.
// The remote is origin if the name is empty.
func Push(ctx context.Context, repo *gitrepo.Repo, remote string) (branch string, err error) {
	if remote == "" {
		remote = "origin"
	}
	head, err := repo.Head(ctx)
	if err != nil {
		return "", err
	}
	if branch = head.Branch(); branch == "" {
		return "", errDetached
	}
	there, err := repo.RemoteBranch(ctx, remote, branch)
	if err != nil {
		return branch, err
	}
	if there == head.Commit {
		return branch, nil
	}
	err = repo.Push(ctx, remote, branch, head.Commit, there)
	if errors.Is(err, gitrepo.ErrBranchMoved) {
		return branch, fmt.Errorf("%w; git pull --rebase, and run again: what is built is not built again", err)
	}
	return branch, err
}
