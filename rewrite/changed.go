package rewrite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/internal/imageref"
)

// mergeBase returns the commit that the branch started from. Without base that
// is looked for where pull requests go: the branch that a CI names, or the
// remote's default branch.
func mergeBase(ctx context.Context, repo *gitrepo.Repo, o Options) (string, error) {
	base := o.Base
	if base == "" {
		for _, variable := range []string{"GITHUB_BASE_REF", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME"} {
			name := os.Getenv(variable)
			if name == "" {
				continue
			}
			if hash, err := repo.RevParse(ctx, "refs/remotes/"+o.remote()+"/"+name); err != nil {
				return "", err
			} else if hash != "" {
				base = hash
				break
			}
		}
	}
	if base == "" {
		var err error
		if base, err = repo.DefaultBranch(ctx, o.remote()); err != nil {
			return "", err
		}
	}
	if base == "" {
		return "", fmt.Errorf("%w: %s has no default branch here; name it with --base, as in --base origin/main", errNoBase, o.remote())
	}
	if hash, err := repo.RevParse(ctx, base+"^{commit}"); err != nil {
		return "", err
	} else if hash == "" {
		return "", fmt.Errorf("%w: git has no commit %s here; fetch it, or name another with --base", errNoBase, base)
	}
	hash, err := repo.MergeBase(ctx, base, "HEAD")
	if err != nil {
		return "", err
	}
	if hash == "" {
		return "", fmt.Errorf("%w: %s and HEAD have no commit in common; a shallow clone has to be deepened (git fetch --unshallow)", errNoBase, base)
	}
	return hash, nil
}

// errNoBase says that nobody knows what the branch started from.
var errNoBase = errors.New("what to compare with is not known")

func (o Options) remote() string {
	if o.Remote == "" {
		return "origin"
	}
	return o.Remote
}

// past is a commit to compare with.
type past struct {
	repo       *gitrepo.Repo
	rev        string
	components *build.Components // as they were declared
	now        *sources
}

// at reads what the components were at a commit. A pin.yaml that did not parse
// then declares nothing.
func (s *sources) at(ctx context.Context, rev string) (*past, error) {
	var files []string
	for _, c := range s.components.All() {
		files = append(files, c.File)
	}
	slices.Sort(files)
	contents, err := s.repo.FilesAt(ctx, rev, slices.Compact(files))
	if err != nil {
		return nil, err
	}
	var list []build.Component
	for name, content := range contents {
		if declared, err := build.ParseComponents(name, content); err == nil {
			list = append(list, declared...)
		}
	}
	slices.SortFunc(list, func(a, b build.Component) int { return strings.Compare(a.Image, b.Image) })
	list = slices.CompactFunc(list, func(a, b build.Component) bool { return a.Image == b.Image || a.Name == b.Name })
	components, err := build.NewComponents(list)
	if err != nil {
		return nil, err
	}
	return &past{s.repo, rev, components, s}, nil
}

// changes returns what became of a component since: its recipe, and the files
// that count. known is false if it was not declared then.
func (p *past) changes(ctx context.Context, c build.Component) (changes []build.Change, known bool, err error) {
	then, ok := p.components.ByImage(c.Image)
	if !ok {
		return nil, false, nil
	}
	before, err := p.repo.ListTree(ctx, p.rev, then.Inputs)
	if err != nil {
		return nil, false, err
	}
	was, err := then.Ingredients(asInputs(before, then), nil)
	if err != nil {
		return nil, false, err
	}
	is, err := c.Ingredients(asInputs(p.now.tree, c), nil)
	if err != nil {
		return nil, false, err
	}
	changes = is.Since(was)
	var manifests []string // those that may hold pins, so that they don't count
	for _, change := range changes {
		if _, file := p.now.tree[change.What]; (file || before[change.What].Object != "") && manifestFile(change.What) && !c.Names(change.What) {
			manifests = append(manifests, change.What)
		}
	}
	if len(manifests) == 0 {
		return changes, true, nil
	}
	pinned, err := p.pinned(ctx, manifests)
	if err != nil {
		return nil, false, err
	}
	changes = slices.DeleteFunc(changes, func(change build.Change) bool { return pinned[change.What] })
	return changes, true, nil
}

// pinned tells which files held pins then, or hold them now.
func (p *past) pinned(ctx context.Context, names []string) (map[string]bool, error) {
	contents, err := p.repo.FilesAt(ctx, p.rev, names)
	if err != nil {
		return nil, err
	}
	pinned := map[string]bool{}
	for _, name := range names {
		pinned[name] = p.now.pinned[name]
		if content, ok := contents[name]; ok && !pinned[name] {
			f := &markedFile{path: name, content: content, components: p.now.components}
			pinned[name] = f.holdsPins()
		}
	}
	return pinned, nil
}

// asInputs are the files of a tree that are under a component's inputs.
func asInputs(tree map[string]gitrepo.TreeEntry, c build.Component) []build.Input {
	var inputs []build.Input
	for name, entry := range tree {
		if c.Holds(name) && (!isComponentFile(name) || c.Names(name)) {
			inputs = append(inputs, build.Input{Path: name, Mode: fmt.Sprintf("%06o", entry.Mode), Object: entry.Object})
		}
	}
	return inputs
}

// stale returns the components whose inputs changed since the branch started,
// and those that are built on them, with the reason for each.
func stale(ctx context.Context, repo *gitrepo.Repo, components *build.Components, o Options) (map[string]string, error) {
	all := components.All()
	if len(all) == 0 {
		return nil, fmt.Errorf("no component is declared: there is no %s in the repository", build.ComponentFile)
	}
	base, err := mergeBase(ctx, repo, o)
	if err != nil {
		return nil, err
	}
	s, err := sourcesOf(ctx, repo, components, all)
	if err != nil {
		return nil, err
	}
	then, err := s.at(ctx, base)
	if err != nil {
		return nil, err
	}
	reasons := map[string]string{} // by image
	for _, c := range all {
		if len(o.Components) > 0 && !slices.Contains(o.Components, c.Name) {
			continue
		}
		changes, known, err := then.changes(ctx, c)
		if err != nil {
			return nil, err
		}
		switch {
		case !known:
			reasons[c.Image] = "it is new on this branch"
		case len(changes) == 1:
			reasons[c.Image] = changes[0].String()
		case len(changes) > 1:
			reasons[c.Image] = fmt.Sprintf("%s, and %d more", changes[0], len(changes)-1)
		}
	}
	for again := true; again; {
		again = false
		for _, c := range all {
			if reasons[c.Image] != "" {
				continue
			}
			for _, value := range c.Values() {
				ref := imageref.Parse(value)
				if ref.Repository != "" && reasons[ref.Repository] != "" && strings.Contains(value, "/") {
					reasons[c.Image] = "it is built on " + ref.Repository
					again = true
				}
			}
		}
	}
	return reasons, nil
}

// markStale turns the static pins of stale components into marks.
func markStale(ctx context.Context, repo *gitrepo.Repo, files []*markedFile, components *build.Components, reasons map[string]string, o Options, excluded func(string) bool) ([]*markedFile, []Problem, error) {
	if len(reasons) == 0 {
		return files, nil, nil
	}
	known := map[string]*markedFile{}
	for _, f := range files {
		known[f.path] = f
	}
	more, problems, err := scan(ctx, repo, selection{untracked: o.Untracked, excluded: excluded}, func(_ string, content []byte) bool {
		return mayPin(content, components)
	})
	if err != nil {
		return nil, nil, err
	}
	for _, f := range more {
		if known[f.path] != nil {
			f = known[f.path]
		} else {
			f.components = components
			files = append(files, f)
		}
		pins, refused := f.pins(func(m mark) bool { return reasons[m.ref.Repository] != "" })
		f.problems = append(f.problems, refused...)
		for _, pin := range pins {
			if pin.ref.Tag != "" {
				pin.ref.Bump = o.Bump
			}
			f.marks = append(f.marks, pin)
		}
		slices.SortFunc(f.marks, func(a, b mark) int { return a.scalar.Index - b.scalar.Index })
	}
	slices.SortFunc(files, func(a, b *markedFile) int { return strings.Compare(a.path, b.path) })
	return files, problems, nil
}

// giveReasons says why the stale components are built, and warns of those that
// nothing pins.
func (p *Plan) giveReasons(reasons map[string]string, components *build.Components) {
	for _, t := range p.Targets {
		if reason := reasons[t.Image]; reason != "" && t.Action == Build {
			t.Reason = reason
		}
	}
	for _, c := range components.All() {
		if reasons[c.Image] != "" && p.targets["build "+c.Image] == nil {
			p.Warnings = append(p.Warnings, Problem{c.File, c.Line, c.Name + " changed, but no file pins it, so it was left alone"})
		}
	}
}
