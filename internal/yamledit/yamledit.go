// Package yamledit changes scalars in a user's YAML or JSON file and not one
// byte beside them.
//
// The file is the user's. [Parse] reads it and finds, for every scalar value,
// the bytes it is written with: its comments, quotes, anchors, flow style,
// line endings, byte order mark, further documents and missing last newline
// are never re-encoded, because nothing is ever encoded but the new value.
// [File.Scalars] lists the values in the order of the file, among them those
// of YAML or JSON that stands inside a literal block ("|"): Helm values in an
// Application, a manifest in a ConfigMap. [File.Apply] puts new values in
// place of old ones.
//
// Apply trusts no arithmetic. What it has spliced it parses again as a whole,
// and unless the tree is the old one, node for node, but for the edited
// values, it returns an error and no bytes.
//
// A value that cannot be replaced safely (an alias, text over several lines, a
// custom tag) is listed all the same, with the [Reason]; it is refused by name
// and never guessed at.
//
// Positions come from go.yaml.in/yaml/v3, whose columns count runes and whose
// lines end where YAML 1.1 says. It is of the family of parsers that Argo CD,
// Helm and kustomize read with.
package yamledit

import (
	"iter"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// File is a parsed file. It never changes, and may be used by several
// goroutines at once.
type File struct {
	name string
	data []byte
	bom  int // length of the byte order mark, 0 or 3

	root       *layer
	layers     map[*yaml.Node]*layer // literal blocks whose text was parsed
	containers []container
	records    []record
	aliases    map[*yaml.Node]int // alias nodes per anchored node
	dups       map[slot][]int32   // records under a key that occurs twice

	lines *lineIndex // lines as an editor counts them

	byNodeOnce sync.Once
	byNode     map[*yaml.Node]int32
}

// container is a document, mapping or sequence.
type container struct {
	node   *yaml.Node
	layer  *layer
	parent int32 // index in File.containers, -1 at the top
	index  int32 // of node in the parent's Content; for a document, of its block
	doc    int32 // number of the file's document that it is in
	nth    int32 // of a document: its number in its layer
	canon  int32 // the first container with the same path: itself, but for duplicate keys
	flow   bool  // inside [] or {}
	dup    bool  // below a key that its mapping has twice
	shared int32 // alias nodes that name this container or one around it
}

// record is a scalar value.
type record struct {
	node       *yaml.Node
	parent     int32
	index      int32
	start, end int // bytes in the file; 0, 0 if not located
	line, col  int // 1-based, in the file
	reason     Reason
	dup        bool
}

// slot is a place in a container: two records with one slot have one path.
type slot struct {
	canon int32
	index int32
	key   string
}

// Name returns the name that the file was parsed under.
func (f *File) Name() string { return f.name }

// Documents returns the number of documents in the file, those inside of
// blocks not counted.
func (f *File) Documents() int { return len(f.root.docs) }

// Len returns the number of scalars that [File.Scalars] yields.
func (f *File) Len() int { return len(f.records) }

// Scalars yields every scalar value in document order. A literal block comes
// before the values found inside of it. Keys are not values; neither is what
// a complex key is made of.
func (f *File) Scalars() iter.Seq[Scalar] {
	return func(yield func(Scalar) bool) {
		for i := range f.records {
			if !yield(f.scalar(int32(i))) {
				return
			}
		}
	}
}

// Scalar returns the scalar with the given [Scalar.Index].
func (f *File) Scalar(index int) Scalar { return f.scalar(int32(index)) }

// scalar makes the public view of a record.
func (f *File) scalar(i int32) Scalar {
	r := &f.records[i]
	s := Scalar{
		Index:    int(i),
		Document: int(f.containers[r.parent].doc),
		Value:    r.node.Value,
		Tag:      r.node.Tag,
		Style:    styleOf(r.node),
		Line:     r.line,
		Column:   r.col,
		Anchor:   r.node.Anchor,
		Reason:   r.reason,
		file:     f,
	}
	if r.node.Kind == yaml.AliasNode {
		s.Alias = r.node.Value
		s.Value, s.Tag = r.node.Alias.Value, r.node.Alias.Tag
	}
	if len(f.aliases) > 0 {
		s.Aliases = f.aliases[r.node] + int(f.containers[r.parent].shared)
	}
	if r.dup {
		s.Duplicate = len(f.dups[f.slot(r.parent, r.index)]) > 1
	}
	_, s.Parsed = f.layers[r.node]
	return s
}

// slot returns the place that a child of container c has.
func (f *File) slot(c, index int32) slot {
	s := slot{canon: f.containers[c].canon, index: index}
	if n := f.containers[c].node; n.Kind == yaml.MappingNode {
		if key, ok := keyText(n.Content[index-1]); ok {
			s.key, s.index = key, -1
		}
	}
	return s
}

// keyText is the text of a mapping's key; false for a key that is no scalar.
func keyText(key *yaml.Node) (string, bool) {
	if key.Kind == yaml.AliasNode {
		key = key.Alias
	}
	return key.Value, key.Kind == yaml.ScalarNode
}

// Style is how a scalar is written.
type Style string

// The styles.
const (
	Plain        Style = "plain"
	SingleQuoted Style = "single-quoted"
	DoubleQuoted Style = "double-quoted"
	Literal      Style = "literal" // |
	Folded       Style = "folded"  // >
)

func styleOf(n *yaml.Node) Style {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return DoubleQuoted
	case n.Style&yaml.SingleQuotedStyle != 0:
		return SingleQuoted
	case n.Style&yaml.LiteralStyle != 0:
		return Literal
	case n.Style&yaml.FoldedStyle != 0:
		return Folded
	}
	return Plain
}

// isJSON says whether a file's name makes it JSON.
func isJSON(name string) bool {
	return len(name) >= 5 && strings.EqualFold(name[len(name)-5:], ".json")
}
