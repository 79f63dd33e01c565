package yamledit

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// lineIndex finds the byte of a line and column, and the reverse. Asked in
// the order of the text, as a walk over a parsed tree does, it costs time
// linear in the text, however long its lines are.
type lineIndex struct {
	text   []byte
	starts []int // offset of each line's first byte
	ascii  bool

	// The last answer within a line, where the next one starts to count.
	line, col, off int
}

// breakWidth is the length of the line break at text[i:], 0 if there is none.
// YAML 1.1, and with it yaml/v3 (is_break in yamlprivateh.go), also ends a
// line at U+0085, U+2028 and U+2029.
func breakWidth(text []byte, i int) int {
	switch text[i] {
	case '\n':
		return 1
	case '\r':
		if i+1 < len(text) && text[i+1] == '\n' {
			return 2
		}
		return 1
	case 0xC2:
		if i+1 < len(text) && text[i+1] == 0x85 {
			return 2
		}
	case 0xE2:
		if i+2 < len(text) && text[i+1] == 0x80 && (text[i+2] == 0xA8 || text[i+2] == 0xA9) {
			return 3
		}
	}
	return 0
}

// indexYAML indexes text by the line breaks of YAML 1.1.
func indexYAML(text []byte) *lineIndex {
	x := &lineIndex{text: text, ascii: isASCII(text)}
	if x.ascii && bytes.IndexByte(text, '\r') < 0 {
		x.starts = feedStarts(text)
		return x
	}
	x.starts = append(make([]int, 0, bytes.Count(text, []byte{'\n'})+2), 0)
	for i := 0; i < len(text); {
		w := breakWidth(text, i)
		if w == 0 {
			i++
			continue
		}
		i += w
		x.starts = append(x.starts, i)
	}
	return x
}

// indexEditor indexes text by the line breaks that editors know: LF, CRLF
// and a lone CR.
func indexEditor(text []byte) *lineIndex {
	x := &lineIndex{text: text, ascii: isASCII(text)}
	if bytes.IndexByte(text, '\r') < 0 {
		x.starts = feedStarts(text)
		return x
	}
	x.starts = append(make([]int, 0, bytes.Count(text, []byte{'\n'})+2), 0)
	for i, c := range text {
		if c == '\n' || c == '\r' && (i+1 == len(text) || text[i+1] != '\n') {
			x.starts = append(x.starts, i+1)
		}
	}
	return x
}

// feedStarts returns the line starts of a text whose only breaks are line
// feeds.
func feedStarts(text []byte) []int {
	starts := append(make([]int, 0, bytes.Count(text, []byte{'\n'})+1), 0)
	for i := 0; ; {
		n := bytes.IndexByte(text[i:], '\n')
		if n < 0 {
			return starts
		}
		i += n + 1
		starts = append(starts, i)
	}
}

func isASCII(text []byte) bool {
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// end returns the offset at which a line ends, its break not counted.
func (x *lineIndex) end(line int) int {
	if line+1 == len(x.starts) {
		return len(x.text)
	}
	end := x.starts[line+1]
	for w := 1; w <= 3; w++ {
		if i := end - w; i >= x.starts[line] && breakWidth(x.text, i) == w &&
			(w != 1 || i == x.starts[line] || breakWidth(x.text, i-1) != 2) {
			return i
		}
	}
	return end
}

// offset returns the byte of a line and a column in runes, both from 0. It
// reports false for a place outside of the text.
func (x *lineIndex) offset(line, col int) (int, bool) {
	if line < 0 || line >= len(x.starts) || col < 0 {
		return 0, false
	}
	if x.ascii {
		off := x.starts[line] + col
		return off, off <= len(x.text)
	}
	if line != x.line || col < x.col {
		x.line, x.col, x.off = line, 0, x.starts[line]
	}
	for x.col < col {
		if x.off >= len(x.text) {
			return 0, false
		}
		_, w := utf8.DecodeRune(x.text[x.off:])
		x.off += w
		x.col++
	}
	return x.off, true
}

// position returns the line and the column in runes, both from 0, of a byte.
func (x *lineIndex) position(off int) (line, col int) {
	line = x.lineOf(off)
	if x.ascii {
		return line, off - x.starts[line]
	}
	if line != x.line || off < x.off {
		x.line, x.col, x.off = line, 0, x.starts[line]
	}
	x.col += utf8.RuneCount(x.text[x.off:off])
	x.off = off
	return line, x.col
}

// lineOf returns the line of a byte, from 0.
func (x *lineIndex) lineOf(off int) int {
	i, found := slices.BinarySearch(x.starts, off)
	if !found {
		i--
	}
	return i
}
