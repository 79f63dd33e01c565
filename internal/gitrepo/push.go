package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// Remote is a place to fetch from and push to.
type Remote struct {
	Name string
	// URL is where a push goes, without user name and password.
	URL string
}

// Remotes lists the remotes in the order of the configuration.
func (r *Repo) Remotes(ctx context.Context) ([]Remote, error) {
	out, err := r.Run(ctx, Command{Args: []string{"remote", "-v"}})
	if err != nil {
		return nil, err
	}
	var remotes []Remote
	for line := range strings.Lines(string(out)) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if url, is := strings.CutSuffix(rest, " (push)"); ok && is {
			remotes = append(remotes, Remote{Name: name, URL: Redact(url)})
		}
	}
	return remotes, nil
}

// RemoteBranch asks remote over the network where branch is now. It returns ""
// when the remote has no such branch.
func (r *Repo) RemoteBranch(ctx context.Context, remote, branch string) (string, error) {
	ref := "refs/heads/" + branch
	out, err := r.Run(ctx, Command{Args: []string{"ls-remote", "--", remote, ref}})
	if err != nil {
		return "", pushError(remote, branch, err)
	}
	for line := range strings.Lines(string(out)) {
		if hash, name, _ := strings.Cut(strings.TrimSpace(line), "\t"); name == ref {
			return hash, nil
		}
	}
	return "", nil
}

// Why a push failed; [*PushError] wraps one of them.
var (
	// ErrBranchMoved: the remote branch is not where the caller saw it. Fetch,
	// plan again, push again.
	ErrBranchMoved = errors.New("the branch moved on the remote")
	// ErrAuthentication: the remote does not let this user in.
	ErrAuthentication = errors.New("the remote refused the credentials")
	// ErrHookRefused: a hook said no, here (pre-push) or on the remote.
	ErrHookRefused = errors.New("a hook refused the push")
	// ErrPushFailed: anything else, such as a remote that does not answer.
	ErrPushFailed = errors.New("the push failed")
)

// PushError is a push that did not happen.
type PushError struct {
	Remote, Branch string
	// Reason is one of [ErrBranchMoved], [ErrAuthentication], [ErrHookRefused]
	// and [ErrPushFailed].
	Reason error
	// Said is what git and the remote's hooks printed.
	Said string
}

func (e *PushError) Error() string {
	s := fmt.Sprintf("push of %s to %s: %v", e.Branch, e.Remote, e.Reason)
	if e.Said != "" {
		s += ":\n" + e.Said
	}
	return s
}

// Unwrap returns the reason.
func (e *PushError) Unwrap() error { return e.Reason }

// Push makes branch on remote point at commit, if it still is at expected; an
// empty expected means that the branch must not exist yet. Commits of the
// remote are never dropped: expected must be in the history of commit. A push
// that was refused is a [*PushError].
func (r *Repo) Push(ctx context.Context, remote, branch, commit, expected string) error {
	ref := "refs/heads/" + branch
	if expected != "" {
		if kept, err := r.IsAncestor(ctx, expected, commit); err != nil || !kept {
			if ctx.Err() != nil {
				return err
			}
			return &PushError{Remote: remote, Branch: branch, Reason: ErrBranchMoved, Said: fmt.Sprintf("%s is not in the history of %s", expected, commit)}
		}
	}
	_, err := r.Run(ctx, Command{
		Args: []string{
			"push", "--porcelain", "--no-follow-tags", "--recurse-submodules=no",
			"--force-with-lease=" + ref + ":" + expected, "--", remote, commit + ":" + ref,
		},
		// English, because why a push failed is told by words alone; and no other
		// setting of the plumbing, because the pre-push hook is the user's.
		AsUser: true, Env: []string{"LC_ALL=C"},
	})
	if err == nil {
		return nil
	}
	return pushError(remote, branch, err)
}

// pushError finds out why a push failed. Git's exit status is 1 or 128 for
// everything, so its words decide.
func pushError(remote, branch string, err error) error {
	var failed *Error
	if !errors.As(err, &failed) {
		return err
	}
	e := &PushError{Remote: remote, Branch: branch, Reason: ErrPushFailed}
	verdict := ""
	for line := range bytes.Lines(failed.Stdout) {
		if bytes.HasPrefix(line, []byte("!\t")) {
			_, summary, _ := bytes.Cut(bytes.TrimSpace(line[2:]), []byte("\t"))
			verdict = string(summary)
		}
	}
	e.Said = strings.TrimSpace(verdict + "\n" + failed.Stderr)
	has := func(s string, words ...string) bool {
		for _, w := range words {
			if strings.Contains(s, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has(verdict, "hook declined"):
		e.Reason = ErrHookRefused
	case has(verdict, "(stale info)", "(fetch first)", "(non-fast-forward)", "(already exists)", "cannot lock ref", "incorrect old value"),
		has(verdict, "failed to update ref") && has(failed.Stderr, "but expected"):
		e.Reason = ErrBranchMoved
	case verdict != "":
	case has(failed.Stderr, "Authentication failed", "Permission denied", "could not read Username", "could not read Password",
		"terminal prompts disabled", "Invalid username or password", "The requested URL returned error: 401", "The requested URL returned error: 403",
		"Host key verification failed"):
		e.Reason = ErrAuthentication
	case failed.Code == 1 && has(failed.Stderr, "failed to push some refs"):
		// Nothing was said about the ref itself: git stopped before it asked, and
		// the pre-push hook is all that runs there.
		e.Reason = ErrHookRefused
	}
	return e
}
