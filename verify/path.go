package verify

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Path is a place in an object: string keys, int indexes, and [Inside] where a
// string is itself YAML or JSON.
type Path []any

// Inside is a path element: the 0-based document of the YAML or JSON text that
// the string before it holds.
type Inside int

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// String returns the path as people write it:
// spec.template.spec.containers[0].image, data["app.yaml"]#0.spec.image.
func (p Path) String() string {
	var b strings.Builder
	for _, element := range p {
		switch e := element.(type) {
		case string:
			if plainKey.MatchString(e) {
				if b.Len() > 0 {
					b.WriteByte('.')
				}
				b.WriteString(e)
			} else {
				fmt.Fprintf(&b, "[%q]", e)
			}
		case int:
			fmt.Fprintf(&b, "[%d]", e)
		case Inside:
			fmt.Fprintf(&b, "#%d", int(e))
		}
	}
	return b.String()
}

// id returns a string that no other path has, faster than String.
func (p Path) id() string {
	var b strings.Builder
	for _, element := range p {
		switch e := element.(type) {
		case string:
			// The length first: a key may hold any byte.
			b.WriteString(strconv.Itoa(len(e)))
			b.WriteByte('.')
			b.WriteString(e)
		case int:
			b.WriteByte('[')
			b.WriteString(strconv.Itoa(e))
		case Inside:
			b.WriteByte('#')
			b.WriteString(strconv.Itoa(int(e)))
		}
	}
	return b.String()
}

// Outer returns the path up to the outermost string that holds YAML: the part
// that can be looked up in the manifest itself.
func (p Path) Outer() Path {
	for i, element := range p {
		if _, ok := element.(Inside); ok {
			return p[:i]
		}
	}
	return p
}

// child returns p with more elements, never sharing memory with a sibling.
func (p Path) child(elements ...any) Path {
	return append(p[:len(p):len(p)], elements...)
}

// A pattern is a parsed path expression of a rule.
type pattern []step

// A step is one element of a pattern: a key, an index, or any of them.
type step struct {
	key      string
	anyKey   bool // *
	anyIndex bool // [*]
}

// parsePattern reads spec.foo[*].image, spec.*.image and
// metadata.annotations["example.com/image"].
func parsePattern(s string) (pattern, error) {
	var p pattern
	rest := s
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, "[*]"):
			p, rest = append(p, step{anyIndex: true}), rest[3:]
		case strings.HasPrefix(rest, `["`):
			end := strings.Index(rest, `"]`)
			if end < 0 {
				return nil, fmt.Errorf("path %q: the [\" is never closed by \"]", s)
			}
			key, err := strconv.Unquote(rest[1 : end+1])
			if err != nil {
				return nil, fmt.Errorf("path %q: %s is no quoted key", s, rest[1:end+1])
			}
			p, rest = append(p, step{key: key}), rest[end+2:]
		case rest[0] == '[':
			return nil, fmt.Errorf("path %q: after [ comes * or a quoted key", s)
		default:
			if rest[0] == '.' {
				rest = rest[1:]
			}
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			key := rest[:end]
			rest = rest[end:]
			switch key {
			case "":
				return nil, fmt.Errorf("path %q has an empty element", s)
			case "*":
				p = append(p, step{anyKey: true})
			default:
				p = append(p, step{key: key})
			}
		}
	}
	if len(p) == 0 {
		return nil, fmt.Errorf("path is empty")
	}
	return p, nil
}

// each calls visit for every place in node that the pattern names, in order.
func (p pattern) each(path Path, node any, visit func(Path, any)) {
	if len(p) == 0 {
		visit(path, node)
		return
	}
	switch n := node.(type) {
	case map[string]any:
		if p[0].anyKey {
			for _, key := range sortedKeys(n) {
				p[1:].each(path.child(key), n[key], visit)
			}
		} else if value, ok := n[p[0].key]; ok && !p[0].anyIndex {
			p[1:].each(path.child(p[0].key), value, visit)
		}
	case []any:
		if p[0].anyIndex {
			for i, value := range n {
				p[1:].each(path.child(i), value, visit)
			}
		}
	}
}

// lookup returns the one value that a pattern of plain keys names in node.
func (p pattern) lookup(path Path, node any) (Path, any) {
	var at Path
	var found any
	p.each(path, node, func(place Path, value any) {
		if at == nil {
			at, found = place, value
		}
	})
	return at, found
}
