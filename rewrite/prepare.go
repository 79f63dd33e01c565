package rewrite

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// loadComponents reads every pin.yaml among the files.
func loadComponents(files []*markedFile) (*build.Components, error) {
	var list []build.Component
	for _, f := range files {
		if !isComponentFile(f.path) {
			continue
		}
		components, err := build.ParseComponents(f.path, f.content)
		if err != nil {
			return nil, err
		}
		list = append(list, components...)
	}
	return build.NewComponents(list)
}

// checkNames refuses names that no component has.
func checkNames(components *build.Components, names []string) error {
	for _, name := range names {
		if _, ok := components.ByName(name); !ok {
			var all []string
			for _, c := range components.All() {
				all = append(all, c.Name)
			}
			if len(all) == 0 {
				return fmt.Errorf("no component %s: there is no %s in the repository", name, build.ComponentFile)
			}
			return fmt.Errorf("no component %s; there are %s", name, strings.Join(all, ", "))
		}
	}
	return nil
}

// prepare reads the work tree and plans.
func prepare(ctx context.Context, repo *gitrepo.Repo, o Options) (*Plan, error) {
	excluded, err := o.excluded()
	if err != nil {
		return nil, err
	}
	want := maybeSymbolic
	if o.Floating {
		want = maybeFloating
	}
	files, problems, err := scan(ctx, repo, selection{untracked: o.Untracked, excluded: excluded}, want)
	if err != nil {
		return nil, err
	}
	components, err := loadComponents(files)
	if err != nil {
		return nil, err
	}
	if err := checkNames(components, o.Components); err != nil {
		return nil, err
	}
	for _, f := range files {
		f.components = components
		f.find()
		if o.Floating {
			f.findFloating(o.Policy)
		}
	}
	var reasons map[string]string
	var warnings []Problem
	var stays map[string][]Problem
	if o.Changed {
		if reasons, warnings, err = stale(ctx, repo, components, o); err != nil {
			return nil, err
		}
		var more []Problem
		if files, stays, more, err = markStale(ctx, repo, files, components, reasons, o, excluded); err != nil {
			return nil, err
		}
		problems = append(problems, more...)
	}
	if err := refuseFiltered(ctx, repo, files); err != nil {
		return nil, err
	}
	plan := newPlan(files, problems, components, o.Components)
	plan.Warnings = append(plan.Warnings, warnings...)
	plan.stays = stays
	plan.giveReasons(reasons, components)
	if err := plan.measure(ctx, repo, components, o); err != nil {
		return nil, err
	}
	if o.Why {
		if err := plan.explain(ctx, repo, o); err != nil {
			return nil, err
		}
	}
	if plan.Empty() && len(plan.Problems) == 0 && !o.Changed && !o.Untracked && !o.Floating {
		if err := plan.lookAside(ctx, repo, excluded); err != nil {
			return nil, err
		}
	}
	if o.Commit && !plan.Empty() {
		if err := plan.committable(ctx, repo); err != nil {
			return nil, err
		}
	}
	plan.sortProblems()
	return plan, nil
}

// lookAside warns of placeholders in files that git does not track yet: the
// author of a new file expects something else than "nothing to rewrite".
func (p *Plan) lookAside(ctx context.Context, repo *gitrepo.Repo, excluded func(string) bool) error {
	tracked, err := repo.ListFiles(ctx, gitrepo.ListOptions{Untracked: true})
	if err != nil {
		return err
	}
	none, err := build.NewComponents(nil)
	if err != nil {
		return err
	}
	tracked.Files = slices.DeleteFunc(tracked.Files, func(f gitrepo.File) bool { return !f.Untracked() })
	files, _, err := read(ctx, repo, tracked, excluded, maybeSymbolic)
	if err != nil {
		return err
	}
	for _, f := range files {
		f.components = none
		if f.find(); len(f.marks) > 0 {
			p.Warnings = append(p.Warnings, Problem{f.path, f.marks[0].scalar.Line, "holds a placeholder, but git does not track the file; git add it, or run with --untracked"})
		}
	}
	return nil
}

// refuseFiltered makes marks in files that git LFS keeps elsewhere a problem.
func refuseFiltered(ctx context.Context, repo *gitrepo.Repo, files []*markedFile) error {
	var names []string
	for _, f := range files {
		if len(f.marks) > 0 {
			names = append(names, f.path)
		}
	}
	if len(names) == 0 {
		return nil
	}
	kept, err := repo.LFS(ctx, names)
	if err != nil {
		return err
	}
	for _, f := range files {
		if slices.Contains(kept, f.path) {
			f.problems = append(f.problems, Problem{f.path, f.marks[0].scalar.Line, "is kept by git LFS, which stores it elsewhere; take it out of LFS to pin images in it"})
			f.marks = nil
		}
	}
	return nil
}
