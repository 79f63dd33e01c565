package rewrite

import (
	"bytes"
	"fmt"

	"github.com/pin-cmp/pin-cmp/internal/imageref"
	"github.com/pin-cmp/pin-cmp/internal/yamledit"
)

// reading is what a scalar is in one of the places where it counts: its own, an
// alias of it, or a map that merges the one that it is in.
type reading struct {
	at      yamledit.Scalar
	mark    *mark
	problem *Problem
}

// readings collects, by the scalar that would be replaced, what it is in each
// place, in the order of the file.
type readings struct {
	order []int
	of    map[int][]reading
}

func (r *readings) add(scalar int, one reading) {
	if one.mark == nil && one.problem == nil {
		return
	}
	if r.of[scalar] == nil {
		r.order = append(r.order, scalar)
	}
	r.of[scalar] = append(r.of[scalar], one)
}

// anchors finds the scalar that an alias repeats: the last one before it that
// has the name, in the same text.
type anchors map[string]yamledit.Scalar

// place names the text that a scalar is in, and an anchor in it.
func anchorPlace(s yamledit.Scalar, name string) string {
	p := s.Path()
	inside := 0
	for i, element := range p {
		if _, ok := element.(yamledit.Block); ok {
			inside = i + 1
		}
	}
	return fmt.Sprintf("%d %s %s", s.Document, p[:inside], name)
}

func (a anchors) add(s yamledit.Scalar) {
	if s.Anchor != "" {
		a[anchorPlace(s, s.Anchor)] = s
	}
}

func (a anchors) target(alias yamledit.Scalar) (yamledit.Scalar, bool) {
	s, ok := a[anchorPlace(alias, alias.Alias)]
	return s, ok
}

// A view shows a scalar as the mark that it may be. Of most it says at once that
// they can't be one, so that they cost nothing.
type view func(s yamledit.Scalar) (yamledit.Scalar, bool)

// asItStands shows what the author wrote.
func asItStands(s yamledit.Scalar) (yamledit.Scalar, bool) { return s, mayBeMark(s.Value) }

// readAll reads every scalar in every place where it counts.
func (f *markedFile) readAll(shown view) *readings {
	r := &readings{of: map[int][]reading{}}
	named := anchors{}
	for s := range f.parsed.Scalars() {
		named.add(s)
		seen, ok := shown(s)
		if !ok {
			continue
		}
		target := s
		if s.Alias != "" {
			var ok bool
			if target, ok = named.target(s); !ok {
				continue
			}
		}
		m, problem := f.read(seen, s)
		if m != nil {
			m.scalar = target
		}
		r.add(target.Index, reading{s, m, problem})
	}
	if bytes.Contains(f.content, []byte("<<")) {
		f.readMerged(r, shown)
	}
	return r
}

// readMerged reads the marks of a map in the maps that merge it (<<) and put
// another repository, or another part of a reference, beside them.
func (f *markedFile) readMerged(r *readings, shown view) {
	for s := range f.parsed.Scalars() {
		switch s.Key() {
		case "registry", "repository", "newName", "image", "name", "tag", "newTag", "imageTag", "digest":
		default:
			continue
		}
		for key, merged := range s.Siblings() {
			seen, ok := shown(merged)
			if !ok || merged.Alias != "" || merged.Index == s.Index {
				continue
			}
			if own, ok := merged.Sibling(s.Key()); ok && own.Index == s.Index || merged.Key() != key {
				continue // of the same map
			}
			m, problem := f.read(seen, s)
			if m != nil {
				m.scalar = merged
			}
			r.add(merged.Index, reading{s, m, problem})
		}
	}
}

// settle makes marks and problems of the readings. A scalar that is replaced is
// replaced in all its places at once, so it must mean the same in all of them; what
// says what it is.
func (f *markedFile) settle(r *readings, what string) {
	for _, index := range r.order {
		all := r.of[index]
		var first *reading
		for i := range all {
			if all[i].mark != nil {
				first = &all[i]
				break
			}
		}
		clean := true
		for i, one := range all {
			switch {
			case one.problem != nil && first != nil && i == 0 && one.at.Index == index && one.problem.Message == orphan:
				// An anchor away from any repository: the aliases have one.
			case one.problem != nil:
				f.problems = append(f.problems, *one.problem)
				clean = false
			case !same(first.mark, one.mark):
				f.problems = append(f.problems, *f.problem(one.at,
					"this is the %s of line %d, which gets the digest of %s there, but here it is for %s; write it out in both places",
					what, first.mark.scalar.Line, nameOf(first.mark.ref), nameOf(one.mark.ref)))
				clean = false
			}
		}
		if !clean || first == nil {
			continue
		}
		if err := f.editable(first.mark); err != nil {
			f.problems = append(f.problems, *f.problem(first.mark.scalar, "%s: %v", first.mark.scalar.Value, err))
			continue
		}
		f.marks = append(f.marks, *first.mark)
	}
}

// same tells whether two marks of one scalar come to the same text.
func same(a, b *mark) bool {
	return a.form == b.form && a.prefix == b.prefix && a.ref.Repository == b.ref.Repository &&
		a.ref.Tag == b.ref.Tag && a.ref.Verb == b.ref.Verb && a.ref.Bump == b.ref.Bump
}

func nameOf(r imageref.Reference) string {
	if r.Tag == "" {
		return r.Repository
	}
	return r.Repository + ":" + r.Tag
}
