package rewrite

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	// dirty are the paths that differ from the last commit, and absent those that
	// are not checked out: submodules, and what a sparse checkout leaves out.
	dirty, absent []string
	// pinned are the files that hold pins: a pin would change the key that it is
	// pinned by, so they don't count.
	pinned map[string]bool
	// written is how the checkout writes files otherwise than git has them.
	written map[string]string
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
	listing, err := repo.ListFiles(ctx, gitrepo.ListOptions{})
	if err != nil {
		return nil, err
	}
	held := func(name string) bool {
		return slices.ContainsFunc(wanted, func(c build.Component) bool { return c.Holds(name) || c.File == name })
	}
	if s.dirty, s.absent, err = differs(ctx, repo, listing, s.tree, under, held); err != nil {
		return nil, err
	}
	return s, s.findPinned(ctx, listing, held)
}

// findPinned finds the files that hold pins: in the work tree, tracked or not, and
// in the last commit those that are not in the work tree.
func (s *sources) findPinned(ctx context.Context, listing *gitrepo.Listing, held func(name string) bool) error {
	want := func(name string, content []byte) bool {
		return maybeSymbolic(name, content) || mayPin(content, s.components)
	}
	here := *listing
	here.Files = slices.Clone(listing.Files)
	tracked := map[string]bool{}
	var gone []string
	for _, file := range listing.Files {
		tracked[file.Path] = true
		if file.SkipWorktree && manifestFile(file.Path) && held(file.Path) {
			gone = append(gone, file.Path)
		}
	}
	for _, name := range s.dirty {
		info, err := os.Lstat(s.onDisk(name))
		switch {
		case err != nil && manifestFile(name):
			gone = append(gone, name)
		case err == nil && info.Mode().IsRegular() && !tracked[name]:
			here.Files = append(here.Files, gitrepo.File{Path: name})
		}
	}
	files, _, err := read(ctx, s.repo, &here, func(name string) bool { return !held(name) }, want)
	if err != nil {
		return err
	}
	contents, err := s.repo.FilesAt(ctx, s.head, gone)
	if err != nil {
		return err
	}
	charts := chartDirs(listing.Files)
	for name, content := range contents {
		if want(name, content) && len(content) <= MaxFile {
			files = append(files, &markedFile{path: name, content: content, template: inTemplates(name, charts)})
		}
	}
	for _, f := range files {
		f.components = s.components
		s.pinned[f.path] = f.holdsPins()
	}
	return nil
}

func (s *sources) onDisk(name string) string {
	return filepath.Join(s.repo.Top(), filepath.FromSlash(name))
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
			inputs = append(inputs, build.Input{Path: name, Mode: fmt.Sprintf("%06o", entry.Mode), Object: entry.Object, Written: s.written[name]})
		}
	}
	slices.SortFunc(inputs, func(a, b build.Input) int { return strings.Compare(a.Path, b.Path) })
	count := func(names []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !c.Holds(name) || !s.counts(c, name) })
	}
	dirty, absent := count(s.dirty), count(s.absent)
	for _, input := range c.Inputs {
		switch {
		case used[input]:
		case slices.ContainsFunc(dirty, func(name string) bool { return name == input || strings.HasPrefix(name, input+"/") }):
		default:
			return nil, problem("the input %s matches nothing that git tracks", input)
		}
		if s.tree[input].Mode == 0o120000 {
			return nil, problem("the input %s is a symbolic link, and would count as nothing else; name what it points at", input)
		}
		if s.pinned[input] && !isComponentFile(input) && s.pinsOwn(c, input) {
			return nil, problem("the input %s holds a pin of %s itself, so each pin would change what it is pinned by; leave it out", input, c.Name)
		}
	}
	for _, name := range absent {
		if s.tree[name].Mode == 0o160000 {
			return nil, problem("the submodule %s, which %s is made from, is not checked out; run git submodule update --init --recursive %s", name, c.Name, name)
		}
	}
	if len(absent) > 0 {
		return nil, problem("%s is made from what this sparse checkout leaves out: %s; git sparse-checkout add has it checked out", c.Name, someOf(absent))
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
