package yamledit

import (
	"fmt"
	"iter"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Scalar is a scalar value of a [File], or an alias of one. The zero Scalar
// belongs to no file.
type Scalar struct {
	// Index is the scalar's position among those of [File.Scalars].
	Index int
	// Document is the number of its document in the file, from 0.
	Document int
	// Value is what the parser makes of it; for an alias, what it repeats.
	Value string
	// Tag is the resolved tag: !!str, !!int, !!float, !!bool, !!null,
	// !!timestamp, or the custom one that is written there.
	Tag string
	// Style is how it is written.
	Style Style
	// Line and Column are 1-based, as an editor shows them: lines end with
	// LF, CRLF or CR, columns count characters. They are the place of the
	// value, behind its tag and anchor.
	Line, Column int

	// Reason says why the scalar cannot be replaced; empty if it can.
	Reason Reason
	// Anchor is the name it is anchored by (&name); empty if none.
	Anchor string
	// Alias is the anchor that it repeats (*name), if it is an alias.
	Alias string
	// Aliases counts the aliases that name this scalar, or a mapping, list or
	// block around it: the places where an edit takes effect beside its own.
	Aliases int
	// Duplicate is true if the document has another scalar at the same path,
	// because a key is there twice. Parsers disagree on which of them counts,
	// so [File.Apply] wants all of them edited or none; see
	// [Scalar.Duplicates].
	Duplicate bool
	// Parsed is true for a literal block that holds YAML or JSON. The values
	// in it follow as scalars of their own.
	Parsed bool

	file *File
}

// Path leads from a document to a scalar. Its elements are the string keys of
// mappings, the int indexes of lists, [Block] where it enters a literal block,
// and [ComplexKey].
type Path []any

// Block is the element of a [Path] that enters the text of a literal block:
// the number of the document in there, nearly always 0.
type Block int

// ComplexKey is the element of a [Path] for a key that is a mapping or list:
// its number in its mapping.
type ComplexKey int

// String writes a path as people do: spec.containers[0].image, and
// "spec.source.helm.values | image.tag" for a value in a block.
func (p Path) String() string {
	var b strings.Builder
	fresh := true
	for _, element := range p {
		switch e := element.(type) {
		case string:
			if !fresh {
				b.WriteByte('.')
			}
			if strings.ContainsAny(e, ".[] |\"") || e == "" {
				e = strconv.Quote(e)
			}
			b.WriteString(e)
			fresh = false
		case int:
			fmt.Fprintf(&b, "[%d]", e)
			fresh = false
		case ComplexKey:
			fmt.Fprintf(&b, "[key %d]", int(e))
			fresh = false
		case Block:
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString("| ")
			if e > 0 {
				fmt.Fprintf(&b, "document %d: ", int(e))
			}
			fresh = true
		}
	}
	return b.String()
}

// Path returns the way from the scalar's document to the scalar. It costs
// time in proportion to its length.
func (s Scalar) Path() Path {
	r := &s.file.records[s.Index]
	return s.file.path(r.parent, r.index)
}

// path returns the way to the child of a container.
func (f *File) path(parent, index int32) Path {
	var p Path
	for parent >= 0 {
		c := &f.containers[parent]
		switch c.node.Kind {
		case yaml.MappingNode:
			if key, ok := keyText(c.node.Content[index-1]); ok {
				p = append(p, key)
			} else {
				p = append(p, ComplexKey(index/2))
			}
		case yaml.SequenceNode:
			p = append(p, int(index))
		case yaml.DocumentNode:
			if c.parent >= 0 {
				p = append(p, Block(c.nth))
			}
		}
		parent, index = c.parent, c.index
	}
	for i, j := 0, len(p)-1; i < j; i, j = i+1, j-1 {
		p[i], p[j] = p[j], p[i]
	}
	return p
}

// Key returns the key whose value the scalar is; empty for an item of a list
// and for a document that is nothing but a scalar.
func (s Scalar) Key() string {
	r := &s.file.records[s.Index]
	if n := s.file.containers[r.parent].node; n.Kind == yaml.MappingNode {
		key, _ := keyText(n.Content[r.index-1])
		return key
	}
	return ""
}

// Span returns the bytes of the file that the scalar is written with: from
// start up to end, quotes included, tag and anchor not. Both are 0 if it
// cannot be edited.
func (s Scalar) Span() (start, end int) {
	r := &s.file.records[s.Index]
	return r.start, r.end
}

// Editable returns nil if [File.Apply] can replace the scalar, and else an
// error of type [*RefusedError].
func (s Scalar) Editable() error {
	if s.Reason == "" {
		return nil
	}
	e := &RefusedError{File: s.file.name, Line: s.Line, Column: s.Column, Reason: s.Reason}
	r := &s.file.records[s.Index]
	switch s.Reason {
	case ReasonAlias:
		e.Problem = fmt.Sprintf("it is the alias *%s: edit the value that &%[1]s names", s.Alias)
		if target, ok := s.file.of(r.node.Alias); ok {
			e.Problem += fmt.Sprintf(", on line %d", target.Line)
		}
	case ReasonEmpty:
		e.Problem = "it is empty: write a value there first"
	case ReasonBlock:
		e.Problem = "it is a block of text (|) of more than one line: write the value on one line, behind its key"
	case ReasonFolded:
		e.Problem = "it is folded from several lines (>): write the value on one line, behind its key"
	case ReasonMultiLine:
		e.Problem = "it goes over several lines: write it on one"
	case ReasonTag:
		e.Problem = "it has a tag, which makes it something else than text: remove the tag or edit it by hand"
		if s.Tag != "!!str" && strings.HasPrefix(s.Tag, "!") {
			e.Problem = fmt.Sprintf("it has the tag %s, which makes it something else than text: remove the tag or edit it by hand", s.Tag)
		}
	default:
		e.Problem = "its bytes are not where the parser says: edit it by hand"
	}
	return e
}

// Duplicates returns the other scalars with the same path in the document:
// those whose key is there twice. Mostly none.
func (s Scalar) Duplicates() []Scalar {
	r := &s.file.records[s.Index]
	if !r.dup {
		return nil
	}
	var others []Scalar
	for _, i := range s.file.dups[s.file.slot(r.parent, r.index)] {
		if int(i) != s.Index {
			others = append(others, s.file.scalar(i))
		}
	}
	return others
}

// of returns the scalar of a node.
func (f *File) of(n *yaml.Node) (Scalar, bool) {
	f.byNodeOnce.Do(func() {
		f.byNode = make(map[*yaml.Node]int32, len(f.records))
		for i := range f.records {
			f.byNode[f.records[i].node] = int32(i)
		}
	})
	i, ok := f.byNode[n]
	if !ok {
		return Scalar{}, false
	}
	return f.scalar(i), true
}

// Siblings yields the scalars of the mapping that the scalar is a value of,
// itself among them, with their keys, in document order. What the mapping
// takes over by a merge key (<<) comes last. For an item of a list it yields
// nothing.
func (s Scalar) Siblings() iter.Seq2[string, Scalar] {
	return func(yield func(string, Scalar) bool) {
		n := s.file.containers[s.file.records[s.Index].parent].node
		if n.Kind == yaml.MappingNode {
			s.file.entries(n, map[string]bool{}, map[*yaml.Node]bool{}, yield)
		}
	}
}

// Sibling returns the scalar with the given key in the same mapping, or taken
// over by it. Of a key that is there twice it returns the last one.
func (s Scalar) Sibling(key string) (Scalar, bool) {
	var found Scalar
	var ok bool
	for k, sibling := range s.Siblings() {
		if k == key {
			found, ok = sibling, true
		}
	}
	return found, ok
}

// entries yields the scalars of a mapping but for the keys already seen, and
// then those it merges. A mapping is entered once, however often aliases name
// it.
func (f *File) entries(n *yaml.Node, seen map[string]bool, entered map[*yaml.Node]bool, yield func(string, Scalar) bool) bool {
	if entered[n] {
		return true
	}
	entered[n] = true
	var own []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, ok := keyText(n.Content[i])
		if !ok || seen[key] {
			continue
		}
		own = append(own, key)
		if s, ok := f.of(n.Content[i+1]); ok && !yield(key, s) {
			return false
		}
	}
	for _, key := range own {
		seen[key] = true
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag != "!!merge" {
			continue
		}
		sources := []*yaml.Node{n.Content[i+1]}
		if sources[0].Kind == yaml.SequenceNode {
			sources = sources[0].Content
		}
		for _, source := range sources {
			if source.Kind == yaml.AliasNode {
				source = source.Alias
			}
			if source.Kind == yaml.MappingNode && !f.entries(source, seen, entered, yield) {
				return false
			}
		}
	}
	return true
}

// Object is a mapping with a kind or an apiVersion: a Kubernetes object, or
// what looks like one.
type Object struct {
	APIVersion, Kind string
	// Path leads from the document to the object. The rest of the scalar's
	// path, from len(Path) on, leads from the object to the scalar.
	Path Path
}

// Objects yields the objects that the scalar is part of, innermost first: for
// a value in an Application in a ConfigMap the Application, then the
// ConfigMap.
func (s Scalar) Objects() iter.Seq[Object] {
	return func(yield func(Object) bool) {
		f := s.file
		for at := f.records[s.Index].parent; at >= 0; at = f.containers[at].parent {
			c := &f.containers[at]
			if c.node.Kind != yaml.MappingNode {
				continue
			}
			var o Object
			for i := 0; i+1 < len(c.node.Content); i += 2 {
				value := c.node.Content[i+1]
				if value.Kind != yaml.ScalarNode {
					continue
				}
				switch key, _ := keyText(c.node.Content[i]); key {
				case "apiVersion":
					o.APIVersion = value.Value
				case "kind":
					o.Kind = value.Value
				}
			}
			if o.APIVersion == "" && o.Kind == "" {
				continue
			}
			o.Path = f.path(c.parent, c.index)
			if !yield(o) {
				return
			}
		}
	}
}

// Object returns the innermost object that has both a kind and an apiVersion,
// or else the zero Object.
func (s Scalar) Object() Object {
	for o := range s.Objects() {
		if o.APIVersion != "" && o.Kind != "" {
			return o
		}
	}
	return Object{}
}
