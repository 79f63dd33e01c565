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

// measure finds out what each component to build is made from, and its key where
// that can be told without asking anybody. What stands in the way becomes a
// problem.
func (p *Plan) measure(ctx context.Context, repo *gitrepo.Repo, components *build.Components, o Options) error {
	var targets []*Target
	var wanted []build.Component
	for _, t := range p.Targets {
		if t.Action == Build {
			targets = append(targets, t)
			wanted = append(wanted, t.component)
		}
	}
	if len(targets) == 0 {
		return nil
	}
	s, err := sourcesOf(ctx, repo, components, wanted)
	if err != nil {
		return err
	}
	p.sources = s
	if s.written, err = writtenAs(ctx, repo, s.tree); err != nil {
		return err
	}
	changes := map[string]bool{} // files that this run changes
	for _, f := range p.files {
		changes[f.path] = len(f.marks) > 0
	}
	for _, t := range targets {
		inputs, problem := s.inputs(t.component)
		if problem == nil {
			problem = p.declared(ctx, t)
		}
		if problem == nil {
			problem = unsettled(t.component, inputs, changes)
		}
		if problem != nil {
			p.Problems = append(p.Problems, *problem)
			continue
		}
		t.inputs = inputs
	}
	p.depend(targets)
	if problem := cycle(targets); problem != nil {
		p.Problems = append(p.Problems, *problem)
		return nil
	}
	for _, t := range targets {
		if t.inputs == nil || len(t.needs) > 0 {
			continue
		}
		// Asking nobody: a base by tag that may be looked up has no digest yet.
		err := t.settle(ctx, o, p.sources, nil)
		var located *ProblemsError
		switch {
		case errors.Is(err, errLater):
		case errors.As(err, &located):
			p.Problems = append(p.Problems, located.Problems...)
		case err != nil:
			p.Problems = append(p.Problems, Problem{t.component.File, t.component.Line, strings.TrimPrefix(err.Error(), fmt.Sprintf("%s:%d: ", t.component.File, t.component.Line))})
		}
	}
	return nil
}

// unsettled returns the problem of a component that is made from a file which
// this run changes: the commit would hold another one than the image.
func unsettled(c build.Component, inputs []build.Input, changes map[string]bool) *Problem {
	for _, input := range inputs {
		if changes[input.Path] {
			return &Problem{c.File, c.Line, fmt.Sprintf("%s is made from %s, which this run changes; name its inputs without that file, or rewrite that file first", c.Name, input.Path)}
		}
	}
	return nil
}

// declared returns the problem of a component whose pin.yaml has uncommitted
// changes beside its marks.
func (p *Plan) declared(ctx context.Context, t *Target) *Problem {
	c := t.component
	if !slices.Contains(p.sources.dirty, c.File) {
		return nil
	}
	problem := &Problem{c.File, c.Line, fmt.Sprintf("says how %s is built and has uncommitted changes; commit them", c.Name)}
	i := slices.IndexFunc(p.files, func(f *markedFile) bool { return f.path == c.File })
	if i < 0 {
		return problem
	}
	was, err := p.sources.repo.FilesAt(ctx, p.sources.head, []string{c.File})
	if err == nil {
		err = p.onlyMarks(c.File, was[c.File], p.files[i].content)
	}
	if err != nil {
		return problem
	}
	return nil
}

// depend finds the targets that others need first: a mark in a build section is
// the base of that component.
func (p *Plan) depend(targets []*Target) {
	for _, f := range p.files {
		if !isComponentFile(f.path) {
			continue
		}
		for _, m := range f.marks {
			base := p.targets[p.idOf(m)]
			used := false
			for _, t := range targets {
				if t.component.File == f.path && t.component.HasAt(placeIn(m)) {
					used = true
					t.bases = append(t.bases, m)
					if !slices.Contains(t.needs, base) {
						t.needs = append(t.needs, base)
					}
				}
			}
			if !used {
				p.Warnings = append(p.Warnings, Problem{m.file, m.scalar.Line, fmt.Sprintf("%s changes here, so what is built on it goes stale; mark that, too, or run with --changed", nameOf(m.ref))})
			}
		}
	}
}

// withBases adds to the names of the components that were asked for what they are
// built on: the components whose placeholders stand in their build sections, and
// third parties' placeholders there, by their place.
func withBases(files []*markedFile, components *build.Components, only []string) []string {
	if len(only) == 0 {
		return nil
	}
	all := slices.Clone(only)
	for again := true; again; {
		again = false
		for _, f := range files {
			for _, m := range f.marks {
				if m.was != "" || !isComponentFile(f.path) || !slices.ContainsFunc(components.All(), func(c build.Component) bool {
					return c.File == f.path && slices.Contains(all, c.Name) && c.HasAt(placeIn(m))
				}) {
					continue
				}
				name := m.at()
				if base, ok := components.ByImage(m.ref.Repository); ok && m.ref.Verb == imageref.Build {
					name = base.Name
				}
				if !slices.Contains(all, name) {
					all = append(all, name)
					again = true
				}
			}
		}
	}
	return all
}

// placeIn is where a mark of a pin.yaml stands.
func placeIn(m mark) build.Place {
	return build.Place{Line: m.scalar.Line, Column: m.scalar.Column, Value: m.scalar.Value}
}

// cycle returns the problem of components that need each other.
func cycle(targets []*Target) *Problem {
	state := map[*Target]int{} // 1: being visited, 2: done
	var path []string
	var visit func(t *Target) *Problem
	visit = func(t *Target) *Problem {
		switch state[t] {
		case 1:
			from := slices.Index(path, t.Name)
			return &Problem{t.component.File, t.component.Line, fmt.Sprintf("%s is built on itself: %s", t.Name, strings.Join(append(path[from:], t.Name), " needs "))}
		case 2:
			return nil
		}
		state[t] = 1
		path = append(path, t.Name)
		for _, need := range t.needs {
			if problem := visit(need); problem != nil {
				return problem
			}
		}
		path = path[:len(path)-1]
		state[t] = 2
		return nil
	}
	for _, t := range targets {
		if problem := visit(t); problem != nil {
			return problem
		}
	}
	return nil
}

// errLater says that a key can't be told without asking a registry.
var errLater = errors.New("a base is known by its tag alone")

// settle makes the component's recipe static, and its key. resolve looks a tag
// up; without it, one that would have to be is errLater. All needs have their
// digest.
func (t *Target) settle(ctx context.Context, o Options, s *sources, resolve func(ctx context.Context, repository, tag string) (string, error)) error {
	written := map[build.Place]string{}
	for _, m := range t.bases {
		base := t.needs[slices.IndexFunc(t.needs, func(n *Target) bool { return n.id() == idOf(m) })]
		tag, err := m.newTag()
		if err != nil {
			return err
		}
		for _, edit := range m.edits(base.Digest, tag) {
			written[build.Place{Line: edit.Scalar.Line, Column: edit.Scalar.Column, Value: edit.Scalar.Value}] = edit.New
		}
	}
	c, err := t.component.WithValues(written)
	if err != nil {
		return err
	}
	bases, err := c.Recipe.Bases(c, s.reader(t.inputs))
	if err != nil {
		return fmt.Errorf("%s:%d: %w", c.File, c.Line, err)
	}
	digests := map[string]string{}
	for _, base := range bases {
		if digests[base.Reference], err = staticBase(ctx, c, base, o, resolve); err != nil {
			return err
		}
	}
	// What a tag means now is what is built on, not what it means then.
	if c, err = c.WithReferences(digests); err != nil {
		return err
	}
	ingredients, err := c.Ingredients(t.inputs, digests)
	if err != nil {
		return err
	}
	t.component, t.ingredients = c, ingredients
	t.Key = ingredients.Key()
	return nil
}

// staticBase returns what a base means, by digest.
func staticBase(ctx context.Context, c build.Component, base build.Base, o Options, resolve func(ctx context.Context, repository, tag string) (string, error)) (string, error) {
	problem := func(format string, args ...any) error {
		p := Problem{c.File, c.Line, fmt.Sprintf(format, args...)}
		if base.File != "" {
			p.File, p.Line = base.File, base.Line
		} else if base.Line > 0 {
			p.Line = base.Line
		}
		return &ProblemsError{[]Problem{p}}
	}
	ref := imageref.Parse(base.Reference)
	switch ref.State {
	case imageref.Static:
		return base.Reference, nil
	case imageref.Symbolic:
		return "", problem("the base %s of %s is a placeholder where none can stand; put it into a build argument in the %s", base.Reference, c.Name, build.ComponentFile)
	case imageref.Floating:
	default:
		return "", problem("the base %s of %s %s", base.Reference, c.Name, ref.Reason)
	}
	if !o.ResolveBases {
		return "", problem("the base %s of %s can change at any time; name it by digest (%s), or allow it with floatingBases: resolve in the policy", base.Reference, c.Name, suggestion(ref))
	}
	if resolve == nil {
		return "", errLater
	}
	digest, err := resolve(ctx, ref.Repository, tagOf(ref))
	if err != nil {
		return "", err
	}
	return base.Reference + "@" + digest, nil
}

func suggestion(ref imageref.Reference) string {
	return ref.Repository + ":" + tagOf(ref) + "@sha256:…"
}

// made returns the targets that are built here, or were.
func (p *Plan) made() []*Target {
	return slices.DeleteFunc(slices.Clone(p.Targets), func(t *Target) bool { return t.Action == Resolve })
}
