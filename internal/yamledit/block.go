package yamledit

import (
	"bytes"
	"strings"
)

// block says where the lines of a block scalar stand.
type block struct {
	at []int // in the file, for each line of the block's value
}

// block finds the lines of the block scalar whose header ("|" or ">", with its
// indicators) is on the given line. It takes no rule of indentation on trust:
// the first line that is not empty shows how far the block is indented, and
// then every line must be just that many spaces and its part of the value. It
// returns nil if one is not.
func (l *layer) block(header int, value string) *block {
	b := &block{at: make([]int, 0, strings.Count(value, "\n")+1)}
	indent := -1
	for k := header + 1; ; k++ {
		// The value's line breaks are LF, or as written: U+2028 and U+2029.
		line, rest, more := cutLine(value)
		if k >= len(l.lines.starts) {
			if line == "" && !more {
				b.at = append(b.at, l.fileOffset(k-1, len(l.text)))
				return b
			}
			return nil
		}
		start := l.lines.starts[k]
		content := l.text[start:l.lines.end(k)]
		if line != "" {
			if indent < 0 {
				indent = len(content) - len(line)
			}
			if indent < 0 || len(content) != indent+len(line) ||
				!bytes.HasSuffix(content, []byte(line)) || !allSpaces(content[:indent]) {
				return nil
			}
			start += indent
		} else if more && (!allSpaces(content) || indent >= 0 && len(content) > indent) {
			return nil
		}
		b.at = append(b.at, l.fileOffset(k, start))
		if !more {
			return b
		}
		value = rest
	}
}

// cutLine splits the first line from a value.
func cutLine(value string) (line, rest string, more bool) {
	for i := 0; i < len(value); i++ {
		if c := value[i]; c != '\n' && c != 0xE2 {
			continue
		}
		if w := breakWidth([]byte(value[i:min(i+3, len(value))]), 0); w > 0 {
			return value[:i], value[i+w:], true
		}
	}
	return value, "", false
}

func allSpaces(b []byte) bool {
	for _, c := range b {
		if c != ' ' {
			return false
		}
	}
	return true
}

// oneLine returns the length of the only line of a block's value, and false
// if it has none, or several, or one that starts with white space.
func oneLine(value string) (int, bool) {
	line, rest, _ := cutLine(value)
	return len(line), line != "" && !isBlank(line[0]) && strings.Trim(rest, "\n") == ""
}
