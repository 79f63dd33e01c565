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
	"golang.org/x/sync/errgroup"

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
	// Jobs is how many images are made at once.
	Jobs int

	// Builder builds components; Registry resolves, confirms and tags.
	Builder  build.Builder
	Registry *build.Registry
	// Log receives what builds and hooks print, from several goroutines at once:
	// an *os.File, or a writer that can take it. Notice receives a sentence for
	// the user now and then. Both may be nil.
	Log    io.Writer
	Notice func(string)
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

// Prepare returns what Run would do. It builds nothing and writes nothing.
func Prepare(ctx context.Context, repo *gitrepo.Repo, o Options) (*Plan, error) {
	return prepare(ctx, repo, o)
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
	made := map[string]string{} // digests, by target
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
		if err := plan.make(ctx, repo, o, made); err != nil {
			return plan, err
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

// make gets the digest of every target, and then gives the digests their tags:
// a version is not used up by a run in which another build fails. made keeps the
// digests of earlier tries.
func (p *Plan) make(ctx context.Context, repo *gitrepo.Repo, o Options, made map[string]string) error {
	var todo []*Target
	for _, target := range p.Targets {
		digest, ok := made[target.id()]
		if !ok {
			todo = append(todo, target)
			continue
		}
		target.Digest = digest
		if target.Action == Build {
			target.Action, target.Reason = Reuse, "built a moment ago"
		}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, o.Jobs))
	for _, target := range todo {
		group.Go(func() (err error) {
			target.Digest, err = target.digest(groupCtx, repo, o)
			return err
		})
	}
	err := group.Wait()
	for _, target := range todo {
		if target.Digest != "" {
			made[target.id()] = target.Digest
		}
	}
	for _, target := range p.Targets {
		if err == nil && target.Action != Resolve {
			err = target.keep(ctx, o)
		}
	}
	if err != nil {
		return fmt.Errorf("nothing was rewritten: %w", err)
	}
	p.list()
	return nil
}

// digest builds or looks up, and confirms what it got.
func (t *Target) digest(ctx context.Context, repo *gitrepo.Repo, o Options) (string, error) {
	if t.Action == Resolve {
		return o.Registry.Resolve(ctx, t.Image, t.Tags[0])
	}
	o.notice("building %s", t.Name)
	digest, err := o.Builder.Build(ctx, build.Request{Component: t.component, Top: repo.Top(), Log: o.Log})
	if err != nil {
		return "", err
	}
	if err := o.Registry.Confirm(ctx, t.Image, digest); err != nil {
		return "", fmt.Errorf("the build of %s reported a digest, but %w", t.Name, err)
	}
	return digest, nil
}

// keep gives the digest its tags.
func (t *Target) keep(ctx context.Context, o Options) error {
	for _, tag := range t.Tags {
		if err := o.Registry.Keep(ctx, t.Image, tag, t.Digest); err != nil {
			return err
		}
	}
	return nil
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
		Message: p.message(), AllowDirty: p.onlyMarks, NoVerify: o.NoVerify, HookOutput: o.Log,
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
	subject := "Pin " + strings.Join(names, ", ")
	if len(subject) > 72 {
		subject = fmt.Sprintf("Pin %d images", len(names))
	}
	var b strings.Builder
	b.WriteString(subject + "\n\n")
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
