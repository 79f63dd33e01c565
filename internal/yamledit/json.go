package yamledit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxJSONDepth is the nesting at which yaml/v3 gives up too.
const maxJSONDepth = 10000

// decodeJSON parses a text of JSON values into the nodes that YAML has for
// them. yaml/v3 cannot do it: it knows neither \/ nor surrogate pairs.
//
// In these nodes Line and Column are no line and column but the offsets at
// which a scalar starts and ends.
func decodeJSON(text []byte) ([]*yaml.Node, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var docs []*yaml.Node
	var open []*yaml.Node // the arrays and objects around the next token
	prev := 0
	for {
		token, err := dec.Token()
		end := int(dec.InputOffset())
		if err != nil {
			if errors.Is(err, io.EOF) && len(open) == 0 {
				return docs, nil
			}
			return nil, jsonError(text, end, err)
		}
		start := prev
		for start < end && strings.IndexByte(" \t\r\n,:", text[start]) >= 0 {
			start++
		}
		prev = end

		node := &yaml.Node{Kind: yaml.ScalarNode, Line: start, Column: end}
		switch t := token.(type) {
		case json.Delim:
			if t == ']' || t == '}' {
				open = open[:len(open)-1]
				continue
			}
			node.Kind, node.Style, node.Tag = yaml.SequenceNode, yaml.FlowStyle, "!!seq"
			if t == '{' {
				node.Kind, node.Tag = yaml.MappingNode, "!!map"
			}
		case string:
			node.Style, node.Tag, node.Value = yaml.DoubleQuotedStyle, "!!str", t
		case json.Number:
			node.Tag, node.Value = "!!int", t.String()
			if strings.ContainsAny(node.Value, ".eE") {
				node.Tag = "!!float"
			}
		case bool:
			node.Tag, node.Value = "!!bool", fmt.Sprint(t)
		case nil:
			node.Tag, node.Value = "!!null", "null"
		}
		if len(open) == 0 {
			docs = append(docs, &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{node}})
		} else {
			parent := open[len(open)-1]
			parent.Content = append(parent.Content, node)
		}
		if node.Kind != yaml.ScalarNode {
			open = append(open, node)
			if len(open) > maxJSONDepth {
				return nil, jsonError(text, end, fmt.Errorf("exceeded max depth of %d", maxJSONDepth))
			}
		}
	}
}

// jsonError adds the line to an error of encoding/json.
func jsonError(text []byte, off int, err error) *lineError {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && int(syntax.Offset) > off {
		off = int(syntax.Offset)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		off, err = len(text), errors.New("unexpected end of file")
	}
	off = min(off, len(text))
	return &lineError{line: 1 + bytes.Count(text[:off], []byte{'\n'}), problem: err.Error()}
}
