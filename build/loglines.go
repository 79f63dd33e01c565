package build

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

const (
	// maxLogLine is how much of a line is shown, in bytes. Compilers' lines are
	// shorter; a minified script or a dump of bytes is not, and nobody reads it.
	maxLogLine = 4 << 10

	// maxTailLines and maxTail, in bytes, bound the end of a log that goes with
	// an error.
	maxTailLines = 40
	maxTail      = 64 << 10
)

// logLines cuts what tools print into lines that can be shown anywhere: on a
// terminal that has other things to show, and in a CI job's log. It takes bytes
// in any portions; the lines are the same.
//
//   - Escape sequences go, colours too: half of a coloured line would colour what
//     follows, and tools that write to a pipe seldom colour anyway.
//   - A line that is written again and again, by carriage returns or backspaces,
//     is its last state. So is one that is cleared by the sequences that npm uses.
//   - Where the cursor moves to another line, a line ends.
//   - Control characters go, and those that change the direction of text. Tabs stay.
//   - What is not UTF-8 is U+FFFD.
//   - What a line has beyond 4 KiB is "…".
//
// It holds one line, whatever it is fed.
type logLines struct {
	emit func(line string)

	line    []byte
	cut     bool // the line was longer
	begun   bool // there is a line, if an empty one
	back    bool // the cursor is at the start: what comes next replaces the line
	invalid bool // the line ends in a U+FFFD that stands for a run of bytes

	state   escapeState
	params  []byte // of a control sequence, the first few
	partial []byte // the start of a rune
}

type escapeState int

const (
	inText         escapeState = iota
	inEscape                   // ESC
	inIntermediate             // ESC and a byte that selects a table
	inSequence                 // ESC [
	inString                   // a title, a link: until BEL, or ESC \
	inStringEscape             // ESC within
)

// The sequences are those of ECMA-48 and xterm's ctlseqs.
const (
	bel = 0x07
	can = 0x18
	sub = 0x1a
	esc = 0x1b
	del = 0x7f
)

func (l *logLines) write(p []byte) {
	for len(p) > 0 {
		n := 0
		if l.state == inText && len(l.partial) == 0 {
			for n < len(p) && ' ' <= p[n] && p[n] < del {
				n++
			}
		}
		if n > 0 {
			l.put(p[:n])
			p = p[n:]
			continue
		}
		l.byte(p[0])
		p = p[1:]
	}
}

// end gives out what has no line break yet.
func (l *logLines) end() {
	for len(l.partial) > 0 {
		l.rune()
	}
	l.state = inText
	if l.begun {
		l.newline()
	}
}

func (l *logLines) byte(b byte) {
	switch l.state {
	case inText:
		l.text(b)
	case inEscape:
		switch {
		case b == '[':
			l.state, l.params = inSequence, l.params[:0]
		case b == ']' || b == 'P' || b == 'X' || b == '^' || b == '_':
			l.state = inString
		case ' ' <= b && b < '0':
			l.state = inIntermediate
		default:
			l.leave(b, '0')
		}
	case inIntermediate:
		if b < ' ' || b >= '0' {
			l.leave(b, '0')
		}
	case inSequence:
		switch {
		case ' ' <= b && b < '@':
			if len(l.params) < 8 {
				l.params = append(l.params, b)
			}
		case '@' <= b && b < del:
			l.state = inText
			l.sequence(b)
		default:
			l.leave(b, '@')
		}
	case inString:
		switch b {
		case bel, can, sub:
			l.state = inText
		case esc:
			l.state = inStringEscape
		case '\n': // a lost end costs one line, not the log
			l.state = inText
			l.text(b)
		}
	case inStringEscape:
		if b == '\\' {
			l.state = inText
			return
		}
		l.state = inEscape
		l.byte(b)
	}
}

// leave ends an escape sequence. A byte that is none of its last ones, from
// first on, counts as text.
func (l *logLines) leave(b, first byte) {
	l.state = inText
	if b < first || b >= del {
		l.text(b)
	}
}

// text takes a byte outside escape sequences.
func (l *logLines) text(b byte) {
	if len(l.partial) > 0 || b >= utf8.RuneSelf {
		l.partial = append(l.partial, b)
		for len(l.partial) > 0 && utf8.FullRune(l.partial) {
			l.rune()
		}
		return
	}
	switch {
	case b == '\n':
		l.newline()
	case b == '\r':
		l.back, l.invalid = true, false
	case b == '\b':
		l.backspace()
	case b == esc:
		l.state = inEscape
	case b == '\t' || ' ' <= b && b < del:
		l.put([]byte{b})
	}
}

// rune takes the first rune out of partial.
func (l *logLines) rune() {
	r, size := utf8.DecodeRune(l.partial)
	var first [utf8.UTFMax]byte
	copy(first[:], l.partial[:size])
	l.partial = append(l.partial[:0], l.partial[size:]...)
	switch {
	case size == 1 && r != utf8.RuneError: // ASCII that broke off what was before it
		l.byte(first[0])
	case size == 1:
		if !l.invalid || l.back {
			l.put([]byte("\uFFFD"))
		}
		l.invalid = true
	case !unicode.IsControl(r) && !unicode.Is(unicode.Bidi_Control, r) && !unicode.In(r, unicode.Zl, unicode.Zp):
		l.put(first[:size])
	}
}

// put appends ASCII or one rune.
func (l *logLines) put(p []byte) {
	if l.back {
		l.clear()
	}
	l.begun, l.invalid = true, false
	switch room := maxLogLine - len(l.line); {
	case l.cut:
	case len(p) <= room:
		l.line = append(l.line, p...)
	default:
		l.cut = true
		if p[0] < utf8.RuneSelf {
			l.line = append(l.line, p[:room]...)
		}
	}
}

func (l *logLines) clear() {
	l.line, l.cut, l.back, l.invalid = l.line[:0], false, false, false
}

func (l *logLines) backspace() {
	l.invalid = false
	if l.back || l.cut || len(l.line) == 0 {
		return
	}
	_, size := utf8.DecodeLastRune(l.line)
	l.line = l.line[:len(l.line)-size]
}

func (l *logLines) newline() {
	text := string(bytes.TrimRight(l.line, " \t"))
	if l.cut {
		text = string(l.line) + "…"
	}
	l.clear()
	l.begun = false
	l.emit(text)
}

// sequence does what a control sequence that ends in final does to the line.
func (l *logLines) sequence(final byte) {
	params := string(l.params)
	switch final {
	case 'G', '`': // to a column
		if params == "" || params == "0" || params == "1" {
			l.back = true
		}
	case 'K': // erase the line
		if params == "2" || params == "1" || l.back {
			l.clear()
		}
	case 'A', 'B', 'E', 'F', 'H', 'd', 'f': // to another line
		if len(l.line) > 0 {
			l.newline()
		}
	}
}

// logTail keeps the last lines of a log.
type logTail struct {
	lines []string
	bytes int // of lines, with their line breaks
	all   int // how many there were
}

func (t *logTail) add(line string) {
	t.all++
	t.lines = append(t.lines, line)
	t.bytes += len(line) + 1
	first := 0
	for len(t.lines)-first > maxTailLines || t.bytes > maxTail {
		t.bytes -= len(t.lines[first]) + 1
		first++
	}
	if first > 0 {
		t.lines = append(t.lines[:0], t.lines[first:]...)
	}
}
