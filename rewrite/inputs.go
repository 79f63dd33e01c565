package rewrite

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/internal/imageref"
)

// A sources knows what the components of the work tree are made from: the files
// of the last commit, and which of them count.
type sources struct {
	repo       *gitrepo.Repo
	components *build.Components
	head       string
	tree       map[string]gitrepo.TreeEntry
	// dirty are the paths that differ from the last commit.
	dirty []string
	// pinned are the files that hold pins: a pin would change the key that it is
	// pinned by, so they don't count.
	pinned map[string]bool
}

// sourcesOf reads what the wanted ones of the components are made from.
func sourcesOf(ctx context.Context, repo *gitrepo.Repo, components *build.Components, wanted []build.Component) (*sources, error) {
	s := &sources{repo: repo, components: components, pinned: map[string]bool{}}
	head, err := repo.Head(ctx)
	if err != nil {
		return nil, err
	}
	if s.head = head.Commit; s.head == "" {
		return nil, fmt.Errorf("%w; commit what the components are made from", gitrepo.ErrUnborn)
	}
	var under []string
	for _, c := range wanted {
		under = append(append(under, c.Inputs...), c.File)
	}
	slices.Sort(under)
	under = slices.Compact(under)
	if s.tree, err = repo.ListTree(ctx, s.head, under); err != nil {
		return nil, err
	}
	if s.dirty, err = repo.Uncommitted(ctx, under); err != nil {
		return nil, err
	}
	outside := func(name string) bool {
		return !slices.ContainsFunc(wanted, func(c build.Component) bool { return c.Holds(name) })
	}
	files, _, err := scan(ctx, repo, selection{excluded: outside}, func(name string, content []byte) bool {
		return maybeSymbolic(name, content) || mayPin(content, components)
	})
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		f.components = components
		s.pinned[f.path] = f.holdsPins()
	}
	return s, nil
}

// holdsPins tells whether the file names a digest of a component, or waits for
// one. It is not for a file whose marks are in a plan.
func (f *markedFile) holdsPins() bool {
	if isComponentFile(f.path) {
		return true
	}
	f.marks = nil
	f.find()
	if slices.ContainsFunc(f.marks, func(m mark) bool { return m.ref.Verb == imageref.Build }) {
		return true
	}
	pins, refused := f.pins(f.owned)
	return len(pins)+len(refused) > 0
}

// counts tells whether a file of the component's inputs counts in its key.
func (s *sources) counts(c build.Component, name string) bool {
	return c.Names(name) || !isComponentFile(name) && !s.pinned[name]
}

// inputs returns the files that the component is made from, sorted, and what is
// wrong with them.
func (s *sources) inputs(c build.Component) ([]build.Input, *Problem) {
	problem := func(format string, args ...any) *Problem {
		return &Problem{File: c.File, Line: c.Line, Message: fmt.Sprintf(format, args...)}
	}
	var inputs []build.Input
	used := map[string]bool{}
	for name, entry := range s.tree {
		if !c.Holds(name) {
			continue
		}
		for _, input := range c.Inputs {
			if input == "." || name == input || strings.HasPrefix(name, input+"/") {
				used[input] = true
			}
		}
		if s.counts(c, name) {
			inputs = append(inputs, build.Input{Path: name, Mode: fmt.Sprintf("%06o", entry.Mode), Object: entry.Object})
		}
	}
	slices.SortFunc(inputs, func(a, b build.Input) int { return strings.Compare(a.Path, b.Path) })
	var dirty []string
	for _, name := range s.dirty {
		if c.Holds(name) && s.counts(c, name) {
			dirty = append(dirty, name)
		}
	}
	for _, input := range c.Inputs {
		switch {
		case used[input]:
		case slices.ContainsFunc(dirty, func(name string) bool { return name == input || strings.HasPrefix(name, input+"/") }):
		default:
			return nil, problem("the input %s matches nothing that git tracks", input)
		}
		if s.pinned[input] && !isComponentFile(input) && s.pinsOwn(c, input) {
			return nil, problem("the input %s holds a pin of %s itself, so each pin would change what it is pinned by; leave it out", input, c.Name)
		}
	}
	if len(dirty) > 0 {
		return nil, problem("%s is made from what is not committed: %s; commit or stash it, so that the image is what a commit says", c.Name, someOf(dirty))
	}
	if inputs == nil {
		inputs = []build.Input{} // known to be none: it is all in the recipe
	}
	return inputs, nil
}

// pinsOwn tells whether a file holds a pin of the component itself.
func (s *sources) pinsOwn(c build.Component, name string) bool {
	root, err := openRoot(s.repo.Top())
	if err != nil {
		return true
	}
	defer root.close()
	var buffer []byte
	content, err := root.readInto(name, &buffer)
	if err != nil {
		return true
	}
	f := &markedFile{path: name, content: content, components: s.components}
	f.find()
	pins, _ := f.pins(f.owned)
	return slices.ContainsFunc(append(f.marks, pins...), func(m mark) bool { return m.ref.Repository == c.Image })
}

// someOf lists a few of many.
func someOf(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// reader reads the files that count, for recipes that look into them.
func (s *sources) reader(inputs []build.Input) func(name string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if !slices.ContainsFunc(inputs, func(i build.Input) bool { return i.Path == name }) {
			return nil, fs.ErrNotExist
		}
		root, err := openRoot(s.repo.Top())
		if err != nil {
			return nil, err
		}
		defer root.close()
		var buffer []byte
		return root.readInto(name, &buffer)
	}
}
