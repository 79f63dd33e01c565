package yamledit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// ErrNotYAML is what every error of [Parse] is: the file is no YAML in UTF-8
// or, by its name, no JSON. A template of a Helm chart is the usual cause.
var ErrNotYAML = errors.New("not YAML")

// ParseError says where and why a file is not what its name promises.
type ParseError struct {
	File string
	// Line is 1-based, 0 if the parser names none. For an error of structure
	// it is where yaml/v3 began to read the mapping or list that is broken.
	Line int
	// Problem is one clause.
	Problem string
	// Template is true if the file holds "{{": it is probably a template of a
	// Helm chart, which becomes YAML when the chart is rendered.
	Template bool
	// JSON is true if the file was read as JSON.
	JSON bool
}

func (e *ParseError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.JSON {
		b.WriteString(": not JSON: ")
	} else {
		b.WriteString(": not YAML: ")
	}
	b.WriteString(e.Problem)
	if e.Template {
		b.WriteString(` (it holds "{{", as a template of a Helm chart does)`)
	}
	return b.String()
}

// Is makes a ParseError an ErrNotYAML.
func (e *ParseError) Is(target error) bool { return target == ErrNotYAML }

const byteOrderMark = "\xEF\xBB\xBF"

// Parse reads a file of any number of documents. name is used in errors, and
// if it ends in .json the file is read as JSON; everything else is YAML. The
// File keeps data, which must not change afterwards. Memory is about 10 to
// 100 times the file, so the caller caps its size.
//
// Every error is an [ErrNotYAML], and a [*ParseError].
func Parse(name string, data []byte) (*File, error) {
	f := &File{name: name, data: data}
	asJSON := isJSON(name)
	fail := func(line int, problem string) (*File, error) {
		return nil, &ParseError{
			File: name, Line: line, Problem: problem, JSON: asJSON,
			Template: bytes.Contains(data, []byte("{{")),
		}
	}

	if bytes.HasPrefix(data, []byte("\xFF\xFE")) || bytes.HasPrefix(data, []byte("\xFE\xFF")) {
		return fail(0, "it is UTF-16, and only UTF-8 can be edited: convert it, for example with iconv -f utf-16 -t utf-8")
	}
	if bytes.HasPrefix(data, []byte(byteOrderMark)) {
		f.bom = len(byteOrderMark)
	}
	text := data[f.bom:]
	if off, problem := unreadable(text, asJSON); problem != "" {
		return fail(1+bytes.Count(text[:off], []byte{'\n'}), problem)
	}

	docs, err := decode(text, asJSON)
	if err != nil {
		var at *lineError
		if errors.As(err, &at) {
			return fail(at.line, at.problem)
		}
		return fail(0, err.Error())
	}
	f.lines = indexEditor(data)
	f.root = &layer{file: f, text: text, json: asJSON, docs: docs, base: f.bom, lines: indexYAML(text)}
	f.layers = map[*yaml.Node]*layer{}
	f.aliases = map[*yaml.Node]int{}
	f.dups = map[slot][]int32{}
	w := walker{f: f, canon: map[slot]int32{}}
	w.layer(f.root, -1, 0)
	w.finish()
	return f, nil
}

// unreadable returns the first byte that yaml/v3 would refuse without saying
// where (readerc.go: no control characters, no invalid UTF-8), and why. JSON
// has its own rule for control characters, which its parser applies.
func unreadable(text []byte, asJSON bool) (off int, problem string) {
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c >= utf8.RuneSelf:
			r, w := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && w == 1 {
				return i, fmt.Sprintf("byte 0x%02x is not UTF-8", c)
			}
			if !asJSON && (r < 0xA0 && r != 0x85 || r == 0xFFFE || r == 0xFFFF) {
				return i, fmt.Sprintf("control character U+%04X is not allowed", r)
			}
			i += w
			continue
		case c < ' ' && c != '\t' && c != '\n' && c != '\r', c == 0x7F:
			if !asJSON {
				return i, fmt.Sprintf("control character U+%04X is not allowed", c)
			}
		}
		i++
	}
	return 0, ""
}

// lineError is a parser's complaint; line is 0 if unknown.
type lineError struct {
	line    int
	problem string
}

func (e *lineError) Error() string { return e.problem }

// decode parses all documents of a text that has no byte order mark.
func decode(text []byte, asJSON bool) ([]*yaml.Node, error) {
	if asJSON {
		return decodeJSON(text)
	}
	return decodeYAML(text)
}

func decodeYAML(text []byte) (docs []*yaml.Node, err error) {
	// yaml/v3 panics on what it thinks impossible. A file is hostile input:
	// whatever it provokes is an error.
	defer func() {
		if p := recover(); p != nil {
			docs, err = nil, &lineError{problem: fmt.Sprint("the parser gave up: ", p)}
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		doc := new(yaml.Node)
		switch err := dec.Decode(doc); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return nil, yamlError(err)
		}
		docs = append(docs, doc)
	}
}

// yamlError takes the line out of the text of an error of yaml/v3, the only
// place where it is.
func yamlError(err error) *lineError {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, problem, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				return &lineError{line: line, problem: problem}
			}
		}
	}
	return &lineError{problem: text}
}
