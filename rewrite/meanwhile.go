package rewrite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/internal/imageref"
)

// A build takes minutes, and the work tree is the author's meanwhile. What is found
// under a key for ever has to be made from what the key says.

// steady is a builder that does what another one does, and believes it only if
// what the image is made from is afterwards what it was before.
type steady struct {
	builder build.Builder
	plan    *Plan
	options Options
}

var _ build.Builder = steady{}

// Build implements [build.Builder]. It goes inside of [build.Checked], which gives
// the image the tag that it is found by.
func (b steady) Build(ctx context.Context, request build.Request) (string, error) {
	digest, err := b.builder.Build(ctx, request)
	if err != nil {
		return "", err
	}
	c := request.Component
	var changed []string
	if !c.Staged() {
		if changed, err = b.plan.moved(ctx, c); err != nil {
			return "", err
		}
	}
	what := ""
	if len(changed) > 0 {
		what = fmt.Sprintf("%s changed while %s was built, so nobody knows what its image is made from; run this again (and let git ignore what the build itself writes)", someOf(changed), c.Name)
	} else if base, err := b.movedBase(ctx, c); err != nil {
		return "", err
	} else if base != "" {
		what = fmt.Sprintf("the base %s of %s was set to another image while it was built; run this again", base, c.Name)
	}
	if what == "" {
		return digest, nil
	}
	// Some tools push the tag themselves.
	if there, err := b.options.Registry.Find(ctx, c.Image, request.Tag, nil); err != nil {
		return "", errors.Join(errors.New(what), err)
	} else if there == digest {
		what += fmt.Sprintf("; before that delete the tag %s:%s, which the build pushed: it would be taken for the image of what is committed", c.Image, request.Tag)
	}
	return "", &build.DeclarationError{File: c.File, Line: c.Line, Err: errors.New(what)}
}

// moved returns the files that count for a component, and its declaration, which
// are not what they were when the plan was made.
func (p *Plan) moved(ctx context.Context, c build.Component) ([]string, error) {
	s := p.sources
	head, err := s.repo.Head(ctx)
	if err != nil {
		return nil, err
	}
	committed, err := s.committed(ctx, head, c)
	if err != nil {
		return nil, err
	}
	listing, err := s.repo.ListFiles(ctx, gitrepo.ListOptions{})
	if err != nil {
		return nil, err
	}
	held := func(name string) bool { return c.Holds(name) || name == c.File }
	dirty, absent, err := differs(ctx, s.repo, listing, s.tree, append(slices.Clone(c.Inputs), c.File), held)
	if err != nil {
		return nil, err
	}
	for _, name := range append(dirty, absent...) {
		// A declaration may have had its marks before, and nothing else.
		if (c.Holds(name) && s.counts(c, name) || name == c.File) && !slices.Contains(s.dirty, name) {
			committed = append(committed, name)
		}
	}
	slices.Sort(committed)
	return slices.Compact(committed), nil
}

// committed is moved for what was committed alone.
func (s *sources) committed(ctx context.Context, head gitrepo.Head, c build.Component) ([]string, error) {
	switch head.Commit {
	case s.head:
		return nil, nil
	case "":
		return []string{"HEAD"}, nil
	}
	now, err := s.repo.ListTree(ctx, head.Commit, append(slices.Clone(c.Inputs), c.File))
	if err != nil {
		return nil, err
	}
	var changed []string
	note := func(name string) {
		if c.Holds(name) && s.counts(c, name) || name == c.File {
			changed = append(changed, name)
		}
	}
	for name, entry := range now {
		if s.tree[name] != entry {
			note(name)
		}
	}
	for name := range s.tree {
		if _, ok := now[name]; !ok {
			note(name)
		}
	}
	slices.Sort(changed)
	return changed, nil
}

// overtaken tells whether somebody committed something meanwhile that one of the
// images is made from: they would be pinned on top of it, as if it was in them.
func (p *Plan) overtaken(ctx context.Context) (bool, error) {
	if p.sources == nil {
		return false, nil
	}
	head, err := p.sources.repo.Head(ctx)
	if err != nil {
		return false, err
	}
	for _, t := range p.made() {
		changed, err := p.sources.committed(ctx, head, t.declared)
		if err != nil || len(changed) > 0 {
			return len(changed) > 0, err
		}
	}
	return false, nil
}

// movedBase returns the base of a component that its tool looks up by a tag, if
// the tag means something else now than in the key.
func (b steady) movedBase(ctx context.Context, c build.Component) (string, error) {
	t := b.plan.targets["build "+c.Image]
	bases, err := c.Recipe.Bases(c, b.plan.sources.reader(t.inputs))
	if err != nil {
		return "", nil //nolint:nilerr // a file of the inputs is not what it was, which matters to no staged build
	}
	for _, base := range bases {
		ref := imageref.Parse(base.Reference)
		if ref.State != imageref.Floating {
			continue
		}
		digest, err := b.options.Registry.Resolve(ctx, ref.Repository, tagOf(ref))
		if err != nil {
			return "", err
		}
		if !strings.HasSuffix(t.ingredients.Bases[base.Reference], "@"+digest) {
			return base.Reference, nil
		}
	}
	return "", nil
}

// tagOf is the tag that a floating reference means.
func tagOf(ref imageref.Reference) string {
	if ref.Tag == "" {
		return "latest"
	}
	return ref.Tag
}
