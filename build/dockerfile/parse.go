package dockerfile

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// file is a Dockerfile, taken apart.
type file struct {
	escape       byte
	syntax       Image // of the directive; the zero value without
	instructions []instruction
	lines        int
}

// instruction is one, over however many lines.
type instruction struct {
	keyword string   // in upper case
	flags   []string // --name=value, unquoted
	rest    string   // what stands behind them
	line    int
}

// keywords are all instructions there are. One that is not here could name an
// image in a way that nobody knows.
var keywords = []string{
	"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
	"MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}

var (
	whitespace = regexp.MustCompile(`[\t\v\f\r ]+`)
	directive  = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$`)
)

// parse takes a Dockerfile apart. The error is an *[Error].
func parse(content string) (*file, error) {
	content = strings.TrimPrefix(content, "\ufeff")
	f := &file{escape: '\\'}
	lines := strings.SplitAfter(content, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	f.lines = max(1, len(lines))
	body, err := f.directives(lines)
	if err != nil {
		return nil, err
	}
	for next := body; next < len(lines); {
		first := next
		var text string
		text, next = f.logicalLine(lines, next)
		if strings.TrimSpace(text) == "" {
			if next-first == 1 {
				continue
			}
			return nil, mistake(first+1, "is a continued line without an instruction")
		}
		in, err := f.instruction(text, first+1)
		if err != nil {
			return nil, err
		}
		if next, err = f.skipHeredocs(in, text, lines, next); err != nil {
			return nil, err
		}
		f.instructions = append(f.instructions, in)
	}
	return f, nil
}

// directives reads "# escape=`" and the like, which stand before everything else,
// and returns the index of the first line that is none.
func (f *file) directives(lines []string) (int, error) {
	var seen []string
	for i, line := range lines {
		if i == 0 && strings.HasPrefix(line, "#!") {
			// BuildKit looks for a syntax behind a shebang, and for nothing else.
			f.shebang(lines)
			return 1, nil
		}
		comment, ok := strings.CutPrefix(strings.TrimLeftFunc(line, unicode.IsSpace), "#")
		match := directive.FindStringSubmatch(strings.TrimLeftFunc(strings.TrimRight(comment, "\r\n"), unicode.IsSpace))
		if !ok || match == nil {
			return i, nil
		}
		name, value := strings.ToLower(match[1]), match[2]
		if !slices.Contains([]string{"syntax", "escape", "check"}, name) {
			return i, nil
		}
		if slices.Contains(seen, name) {
			return 0, mistake(i+1, "has a second directive %s", name)
		}
		seen = append(seen, name)
		switch name {
		case "escape":
			if value != "`" && value != `\` {
				return 0, mistake(i+1, "escape is ` or \\, not %q", value)
			}
			f.escape = value[0]
		case "syntax":
			f.syntax = Image{firstWord(value), i + 1}
		}
	}
	return len(lines), nil
}

func (f *file) shebang(lines []string) {
	for i, line := range lines[1:] {
		comment, ok := strings.CutPrefix(line, "#")
		match := directive.FindStringSubmatch(strings.TrimLeftFunc(strings.TrimRight(comment, "\r\n"), unicode.IsSpace))
		if !ok || match == nil {
			return
		}
		if strings.EqualFold(match[1], "syntax") {
			f.syntax = Image{firstWord(match[2]), i + 2}
			return
		}
	}
}

// logicalLine joins the lines that a continuation character connects, and returns
// the index of the line behind them. Comments and empty lines in between are none
// of it.
func (f *file) logicalLine(lines []string, next int) (string, int) {
	var text strings.Builder
	for first := true; next < len(lines); first = false {
		line := strings.TrimRight(lines[next], "\r\n")
		next++
		trimmed := strings.TrimLeftFunc(line, unicode.IsSpace)
		if strings.HasPrefix(trimmed, "#") || trimmed == "" {
			if first {
				return "", next
			}
			continue
		}
		if first {
			line = trimmed
		}
		part, continued := f.continued(line)
		text.WriteString(part)
		if !continued {
			break
		}
	}
	return text.String(), next
}

// continued cuts the continuation character off; a doubled one is none.
func (f *file) continued(line string) (string, bool) {
	cut := strings.TrimRight(line, " \t")
	if cut == "" || cut[len(cut)-1] != f.escape {
		return line, false
	}
	cut = cut[:len(cut)-1]
	if cut != "" && cut[len(cut)-1] == f.escape {
		return line, false
	}
	return cut, true
}

// instruction splits a line into keyword, flags and the rest.
func (f *file) instruction(text string, line int) (instruction, error) {
	words := whitespace.Split(strings.TrimSpace(text), 2)
	in := instruction{keyword: strings.ToUpper(words[0]), line: line}
	if !slices.Contains(keywords, in.keyword) {
		return in, mistake(line, "has the instruction %q, which is not known here", words[0])
	}
	if len(words) == 2 {
		in.flags, in.rest = f.splitFlags(words[1])
		in.rest = strings.TrimSpace(in.rest)
	}
	return in, nil
}

// splitFlags takes the words that start with -- from the front, without quotes and
// escape characters. A lone -- ends them.
func (f *file) splitFlags(s string) (flags []string, rest string) {
	for i := 0; ; {
		for i < len(s) && unicode.IsSpace(rune(s[i])) {
			i++
		}
		if !strings.HasPrefix(s[i:], "--") {
			return flags, s[i:]
		}
		var word strings.Builder
		quote := byte(0)
		quoted := false
		for ; i < len(s); i++ {
			c := s[i]
			switch {
			case quote == 0 && unicode.IsSpace(rune(c)):
			case quote == 0 && (c == '\'' || c == '"'):
				quote, quoted = c, true
				continue
			case quote != 0 && c == quote:
				quote = 0
				continue
			case c == f.escape:
				if i+1 < len(s) {
					i++
					word.WriteByte(s[i])
				}
				continue
			default:
				word.WriteByte(c)
				continue
			}
			break
		}
		if word.String() == "--" {
			return flags, s[i:]
		}
		if quoted || word.Len() > 0 {
			flags = append(flags, word.String())
		}
	}
}

// skipHeredocs returns the index of the line behind the here-documents that an
// instruction starts.
func (f *file) skipHeredocs(in instruction, text string, lines []string, next int) (int, error) {
	keyword, arguments := in.keyword, in.rest
	if keyword == "ONBUILD" {
		// If it has none that is known, who builds on this image is told.
		if inner, err := f.instruction(in.rest, in.line); err == nil {
			keyword, arguments = inner.keyword, inner.rest
		}
	}
	if !slices.Contains([]string{"ADD", "COPY", "RUN"}, keyword) || !strings.Contains(text, "<<") {
		return next, nil
	}
	var list []string
	if strings.HasPrefix(arguments, "[") && json.Unmarshal([]byte(arguments), &list) == nil {
		return next, nil // the form ["a", "b"] has none
	}
	for _, doc := range heredocs(text) {
		for ; ; next++ {
			if next == len(lines) {
				return 0, mistake(in.line, "the here-document %s does not end", doc.name)
			}
			line := strings.TrimRight(lines[next], "\r\n")
			if doc.tabs {
				line = strings.TrimLeft(line, "\t")
			}
			if line == doc.name {
				next++
				break
			}
		}
	}
	return next, nil
}
