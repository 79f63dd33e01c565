package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/forge"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/rewrite"
	"github.com/pin-cmp/pin-cmp/verify"
)

// openForge finds out who opens the pull request, before anything is built.
func (f *rewriteFlags) openForge(ctx context.Context, repo *gitrepo.Repo, options rewrite.Options) (*forge.Forge, error) {
	if err := rewrite.CheckPullRequest(ctx, repo, options); err != nil {
		return nil, err
	}
	remotes, err := repo.Remotes(ctx)
	if err != nil {
		return nil, err
	}
	at := forge.Options{
		Kind: f.forge, APIURL: f.forgeAPI, Into: f.prInto, Environ: os.Environ(), Dir: repo.Top(), Log: os.Stderr,
		Command: strings.Fields(f.prCommand),
	}
	for _, remote := range remotes {
		if remote.Name == f.remote {
			return forge.Open(ctx, remote.URL, at)
		}
	}
	return nil, fmt.Errorf("there is no remote %s", f.remote) // CheckPush has said so
}

func (f *rewriteFlags) openPullRequest(ctx context.Context, ui *terminal, repo *gitrepo.Repo, options rewrite.Options, at *forge.Forge) error {
	published, err := rewrite.OpenPullRequest(ctx, repo, options, at)
	switch {
	case errors.Is(err, rewrite.ErrNothingPinned), errors.Is(err, forge.ErrNothingToOpen):
		ui.say(err.Error())
		return nil
	case err != nil:
		return &exitError{code: verify.ExitRefused, err: err, hint: "the branch is pushed; only the pull request is missing"}
	case published.Action == forge.ByHand && published.URL == "":
		ui.say("no pull request was opened: " + published.Why)
	case published.Action == forge.ByHand:
		ui.say(fmt.Sprintf("no pull request was opened: %s; open it at %s", published.Why, published.URL))
	case published.Action == forge.Commanded:
		ui.say("pull request: " + cmp.Or(published.URL, "left to "+f.prCommand))
	default:
		ui.say(fmt.Sprintf("pull request %s in %s: %s", published.Action, published.Repository, published.URL))
	}
	if os.Getenv("GITHUB_ACTIONS") == "true" && at.Through() == "GITHUB_TOKEN" {
		ui.warn("what GitHub's own GITHUB_TOKEN pushes and opens starts no workflows, so required checks stay pending; use the token of a GitHub App, or run this on a workstation")
	}
	return nil
}
