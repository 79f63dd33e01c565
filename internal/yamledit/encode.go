package yamledit

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// write returns the text of a new value in place of an old scalar: in the
// same quotes, or for a plain one plain where that is safe. Whatever the old
// value was, the new one is a string to every reader.
func (l *layer) write(old *yaml.Node, flow bool, value string) (string, error) {
	if !utf8.ValidString(value) {
		return "", errors.New("the new value is not UTF-8")
	}
	if l.json {
		return quoteDouble(value), nil
	}
	switch styleOf(old) {
	case Literal, Folded:
		return writeBlockLine(old.Value, value)
	case DoubleQuoted:
		return quoteDouble(value), nil
	case SingleQuoted:
		if r, ok := unprintable(value); ok {
			return "", fmt.Errorf("the new value holds U+%04X, which single quotes cannot express: use double quotes there", r)
		}
		return quoteSingle(value), nil
	}
	if plainSafe(value, flow) && (old.Style&yaml.TaggedStyle != 0 || isString(value)) {
		return value, nil
	}
	if _, ok := unprintable(value); !ok && l.single > l.double {
		return quoteSingle(value), nil
	}
	return quoteDouble(value), nil
}

// writeBlockLine returns the new line of a block scalar that has one line.
// The line breaks behind it belong to the block's header and stay.
func writeBlockLine(old, value string) (string, error) {
	tail := len(old) - len(strings.TrimRight(old, "\n"))
	line := strings.TrimRight(value, "\n")
	switch _, bad := unprintable(line); {
	case len(value)-len(line) != tail:
		return "", fmt.Errorf("the block there ends with %d line breaks, the new value with %d", tail, len(value)-len(line))
	case bad, line == "", isBlank(line[0]):
		return "", errors.New("the new value is not one line of printable text, as the block there needs")
	}
	return line, nil
}

// unprintable returns the first character that can stand in YAML only as an
// escape, line breaks and tabs among them.
func unprintable(s string) (rune, bool) {
	for _, r := range s {
		if r < ' ' || r >= 0x7F && r < 0xA0 || r == '\u2028' || r == '\u2029' || r == 0xFEFF || r == 0xFFFE || r == 0xFFFF {
			return r, true
		}
	}
	return 0, false
}

// quoteSingle needs a printable value.
func quoteSingle(s string) string {
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// quoteDouble uses only the escapes that YAML and JSON share, because a YAML
// file may be read as JSON elsewhere.
func quoteDouble(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for _, r := range s {
		_, escape := unprintable(string(r))
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case escape:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// plainSafe says whether a value can be written without quotes and be read
// back as the same text, by yaml/v3 and by stricter parsers.
func plainSafe(s string, flow bool) bool {
	if s == "" {
		return false
	}
	if _, bad := unprintable(s); bad {
		return false
	}
	if strings.IndexByte("-?:,[]{}#&*!|>'\"%@` ", s[0]) >= 0 || s[len(s)-1] == ' ' || s[len(s)-1] == ':' {
		return false
	}
	if strings.Contains(s, ": ") || strings.Contains(s, " #") {
		return false
	}
	if s == "..." || strings.HasPrefix(s, "... ") {
		return false
	}
	// A question mark ends a plain scalar of a flow collection for yaml/v3,
	// though YAML says otherwise.
	return !flow || !strings.ContainsAny(s, ",[]{}?")
}

var (
	// What YAML 1.1 takes for a number, in lower case and without the
	// underscores that it allows anywhere.
	numberRE = regexp.MustCompile(`^[-+]?(0b[01]+|0x[0-9a-f]+|0o?[0-7]+|[0-9]+(:[0-5]?[0-9])*(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?$`)
	// What looks like a date is one, or is refused as a broken one.
	dateRE = regexp.MustCompile(`^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?$`)
)

// isString says whether a plain scalar with this text, which is safe to write
// plain, is a string to every version of YAML. Argo CD and Helm decode with parsers of YAML 1.1, where y,
// 0777 and 1:30 are none.
func isString(s string) bool {
	lower := strings.ToLower(s)
	switch lower {
	case "", "~", "null", "y", "n", "yes", "no", "on", "off", "true", "false",
		".nan", ".inf", "+.inf", "-.inf", "<<", "=":
		return false
	}
	if numberRE.MatchString(strings.ReplaceAll(lower, "_", "")) || dateRE.MatchString(s) {
		return false
	}
	var doc yaml.Node
	err := yaml.Unmarshal([]byte(s), &doc)
	return err == nil && len(doc.Content) == 1 && doc.Content[0].Tag == "!!str"
}
