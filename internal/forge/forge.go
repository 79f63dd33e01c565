// Package forge opens the pull request of a branch that was just pushed, or
// brings the one that is open up to date. It speaks the REST API of GitHub,
// GitLab and Gitea (Forgejo too), and lets the engineer's own tool speak it where
// one is logged in.
//
// [Open] finds out which forge a remote is on and who may talk to it, so that it
// can be called before anything is built. [Forge.Publish] does it.
//
// Which forge: Options.Kind; else the path of Options.APIURL; else the host's
// name where it is well known; else what CI's or the tools' variables say of this
// host; else which of gh, glab and tea is logged in to it; else what its API
// answers to a question without credentials.
//
// Who talks to it, the first that there is:
//
//	on an engineer's machine   gh, glab or tea if it is logged in to this host;
//	                           a token from the environment
//	in CI (CI is set)          a token from the environment; the tool
//
// and with none of them the result is the page on which a person opens the pull
// request. A token from the environment goes only to the host that it is for: the
// one that CI or the tool's own variable (GH_HOST, GITLAB_HOST, GITEA_SERVER_URL)
// names, else the kind's public host, or any that the caller named by Kind or
// APIURL. A host that merely answers like a GitLab gets no token.
//
// gh and glab are asked through "gh api" and "glab api". tea has had "tea api"
// since 0.12 only, so a token in tea's configuration is used directly, and "tea
// api" when tea keeps the token elsewhere or has to renew it.
package forge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// The kinds of forge.
const (
	GitHub = "github"
	GitLab = "gitlab"
	Gitea  = "gitea" // and Forgejo, whose API it is
)

// Options say which forge and how to talk to it.
type Options struct {
	// Kind is GitHub, GitLab or Gitea; "" finds out. "forgejo" is Gitea.
	Kind string
	// APIURL is the base of the REST API, such as https://git.example.com/api/v4;
	// "" derives it from the remote. Plain http is used only where it is given
	// here. It rules gh and glab out, which find the API themselves.
	APIURL string
	// Into is the path of the repository that the pull request is opened in,
	// such as acme/web. "" is the remote's own repository, or what it was forked
	// from: see [Forge.Publish].
	Into string
	// Command opens the pull request instead of all else. It finds PIN_PR_TITLE,
	// PIN_PR_BODY_FILE (a file), PIN_PR_HEAD, PIN_PR_BASE ("" for the default
	// branch) and PIN_REMOTE_URL (without user name and password) in its
	// environment, reads no input, and may print the pull request's URL: the last
	// line of its standard output that is one counts.
	Command []string
	// Environ is os.Environ() in practice: tokens, CI's variables, PATH.
	Environ []string
	// HTTP makes the requests; http.DefaultTransport if nil.
	HTTP http.RoundTripper
	// Dir is where tools run; the current directory if empty.
	Dir string
	// Log receives what Command prints, on both streams; nil drops it.
	Log io.Writer
}

// PullRequest is what to open.
type PullRequest struct {
	// Title is used when the pull request is opened, and not touched afterwards:
	// a person may have edited it.
	Title string
	// Body is Markdown. It is our part of the description: what people write
	// around it stays.
	Body string
	// Head is the pushed branch, and Base the one to merge it into; an empty Base
	// is the default branch.
	Head, Base string
}

// What became of a pull request.
const (
	Created   = "created"
	Updated   = "updated"
	Unchanged = "unchanged" // nothing was sent
	Commanded = "commanded" // Options.Command did something
	ByHand    = ""          // nobody here could: Published.Why says why
)

// Published is a pull request, or how to get one.
type Published struct {
	// URL is the pull request's page. By hand, it is the page on which a person
	// opens it, or empty where there is none; and a Command may have printed none.
	URL string
	// Number is what people call it by; 0 by hand, and after a Command.
	Number int
	// Repository is the path of the repository that it is in, which for a fork is
	// another one than the branch's; empty by hand, and after a Command.
	Repository string
	Action     string
	// Why says why it has to be done by hand.
	Why string
}

// Forge is where the branches of one remote become pull requests.
type Forge struct {
	kind    string
	site    site
	into    string
	through string // who talks to it
	why     string // by hand, and why
	run     func(context.Context, PullRequest) (Published, error)
}

// Open finds out which forge remoteURL is on, and who may talk to it. The URL is
// one that git takes, with insteadOf applied; a user name and a password in it are
// neither used nor shown.
//
// A remote that is no forge (a directory, a remote helper), and a forge that
// nobody here may talk to, are no errors: Publish then says what a person can do.
// The error is an [*Error] with [ErrMisuse] for options or a URL that can't be
// right, and [ErrUnknownForge] where Kind is needed; or it is ctx's.
func Open(ctx context.Context, remoteURL string, o Options) (*Forge, error) {
	return open(ctx, remoteURL, o, sleep)
}

func open(ctx context.Context, remoteURL string, o Options, sleep sleeper) (*Forge, error) {
	t := tools{env: newEnviron(o.Environ), dir: o.Dir}
	if len(o.Command) > 0 {
		return &Forge{run: func(ctx context.Context, pr PullRequest) (Published, error) {
			return runCommand(ctx, o, withoutUserinfo(remoteURL), pr)
		}}, nil
	}
	r, err := parseRemote(remoteURL)
	var noForge *noForgeError
	if errors.As(err, &noForge) {
		return &Forge{why: noForge.why}, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := discover(ctx, r, o, t)
	if err != nil {
		return nil, err
	}
	f := &Forge{kind: s.kind, site: s, into: strings.Trim(o.Into, "/")}
	if f.into != "" && !repositoryPath(f.into) {
		return nil, failure(ErrMisuse, "%q is not the path of a repository; write owner/name", printable(o.Into))
	}
	way, err := chooseWay(ctx, s, o, t)
	if err != nil {
		return nil, err
	}
	if way.transport == nil {
		f.why = way.why
		return f, nil
	}
	f.through = way.source
	c := &client{transport: way.transport, source: way.source, site: s, sleep: sleep, budget: longestWait}
	f.run = func(ctx context.Context, pr PullRequest) (Published, error) { return publish(ctx, c, f.into, pr) }
	return f, nil
}

// Kind returns GitHub, GitLab or Gitea, or "" for a remote that is on no forge and
// for Options.Command.
func (f *Forge) Kind() string { return f.kind }

// ByHand returns why Publish will only say what a person can do; "" if it will do
// it itself.
func (f *Forge) ByHand() string { return f.why }

// Through returns who talks to the forge: a tool ("gh") or the variable with the
// token ("GITHUB_TOKEN"); "" by hand, and for Options.Command.
func (f *Forge) Through() string { return f.through }

// Publish opens the pull request of a pushed branch, or updates the description
// of the one that is open; there are never two. In a description, only what stands
// between the lines
//
//	<!-- pin-cmp -->
//	<!-- /pin-cmp -->
//
// is replaced; without them it is appended. Title and base of an open pull request
// are left alone.
//
// A branch of a fork becomes a pull request of the repository that was forked,
// unless Options.Into says otherwise, the fork is private and that one public,
// that one is archived or not to be seen, or (GitLab) the fork's settings keep
// merge requests in it. One that is open within the fork is kept up to date there.
//
// It waits for up to a minute where the forge asks for it. The error is an
// [*Error], or ctx's; whatever it is, the branch is pushed, and to call Publish
// again is right.
func (f *Forge) Publish(ctx context.Context, pr PullRequest) (Published, error) {
	pr, err := pr.checked()
	if err != nil {
		return Published{}, err
	}
	if f.run == nil {
		return Published{URL: f.site.byHand(pr), Action: ByHand, Why: f.why}, nil
	}
	p, err := f.run(ctx, pr)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return Published{}, fmt.Errorf("pull request of %s: %w", printable(pr.Head), err)
	}
	return p, nil
}

// sleeper waits for d, or returns ctx's cause when it ends first.
type sleeper func(ctx context.Context, d time.Duration) error

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
