package rewrite

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// asked is how many questions are under way at once. Each is one round trip.
const asked = 16

// make gets the digest of every target: tags are looked up, images that are there
// already are found by their keys, and the rest is built, each after what it is
// built on. Then the digests get their tags: a version is not used up by a run in
// which another build fails.
func (p *Plan) make(ctx context.Context, repo *gitrepo.Repo, o Options) error {
	if err := p.makeAll(ctx, repo, o); err != nil {
		var problems *ProblemsError
		if errors.As(err, &problems) {
			return err
		}
		return fmt.Errorf("nothing was rewritten: %w", err)
	}
	p.list()
	return nil
}

func (p *Plan) makeAll(ctx context.Context, repo *gitrepo.Repo, o Options) error {
	if err := p.lookUp(ctx, o); err != nil {
		return err
	}
	if err := p.unversioned(); err != nil {
		return err
	}
	if err := p.mayBuild(ctx, o); err != nil {
		return err
	}
	if err := p.build(ctx, repo, o); err != nil {
		return err
	}
	p.dropUnchanged()
	for _, t := range p.made() {
		for _, tag := range t.Tags {
			if err := o.Registry.Keep(ctx, t.Image, tag, t.Digest); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookUp asks the registries for every digest that can be had without building:
// what tags mean, and which images are there by their keys. A target that needs
// one still to be built waits.
func (p *Plan) lookUp(ctx context.Context, o Options) error {
	resolve := resolver(o)
	for {
		var ready []*Target
		for _, t := range p.Targets {
			if t.Digest == "" && !t.asked && !slices.ContainsFunc(t.needs, func(n *Target) bool { return n.Digest == "" }) {
				ready = append(ready, t)
			}
		}
		if len(ready) == 0 {
			return nil
		}
		err := askAll(ready, func(t *Target) error {
			t.asked = true
			return t.find(ctx, o, p.sources, resolve)
		})
		if err != nil {
			return err
		}
	}
}

// askAll asks about all targets at once, and returns the error of the first of
// them in their order: what is said does not depend on which answer came first.
func askAll(targets []*Target, ask func(*Target) error) error {
	errs := make([]error, len(targets))
	var group errgroup.Group
	group.SetLimit(asked)
	for i, t := range targets {
		group.Go(func() error {
			errs[i] = ask(t)
			return nil
		})
	}
	_ = group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// resolver looks each tag up once.
func resolver(o Options) func(ctx context.Context, repository, tag string) (string, error) {
	var known sync.Map
	return func(ctx context.Context, repository, tag string) (string, error) {
		look, _ := known.LoadOrStore(repository+":"+tag, sync.OnceValues(func() (string, error) {
			return o.Registry.Resolve(ctx, repository, tag)
		}))
		return look.(func() (string, error))()
	}
}

// find looks a tag up, or an image by its key.
func (t *Target) find(ctx context.Context, o Options, s *sources, resolve func(ctx context.Context, repository, tag string) (string, error)) (err error) {
	if t.Action == Resolve {
		t.Digest, err = resolve(ctx, t.Image, t.Tags[0])
		return err
	}
	if t.Key == "" {
		if err := t.settle(ctx, o, s, resolve); err != nil {
			return err
		}
	}
	digest, err := o.Registry.Find(ctx, t.Image, t.ingredients.Tag(), t.component.Platforms)
	var missing *build.MissingPlatformsError
	switch {
	case errors.As(err, &missing):
		o.notice("%s", missing)
	case err != nil:
		return fmt.Errorf("%s: %w", t.Name, err)
	case digest != "":
		t.Digest, t.Action, t.Reason = digest, Reuse, "the registry has the image of these inputs"
	}
	return nil
}

// unversioned refuses to put a new image under a version that an old one has.
func (p *Plan) unversioned() error {
	var problems []Problem
	for _, f := range p.files {
		for _, m := range f.marks {
			t := p.targets[p.idOf(m)]
			if m.was != "" && m.ref.Tag != "" && m.ref.Bump == "" && t.Digest != m.was {
				problems = append(problems, Problem{m.file, m.scalar.Line, fmt.Sprintf("%s:%s names the old image; say which version comes next, with --bump patch, minor or major", m.ref.Repository, m.ref.Tag)})
			}
		}
	}
	if len(problems) > 0 {
		p.Problems = append(p.Problems, problems...)
		p.sortProblems()
		return &ProblemsError{p.Problems}
	}
	return nil
}

// mayBuild finds out, before anything is built, whether everything can be: the
// tools are here, and the registries take what they make.
func (p *Plan) mayBuild(ctx context.Context, o Options) error {
	targets := slices.DeleteFunc(p.made(), func(t *Target) bool { return t.Action != Build })
	for _, t := range targets {
		c := t.component
		tool := c.Recipe.Program()
		if tool.Name == "" {
			continue
		}
		if _, err := exec.LookPath(tool.Name); err != nil {
			get := "install it"
			if tool.Get != "" {
				get += " (" + tool.Get + ")"
			}
			return fmt.Errorf("%s:%d: %s is built with %s, which is not here; %s, or correct build.%s", c.File, c.Line, c.Name, tool.Name, get, c.Kind)
		}
	}
	return askAll(targets, func(t *Target) error {
		if err := o.Registry.MayPush(ctx, t.Image); err != nil {
			return fmt.Errorf("%s can't be pushed, so nothing was built: %w", t.Name, err)
		}
		return nil
	})
}

// builder returns the builder, with what is around it: a limit, so that a build
// counts as begun when it has its turn; the log; the registry's word; and a look at
// whether the inputs stayed what they are.
func (p *Plan) builder(o Options) build.Builder {
	var b build.Builder = build.ByRecipe{}
	if o.Builder != nil {
		b = o.Builder
	}
	return build.Limit(build.Watch(build.Checked(steady{b, p, o}), o.Watcher, o.LogDir), o.Jobs)
}

// build builds what is not there, each after what it needs.
func (p *Plan) build(ctx context.Context, repo *gitrepo.Repo, o Options) error {
	var planned []string
	for _, t := range p.made() {
		if t.Digest == "" {
			planned = append(planned, t.Name)
		}
	}
	if len(planned) == 0 {
		return nil
	}
	if o.Planned != nil {
		o.Planned(planned)
	}
	builder := p.builder(o)
	group, ctx := errgroup.WithContext(ctx)
	done := map[*Target]chan struct{}{}
	for _, t := range p.Targets {
		done[t] = make(chan struct{})
		if t.Digest != "" {
			close(done[t])
		}
	}
	for _, t := range p.made() {
		if t.Digest != "" {
			continue
		}
		group.Go(func() error {
			for _, need := range t.needs {
				select {
				case <-done[need]:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			if !t.asked {
				if err := t.find(ctx, o, p.sources, resolver(o)); err != nil {
					return err
				}
			}
			if t.Digest == "" {
				if err := t.build(ctx, repo, o, p.sources, builder); err != nil {
					return err
				}
			}
			close(done[t])
			return nil
		})
	}
	return group.Wait()
}

// build builds one image.
func (t *Target) build(ctx context.Context, repo *gitrepo.Repo, o Options, s *sources, builder build.Builder) error {
	c := t.component
	var left []string
	for name := range s.tree {
		if c.Holds(name) && !s.counts(c, name) {
			left = append(left, name)
		}
	}
	slices.Sort(left)
	revision, at, err := repo.LastChange(ctx, s.head, c.Inputs, left)
	if err != nil {
		return err
	}
	inputs, err := markLFS(ctx, repo, t.inputs)
	if err != nil {
		return err
	}
	t.Digest, err = builder.Build(ctx, build.Request{
		Component: c, Top: repo.Top(), Inputs: inputs, Bases: t.ingredients.Bases, Tag: t.ingredients.Tag(),
		Revision: revision, Time: at, Registry: o.Registry,
	})
	return err
}

// markLFS says of each input whether git has the content, or a pointer to it.
func markLFS(ctx context.Context, repo *gitrepo.Repo, inputs []build.Input) ([]build.Input, error) {
	paths := make([]string, len(inputs))
	for i, input := range inputs {
		paths[i] = input.Path
	}
	kept, err := repo.LFS(ctx, paths)
	if err != nil {
		return nil, err
	}
	marked := slices.Clone(inputs)
	for i := range marked {
		marked[i].LFS = slices.Contains(kept, marked[i].Path)
	}
	return marked, nil
}

// dropUnchanged takes out the static pins that are what they become.
func (p *Plan) dropUnchanged() {
	needed := map[string]bool{}
	tags := map[string][]string{}
	for _, f := range p.files {
		f.marks = slices.DeleteFunc(f.marks, func(m mark) bool { return m.was != "" && m.was == p.targets[p.idOf(m)].Digest })
		for _, m := range f.marks {
			id := p.idOf(m)
			needed[id] = true
			if tag, err := m.newTag(); err == nil && tag != "" && !slices.Contains(tags[id], tag) {
				tags[id] = append(tags[id], tag)
			}
		}
	}
	p.files = slices.DeleteFunc(p.files, func(f *markedFile) bool { return len(f.marks) == 0 })
	for _, t := range p.Targets {
		if !needed[t.id()] { // its pins did not move
			p.Warnings = slices.DeleteFunc(p.Warnings, func(w Problem) bool { return slices.Contains(p.stays[t.Image], w) })
		}
	}
	p.Targets = slices.DeleteFunc(p.Targets, func(t *Target) bool { return !needed[t.id()] })
	for _, t := range p.made() {
		t.Tags = tags[t.id()]
	}
}
