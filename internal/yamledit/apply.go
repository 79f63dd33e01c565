package yamledit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Edit gives a scalar a new value.
type Edit struct {
	Scalar Scalar
	// New is the value, not its spelling: quotes and escapes are added as the
	// place needs them. It will be a string, also where the old value was a
	// number. For a block (| or >) it ends with the line breaks that the old
	// value ends with.
	New string
}

// RefusedError says why a scalar cannot be edited.
type RefusedError struct {
	File         string
	Line, Column int
	// Reason is empty where the new value is what does not fit.
	Reason Reason
	// Problem is one clause, with what to do.
	Problem string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s:%d: cannot replace this value: %s", e.File, e.Line, e.Problem)
}

// ErrVerify is the error of an edit that was tried and turned out to change
// more than it should. The file is safe, because nothing is returned. One kind
// of input is known to end here: a plain value that now needs quotes, before a
// line of nothing but a tab, which yaml/v3 takes after the one and not after
// the other.
var ErrVerify = errors.New("the edited file does not read as the old one with the new values")

// splice is an edit with its bytes.
type splice struct {
	record     *record
	start, end int // in the file
	text       string
	value      string
}

// Apply returns the file with the values of some scalars replaced. All other
// bytes are those of the file. An edit to the value that a scalar already has
// changes nothing, so applying the same edits again does not either.
//
// If one edit is not possible none is made: the error is a [*RefusedError]
// for a scalar that is not editable, a value that cannot be written there, or
// a key that is there twice and edited once. Two edits of one scalar, or of a
// block and of a value inside of it, are an error too.
func (f *File) Apply(edits ...Edit) ([]byte, error) {
	splices, err := f.splices(edits)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(f.data)+len(splices)*80)
	prev := 0
	for _, s := range splices {
		out = append(out, f.data[prev:s.start]...)
		out = append(out, s.text...)
		prev = s.end
	}
	out = append(out, f.data[prev:]...)
	if len(splices) == 0 {
		return out, nil
	}
	after, err := Parse(f.name, out)
	if err != nil {
		// Not wrapped: the user's file is YAML, whatever became of it.
		return nil, fmt.Errorf("%s:%d: %w: %s", f.name, splices[0].record.line, ErrVerify, err.Error())
	}
	if err := f.verify(after, splices); err != nil {
		return nil, err
	}
	return out, nil
}

// splices checks the edits and sorts them by position.
func (f *File) splices(edits []Edit) ([]splice, error) {
	edited := make(map[int]bool, len(edits))
	for _, e := range edits {
		if e.Scalar.file != f {
			return nil, fmt.Errorf("%s: an edit names a scalar of another file", f.name)
		}
		if edited[e.Scalar.Index] {
			return nil, fmt.Errorf("%s:%d: one value is edited twice", f.name, e.Scalar.Line)
		}
		edited[e.Scalar.Index] = true
	}
	splices := make([]splice, 0, len(edits))
	for _, e := range edits {
		s := e.Scalar
		if s.Value == e.New {
			continue
		}
		if err := s.Editable(); err != nil {
			return nil, err
		}
		refuse := func(problem string) error {
			return &RefusedError{File: f.name, Line: s.Line, Column: s.Column, Problem: problem}
		}
		for _, other := range s.Duplicates() {
			if !edited[other.Index] {
				first, second := min(s.Line, other.Line), max(s.Line, other.Line)
				return nil, refuse(fmt.Sprintf("%s is there twice, on lines %d and %d, and parsers disagree on which one counts: remove one",
					s.Path(), first, second))
			}
		}
		r := &f.records[s.Index]
		c := &f.containers[r.parent]
		text, err := c.layer.write(r.node, c.flow, e.New)
		if err != nil {
			return nil, refuse(err.Error())
		}
		splices = append(splices, splice{record: r, start: r.start, end: r.end, text: text, value: e.New})
	}
	slices.SortFunc(splices, func(a, b splice) int { return a.start - b.start })
	for i := 1; i < len(splices); i++ {
		if splices[i].start < splices[i-1].end {
			return nil, fmt.Errorf("%s:%d: a block and a value inside of it are edited at once", f.name, splices[i].record.line)
		}
	}
	return splices, nil
}

// verify compares the file with what an edit made of it.
func (f *File) verify(after *File, splices []splice) error {
	v := verifier{before: f, after: after, edited: map[*yaml.Node]string{}, inside: map[*layer][]splice{}}
	for _, s := range splices {
		v.edited[s.record.node] = s.value
		l := f.containers[s.record.parent].layer
		for ; l != nil; l = l.outer {
			v.inside[l] = append(v.inside[l], s)
		}
	}
	if after.bom != f.bom {
		return v.differ(nil, "the byte order mark")
	}
	return v.layer(f.root, after.root)
}

// verifier walks two trees in step.
type verifier struct {
	before, after *File
	edited        map[*yaml.Node]string // the new value of each edited node
	inside        map[*layer][]splice   // those within each layer, in order
	anchors       map[*yaml.Node]*yaml.Node
}

func (v *verifier) differ(n *yaml.Node, what string) error {
	line := 0
	if n != nil {
		if s, ok := v.before.of(n); ok {
			line = s.Line
		}
	}
	where := v.before.name
	if line > 0 {
		where = fmt.Sprintf("%s:%d", where, line)
	}
	return fmt.Errorf("%s: %w: %s would change", where, ErrVerify, what)
}

// layer compares two texts and their trees.
func (v *verifier) layer(a, b *layer) error {
	if want := a.splice(v.inside[a]); !bytes.Equal(want, b.text) {
		return v.differ(nil, "text around the values")
	}
	if len(a.docs) != len(b.docs) {
		return v.differ(nil, "the number of documents")
	}
	outer := v.anchors
	defer func() { v.anchors = outer }()
	v.anchors = map[*yaml.Node]*yaml.Node{}
	for i := range a.docs {
		// [a] is no JSON, ["b"] is. Their nodes are alike but for positions.
		if err := v.node(a.docs[i], b.docs[i], a.json || b.json); err != nil {
			return err
		}
	}
	return nil
}

// splice returns the layer's text after edits that lie within it.
func (l *layer) splice(splices []splice) []byte {
	if len(splices) == 0 {
		return l.text
	}
	var out []byte
	prev := 0
	for _, s := range splices {
		out = append(out, l.text[prev:l.textOffset(s.start)]...)
		out = append(out, s.text...)
		prev = l.textOffset(s.start) + s.end - s.start
	}
	return append(out, l.text[prev:]...)
}

// node compares two nodes and what is below them. Comments need no look: they
// are bytes outside of the values, which are the same, and no new value reads
// as anything but itself. The node that yaml/v3 hangs a comment on is a guess
// that depends on whether the value before it has quotes.
func (v *verifier) node(a, b *yaml.Node, inJSON bool) error {
	if a.Anchor != "" {
		v.anchors[a] = b
	}
	value, edited := v.edited[a]
	inner := v.before.layers[a]
	switch {
	case a.Kind != b.Kind || len(a.Content) != len(b.Content):
		return v.differ(a, "the structure")
	case a.Anchor != b.Anchor:
		return v.differ(a, "an anchor")
	case !inJSON && a.Line != b.Line:
		return v.differ(a, "a line number")
	case a.Kind == yaml.AliasNode && (a.Value != b.Value || v.anchors[a.Alias] != b.Alias):
		return v.differ(a, "an alias")
	case edited && (b.Value != value || b.Tag != "!!str" || !sameStyle(a, b)):
		return v.differ(a, "more than the value")
	case edited:
		return nil
	case a.Style != b.Style:
		return v.differ(a, "the style of a value")
	case a.Tag != b.Tag:
		return v.differ(a, "the type of a value")
	case inner == nil && a.Value != b.Value:
		return v.differ(a, "another value")
	case inner != nil:
		other := v.after.layers[b]
		if other == nil {
			return v.differ(a, "the text of a block, which would not parse,")
		}
		return v.layer(inner, other)
	}
	for i := range a.Content {
		if err := v.node(a.Content[i], b.Content[i], inJSON); err != nil {
			return err
		}
	}
	return nil
}

// sameStyle allows an edited scalar to get quotes, never to lose or to change
// them.
func sameStyle(a, b *yaml.Node) bool {
	if a.Style&yaml.TaggedStyle != b.Style&yaml.TaggedStyle {
		return false
	}
	was, is := styleOf(a), styleOf(b)
	return was == is || was == Plain && (is == SingleQuoted || is == DoubleQuoted)
}
