package rewrite

import (
	"context"
	"errors"
	"fmt"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

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
		return "", errors.New("HEAD is detached, so there is no branch to push; git switch to one")
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
