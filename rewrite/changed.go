package rewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/internal/imageref"
)

// baseRevision returns what the branch is compared with: what --base says, or where
// pull requests go, which is the branch that a CI names, or the remote's default
// branch; "" if nobody knows.
func baseRevision(ctx context.Context, repo *gitrepo.Repo, o Options) (string, error) {
	if o.Base != "" {
		return o.Base, nil
	}
	for _, variable := range []string{"GITHUB_BASE_REF", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME"} {
		name := os.Getenv(variable)
		if name == "" {
			continue
		}
		// The full name: a tag or a branch here may have the short one.
		full := "refs/remotes/" + o.remote() + "/" + name
		if commit, err := commitOf(ctx, repo, full); err != nil {
			return "", err
		} else if commit == "" {
			return "", fmt.Errorf("%w: %s says %s, which git does not have here; git fetch %s +refs/heads/%s:%s, or name another with --base",
				errNoBase, variable, name, o.remote(), name, full)
		}
		return full, nil
	}
	return defaultBranch(ctx, repo, o)
}

// mergeBase returns the commit that the branch started from.
func mergeBase(ctx context.Context, repo *gitrepo.Repo, o Options) (string, error) {
	base, err := baseRevision(ctx, repo, o)
	if err != nil {
		return "", err
	}
	if base == "" {
		return "", fmt.Errorf("%w: %s has no default branch here; name it with --base, as in --base origin/main", errNoBase, o.remote())
	}
	commit, err := commitOf(ctx, repo, base)
	if err != nil {
		return "", err
	}
	if commit == "" {
		return "", fmt.Errorf("%w: git has no commit %s here; fetch it, or name another with --base", errNoBase, base)
	}
	if head, err := repo.Head(ctx); err != nil {
		return "", err
	} else if head.Commit == "" {
		return "", fmt.Errorf("%w, so there is nothing to compare; make a first one", gitrepo.ErrUnborn)
	}
	hash, err := repo.MergeBase(ctx, commit, "HEAD")
	if err != nil {
		return "", err
	}
	if hash == "" {
		return "", fmt.Errorf("%w: %s and HEAD have no commit in common; a shallow clone has to be deepened (git fetch --unshallow)", errNoBase, base)
	}
	return hash, nil
}

// defaultBranch returns the full name of the remote-tracking branch that pull
// requests go to, "" if nobody knows.
func defaultBranch(ctx context.Context, repo *gitrepo.Repo, o Options) (string, error) {
	short, err := repo.DefaultBranch(ctx, o.remote())
	if err != nil || short == "" {
		return "", err
	}
	// Git writes more of the name where a tag or a branch has the short one.
	short = strings.TrimPrefix(strings.TrimPrefix(short, "refs/"), "remotes/")
	return "refs/remotes/" + short, nil
}

// commitOf returns the hash of the commit that a revision names, "" if it names
// none. The revision may be one that nothing can be put behind, as :/text.
func commitOf(ctx context.Context, repo *gitrepo.Repo, revision string) (string, error) {
	hash, err := repo.RevParse(ctx, revision)
	if err != nil || hash == "" {
		return "", err
	}
	return repo.RevParse(ctx, hash+"^{commit}")
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
	files = slices.Compact(files)
	contents, err := s.repo.FilesAt(ctx, rev, files)
	if err != nil {
		return nil, err
	}
	if len(contents) < len(files) { // some were elsewhere, or are new
		tree, err := s.repo.ListTree(ctx, rev, []string{"."})
		if err != nil {
			return nil, err
		}
		files = slices.DeleteFunc(slices.Sorted(maps.Keys(tree)), func(name string) bool { return !isComponentFile(name) })
		if contents, err = s.repo.FilesAt(ctx, rev, files); err != nil {
			return nil, err
		}
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
// and those that are built on them, with the reason for each; and what to warn of.
func stale(ctx context.Context, repo *gitrepo.Repo, components *build.Components, o Options) (map[string]string, []Problem, error) {
	all := components.All()
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("no component is declared: there is no %s in the repository", build.ComponentFile)
	}
	base, err := mergeBase(ctx, repo, o)
	if err != nil {
		return nil, nil, err
	}
	s, err := sourcesOf(ctx, repo, components, all)
	if err != nil {
		return nil, nil, err
	}
	then, err := s.at(ctx, base)
	if err != nil {
		return nil, nil, err
	}
	reasons := map[string]string{} // by image
	for _, c := range all {
		if len(o.Components) > 0 && !slices.Contains(o.Components, c.Name) {
			continue
		}
		changes, known, err := then.changes(ctx, c)
		if err != nil {
			return nil, nil, err
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
	asked := func(c build.Component) bool {
		return len(o.Components) == 0 || slices.Contains(o.Components, c.Name)
	}
	for again := true; again; {
		again = false
		for _, c := range all {
			if reasons[c.Image] != "" || !asked(c) {
				continue
			}
			for _, value := range c.Values() {
				if base := baseIn(value); base != "" && reasons[base] != "" {
					reasons[c.Image] = "it is built on " + base
					again = true
				}
			}
		}
	}
	return reasons, s.uncommitted(all, asked, reasons), nil
}

// baseIn returns the repository that a value of a build section names, "" if it
// names none: the reference itself, or a flag that has it (--base=…).
func baseIn(value string) string {
	text := value[strings.LastIndexByte(value, '=')+1:]
	if !strings.Contains(text, "/") {
		return ""
	}
	return imageref.Parse(text).Repository
}

// uncommitted warns of changes that don't count, because they are not committed:
// where there are others, they are a problem.
func (s *sources) uncommitted(all []build.Component, asked func(build.Component) bool, reasons map[string]string) []Problem {
	var warnings []Problem
	for _, c := range all {
		if reasons[c.Image] != "" || !asked(c) {
			continue
		}
		dirty := slices.DeleteFunc(slices.Clone(s.dirty), func(name string) bool {
			return !(c.Holds(name) && s.counts(c, name)) //nolint:staticcheck // as it is said
		})
		if len(dirty) > 0 {
			warnings = append(warnings, Problem{c.File, c.Line, fmt.Sprintf("%s has changes that are not committed, so they don't count: %s", c.Name, someOf(dirty))})
		}
	}
	return warnings
}

// markStale turns the static pins of stale components into marks. stays is what
// names one of their images and is none, by image.
func markStale(ctx context.Context, repo *gitrepo.Repo, files []*markedFile, components *build.Components, reasons map[string]string, o Options, excluded func(string) bool) (marked []*markedFile, stays map[string][]Problem, problems []Problem, err error) {
	if len(reasons) == 0 {
		return files, nil, nil, nil
	}
	known := map[string]*markedFile{}
	for _, f := range files {
		known[f.path] = f
	}
	more, problems, err := scan(ctx, repo, selection{untracked: o.Untracked, excluded: excluded}, func(_ string, content []byte) bool {
		return bytes.Contains(content, []byte("sha256:")) || mayPin(content, components)
	})
	if err != nil {
		return nil, nil, nil, err
	}
	for i, f := range more {
		if known[f.path] != nil {
			f = known[f.path]
			more[i] = f
		} else {
			f.components = components
			files = append(files, f)
		}
		if !mayPin(f.content, components) {
			continue
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
	return files, staying(more, components, reasons), problems, nil
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
		if p.targets["build "+c.Image] != nil {
			p.Warnings = append(p.Warnings, p.stays[c.Image]...)
		} else if reasons[c.Image] != "" {
			p.Warnings = append(p.Warnings, Problem{c.File, c.Line, c.Name + " changed, but no file pins it, so it was left alone"})
		}
	}
}
