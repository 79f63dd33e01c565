package rewrite

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/imageref"
	"github.com/pin-cmp/pin-cmp/internal/transaction"
	"github.com/pin-cmp/pin-cmp/internal/yamledit"
)

// Action is where a digest comes from.
type Action string

// The actions. Their values are part of the JSON output.
const (
	// Build: the component is built and pushed.
	Build Action = "build"
	// Reuse: the registry holds the image of these inputs.
	Reuse Action = "reuse"
	// Resolve: the tag is looked up.
	Resolve Action = "resolve"
)

// Pin is a place in a file that gets a digest.
type Pin struct {
	File string `json:"file"`
	Line int    `json:"line"`
	// Component is the component's name; for a third party's image, its
	// repository.
	Component string `json:"component"`
	// From is the value as it stands, To what it becomes. In a plan the digest
	// that is still to be made is "sha256:…".
	From string `json:"from"`
	To   string `json:"to"`
}

// Target is an image that a rewrite needs a digest of.
type Target struct {
	Name  string `json:"name"`
	Image string `json:"image"`
	// Tags are those that the digest is kept under; for Resolve, the one that is
	// looked up.
	Tags   []string `json:"tags,omitempty"`
	Action Action   `json:"action"`
	Reason string   `json:"reason"`
	// Key is the inputs key: the image is kept and found under the tag pin-<key>.
	// It is empty for Resolve, and where it depends on a digest that is still to
	// be made.
	Key string `json:"key,omitempty"`
	// Why is what changed since the image was last pinned, if that was asked for.
	Why    *Why   `json:"why,omitempty"`
	Digest string `json:"digest,omitempty"`

	component   build.Component // its references static, once they are known
	declared    build.Component // as it stands
	asked       bool            // whether the registry has it already
	inputs      []build.Input
	ingredients build.Ingredients
	needs       []*Target // those whose digest is a base of this one
	bases       []mark    // the marks in its build section
}

// id tells targets apart: a component is built once, whatever its tags.
func (t *Target) id() string {
	if t.Action == Resolve {
		return "resolve " + t.Image + ":" + t.Tags[0]
	}
	return "build " + t.Image
}

// Plan is what a rewrite does, and why.
type Plan struct {
	Pins    []Pin
	Targets []*Target
	// Problems stand in the way: nothing is built or written while there are
	// any.
	Problems []Problem
	// Warnings stand in the way of nothing.
	Warnings []Problem
	// Commit is the commit that was made, if any.
	Commit string

	files   []*markedFile
	targets map[string]*Target
	sources *sources
	// stays are the warnings of what names an image that moves, and doesn't move
	// with it, by image.
	stays map[string][]Problem
}

// Empty tells whether there is nothing to rewrite.
func (p *Plan) Empty() bool { return len(p.Pins) == 0 }

// ProblemsError is what Run returns where the plan has problems.
type ProblemsError struct{ Problems []Problem }

// Error lists the problems, one a line.
func (e *ProblemsError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// newPlan plans the marks of the files.
func newPlan(files []*markedFile, problems []Problem, components *build.Components, only []string) *Plan {
	only = withBases(files, components, only)
	p := &Plan{Problems: problems, targets: map[string]*Target{}}
	for _, f := range files {
		p.Problems = append(p.Problems, f.problems...)
		p.Warnings = append(p.Warnings, f.warnings...)
		kept := f.marks[:0]
		for _, m := range f.marks {
			if problem := p.add(m, components, only); problem != nil {
				p.Problems = append(p.Problems, *problem)
			} else if p.targets[p.idOf(m)] != nil {
				kept = append(kept, m)
			} else {
				f.others = append(f.others, m)
			}
		}
		f.marks = kept
		if len(kept) == 0 {
			continue
		}
		if problem := p.rehearse(f); problem != nil {
			p.Problems = append(p.Problems, *problem)
			f.marks = nil
			continue
		}
		p.files = append(p.files, f)
	}
	p.agree()
	p.list()
	return p
}

// someDigest stands in for one that is not made yet.
const someDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// rehearse edits the file with a digest that stands in for the real ones, so that
// what can't be written is said before anything is built.
func (p *Plan) rehearse(f *markedFile) *Problem {
	edits, err := p.editsOf(f, func(*Target) string { return someDigest })
	if err != nil {
		return nil //nolint:nilerr // said already, at the mark
	}
	if _, err = f.parsed.Apply(edits...); err == nil {
		return nil
	}
	var refused *yamledit.RefusedError
	if errors.As(err, &refused) {
		return &Problem{f.path, refused.Line, refused.Problem}
	}
	return &Problem{f.path, f.marks[0].scalar.Line, strings.TrimPrefix(err.Error(), f.path+": ")}
}

// editsOf returns the edits of a file.
func (p *Plan) editsOf(f *markedFile, digest func(*Target) string) ([]yamledit.Edit, error) {
	var edits []yamledit.Edit
	for _, m := range f.marks {
		tag, err := m.newTag()
		if err != nil {
			return nil, err
		}
		edits = append(edits, m.edits(digest(p.targets[p.idOf(m)]), tag)...)
	}
	return unique(edits), nil
}

// idOf returns the id of the target that a mark waits for.
func (p *Plan) idOf(m mark) string { return idOf(m) }

func idOf(m mark) string {
	if m.ref.Verb == imageref.Resolve {
		return "resolve " + m.ref.Repository + ":" + m.lookUp()
	}
	return "build " + m.ref.Repository
}

// lookUp returns the tag that a third party's image is looked up by.
func (m mark) lookUp() string {
	if m.ref.Tag == "" {
		return "latest"
	}
	return m.ref.Tag
}

// add adds the target of a mark.
func (p *Plan) add(m mark, components *build.Components, only []string) *Problem {
	problem := func(format string, args ...any) *Problem {
		return &Problem{File: m.file, Line: m.scalar.Line, Message: fmt.Sprintf(format, args...)}
	}
	component, owned := components.ByImage(m.ref.Repository)
	name := m.ref.Repository
	if owned {
		name = component.Name
	}
	if len(only) > 0 && !slices.Contains(only, name) && !slices.Contains(only, m.at()) {
		return nil
	}
	target := &Target{Name: name, Image: m.ref.Repository, Action: Build, component: component, declared: component}
	switch {
	case m.ref.Verb == imageref.Resolve && m.ref.Bump != "":
		return problem("%s: a third party's version can't be raised from here; write the tag that you want", m.scalar.Value)
	case m.ref.Verb == imageref.Resolve && m.ref.Tag == "" && !m.floating:
		return problem("%s: there is no tag to look up; write one, as in nginx:1.27@resolve", m.scalar.Value)
	case m.ref.Verb == imageref.Resolve:
		target.Action, target.Tags = Resolve, []string{m.lookUp()}
		target.Reason = "what the tag " + m.lookUp() + " means now"
	case !owned:
		return problem("%s", undeclared(m.ref.Repository, components))
	case m.was != "":
		target.Reason = "its inputs changed"
	default:
		target.Reason = "placeholder at " + m.at()
	}
	id := target.id()
	if known, ok := p.targets[id]; ok {
		target = known
	} else {
		p.targets[id] = target
		p.Targets = append(p.Targets, target)
	}
	tag, err := m.newTag()
	if err != nil {
		return problem("%v", err)
	}
	if strings.HasPrefix(tag, build.TagPrefix) && target.Action != Resolve {
		return problem("%s: tags that start with %s are for images by their inputs keys; choose another", m.scalar.Value, build.TagPrefix)
	}
	if target.Action == Build && tag != "" && !slices.Contains(target.Tags, tag) {
		target.Tags = append(target.Tags, tag)
	}
	return nil
}

// newTag returns the tag that stands beside the digest afterwards, "" for none.
func (m mark) newTag() (string, error) {
	if m.ref.Bump == "" {
		return m.ref.Tag, nil
	}
	if m.ref.Tag == "" {
		return "", fmt.Errorf("%s: there is no version to raise; write the present one before the @, as in 1.3.9@build+%s", m.scalar.Value, m.ref.Bump)
	}
	return next(m.ref.Tag, m.ref.Bump)
}

func undeclared(repository string, components *build.Components) string {
	text := fmt.Sprintf("nobody declares %s, so it can't be built; declare it in a %s, or write @resolve for a third party's image", repository, build.ComponentFile)
	if near := components.Near(repository); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return text
}

// agree demands that all bumps of one component come to the same version.
func (p *Plan) agree() {
	type bumped struct {
		m   mark
		tag string
	}
	first := map[string]bumped{}
	for _, f := range p.files {
		for _, m := range f.marks {
			if m.ref.Bump == "" {
				continue
			}
			tag, err := m.newTag()
			if err != nil {
				continue // said already
			}
			if other, ok := first[m.ref.Repository]; !ok {
				first[m.ref.Repository] = bumped{m, tag}
			} else if other.tag != tag {
				p.Problems = append(p.Problems, Problem{m.file, m.scalar.Line, fmt.Sprintf("%s comes to %s, but %s at %s comes to %s; one component has one version",
					m.scalar.Value, tag, other.m.scalar.Value, other.m.at(), other.tag)})
			}
		}
	}
}

// orStill returns the digest, or what a person reads for one that is still to be
// made.
func orStill(digest string) string {
	if digest == "" {
		return "sha256:…"
	}
	return digest
}

// list makes the list of pins from the targets' digests.
func (p *Plan) list() {
	p.Pins = nil
	for _, f := range p.files {
		seen := map[int]bool{}
		from := len(p.Pins)
		for _, m := range f.marks {
			target := p.targets[p.idOf(m)]
			tag, err := m.newTag()
			if err != nil {
				continue
			}
			for _, e := range m.edits(orStill(target.Digest), tag) {
				if !seen[e.Scalar.Index] {
					seen[e.Scalar.Index] = true
					p.Pins = append(p.Pins, Pin{File: m.file, Line: e.Scalar.Line, Component: target.Name, From: e.Scalar.Value, To: e.New})
				}
			}
		}
		slices.SortStableFunc(p.Pins[from:], func(a, b Pin) int { return cmp.Compare(a.Line, b.Line) })
	}
}

// sortProblems puts problems and warnings in the order of the files.
func (p *Plan) sortProblems() {
	for _, list := range [][]Problem{p.Problems, p.Warnings} {
		slices.SortStableFunc(list, func(a, b Problem) int {
			return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
		})
	}
}

// changes returns the files as they become. Every target has its digest.
func (p *Plan) changes() ([]transaction.Change, error) {
	var changes []transaction.Change
	for _, f := range p.files {
		edits, err := p.editsOf(f, func(t *Target) string { return t.Digest })
		if err != nil {
			return nil, err
		}
		edited, err := f.parsed.Apply(edits...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
		changes = append(changes, transaction.Change{Path: f.path, Old: f.content, New: edited})
	}
	return changes, nil
}

// unique drops an edit that two marks share: the tag beside two digests.
func unique(edits []yamledit.Edit) []yamledit.Edit {
	seen := map[int]bool{}
	return slices.DeleteFunc(edits, func(e yamledit.Edit) bool {
		if seen[e.Scalar.Index] {
			return true
		}
		seen[e.Scalar.Index] = true
		return false
	})
}

var errMoved = errors.New("the branch moved three times while this ran; try again when it is quiet")
