package rewrite

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/forge"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// CheckPullRequest returns why the branch can't become a pull request, before
// anything is built for it: it is the one that pull requests go to, or has nothing
// to be compared with.
func CheckPullRequest(ctx context.Context, repo *gitrepo.Repo, o Options) error {
	head, err := repo.Head(ctx)
	if err != nil {
		return err
	}
	if head.Branch() == "" {
		return errDetached
	}
	target, err := pullBase(ctx, repo, o)
	if err != nil {
		return err
	}
	if target == head.Branch() {
		return fmt.Errorf("this is %s, which pull requests go to; git switch -c NAME makes a branch of its own", target)
	}
	// What it says of the pins needs this, when they are built and pushed.
	_, err = mergeBase(ctx, repo, o)
	return err
}

// OpenPullRequest opens the pull request of the pushed branch, or brings the one
// that is open up to date: a table of what the branch pins, and the commits behind
// it. A branch that pins nothing anew gets none.
func OpenPullRequest(ctx context.Context, repo *gitrepo.Repo, o Options, f *forge.Forge) (forge.Published, error) {
	head, err := repo.Head(ctx)
	if err != nil {
		return forge.Published{}, err
	}
	if head.Branch() == "" {
		return forge.Published{}, errDetached
	}
	release, err := Describe(ctx, repo, o)
	if err != nil {
		return forge.Published{}, err
	}
	if release.Empty() {
		return forge.Published{}, ErrNothingPinned
	}
	target, err := pullBase(ctx, repo, o)
	if err != nil {
		return forge.Published{}, err
	}
	return f.Publish(ctx, forge.PullRequest{Title: release.Title(), Body: release.Body(), Head: head.Branch(), Base: target})
}

// ErrNothingPinned is a branch that pins nothing that its base doesn't.
var ErrNothingPinned = errors.New("the branch pins no image anew, so there is nothing to open a pull request for")

// pullBase returns the branch that a pull request goes to, "" for the forge's
// default.
func pullBase(ctx context.Context, repo *gitrepo.Repo, o Options) (string, error) {
	base, err := baseRevision(ctx, repo, o)
	if err != nil {
		return "", err
	}
	base = strings.TrimPrefix(base, "refs/remotes/")
	name, tracked := strings.CutPrefix(base, o.remote()+"/")
	if !tracked {
		// A branch here, or a commit: the remote has a branch of that name or not.
		if hash, err := repo.RevParse(ctx, "refs/remotes/"+o.remote()+"/"+base); err != nil || hash == "" {
			return "", err
		}
	}
	return name, nil
}
