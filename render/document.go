package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// document is one YAML document of a file.
type document struct {
	text []byte
	// line is the 1-based line of the file at which text starts.
	line int
}

// splitDocuments cuts a file where Kubernetes' decoder does
// (k8s.io/apimachinery/pkg/util/yaml YAMLOrJSONDecoder), so that the index of a
// document here is the number of the call of Decode that returned it.
func splitDocuments(text []byte) []document {
	var documents []document
	rest, line := text, 1
	if trimmed := bytes.TrimLeftFunc(text[:min(len(text), 4096)], unicode.IsSpace); bytes.HasPrefix(trimmed, []byte("{")) {
		// A stream of JSON values, until one is no JSON.
		decoder := json.NewDecoder(bytes.NewReader(text))
		consumed := 0
		for {
			var value json.RawMessage
			err := decoder.Decode(&value)
			if errors.Is(err, io.EOF) {
				return documents
			}
			if err != nil {
				break
			}
			end := int(decoder.InputOffset())
			start := end - len(value)
			documents = append(documents, document{text[start:end], 1 + lineAt(text, start)})
			consumed = end
		}
		// What follows is read as YAML, from the next line on.
		rest = text[consumed:]
		for i, b := range rest {
			if b == '\n' || !unicode.IsSpace(rune(b)) {
				if b == '\n' {
					i++
				}
				rest = rest[i:]
				break
			}
		}
		line = 1 + lineAt(text, len(text)-len(rest))
	}
	start, startLine := 0, line
	for at := 0; at < len(rest); {
		end := len(rest)
		if i := bytes.IndexByte(rest[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if bytes.HasPrefix(rest[at:end], []byte("---")) && at > start {
			documents = append(documents, document{rest[start:at], startLine})
			// The separator itself belongs to neither.
			start, startLine = end, line+1
		}
		at = end
		line++
	}
	if start < len(rest) {
		documents = append(documents, document{rest[start:], startLine})
	}
	return documents
}

// documentLine is the line of the file at which the content of a document
// starts: the first line that is no comment, separator or space.
func documentLine(text []byte, index int) int {
	documents := splitDocuments(text)
	if index >= len(documents) {
		return 0
	}
	d := documents[index]
	line := d.line
	for l := range bytes.Lines(d.text) {
		trimmed := bytes.TrimSpace(l)
		if len(trimmed) > 0 && trimmed[0] != '#' && !bytes.HasPrefix(trimmed, []byte("---")) {
			return line
		}
		line++
	}
	return d.line
}

// maxExpanded bounds the nodes of a document after its aliases are written
// out. A document that reaches it by aliases is a bomb: the largest CRD bundle
// we know has 200,000 nodes, without any.
const maxExpanded = 1_000_000

// maxDepth bounds how deep values stand inside each other. Kustomize's time
// grows with its square: 9,000 braces, 90 KB, cost it 20 s. The deepest CRD we
// know has 60.
const maxDepth = 256

// checkBombs refuses a YAML file that is small and makes much work.
func checkBombs(name string, text []byte) error {
	if err := checkDepth(name, text); err != nil {
		return err
	}
	return checkAliases(name, text)
}

// checkDepth refuses a YAML file that is nested beyond all measure. Only a file
// that may be is parsed for it.
func checkDepth(name string, text []byte) error {
	if !maybeDeep(text) {
		return nil
	}
	for _, d := range splitDocuments(text) {
		var node yaml.Node
		if err := yaml.Unmarshal(d.text, &node); err != nil {
			continue // whoever reads the file as YAML says it better
		}
		if deep := deeper(&node, maxDepth+1); deep != nil { // the document counts
			return &Error{
				File: name, Line: d.line + deep.Line - 1,
				Message: fmt.Sprintf("values are nested more than %d deep here", maxDepth),
				Fix:     "no Kubernetes object is; flatten it, or take the file out of the application", Err: ErrLimit,
			}
		}
	}
	return nil
}

// maybeDeep counts what opens a level: brackets, and the spaces and dashes that
// a line starts with, of which every block level has one at least.
func maybeDeep(text []byte) bool {
	brackets, start, atStart := 0, 0, true
	for _, b := range text {
		switch b {
		case '\n':
			start, atStart = 0, true
			continue
		case '{', '[':
			brackets++
		case '}', ']':
			brackets = max(0, brackets-1)
		}
		if atStart = atStart && (b == ' ' || b == '-' || b == '?'); atStart {
			start++
		}
		if brackets > maxDepth || start > maxDepth {
			return true
		}
	}
	return false
}

// deeper returns a node that has more than levels above it, or nil.
func deeper(node *yaml.Node, levels int) *yaml.Node {
	if levels < 0 {
		return node
	}
	for _, child := range node.Content {
		if deep := deeper(child, levels-1); deep != nil {
			return deep
		}
	}
	return nil
}

// checkAliases refuses a YAML file whose aliases expand beyond all measure.
// Kustomize writes aliases out without any bound of its own.
func checkAliases(name string, text []byte) error {
	if bytes.IndexByte(text, '&') < 0 || bytes.IndexByte(text, '*') < 0 {
		return nil
	}
	for _, d := range splitDocuments(text) {
		if bytes.IndexByte(d.text, '*') < 0 {
			continue
		}
		var node yaml.Node
		if err := yaml.Unmarshal(d.text, &node); err != nil {
			// Whoever reads the file as YAML says it better.
			continue
		}
		sizes := map[*yaml.Node]int64{}
		if bomb := expand(&node, sizes); bomb != nil {
			return &Error{
				File: name, Line: d.line + bomb.Line - 1,
				Message: fmt.Sprintf("the YAML aliases here expand to more than %d values", maxExpanded),
				Fix:     "write the values out, or take the aliases of aliases apart", Err: ErrLimit,
			}
		}
	}
	return nil
}

// expand computes the size of node with all aliases written out, into sizes.
// It returns the innermost node that is too large.
func expand(node *yaml.Node, sizes map[*yaml.Node]int64) *yaml.Node {
	const visiting = -1
	if size, ok := sizes[node]; ok {
		if size == visiting { // an alias to the anchor it stands in
			return node
		}
		return nil
	}
	sizes[node] = visiting
	size := int64(1)
	children := node.Content
	if node.Kind == yaml.AliasNode {
		children = []*yaml.Node{node.Alias}
	}
	for _, child := range children {
		if bomb := expand(child, sizes); bomb != nil {
			return bomb
		}
		size += sizes[child]
	}
	sizes[node] = size
	if size > maxExpanded {
		return node
	}
	return nil
}
