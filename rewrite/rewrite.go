// Package rewrite turns a branch with symbolic references into one with static
// ones: all of them or none, and not a byte beside them.
//
// [Prepare] reads the work tree and says what would happen; [Run] does it:
// every digest is made and confirmed before the first byte is written, and the
// files, the index and the branch change together. docs/rewrite.md has the
// notation.
package rewrite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"unicode"

	"github.com/gobwas/glob"
	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/internal/transaction"
	"github.com/pin-cmp/pin-cmp/verify"
)

// Options say what to rewrite and how far to go.
type Options struct {
	// Components are the names of those to rewrite; empty means all marks.
	Components []string
	// Untracked searches files that git does not track, too.
	Untracked bool
	// Exclude are globs on the path from the repository's root; * matches
	// slashes.
	Exclude []string
	// Floating pins every reference by tag, too; Policy says what is exempt.
	Floating bool
	Policy   *verify.Policy
	// Commit makes a commit of the change, and of nothing else.
	Commit bool
	// NoVerify skips the user's hooks.
	NoVerify bool
	// Changed also moves the static pins of every component whose inputs changed
	// since the branch started, and of those built on one. Base is a revision of
	// what it started from; "" finds out. Bump is what the versions beside those
	// pins are raised by: "patch", "minor", "major", or "" where there are none.
	Changed bool
	Base    string
	Bump    string
	// Why explains, for each component, what changed since it was pinned.
	Why bool
	// Remote is where pull requests go to; "" is origin.
	Remote string
	// ResolveBases lets a base image be named by its tag: it is looked up, and
	// what it means counts in the inputs key.
	ResolveBases bool

	// Registry is asked, and pushed to. Builder builds instead of the components'
	// own recipes, if it is not nil.
	Registry *build.Registry
	Builder  build.Builder
	// Jobs is how many builds run at once.
	Jobs int
	// Watcher sees the builds, and Planned the names of those to come; both may be
	// nil. LogDir keeps the log of each, if it is not "".
	Watcher build.Watcher
	Planned func(components []string)
	LogDir  string
	// HookOutput receives what hooks print, and Notice a sentence for the user now
	// and then. Both may be nil.
	HookOutput io.Writer
	Notice     func(string)
}

func (o Options) notice(format string, args ...any) {
	if o.Notice != nil {
		o.Notice(fmt.Sprintf(format, args...))
	}
}

func (o Options) excluded() (func(string) bool, error) {
	var globs []glob.Glob
	for _, pattern := range o.Exclude {
		g, err := glob.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("--exclude %s: %w", pattern, err)
		}
		globs = append(globs, g)
	}
	return func(name string) bool {
		for _, g := range globs {
			if g.Match(name) {
				return true
			}
		}
		return false
	}, nil
}

func isComponentFile(name string) bool { return path.Base(name) == build.ComponentFile }

// Prepare returns what Run would do. It builds nothing, writes nothing, and asks
// git alone.
func Prepare(ctx context.Context, repo *gitrepo.Repo, o Options) (*Plan, error) {
	return prepare(ctx, repo, o)
}

// LookUp asks the registries what a plan without problems can have without
// building: what tags mean, and which components need no build. It pushes nothing.
func (p *Plan) LookUp(ctx context.Context, o Options) error {
	if len(p.Problems) > 0 {
		return nil
	}
	if err := p.lookUp(ctx, o); err != nil {
		return err
	}
	p.list()
	_ = p.unversioned() // it is among the problems
	return nil
}

// tries is how often a plan is made anew when the branch moves meanwhile.
const tries = 3

// Run rewrites. First it finishes or undoes what an interrupted run left. An
// error means that the files, the index and the branch are as before.
func Run(ctx context.Context, repo *gitrepo.Repo, o Options) (*Plan, error) {
	place := transaction.InRepo(repo)
	if _, err := transaction.Recover(ctx, place, func(r *transaction.Recovery) { o.notice("%s", r) }); err != nil {
		return nil, err
	}
	for range tries {
		plan, err := prepare(ctx, repo, o)
		if err != nil {
			return nil, err
		}
		if len(plan.Problems) > 0 {
			return plan, &ProblemsError{plan.Problems}
		}
		if plan.Empty() {
			return plan, nil
		}
		if err := plan.make(ctx, repo, o); err != nil {
			return plan, err
		}
		if plan.Empty() {
			return plan, nil
		}
		if over, err := plan.overtaken(ctx); err != nil {
			return plan, fmt.Errorf("nothing was rewritten: %w", err)
		} else if over {
			o.notice("what the images are made from was committed anew meanwhile; planning again with what is built")
			continue
		}
		err = plan.write(ctx, repo, place, o)
		if !errors.Is(err, transaction.ErrMoved) {
			return plan, err
		}
		o.notice("the branch moved meanwhile; planning again with what is built")
	}
	return nil, errMoved
}

// Discard gives up on what an interrupted run left. The files, the index and the
// branch stay as they are now.
func Discard(ctx context.Context, repo *gitrepo.Repo) error {
	return transaction.Discard(ctx, transaction.InRepo(repo))
}

// write changes the files and, if asked to, commits.
func (p *Plan) write(ctx context.Context, repo *gitrepo.Repo, place transaction.Place, o Options) error {
	changes, err := p.changes()
	if err != nil {
		return err
	}
	if !o.Commit {
		return transaction.WriteFiles(ctx, place, changes)
	}
	p.Commit, err = transaction.Commit(ctx, repo, changes, transaction.CommitOptions{
		Message: p.message(), AllowDirty: p.onlyMarks, NoVerify: o.NoVerify, HookOutput: o.HookOutput,
	})
	if errors.Is(err, transaction.ErrNothingToCommit) {
		// The marks are uncommitted, and their digests are what HEAD has.
		return transaction.WriteFiles(ctx, place, changes)
	}
	return err
}

// message is the commit's: a subject, and a trailer for each pin.
func (p *Plan) message() string {
	var names []string
	for _, t := range p.Targets {
		name := t.Name
		if len(t.Tags) == 1 {
			name += " " + t.Tags[0]
		}
		names = append(names, name)
	}
	var b strings.Builder
	b.WriteString(pinTitle(names) + "\n\n")
	seen := map[string]bool{}
	for _, t := range p.Targets {
		line := fmt.Sprintf("Pin-Image: %s@%s", t.Image, t.Digest)
		if !seen[line] {
			seen[line] = true
			fmt.Fprintln(&b, line)
		}
	}
	for _, pin := range p.Pins {
		line := fmt.Sprintf("Pin-Change: %s %s -> %s", oneLine(pin.File), pin.From, pin.To)
		if !seen[line] {
			seen[line] = true
			fmt.Fprintln(&b, line)
		}
	}
	return b.String()
}

// oneLine quotes a path that would not stay on the line of its trailer.
func oneLine(path string) string {
	if strings.ContainsFunc(path, unicode.IsControl) {
		return strconv.Quote(path)
	}
	return path
}
