package dockerfile

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// maxValue bounds a value: variables that hold others twice grow without limit.
const maxValue = 64 << 10

// maxDepth bounds how deep ${a:-${b:-…}} may go.
const maxDepth = 50

// variables are what a FROM can use: the ARGs before it, and the platform's.
type variables struct {
	values map[string]string
	// unknown says of names why nobody can tell their value. What is in neither has
	// none.
	unknown map[string]error
}

// newVariables returns those that exist before the first ARG.
func newVariables(options Options, platform, lastStage string) *variables {
	v := &variables{map[string]string{}, map[string]error{"TARGETOSVERSION": errors.New("TARGETOSVERSION is not known")}}
	for _, name := range []string{"BUILDPLATFORM", "BUILDOS", "BUILDOSVERSION", "BUILDARCH", "BUILDVARIANT"} {
		v.unknown[name] = fmt.Errorf("%s is the machine's that builds, and differs from one to the next", name)
	}
	v.values["TARGETSTAGE"] = cmp.Or(options.Target, lastStage, "default")
	os, rest, _ := strings.Cut(platform, "/")
	arch, variant, _ := strings.Cut(rest, "/")
	switch { // as containerd's platforms.Normalize
	case arch == "arm" && variant == "":
		variant = "v7"
	case arch == "arm64" && variant == "v8", arch == "amd64" && variant == "v1":
		variant = ""
	}
	full := os + "/" + arch
	if variant != "" {
		full += "/" + variant
	}
	for name, value := range map[string]string{"TARGETPLATFORM": full, "TARGETOS": os, "TARGETARCH": arch, "TARGETVARIANT": variant} {
		if platform == "" {
			v.unknown[name] = fmt.Errorf("%s is not known; list the platforms of the component", name)
		} else {
			v.values[name] = value
		}
	}
	for name, value := range options.Args {
		_, has := v.values[name]
		if _, unknown := v.unknown[name]; has || unknown {
			v.set(name, value)
		}
	}
	return v
}

func (v *variables) set(name, value string) {
	v.values[name] = value
	delete(v.unknown, name)
}

// declare reads an ARG before the first FROM.
func (v *variables) declare(in instruction, args map[string]string, escape byte) error {
	words := quotedWords(in.rest, rune(escape))
	if len(words) == 0 {
		return mistake(in.line, "ARG has no name")
	}
	for _, word := range words {
		name, written, has := strings.Cut(word, "=")
		given, ok := args[name]
		switch {
		case name == "":
			return mistake(in.line, "ARG %s has no name", word)
		case ok:
			v.set(name, given)
		case has:
			value, err := v.expand(written, escape)
			if err != nil {
				// Which is a mistake only if a FROM uses it.
				delete(v.values, name)
				v.unknown[name] = err
				continue
			}
			v.set(name, value)
		}
	}
	return nil
}

// quotedWords splits at blanks outside quotes, and keeps quotes and escape
// characters.
func quotedWords(s string, escape rune) []string {
	var words []string
	var word strings.Builder
	quote := rune(0)
	runes := []rune(s)
	for i := 0; i < len(runes); i++ {
		c := runes[i]
		switch {
		case quote == 0 && unicode.IsSpace(c):
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
			continue
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case c == quote:
			quote = 0
		case c == escape && quote != '\'':
			if i+1 == len(runes) {
				continue
			}
			word.WriteRune(c)
			i++
			c = runes[i]
		}
		word.WriteRune(c)
	}
	if word.Len() > 0 {
		words = append(words, word.String())
	}
	return words
}

// expand puts variables in and takes quotes and escape characters off. A variable
// without a value is an error: another machine could have one.
func (v *variables) expand(word string, escape byte) (string, error) {
	e := expansion{v: v, runes: []rune(word), escape: rune(escape)}
	value, err := e.until(0, 0)
	if err == nil && len(value) > maxValue {
		err = errors.New("it is longer than any reference")
	}
	return value, err
}

// expansion is a word that is being read.
type expansion struct {
	v      *variables
	runes  []rune
	at     int
	escape rune
	skip   bool // reading what is not used: its variables need no values
}

func (e *expansion) peek() rune {
	if e.at >= len(e.runes) {
		return 0
	}
	return e.runes[e.at]
}

var errOpen = errors.New("a quote or a ${ in it does not end")

// until expands up to stop, which it swallows; 0 is the end.
func (e *expansion) until(stop rune, depth int) (string, error) {
	if depth > maxDepth {
		return "", errors.New("its ${…} are too deep")
	}
	var out strings.Builder
	for e.at < len(e.runes) {
		if out.Len() > maxValue {
			return "", errors.New("it is longer than any reference")
		}
		c := e.runes[e.at]
		e.at++
		switch {
		case stop != 0 && c == stop:
			return out.String(), nil
		case c == '\'':
			start := e.at
			for e.at < len(e.runes) && e.runes[e.at] != '\'' {
				e.at++
			}
			if e.at == len(e.runes) {
				return "", errOpen
			}
			out.WriteString(string(e.runes[start:e.at]))
			e.at++
		case c == '"':
			if err := e.quoted(&out, depth); err != nil {
				return "", err
			}
		case c == '$':
			value, err := e.variable(depth)
			if err != nil {
				return "", err
			}
			out.WriteString(value)
		case c == e.escape:
			if e.at < len(e.runes) {
				out.WriteRune(e.runes[e.at])
				e.at++
			}
		default:
			out.WriteRune(c)
		}
	}
	if stop != 0 {
		return "", errOpen
	}
	return out.String(), nil
}

// quoted reads behind a double quote up to the next.
func (e *expansion) quoted(out *strings.Builder, depth int) error {
	for e.at < len(e.runes) {
		c := e.runes[e.at]
		e.at++
		switch {
		case c == '"':
			return nil
		case c == '$':
			value, err := e.variable(depth)
			if err != nil {
				return err
			}
			out.WriteString(value)
		case c == e.escape && (e.peek() == '"' || e.peek() == '$' || e.peek() == e.escape):
			out.WriteRune(e.runes[e.at])
			e.at++
		case c == e.escape && e.at == len(e.runes):
		default:
			out.WriteRune(c)
		}
	}
	return errOpen
}

// variable reads behind a $.
func (e *expansion) variable(depth int) (string, error) {
	if e.peek() != '{' {
		name := e.name()
		if name == "" {
			if next := e.peek(); next != 0 && strings.ContainsRune("@*#?-$!", next) {
				return "", fmt.Errorf("$%c is a shell's own", next)
			}
			return "$", nil
		}
		return e.value(name)
	}
	e.at++
	name := e.name()
	if name == "" {
		return "", errors.New("it has a ${ without a name")
	}
	operator := e.peek()
	e.at++
	switch operator {
	case '}':
		return e.value(name)
	case ':':
		operator = e.peek()
		e.at++
		return e.choose(name, operator, true, depth)
	default:
		return e.choose(name, operator, false, depth)
	}
}

// choose reads the word of ${name-word}, ${name+word} or ${name?word}, and picks;
// orEmpty is with a colon, where an empty value is as good as none.
func (e *expansion) choose(name string, operator rune, orEmpty bool, depth int) (string, error) {
	value, has := e.v.values[name]
	use := has && (!orEmpty || value != "")
	skipped := e.skip
	switch operator {
	case '-':
		e.skip = e.skip || use
	case '+':
		e.skip = e.skip || !use
	case '?':
		e.skip = true
	case 0:
		return "", errOpen
	default:
		return "", fmt.Errorf("${%s%c…} is not understood here; write the value out", name, operator)
	}
	if why, unknown := e.v.unknown[name]; unknown && !skipped {
		return "", why
	}
	word, err := e.until('}', depth+1)
	e.skip = skipped
	switch {
	case err != nil:
		return "", err
	case operator == '-' && use:
		return value, nil
	case operator == '-', operator == '+' && use:
		return word, nil
	case operator == '+':
		return "", nil
	case use || skipped:
		return value, nil
	}
	return "", noValue(name)
}

// value returns that of a variable.
func (e *expansion) value(name string) (string, error) {
	if value, ok := e.v.values[name]; ok || e.skip {
		return value, nil
	}
	if why, ok := e.v.unknown[name]; ok {
		return "", why
	}
	return "", noValue(name)
}

func noValue(name string) error {
	return fmt.Errorf("%s has no value; give it one under args, or a default with ARG before the first FROM", name)
}

// name reads that of a variable; "" if there is none.
func (e *expansion) name() string {
	name := nameAt(e.runes, e.at)
	e.at += len([]rune(name))
	return name
}
