package rewrite

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// Why says what became of a component since its image was last pinned.
type Why struct {
	// Pinned is the digest that was there before, and Commit the one that brought
	// it; both are empty if the component was never pinned.
	Pinned string `json:"pinned"`
	Commit string `json:"commit"`
	// Changes are in its build section and the files that count in its key.
	Changes []build.Change `json:"changes"`
}

// explain finds out, for each component to build, what changed since it was
// pinned. It asks git alone.
func (p *Plan) explain(ctx context.Context, repo *gitrepo.Repo, o Options) error {
	if p.sources == nil {
		return nil
	}
	base, err := mergeBase(ctx, repo, o)
	if err != nil {
		base = p.sources.head // without another branch, its own past will do
	}
	for _, t := range p.made() {
		var files []string
		for _, f := range p.files {
			if slices.ContainsFunc(f.marks, func(m mark) bool { return m.ref.Repository == t.Image }) {
				files = append(files, f.path)
			}
		}
		if t.Why, err = p.sources.why(ctx, repo, t, base, files); err != nil {
			return err
		}
	}
	return nil
}

// why compares a component with what it was when its present digest came into
// one of the files.
func (s *sources) why(ctx context.Context, repo *gitrepo.Repo, t *Target, base string, files []string) (*Why, error) {
	if len(files) == 0 {
		return &Why{Changes: []build.Change{}}, nil
	}
	pinned, err := s.lastPin(ctx, repo, t.Image, base, files)
	if err != nil {
		return nil, err
	}
	if pinned.digest == "" { // first pinned on this branch
		revs, err := repo.Touching(ctx, s.head, files, 20)
		if err != nil {
			return nil, err
		}
		for _, rev := range revs {
			if pinned, err = s.lastPin(ctx, repo, t.Image, rev, files); err != nil {
				return nil, err
			}
			if pinned.digest != "" {
				break
			}
		}
	}
	if pinned.digest == "" {
		return &Why{Changes: []build.Change{}}, nil
	}
	then, err := s.at(ctx, pinned.commit)
	if err != nil {
		return nil, err
	}
	why := &Why{Pinned: pinned.digest, Commit: pinned.commit}
	changes, known, err := then.changes(ctx, t.declared)
	if err != nil {
		return nil, err
	}
	if !known {
		changes = []build.Change{{Kind: "added", What: "its declaration, " + t.declared.File}}
	}
	if why.Changes = changes; changes == nil {
		why.Changes = []build.Change{}
	}
	return why, nil
}

// pinning is a digest, and the commit that brought it.
type pinning struct{ digest, commit string }

// lastPin returns how an image was pinned in some files of a commit, the first
// of them that pins it.
func (s *sources) lastPin(ctx context.Context, repo *gitrepo.Repo, image, rev string, files []string) (pinning, error) {
	contents, err := repo.FilesAt(ctx, rev, files)
	if err != nil {
		return pinning{}, err
	}
	for _, name := range files {
		f := &markedFile{path: name, content: contents[name], components: s.components}
		pins, _ := f.pins(func(m mark) bool { return m.ref.Repository == image })
		for _, pin := range pins {
			commit, err := repo.FirstWith(ctx, rev, pin.was[len("sha256:"):], files)
			if err != nil {
				return pinning{}, err
			}
			return pinning{pin.was, commit}, nil
		}
	}
	return pinning{}, nil
}

// write tells people.
func (w *Why) write(b *strings.Builder, t *Target) {
	switch {
	case w.Pinned == "":
		fmt.Fprintf(b, "%s: these files never pinned it before\n", t.Name)
	case len(w.Changes) == 0:
		fmt.Fprintf(b, "%s: nothing changed since %.19s… was pinned in %.12s\n", t.Name, w.Pinned, w.Commit)
	default:
		fmt.Fprintf(b, "%s: since %.19s… was pinned in %.12s\n", t.Name, w.Pinned, w.Commit)
	}
	for _, change := range w.Changes {
		fmt.Fprintf(b, "  %s\n", change)
	}
}
