package yamledit

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestNotYAML has files that are refused as a whole, and what a person reads.
func TestNotYAML(t *testing.T) {
	for _, test := range []struct{ name, file, data, want string }{
		{"NUL", "a.yaml", "a: 1\nb: \x00\n", "a.yaml:2: not YAML: control character U+0000 is not allowed"},
		{"DEL", "a.yaml", "a: \x7f", "a.yaml:1: not YAML: control character U+007F is not allowed"},
		{"C1 control", "a.yaml", "a: \u0080", "a.yaml:1: not YAML: control character U+0080 is not allowed"},
		{"not UTF-8", "a.yaml", "# é\na: \xff\n", "a.yaml:2: not YAML: byte 0xff is not UTF-8"},
		{"half a character", "a.yaml", "a: \xc3", "a.yaml:1: not YAML: byte 0xc3 is not UTF-8"},
		{"surrogate", "a.yaml", "a: \xed\xa0\x80", "a.yaml:1: not YAML: byte 0xed is not UTF-8"},
		{"not UTF-8 in JSON", "a.JSON", "{\"a\": \"\xff\"}", "a.JSON:1: not JSON: byte 0xff is not UTF-8"},
		{
			"UTF-16", "a.yaml", "\xff\xfea\x00:\x00 \x001\x00",
			"a.yaml: not YAML: it is UTF-16, and only UTF-8 can be edited: convert it, for example with iconv -f utf-16 -t utf-8",
		},
		{"UTF-16, big end first", "a.yaml", "\xfe\xff\x00a", "a.yaml: not YAML: it is UTF-16"},
		{"tab", "a.yaml", "a:\n\tb: 1\n", "a.yaml:2: not YAML: found character that cannot start any token"},
		{"template", "a.yaml", "a: {{ .Values.x }}\n{{- if x }}\n", "a.yaml:2: not YAML: could not find expected ':' (it holds \"{{\", as a template of a Helm chart does)"},
		{"template", "a.yaml", "{{- if .Values.x }}\na: 1\n{{- end }}\n", "(it holds \"{{\", as a template of a Helm chart does)"},
		{"no such anchor", "a.yaml", "a: *b\n", "a.yaml: not YAML: unknown anchor 'b' referenced"},
		{"version directive", "a.yaml", "%YAML 1.2\n---\na: 1\n", "a.yaml: not YAML: found incompatible YAML document"},
		{"deep lists", "a.yaml", strings.Repeat("[", 20000), "exceeded max depth of 10000"},
		{"deep mappings", "a.yaml", strings.Repeat("{a: ", 20000), "exceeded max depth of 10000"},
		{"deep blocks", "a.yaml", strings.Repeat("- ", 20000), "exceeded max depth of 10000"},
		{"deep JSON", "a.json", strings.Repeat("[", 20000), "a.json:1: not JSON: exceeded max depth of 10000"},
		{"JSON cut off", "a.json", "{\n\"a\": [1,\n", "a.json:3: not JSON: unexpected end of file"},
		{"JSON with a comment", "a.json", "{\n // c\n\"a\": 1}", "a.json:2: not JSON: invalid character '/'"},
		{"YAML named JSON", "a.json", "a: 1\n", "a.json:1: not JSON: invalid character 'a'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := Parse(test.file, []byte(test.data))
			var e *ParseError
			if f != nil || !errors.Is(err, ErrNotYAML) || !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v\nwant %s", err, test.want)
			}
			if e.Template != strings.Contains(test.data, "{{") {
				t.Errorf("template: %v", e.Template)
			}
		})
	}
}

// TestNothing has files with no value in them.
func TestNothing(t *testing.T) {
	for _, data := range []string{"", "\n", "# c", byteOrderMark, "---\n---\n", "{}\n", "\r\n"} {
		for _, name := range []string{"a.yaml", "a.json"} {
			f, err := Parse(name, []byte(data))
			if err != nil {
				if name == "a.yaml" {
					t.Errorf("%q: %v", data, err)
				}
				continue
			}
			for s := range f.Scalars() {
				if s.Reason != ReasonEmpty {
					t.Errorf("%q: %+v", data, s)
				}
			}
			if out, err := f.Apply(); err != nil || string(out) != data {
				t.Errorf("%q: %q, %v", data, out, err)
			}
		}
	}
}

// TestHostile has inputs that a walk in the wrong order never finishes, or
// that an expansion of aliases does not survive. It has no limit of time: with
// a quadratic step it runs for minutes.
func TestHostile(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 30; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	// A staircase of blocks, the lowest step of which is long.
	var stairs strings.Builder
	for i := range 400 {
		stairs.WriteString(strings.Repeat(" ", i) + "a: |\n")
	}
	stairs.WriteString(strings.Repeat(" ", 400) + "b: " + strings.Repeat("x", 500_000) + "\n")

	for _, test := range []struct {
		name, data string
		last       string // value of the last scalar that can be edited
	}{
		{"aliases of aliases", bomb + "z: y\n", "y"},
		{"one long line", "é: [" + strings.Repeat("x, ", 150_000) + "y]\n", "y"},
		{"one long line after an odd break", "a: x\u0085é: [" + strings.Repeat("&a !!str x, ", 40_000) + "y]\n", "y"},
		{"one value on a long line", "é: " + strings.Repeat("ü", 1_000_000) + "\n", strings.Repeat("ü", 1_000_000)},
		{"one long quoted value", "é: \"" + strings.Repeat(`\\`, 500_000) + "\"\n", strings.Repeat(`\`, 500_000)},
		{"deep and wide", "a: &x 1\nb: " + strings.Repeat("[", 5000) + strings.Repeat("x,", 100_000) + "y" + strings.Repeat("]", 5000) + "\nc: *x\n", "y"},
		{"deep below keys that are there twice", "k: " + strings.Repeat("{a: 1, a: ", 2000) + "[" + strings.Repeat("x,", 100_000) + "]" + strings.Repeat("}", 2000) + "\nz: y\n", "y"},
		{"twice and deep", "k: 1\nk: " + strings.Repeat("[", 5000) + strings.Repeat("x,", 100_000) + "y" + strings.Repeat("]", 5000) + "\n", "y"},
		{"a mapping as wide as the file", wideMapping(60_000), "y"},
		{"blocks in blocks", stairs.String() + "z: y\n", "y"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := Parse("a.yaml", []byte(test.data))
			if err != nil {
				t.Fatal(err)
			}
			var last Scalar
			for s := range f.Scalars() {
				if s.Reason == "" {
					last = s
				}
			}
			if last.Value != test.last {
				t.Fatalf("the last value is %.80q", last.Value)
			}
			out, err := f.Apply(Edit{last, "new"})
			if err != nil {
				t.Fatal(err)
			}
			start, end := last.Span()
			if want := test.data[:start] + "new" + test.data[end:]; want != string(out) && want != strings.Replace(string(out), `"new"`, "new", 1) {
				t.Fatal("other bytes changed")
			}
		})
	}
}

func wideMapping(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: x\n", i)
	}
	return b.String() + "z: y\n"
}

// TestBlockDepth stops where more would be a way to keep the parser busy.
func TestBlockDepth(t *testing.T) {
	text := ""
	for i := range 12 {
		text += strings.Repeat(" ", i) + "a: |\n"
	}
	text += strings.Repeat(" ", 12) + "b: x\n"
	f := parse(t, text)
	parsed := 0
	for s := range f.Scalars() {
		if s.Parsed {
			parsed++
		}
	}
	if parsed != maxBlockDepth {
		t.Errorf("%d blocks were entered", parsed)
	}
}
