package yamledit

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Reason names why a scalar cannot be replaced. The empty one says that it
// can.
type Reason string

// The reasons.
const (
	// ReasonAlias: an alias (*name). The value it repeats may be editable.
	ReasonAlias Reason = "alias"
	// ReasonEmpty: null, or nothing at all, so that there are no bytes to
	// replace. A quoted empty string is not empty in this sense.
	ReasonEmpty Reason = "empty"
	// ReasonBlock: a literal block ("|") that is not exactly one line. What
	// YAML inside of it says is listed, and editable, by itself.
	ReasonBlock Reason = "block"
	// ReasonFolded: a folded block (">") that is not exactly one line. Many
	// encoders write a reference that is longer than 80 characters, as those
	// with a digest are, as a folded block of one line.
	ReasonFolded Reason = "folded"
	// ReasonMultiLine: a plain or quoted scalar over several lines.
	ReasonMultiLine Reason = "multi-line"
	// ReasonTag: a tag that makes the value something else than text: !Ref,
	// !!binary, !!int.
	ReasonTag Reason = "tag"
	// ReasonNotLocated: the bytes at the parser's position are not the value.
	ReasonNotLocated Reason = "not located"
)

// location is where a scalar stands, in bytes of the file.
type location struct {
	reason     Reason
	start, end int    // with quotes, without tag and anchor; if reason is empty
	mark       int    // what to show a person: start, or the next best
	block      *block // of a literal block whose lines were found
}

// locate finds the bytes of a scalar of the layer.
func (l *layer) locate(n *yaml.Node, flow bool) location {
	if l.json {
		return l.locateJSON(n)
	}
	line := n.Line - 1
	pos, ok := l.lines.offset(line, n.Column-1)
	if !ok {
		// An empty value at the very end may be said to stand behind it.
		where := location{reason: ReasonNotLocated, mark: l.fileOffset(len(l.lines.starts)-1, len(l.text))}
		if n.Kind == yaml.ScalarNode && n.Value == "" {
			where.reason = ReasonEmpty
		}
		return where
	}
	where := location{mark: l.fileOffset(line, pos)}
	refuse := func(why Reason) location {
		where.reason = why
		return where
	}
	style := styleOf(n)
	switch {
	case n.Kind == yaml.AliasNode:
		return refuse(ReasonAlias)
	case style == Plain && (n.Tag == "!!null" || n.Value == ""):
		return refuse(ReasonEmpty)
	}

	content, bang, ok := skipProperties(l.text, pos)
	if !ok {
		return refuse(ReasonNotLocated)
	}
	if content != pos {
		line = l.lines.lineOf(content)
		where.mark = l.fileOffset(line, content)
	}
	if bang && (n.Style&yaml.TaggedStyle == 0 || n.Tag != "!!str") {
		return refuse(ReasonTag)
	}

	size, why := 0, Reason("")
	switch style {
	case Folded:
		size, one := oneLine(n.Value)
		if l.text[content] != '>' || !one {
			return refuse(ReasonFolded)
		}
		// If the value was folded from several lines, they are not it.
		b := l.block(line, n.Value)
		if b == nil {
			return refuse(ReasonFolded)
		}
		where.start, where.end = b.at[0], b.at[0]+size
		return where
	case Literal:
		if l.text[content] != '|' {
			return refuse(ReasonNotLocated)
		}
		b := l.block(line, n.Value)
		if b == nil {
			return refuse(ReasonNotLocated)
		}
		where.block = b
		size, one := oneLine(n.Value)
		if !one {
			return refuse(ReasonBlock)
		}
		where.start, where.end = b.at[0], b.at[0]+size
		return where
	case DoubleQuoted:
		size, why = doubleQuoted(l.text[content:], n.Value)
	case SingleQuoted:
		size, why = singleQuoted(l.text[content:], n.Value)
	default:
		size, why = plain(l.text[content:], n.Value, flow)
	}
	if why != "" {
		return refuse(why)
	}
	where.start = where.mark
	where.end = where.start + size
	return where
}

// locateJSON takes the offsets that decodeJSON left in the node.
func (l *layer) locateJSON(n *yaml.Node) location {
	line := l.lines.lineOf(n.Line)
	start := l.fileOffset(line, n.Line)
	if n.Tag == "!!null" {
		return location{reason: ReasonEmpty, mark: start}
	}
	return location{start: start, end: start + n.Column - n.Line, mark: start}
}

// skipProperties returns the offset behind the tag and the anchor at pos, and
// whether there is a tag. Both are followed by white space, which may hold
// line breaks and comments. To yaml/v3 an anchor also ends at a colon, so that
// &a:b is the text ":b"; that is not ok, since the next text might join it.
func skipProperties(text []byte, pos int) (content int, tag, ok bool) {
	for pos < len(text) {
		switch text[pos] {
		case '!':
			tag = true
		case '&':
			if end := pos + 1 + anchorLength(text[pos+1:]); end < len(text) && !isBlank(text[end]) && breakWidth(text, end) == 0 {
				return 0, false, false
			}
		default:
			return pos, tag, true
		}
		for pos < len(text) && !isBlank(text[pos]) && breakWidth(text, pos) == 0 {
			pos++
		}
		pos = skipSpace(text, pos)
	}
	return 0, false, false
}

// anchorLength is the length of the name that text starts with (is_alpha in
// yamlprivateh.go).
func anchorLength(text []byte) int {
	for i, c := range text {
		if c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return i
		}
	}
	return len(text)
}

// skipSpace skips blanks, line breaks and comments.
func skipSpace(text []byte, pos int) int {
	for pos < len(text) {
		switch w := breakWidth(text, pos); {
		case w > 0:
			pos += w
		case isBlank(text[pos]):
			pos++
		case text[pos] == '#':
			for pos < len(text) && breakWidth(text, pos) == 0 {
				pos++
			}
		default:
			return pos
		}
	}
	return pos
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// doubleQuoted returns the length of the double-quoted scalar that text
// starts with.
func doubleQuoted(text []byte, value string) (int, Reason) {
	if text[0] != '"' {
		return 0, ReasonNotLocated
	}
	escaped := false
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '"':
			if !escaped && string(text[1:i]) != value {
				return 0, ReasonNotLocated
			}
			return i + 1, ""
		case breakWidth(text, i) > 0:
			return 0, ReasonMultiLine
		case text[i] == '\\':
			escaped = true
			if i++; i < len(text) && breakWidth(text, i) > 0 {
				return 0, ReasonMultiLine
			}
		}
	}
	return 0, ReasonNotLocated
}

// singleQuoted returns the length of the single-quoted scalar that text
// starts with.
func singleQuoted(text []byte, value string) (int, Reason) {
	if text[0] != '\'' {
		return 0, ReasonNotLocated
	}
	escaped := false
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\'' && i+1 < len(text) && text[i+1] == '\'':
			escaped = true
			i++
		case text[i] == '\'':
			inner := string(text[1:i])
			if escaped {
				inner = strings.ReplaceAll(inner, "''", "'")
			}
			if inner != value {
				return 0, ReasonNotLocated
			}
			return i + 1, ""
		case breakWidth(text, i) > 0:
			return 0, ReasonMultiLine
		}
	}
	return 0, ReasonNotLocated
}

// plain returns the length of the plain scalar that text starts with. On one
// line it is its own value; over several, its lines are folded into it.
func plain(text []byte, value string, flow bool) (int, Reason) {
	if strings.IndexByte(value, '\n') >= 0 || strings.Contains(value, "\u2028") || strings.Contains(value, "\u2029") {
		return 0, ReasonMultiLine
	}
	if !bytes.HasPrefix(text, []byte(value)) {
		// Up to its first fold the value is verbatim.
		n := 0
		for n < len(text) && n < len(value) && text[n] == value[n] {
			n++
		}
		if n > 0 && n < len(text) && (breakWidth(text, n) > 0 || isBlank(text[n])) {
			return 0, ReasonMultiLine
		}
		return 0, ReasonNotLocated
	}
	if !endsPlain(text, len(value), flow) {
		return 0, ReasonNotLocated
	}
	return len(value), ""
}

// endsPlain says whether a plain scalar can end at text[i]
// (yaml_parser_scan_plain_scalar in scannerc.go).
func endsPlain(text []byte, i int, flow bool) bool {
	if i == len(text) || isBlank(text[i]) || breakWidth(text, i) > 0 {
		return true
	}
	if flow && strings.IndexByte(",?[]{}", text[i]) >= 0 {
		return true
	}
	return text[i] == ':' && (i+1 == len(text) || isBlank(text[i+1]) || breakWidth(text, i+1) > 0)
}
