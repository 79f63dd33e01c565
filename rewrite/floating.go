package rewrite

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/pin-cmp/pin-cmp/internal/imageref"
	"github.com/pin-cmp/pin-cmp/internal/yamledit"
	"github.com/pin-cmp/pin-cmp/verify"
)

// maybeFloating tells whether a file may name an image at all.
func maybeFloating(name string, content []byte) bool {
	return maybeSymbolic(name, content) || bytes.Contains(content, []byte("mage")) || bytes.Contains(content, []byte("repository"))
}

// findFloating adds a mark for every reference by tag, or by nothing, that the
// gate would refuse. What it leaves alone it says.
func (f *markedFile) findFloating(policy *verify.Policy) {
	if isComponentFile(f.path) {
		return
	}
	if f.parsed == nil {
		if bytes.Contains(f.content, []byte("image:")) {
			f.leave(0, "is a template or no YAML, so nothing in it was pinned")
		}
		return
	}
	scalars := map[string]yamledit.Scalar{}
	named := anchors{}
	for s := range f.parsed.Scalars() {
		named.add(s)
		scalars[fmt.Sprintf("%d %s", s.Document, findPath(s.Path()))] = s
	}
	marked := map[int]bool{}
	for _, m := range f.marks {
		marked[m.scalar.Index] = true
		if m.tag != nil {
			marked[m.tag.Index] = true
		}
	}
	type shared struct {
		alias yamledit.Scalar
		image verify.Image
	}
	const sharedText = "%s was not pinned: an alias shares its value with another place; write it out"
	var aliases []shared
	for number, object := range f.objects() {
		images, _ := policy.Finder().Find(object)
		for _, image := range images {
			if image.Reference.State != imageref.Floating || image.Tier == verify.Sweep {
				continue
			}
			s, ok := scalars[fmt.Sprintf("%d %s", number, image.Path)]
			if !ok {
				f.leave(0, "%s at %s was not pinned: its place in the file can't be told", image.Reference.Text, image.Path)
				continue
			}
			if reason, exempt := policy.Exempts(object, image); exempt {
				f.leave(s.Line, "%s was not pinned: exempt by policy: %s", image.Reference.Text, reason)
				continue
			}
			if marked[s.Index] {
				continue
			}
			if s.Alias != "" {
				aliases = append(aliases, shared{s, image})
				continue
			}
			if s.Aliases > 0 && s.Value != image.Reference.Text {
				// Beside another repository the digest would be that of a stranger.
				f.leave(s.Line, sharedText, image.Reference.Text)
				continue
			}
			if len(s.Duplicates()) > 0 {
				f.leave(s.Line, "%s was not pinned: the key is there twice", image.Reference.Text)
				continue
			}
			marked[s.Index] = true
			f.pinFloating(s, image)
		}
	}
	for _, one := range aliases {
		if target, ok := named.target(one.alias); !ok || !marked[target.Index] {
			f.leave(one.alias.Line, sharedText, one.image.Reference.Text)
		}
	}
	slices.SortFunc(f.marks, func(a, b mark) int { return a.scalar.Index - b.scalar.Index })
}

// pinFloating adds the mark of one floating reference.
func (f *markedFile) pinFloating(s yamledit.Scalar, image verify.Image) {
	ref := image.Reference
	m := mark{file: f.path, scalar: s, floating: true}
	switch {
	case strings.HasSuffix(s.Value, ref.Text):
		m.form, m.prefix = whole, strings.TrimSuffix(s.Value, ref.Text)
		m.repository = ref.Text
		if ref.Tag != "" {
			m.repository = strings.TrimSuffix(ref.Text, ":"+ref.Tag)
		}
	case ref.Tag != "" && s.Value == ref.Tag:
		m.form = tagOnly
	case s.Tag == "!!float" || s.Tag == "!!int":
		f.leave(s.Line, "%s was not pinned: the tag %s is a number here; put quotes around it", ref.Text, s.Value)
		return
	default:
		f.leave(s.Line, "%s was not pinned: there is no tag to put a digest behind", ref.Text)
		return
	}
	if err := s.Editable(); err != nil {
		f.leave(s.Line, "%s was not pinned: %v", ref.Text, reasonOf(err))
		return
	}
	m.ref = imageref.Reference{Text: ref.Text, State: imageref.Symbolic, Repository: ref.Repository, Tag: ref.Tag, Verb: imageref.Resolve}
	f.marks = append(f.marks, m)
}

// leave says what stays as it is.
func (f *markedFile) leave(line int, format string, args ...any) {
	f.warnings = append(f.warnings, Problem{File: f.path, Line: line, Message: fmt.Sprintf(format, args...)})
}

// findPath writes a path of the editor as the finder writes it.
func findPath(p yamledit.Path) string {
	var out verify.Path
	for _, element := range p {
		if block, ok := element.(yamledit.Block); ok {
			out = append(out, verify.Inside(block))
		} else {
			out = append(out, element)
		}
	}
	return out.String()
}

// objects decodes the documents of the file with every scalar as the text that
// stands there: a tag 1.10 is not the number 1.1.
func (f *markedFile) objects() map[int]map[string]any {
	objects := map[int]map[string]any{}
	decoder := yaml.NewDecoder(bytes.NewReader(f.content))
	for number := 0; ; number++ {
		var document yaml.Node
		if err := decoder.Decode(&document); err != nil {
			if !errors.Is(err, io.EOF) {
				f.leave(0, "was not searched to its end: %v", err)
			}
			return objects
		}
		budget := maxExpanded
		if object, ok := texts(&document, &budget).(map[string]any); ok && budget > 0 {
			objects[number] = object
		} else if budget <= 0 {
			f.leave(document.Line, "was not searched: its aliases expand to more than %d values", maxExpanded)
		}
	}
}

// maxExpanded bounds the values of one document, its aliases followed.
const maxExpanded = 1_000_000

// texts turns a node into maps, lists and strings.
func texts(n *yaml.Node, budget *int) any {
	*budget--
	if *budget <= 0 {
		return nil
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return texts(n.Content[0], budget)
	case yaml.AliasNode:
		return texts(n.Alias, budget)
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Tag != "!!merge" { // what it merges stands elsewhere
				m[n.Content[i].Value] = texts(n.Content[i+1], budget)
			}
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = texts(item, budget)
		}
		return list
	}
	if n.Tag == "!!null" {
		return nil
	}
	return n.Value
}
