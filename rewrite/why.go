package rewrite

import (
	"bytes"
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
	// Shallow: the clone's history begins with Commit, so that the digest may have
	// come before, and more may have changed since.
	Shallow bool `json:"shallow,omitempty"`
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
		revs, err := touching(ctx, repo, s.head, files)
		if err != nil {
			return nil, err
		}
		for _, rev := range revs[:min(len(revs), 20)] {
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
	if why.Shallow, err = isBoundary(ctx, repo, pinned.commit); err != nil {
		return nil, err
	}
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
			commit, err := broughtBy(ctx, repo, rev, strings.TrimPrefix(pin.was, "sha256:"), name)
			if err != nil {
				return pinning{}, err
			}
			return pinning{pin.was, commit}, nil
		}
	}
	return pinning{}, nil
}

// touching returns the commits in the history of rev that changed one of the files,
// the newest first.
func touching(ctx context.Context, repo *gitrepo.Repo, rev string, files []string) ([]string, error) {
	out, err := repo.Run(ctx, gitrepo.Command{Args: append([]string{"log", "--no-show-signature", "--format=%H", rev, "--"}, files...)})
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(out)), nil
}

// broughtBy returns the commit in the history of rev that brought a text into a
// file that has it there. It looks at few of the file's versions, in steps that
// double: git log -S reads all of them, which took four minutes for 5,000 versions
// in a clone without blobs (--filter=blob:none), where each is fetched by itself.
func broughtBy(ctx context.Context, repo *gitrepo.Repo, rev, text, file string) (string, error) {
	revs, err := touching(ctx, repo, rev, []string{file})
	if err != nil || len(revs) == 0 {
		return rev, err
	}
	has := func(i int) (bool, error) {
		contents, err := repo.FilesAt(ctx, revs[i], []string{file})
		return bytes.Contains(contents[file], []byte(text)), err
	}
	with, without := 0, len(revs) // the newest has it; before the oldest there is no file
	for step := 1; with+step < len(revs); step *= 2 {
		found, err := has(with + step)
		if err != nil {
			return "", err
		}
		if !found {
			without = with + step
			break
		}
		with += step
	}
	for with+1 < without {
		middle := (with + without) / 2
		found, err := has(middle)
		if err != nil {
			return "", err
		}
		if found {
			with = middle
		} else {
			without = middle
		}
	}
	return revs[with], nil
}

// isBoundary tells whether a shallow clone's history begins with a commit.
func isBoundary(ctx context.Context, repo *gitrepo.Repo, commit string) (bool, error) {
	out, err := repo.Run(ctx, gitrepo.Command{Args: []string{"rev-parse", "--is-shallow-repository"}})
	if err != nil || strings.TrimSpace(string(out)) != "true" {
		return false, err
	}
	parent, err := repo.RevParse(ctx, commit+"^")
	return parent == "", err
}

// write tells people.
func (w *Why) write(b *strings.Builder, t *Target) {
	before := ""
	if w.Shallow {
		before = ", or before: this clone is shallow"
	}
	switch {
	case w.Pinned == "":
		fmt.Fprintf(b, "%s: these files never pinned it before\n", t.Name)
	case len(w.Changes) == 0:
		fmt.Fprintf(b, "%s: nothing changed since %.19s… was pinned in %.12s%s\n", t.Name, w.Pinned, w.Commit, before)
	default:
		fmt.Fprintf(b, "%s: since %.19s… was pinned in %.12s%s\n", t.Name, w.Pinned, w.Commit, before)
	}
	for _, change := range w.Changes {
		fmt.Fprintf(b, "  %s\n", change)
	}
}
