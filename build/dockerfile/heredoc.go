package dockerfile

import (
	"regexp"
	"strings"
	"unicode"
)

// heredoc is a here-document that a line starts.
type heredoc struct {
	name string
	tabs bool // <<-: tabs before the last line do not count
}

var heredocWord = regexp.MustCompile(`^\d*<<(-?)\s*([^<]*)$`)

// heredocs returns those that a line starts, in their order. BuildKit splits the
// line as a shell does, always with \ as the escape character; blanks behind <<
// belong to the word, and a line that does not split (a quote that does not end, a
// ${…} that is none) has no here-document.
func heredocs(line string) []heredoc {
	words, ok := (&splitter{runes: []rune(line), raw: true}).words()
	if !ok {
		return nil
	}
	var docs []heredoc
	for _, word := range words {
		match := heredocWord.FindStringSubmatch(word)
		if match == nil || match[2] == "" {
			continue
		}
		name, ok := (&splitter{runes: []rune(match[2])}).words()
		if ok && len(name) == 1 {
			docs = append(docs, heredoc{name[0], match[1] == "-"})
		}
	}
	return docs
}

// splitter splits a line into words; its variables stay as they are written.
type splitter struct {
	runes []rune
	at    int
	raw   bool // keep quotes and escape characters
	depth int
}

func (s *splitter) peek() rune {
	if s.at < len(s.runes) {
		return s.runes[s.at]
	}
	return 0
}

func (s *splitter) next() rune {
	c := s.peek()
	s.at++
	return c
}

// words is false for a line that can't be split.
func (s *splitter) words() (words []string, ok bool) {
	var word strings.Builder
	split := func(text string) {
		for _, c := range text {
			switch {
			case !unicode.IsSpace(c):
				word.WriteRune(c)
			case word.Len() > 0:
				words = append(words, word.String())
				word.Reset()
			}
		}
	}
	for s.at < len(s.runes) {
		variable := s.peek() == '$'
		plain := !strings.ContainsRune(`'"\<$`, s.peek())
		text, ok := s.item(s.raw)
		switch {
		case !ok:
			return nil, false
		case plain || variable:
			split(text)
		default:
			word.WriteString(text)
		}
	}
	split(" ")
	return words, true
}

// item reads a character, or all that belongs to it.
func (s *splitter) item(escapes bool) (string, bool) {
	switch c := s.next(); c {
	case '\'':
		start := s.at
		for s.peek() != '\'' {
			if s.at >= len(s.runes) {
				return "", false
			}
			s.at++
		}
		s.at++
		return s.quote(string(s.runes[start:s.at-1]), "'"), true
	case '"':
		return s.doubleQuoted(escapes)
	case '$':
		return s.variable()
	case '<':
		if s.peek() != '<' {
			return "<", true
		}
		s.at++
		start := s.at
		for s.at < len(s.runes) && strings.ContainsRune(" \t\v\f\r", s.peek()) {
			s.at++
		}
		return "<<" + string(s.runes[start:s.at]), true
	case '\\':
		text := ""
		if escapes {
			text = `\`
		}
		if s.at < len(s.runes) {
			text += string(s.next())
		}
		return text, true
	default:
		return string(c), true
	}
}

func (s *splitter) quote(text, mark string) string {
	if s.raw {
		return mark + text + mark
	}
	return text
}

func (s *splitter) doubleQuoted(escapes bool) (string, bool) {
	var text strings.Builder
	for s.at < len(s.runes) {
		switch c := s.next(); {
		case c == '"':
			return s.quote(text.String(), `"`), true
		case c == '$':
			value, ok := s.variable()
			if !ok {
				return "", false
			}
			text.WriteString(value)
		case c == '\\' && s.at < len(s.runes) && strings.ContainsRune(`"$\`, s.peek()):
			if escapes {
				text.WriteRune(c)
			}
			text.WriteRune(s.next())
		default:
			text.WriteRune(c)
		}
	}
	return "", false
}

// variable reads behind a $.
func (s *splitter) variable() (string, bool) {
	if s.peek() != '{' {
		return "$" + s.name(), true
	}
	s.at++
	if s.at >= len(s.runes) || strings.ContainsRune("{}:", s.peek()) {
		return "", false
	}
	if s.depth++; s.depth > maxDepth {
		return "", false
	}
	defer func() { s.depth-- }()
	name := s.name()
	operator := string(s.next())
	if operator == "}" {
		return "${" + name + "}", true
	}
	if operator == ":" {
		operator += string(s.next())
	}
	switch operator {
	case "-", "+", "?", ":-", ":+", ":?", "#", "%":
		word, ok := s.until('}', operator == "#" || operator == "%")
		return "${" + name + operator + word + "}", ok
	case "/":
		if s.peek() == '/' {
			s.at++
		}
		pattern, ok := s.until('/', true)
		if !ok {
			return "", false
		}
		replacement, ok := s.until('}', true)
		return "${" + name + "/" + pattern + "/" + replacement + "}", ok
	}
	return "", false
}

func (s *splitter) until(stop rune, escapes bool) (string, bool) {
	var text strings.Builder
	for s.at < len(s.runes) {
		if s.peek() == stop {
			s.at++
			return text.String(), true
		}
		item, ok := s.item(escapes)
		if !ok {
			return "", false
		}
		text.WriteString(item)
	}
	return "", false
}

// name reads the name of a variable: digits, one special character, or letters,
// digits and underscores.
func (s *splitter) name() string {
	name := nameAt(s.runes, s.at)
	if name == "" && s.at < len(s.runes) && strings.ContainsRune("@*#?-$!", s.peek()) {
		name = string(s.peek())
	}
	s.at += len([]rune(name))
	return name
}

// nameAt returns the name of a variable that starts at an index, "" if none does.
func nameAt(runes []rune, start int) string {
	end := start
	if end < len(runes) && unicode.IsDigit(runes[end]) {
		for end < len(runes) && unicode.IsDigit(runes[end]) {
			end++
		}
		return string(runes[start:end])
	}
	for end < len(runes) && (unicode.IsLetter(runes[end]) || unicode.IsDigit(runes[end]) || runes[end] == '_') {
		end++
	}
	return string(runes[start:end])
}
