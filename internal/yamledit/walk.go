package yamledit

import (
	"bytes"

	"go.yaml.in/yaml/v3"
)

// maxBlockDepth bounds blocks within blocks. Each level is text that is parsed
// once more, so without a bound a file of 4 MB takes hours. Applications that
// hold Applications that hold values are 2 deep.
const maxBlockDepth = 8

// layer is a text that was parsed: the file, or what a literal block in
// another layer holds. Line by line its bytes are bytes of the file.
type layer struct {
	file *File
	text []byte
	json bool
	docs []*yaml.Node

	lines *lineIndex
	base  int   // of the file itself: where its text starts
	at    []int // of a block: where in the file each line of it starts

	outer *layer
	depth int

	// How the layer quotes, for a value that needs quotes and has none.
	single, double int
}

// fileOffset returns where in the file a byte of the given line stands.
func (l *layer) fileOffset(line, off int) int {
	if l.at == nil {
		return l.base + off
	}
	return l.at[line] + off - l.lines.starts[line]
}

// textOffset is the reverse of fileOffset, for a byte that is in the layer.
func (l *layer) textOffset(off int) int {
	if l.at == nil {
		return off - l.base
	}
	line := (&lineIndex{starts: l.at}).lineOf(off)
	return l.lines.starts[line] + off - l.at[line]
}

// walker lists the scalars of a file in the order in which they stand there.
type walker struct {
	f     *File
	canon map[slot]int32 // containers below a key that occurs twice
}

// layer adds the documents of l, which lie at the given place.
func (w *walker) layer(l *layer, parent, index int32) {
	for i, doc := range l.docs {
		c := w.container(doc, l, parent, index)
		w.f.containers[c].nth = int32(i)
		if parent < 0 {
			w.f.containers[c].doc = int32(i)
		} else {
			w.f.containers[c].flow = false
		}
		for j, n := range doc.Content {
			w.node(n, c, int32(j), false)
		}
	}
}

// container adds a document, mapping or sequence.
func (w *walker) container(n *yaml.Node, l *layer, parent, index int32) int32 {
	id := int32(len(w.f.containers))
	c := container{node: n, layer: l, parent: parent, index: index, canon: id}
	c.flow = n.Style&yaml.FlowStyle != 0
	if parent >= 0 {
		outer := &w.f.containers[parent]
		c.flow = c.flow || outer.flow
		c.doc = outer.doc
		c.dup = outer.dup
	}
	w.f.containers = append(w.f.containers, c)
	return id
}

// node adds the value at the given place. dup is true if its key occurs more
// than once.
func (w *walker) node(n *yaml.Node, parent, index int32, dup bool) {
	dup = dup || w.f.containers[parent].dup
	switch n.Kind {
	case yaml.AliasNode:
		w.f.aliases[n.Alias]++
		if n.Alias.Kind == yaml.ScalarNode {
			w.scalar(n, parent, index, dup)
		}
	case yaml.ScalarNode:
		w.scalar(n, parent, index, dup)
	case yaml.SequenceNode:
		c := w.branch(n, parent, index, dup)
		for i, item := range n.Content {
			w.node(item, c, int32(i), false)
		}
	case yaml.MappingNode:
		c := w.branch(n, parent, index, dup)
		repeated := repeatedKeys(n)
		for i := 0; i+1 < len(n.Content); i += 2 {
			w.key(n.Content[i])
			w.node(n.Content[i+1], c, int32(i+1), repeated[i])
		}
	}
}

// branch adds a mapping or sequence and, if it is below a key that occurs
// twice, finds the first one with the same path.
func (w *walker) branch(n *yaml.Node, parent, index int32, dup bool) int32 {
	c := w.container(n, w.f.containers[parent].layer, parent, index)
	if dup {
		w.f.containers[c].dup = true
		at := w.f.slot(parent, index)
		if first, ok := w.canon[at]; ok {
			w.f.containers[c].canon = first
		} else {
			w.canon[at] = c
		}
	}
	return c
}

// key counts the aliases in a key, which is no value but may repeat one.
func (w *walker) key(n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		w.f.aliases[n.Alias]++
		return
	}
	for _, child := range n.Content {
		w.key(child)
	}
}

// scalar adds a scalar or an alias of one, and what a literal block holds.
func (w *walker) scalar(n *yaml.Node, parent, index int32, dup bool) {
	f, c := w.f, &w.f.containers[parent]
	l := c.layer
	r := record{node: n, parent: parent, index: index, dup: dup}
	found := l.locate(n, c.flow)
	r.reason = found.reason
	if found.reason == "" {
		r.start, r.end = found.start, found.end
	}
	r.line, r.col = f.lines.position(found.mark)
	r.line, r.col = r.line+1, r.col+1
	if r.line == 1 && f.bom > 0 {
		r.col-- // the mark is a character, but no editor shows it
	}
	switch n.Style &^ yaml.TaggedStyle {
	case yaml.SingleQuotedStyle:
		l.single++
	case yaml.DoubleQuotedStyle:
		l.double++
	}
	id := int32(len(f.records))
	f.records = append(f.records, r)
	if dup {
		at := f.slot(parent, index)
		f.dups[at] = append(f.dups[at], id)
	}
	if found.block != nil {
		if inner := l.inside(n, found.block); inner != nil {
			f.layers[n] = inner
			w.layer(inner, parent, index)
		}
	}
}

// finish adds up what is known only when all aliases have been seen.
// Containers come after those they lie in.
func (w *walker) finish() {
	if len(w.f.aliases) == 0 {
		return
	}
	for i := range w.f.containers {
		c := &w.f.containers[i]
		c.shared = int32(w.f.aliases[c.node])
		if c.parent < 0 {
			continue
		}
		outer := &w.f.containers[c.parent]
		c.shared += outer.shared
		if c.node.Kind == yaml.DocumentNode {
			// A document in a block is repeated wherever the block is.
			c.shared += int32(w.f.aliases[outer.node.Content[c.index]])
		}
	}
}

// repeatedKeys returns the index in n.Content of each key that the mapping
// has more than once; nil, as nearly always, if there is none.
func repeatedKeys(n *yaml.Node) map[int]bool {
	var repeated map[int]bool
	mark := func(i, j int) {
		if repeated == nil {
			repeated = map[int]bool{}
		}
		repeated[i], repeated[j] = true, true
	}
	if len(n.Content) <= 32 {
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, ok := keyText(n.Content[i])
			for j := i + 2; ok && j+1 < len(n.Content); j += 2 {
				if other, ok := keyText(n.Content[j]); ok && other == key {
					mark(i, j)
				}
			}
		}
		return repeated
	}
	first := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, ok := keyText(n.Content[i])
		if !ok {
			continue
		}
		if j, seen := first[key]; seen {
			mark(j, i)
		} else {
			first[key] = i
		}
	}
	return repeated
}

// inside parses the text of a literal block. It returns nil unless every
// document in it is a mapping or a list, which is what tells YAML from a
// script or a certificate.
func (l *layer) inside(n *yaml.Node, b *block) *layer {
	text := []byte(n.Value)
	if l.depth == maxBlockDepth || l.json || !bytes.ContainsAny(text, ":-[{") {
		return nil
	}
	var docs []*yaml.Node
	var err error
	asJSON := startsAsJSON(text)
	if asJSON {
		docs, err = decodeJSON(text)
		asJSON = err == nil
	}
	if !asJSON {
		docs, err = decodeYAML(text)
	}
	if err != nil || len(docs) == 0 {
		return nil
	}
	for _, doc := range docs {
		if len(doc.Content) != 1 || doc.Content[0].Kind&(yaml.MappingNode|yaml.SequenceNode) == 0 {
			return nil
		}
	}
	return &layer{
		file: l.file, text: text, json: asJSON, docs: docs,
		lines: indexYAML(text), at: b.at, outer: l, depth: l.depth + 1,
	}
}

// startsAsJSON says whether a text may be JSON, which is tried first: most of
// JSON is YAML, but not all of it is to yaml/v3.
func startsAsJSON(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r\n")
	return len(text) > 0 && (text[0] == '{' || text[0] == '[')
}
