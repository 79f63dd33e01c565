package yamledit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	sigsyaml "sigs.k8s.io/yaml"
)

func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("deploy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// at returns the first scalar with the given path.
func at(t *testing.T, f *File, path string) Scalar {
	t.Helper()
	for s := range f.Scalars() {
		if s.Path().String() == path {
			return s
		}
	}
	t.Fatalf("no scalar at %s", path)
	return Scalar{}
}

// TestRefused names every reason, where it stands, and what the person reads.
func TestRefused(t *testing.T) {
	for _, test := range []struct {
		name, text, path string
		reason           Reason
		message          string
	}{
		{
			"alias", "a: &x v1\n# é\nb: *x\n", "b", ReasonAlias,
			"deploy.yaml:3: cannot replace this value: it is the alias *x: edit the value that &x names, on line 1",
		},
		{
			"alias of a key", "&x a: v1\nb: *x\n", "b", ReasonAlias,
			"deploy.yaml:2: cannot replace this value: it is the alias *x: edit the value that &x names",
		},
		{
			// Behind the anchor is the same text once more, and it is a key.
			"text that joins its anchor", "a: &x:y\n:y  b: 1\n", "a", ReasonNotLocated,
			"deploy.yaml:1: cannot replace this value: its bytes are not where the parser says: edit it by hand",
		},
		{"null", "a: ~\n", "a", ReasonEmpty, "deploy.yaml:1: cannot replace this value: it is empty: write a value there first"},
		{"nothing", "b: 1\na:", "a", ReasonEmpty, "deploy.yaml:2: cannot replace this value: it is empty: write a value there first"},
		{"nothing with a tag", "a: !!str\nb: 1\n", "a", ReasonEmpty, "deploy.yaml:1: "},
		{"nothing with an anchor", "a: &x\nb: *x\n", "a", ReasonEmpty, "deploy.yaml:1: "},
		{"null word", "a: [x, null]\n", "a[1]", ReasonEmpty, "deploy.yaml:1: "},
		{
			"block", "a: |\n  x\n  y\n", "a", ReasonBlock,
			"deploy.yaml:1: cannot replace this value: it is a block of text (|) of more than one line: write the value on one line, behind its key",
		},
		{"block of nothing", "a: |\n\nb: 1\n", "a", ReasonBlock, "deploy.yaml:1: "},
		{"block with an empty line", "a: |+\n  x\n\n  y\n", "a", ReasonBlock, "deploy.yaml:1: "},
		{
			"folded", "a:\n  b: >\n    x\n    y\n", "a.b", ReasonFolded,
			"deploy.yaml:2: cannot replace this value: it is folded from several lines (>): write the value on one line, behind its key",
		},
		{
			"plain over lines", "a: x\n  y\n", "a", ReasonMultiLine,
			"deploy.yaml:1: cannot replace this value: it goes over several lines: write it on one",
		},
		{"plain over lines, spaces at the end", "a: x  \n  y\n", "a", ReasonMultiLine, "deploy.yaml:1: "},
		{"plain with an empty line", "a: x\n\n  y\n", "a", ReasonMultiLine, "deploy.yaml:1: "},
		{"plain in a flow over lines", "a: [x\n  y]\n", "a[0]", ReasonMultiLine, "deploy.yaml:1: "},
		{"single over lines", "a: 'x\n  y'\n", "a", ReasonMultiLine, "deploy.yaml:1: "},
		{"double over lines", "a: \"x\n  y\"\n", "a", ReasonMultiLine, "deploy.yaml:1: "},
		{"double with an escaped break", "a: \"x\\\n  y\"\n", "a", ReasonMultiLine, "deploy.yaml:1: "},
		{"plain over a line separator", "a: x\u2028  y\n", "a", ReasonMultiLine, "deploy.yaml:1: "},
		{"plain over a line separator at the margin", "x\u2028y", "", ReasonMultiLine, "deploy.yaml:1: "},
		{
			"own tag", "a: !Ref x\n", "a", ReasonTag,
			"deploy.yaml:1: cannot replace this value: it has the tag !Ref, which makes it something else than text: remove the tag or edit it by hand",
		},
		{"tag of a number", "a: !!int 3\n", "a", ReasonTag, "deploy.yaml:1: "},
		{"tag of bytes", "a: !!binary aGk=\n", "a", ReasonTag, "deploy.yaml:1: "},
		{"tag without a name", "a: ! x\n", "a", ReasonTag, "deploy.yaml:1: "},
		{"tag on a block", "a: !x |\n  b: 1\n", "a", ReasonTag, "deploy.yaml:1: "},
		{"tag by a directive", "%TAG ! tag:example.com,2026:\n---\na: !str x\n", "a", ReasonTag, "deploy.yaml:3: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := parse(t, test.text)
			s := at(t, f, test.path)
			if s.Reason != test.reason {
				t.Fatalf("reason %q, want %q", s.Reason, test.reason)
			}
			out, err := f.Apply(Edit{s, "new"})
			var refused *RefusedError
			if out != nil || !errors.As(err, &refused) || refused.Reason != test.reason || !strings.HasPrefix(err.Error(), test.message) {
				t.Errorf("got %q, %v\nwant %s", out, err, test.message)
			}
			if start, end := s.Span(); start != 0 || end != 0 {
				t.Errorf("a span of %d, %d", start, end)
			}
		})
	}
}

// TestTagIsSkipped finds values behind all spellings of a string's tag.
func TestTagIsSkipped(t *testing.T) {
	for _, text := range []string{
		"a: !!str x # c\n",
		"a: !<tag:yaml.org,2002:str> x\n",
		"%TAG !y! tag:yaml.org,2002:\n---\na: !y!str x\n",
		"a: &b !!str x\n",
		"a: !!str &b x\n",
		"a: !!str &b 'x'\n",
		"a: !!str\n  # c\n\n  x\n",
		"a: &b # c\r\n  \"x\"\r\n",
	} {
		f := parse(t, text)
		out, err := f.Apply(Edit{at(t, f, "a"), "1.2"})
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		i := strings.LastIndex(text, "x")
		if want := text[:i] + "1.2" + text[i+1:]; string(out) != want {
			t.Errorf("got %q, want %q", out, want)
		}
	}
}

// TestSpelling writes new values in place of old ones.
func TestSpelling(t *testing.T) {
	ref := "ghcr.io/acme/web:1.4.0@" + someDigest
	for _, test := range []struct{ text, value, want string }{
		// Plain stays plain where that is safe.
		{"a: x\n", ref, "a: " + ref + "\n"},
		{"a: [x]\n", ref, "a: [" + ref + "]\n"},
		{"a: {b: x}\n", ref, "a: {b: " + ref + "}\n"},
		{`{"a":x}`, ref, `{"a":` + ref + `}`},
		{"a: x # c\n", "y:z", "a: y:z # c\n"},
		{"a: x\n", "y#z", "a: y#z\n"},
		{"a: x\n", "it's", "a: it's\n"},
		{"a: x\n", "a, b]", "a: a, b]\n"},
		{"a: x\n", "what?", "a: what?\n"},
		{"a: x\n", "日本", "a: 日本\n"},
		{"a: 1.10\n", "v1.11", "a: v1.11\n"},
		{"a: 1.10\n", "1.4.0", "a: 1.4.0\n"},
		{"a: true\n", "1.2.3-rc.1+b5", "a: 1.2.3-rc.1+b5\n"},
		// Else it gets quotes.
		{"a: x\n", "", `a: ""` + "\n"},
		{"a: x\n", " y", `a: " y"` + "\n"},
		{"a: x\n", "y ", `a: "y "` + "\n"},
		{"a: x\n", "y:", `a: "y:"` + "\n"},
		{"a: x\n", "y: z", `a: "y: z"` + "\n"},
		{"a: x\n", "y #z", `a: "y #z"` + "\n"},
		{"a: x\n", "- y", `a: "- y"` + "\n"},
		{"a: x\n", "-", `a: "-"` + "\n"},
		{"a: x\n", "@y", `a: "@y"` + "\n"},
		{"a: x\n", "y\tz", `a: "y\tz"` + "\n"},
		{"a: x\n", "y\nz", `a: "y\nz"` + "\n"},
		{"a: x\n", "y\u0085z", `a: "y\u0085z"` + "\n"},
		{"a: x\n", "\uFEFFy", `a: "\ufeffy"` + "\n"},
		{"a: [x]\n", "y,z", `a: ["y,z"]` + "\n"},
		{"a: [x]\n", "y?", `a: ["y?"]` + "\n"},
		{"a: [x]\n", "y]", `a: ["y]"]` + "\n"},
		{"a: 1.10\n", "1.20", `a: "1.20"` + "\n"},
		{"a: 1.10\nb: 'x'\n", "1.20", "a: '1.20'\nb: 'x'\n"},
		{"a: 1.10\nb: 'x'\n", "y\tz", "a: \"y\\tz\"\nb: 'x'\n"},
		{"x\n", "--- y", "\"--- y\"\n"},
		{"x\n", "...", "\"...\"\n"},
		// A string by its tag needs none.
		{"a: !!str x\n", "1.20", "a: !!str 1.20\n"},
		// Quotes stay, and are escaped.
		{`a: "x"`, ref, `a: "` + ref + `"`},
		{`a: "x"`, `y"z\`, `a: "y\"z\\"`},
		{`a: "\u00e9x\"" # c`, "y", `a: "y" # c`},
		{`a: "x"`, "\a\r\u2028\uFFFF🚀é", `a: "\u0007\r\u2028\uffff🚀é"`},
		{`a: 'x'`, ref, `a: '` + ref + `'`},
		{`a: 'it''s'`, "they're '", `a: 'they''re '''`},
		{`a: ''`, "", `a: ''`},
		{`a: ""`, "y", `a: "y"`},
		// One line in a block.
		{"a: |\n  x\n", "y # z: 'w'\n", "a: |\n  y # z: 'w'\n"},
		{"a: |-\n   x", "y", "a: |-\n   y"},
		{"a: >-  # c\n   x\nb: 1", ref, "a: >-  # c\n   " + ref + "\nb: 1"},
		{"a: >\n   x\n", "y: z\n", "a: >\n   y: z\n"},
		{"a: |+\r\n x\r\n\r\nb: 1", "y\n\n", "a: |+\r\n y\r\n\r\nb: 1"},
	} {
		f := parse(t, test.text)
		s, ok := f.editable()
		if !ok {
			t.Errorf("%q: nothing to edit", test.text)
			continue
		}
		out, err := f.Apply(Edit{s, test.value})
		if err != nil || string(out) != test.want {
			t.Errorf("%q to %q: got %q, %v\nwant %q", test.text, test.value, out, err, test.want)
		}
	}
}

// TestTabLine has the one known input that yaml/v3 reads before an edit and
// not after it: it takes an empty line with a tab behind a plain value only.
func TestTabLine(t *testing.T) {
	f := parse(t, "a: x\n   \t\nb: y\n")
	if out, err := f.Apply(Edit{f.Scalar(0), "1.10"}); out != nil || !errors.Is(err, ErrVerify) || errors.Is(err, ErrNotYAML) {
		t.Errorf("%q, %v", out, err)
	}
	out, err := f.Apply(Edit{f.Scalar(0), "v1"})
	if want := "a: v1\n   \t\nb: y\n"; err != nil || string(out) != want {
		t.Errorf("%q, %v", out, err)
	}
}

// editable returns the first scalar that can be edited.
func (f *File) editable() (Scalar, bool) {
	for s := range f.Scalars() {
		if s.Reason == "" {
			return s, true
		}
	}
	return Scalar{}, false
}

// TestSpellingRefused has values that fit nowhere near.
func TestSpellingRefused(t *testing.T) {
	for _, test := range []struct{ text, value, want string }{
		{"\na: x\n", "\xff", "deploy.yaml:2: cannot replace this value: the new value is not UTF-8"},
		{"a: 'x'\n", "y\nz", "deploy.yaml:1: cannot replace this value: the new value holds U+000A, which single quotes cannot express: use double quotes there"},
		{"a: |\n  x\n", "y", "deploy.yaml:1: cannot replace this value: the block there ends with 1 line breaks, the new value with 0"},
		{"a: |\n  x\n", "y\nz\n", "deploy.yaml:1: cannot replace this value: the new value is not one line of printable text, as the block there needs"},
		{"a: |-\n  x\n", " y", "deploy.yaml:1: cannot replace this value: the new value is not one line of printable text, as the block there needs"},
		{"a: |-\n  x\n", "", "deploy.yaml:1: cannot replace this value: the new value is not one line of printable text, as the block there needs"},
	} {
		f := parse(t, test.text)
		s, _ := f.editable()
		out, err := f.Apply(Edit{s, test.value})
		if out != nil || err == nil || err.Error() != test.want {
			t.Errorf("%q: got %q, %v\nwant %s", test.text, out, err, test.want)
		}
	}
}

// TestStringToEveryParser edits a plain value to texts that some version of
// YAML takes for a number, a date, a truth or nothing. Argo CD and Helm read
// with sigs.k8s.io/yaml, which goes by YAML 1.1 where yaml/v3 goes by 1.2.
func TestStringToEveryParser(t *testing.T) {
	words := []string{
		"y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "on", "On", "off", "OFF", "true", "True", "false", "FALSE",
		"null", "Null", "NULL", "~", "", "<<", "=", ".nan", ".NaN", ".inf", "-.Inf", "+.INF",
		"1", "-1", "+1", "1.10", "1.", ".5", "1e3", "1E+3", "1.5e-3", "0", "010", "0o10", "0x1F", "0b11", "1_000", "1_000.5", "12e03", "08", "+_1", "1__0", "0X1F", "0B1", "-0O7", "0x_1f", "+.5", "-1_0.5e1", "09.5",
		"1:20", "190:20:30", "1:20.5", "2026-11-05", "2026-1-5", "2026-11-05T10:00:00Z", "2026-11-05 10:00:00", "2026-13-45",
		"12345678", "1234567890123456789012345678901234567890", "123456789012345678901234567890123456e789", "0000000e00",
		"1.4.0", "v1", "abc", "1.4.0@" + someDigest, "-", "a: b", "#", "{}", "[]", "*x", "&x", "!x", "|", ">", "%x", "@x", "`x", "? x", "'", `"`,
	}
	for _, text := range []string{"a: x\n", "a: {b: [x]}\n", "a: 1.10\n", "a: 'x'\n", "a: \"x\"\n", "a: |-\n  b: x\n"} {
		for _, word := range words {
			f := parse(t, text)
			var s Scalar
			for s = range f.Scalars() {
				if s.Style != Literal {
					break
				}
			}
			if s.Value == word {
				continue // no edit
			}
			out, err := f.Apply(Edit{s, word})
			if err != nil {
				t.Errorf("%q to %q: %v", text, word, err)
				continue
			}
			var v any
			if err := sigsyaml.Unmarshal(out, &v); err != nil {
				t.Errorf("%q: %v", out, err)
				continue
			}
			if block, ok := v.(map[string]any)["a"].(string); ok && strings.Contains(text, "|") {
				if err := sigsyaml.Unmarshal([]byte(block), &v); err != nil {
					t.Errorf("%q: %v", block, err)
					continue
				}
				v = v.(map[string]any)["b"]
			}
			for {
				switch w := v.(type) {
				case map[string]any:
					for _, only := range w {
						v = only
					}
					continue
				case []any:
					v = w[0]
					continue
				}
				break
			}
			if v != word {
				t.Errorf("%q reads as %T %v, not %q", out, v, v, word)
			}
		}
	}
}

// TestPosition compares with what an editor shows.
func TestPosition(t *testing.T) {
	f := parse(t, byteOrderMark+"é: {ü: 日本, \"k\": &x !!str \"v\"}\r\n"+
		"b: |\r\n\r\n    c: [é, d]\r\n"+
		"s: \"a\u2028b\"\n"+
		"e: 1\r"+
		"n: é\u0085m: 2\n")
	var got []string
	for s := range f.Scalars() {
		got = append(got, fmt.Sprintf("%s %d:%d", s.Path(), s.Line, s.Column))
	}
	want := []string{
		"é.ü 1:8", "é.k 1:26", // the mark is no column, tag and anchor are not the value
		"b 2:4", "b | c[0] 4:9", "b | c[1] 4:12",
		"s 5:4",
		"e 6:4",
		"n 7:4", "m 7:9", // U+0085 ends a line for YAML, not for an editor
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestAliases counts the places that an edit reaches beside its own.
func TestAliases(t *testing.T) {
	f := parse(t, `base: &base
  image: &image a/b:1
  block: &block |
    tag: x
one: *base
two: {<<: *base, other: *image}
three: *block
? *image
: plain
`)
	for path, want := range map[string]int{
		"base.image":       4, // *image twice, *base twice
		"base.block":       3,
		"base.block | tag": 3,
		"two.other":        0,
		"a/b:1":            0, // the key is the alias
	} {
		if s := at(t, f, path); s.Aliases != want {
			t.Errorf("%s: %d aliases, want %d", path, s.Aliases, want)
		}
	}
	if s := at(t, f, "two.other"); s.Alias != "image" || s.Value != "a/b:1" || s.Anchor != "" {
		t.Errorf("%+v", s)
	}
	if s := at(t, f, "base.image"); s.Anchor != "image" || s.Alias != "" {
		t.Errorf("%+v", s)
	}

	// An anchor may be given twice; an alias means the one before it.
	f = parse(t, "a: &x 1\nb: *x\nc: &x 2\nd: *x\ne: *x\n")
	if a, c := at(t, f, "a"), at(t, f, "c"); a.Aliases != 1 || c.Aliases != 2 {
		t.Errorf("%d and %d aliases", a.Aliases, c.Aliases)
	}
	if d := at(t, f, "d"); d.Value != "2" {
		t.Errorf("d is %q", d.Value)
	}
}

// TestSiblings finds the parts of a reference that a chart splits.
func TestSiblings(t *testing.T) {
	f := parse(t, `defaults: &d {registry: ghcr.io, tag: old, <<: {name: deep}}
image:
  <<: [*d, {pullPolicy: Always, registry: docker.io}]
  repository: acme/web
  tag: 1.4.0
  "digest": build
  nested: {x: y}
  empty:
images: [a, {name: web, newTag: "1"}]
top: 1
`)
	s := at(t, f, "image.digest")
	var got []string
	for key, sibling := range s.Siblings() {
		got = append(got, key+"="+sibling.Value)
	}
	want := []string{
		"repository=acme/web", "tag=1.4.0", "digest=build", "empty=",
		"registry=ghcr.io", "name=deep", "pullPolicy=Always",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if registry, ok := s.Sibling("registry"); !ok || registry.Line != 1 {
		t.Errorf("registry: %+v", registry)
	}
	if _, ok := s.Sibling("nested"); ok {
		t.Error("a mapping is no scalar")
	}
	if _, ok := s.Sibling("top"); ok {
		t.Error("a sibling of the parent is none")
	}
	for range at(t, f, "images[0]").Siblings() {
		t.Error("an item of a list has no siblings")
	}
	if name, _ := at(t, f, "images[1].newTag").Sibling("name"); name.Value != "web" {
		t.Errorf("name: %+v", name)
	}

	// Aliases that name the mapping around them, and a bomb of merges.
	f = parse(t, "a: &a\n  x: 1\n  <<: *a\n")
	if _, ok := at(t, f, "a.x").Sibling("y"); ok {
		t.Error("y was found")
	}
	bomb := "k0: &k0 {x: 1}\n"
	for i := 1; i < 60; i++ {
		bomb += fmt.Sprintf("k%d: &k%d {y%d: 1, <<: [*k%d, *k%d, *k%d]}\n", i, i, i, i-1, i-1, i-1)
	}
	f = parse(t, bomb)
	if x, ok := at(t, f, "k59.y59").Sibling("x"); !ok || x.Line != 1 {
		t.Errorf("x: %+v", x)
	}
}

// TestPath names the way to values of every kind.
func TestPath(t *testing.T) {
	f := parse(t, `a.b: {"c d": 1, "": 2}
? [x]
: 3
l: [[4]]
v: |
  w: 5
  ---
  - |-
   z: 6
`)
	var got []string
	for s := range f.Scalars() {
		got = append(got, s.Path().String())
	}
	want := []string{`"a.b"."c d"`, `"a.b".""`, "[key 1]", "l[0][0]", "v", "v | w", "v | document 1: [0]", "v | document 1: [0] | z"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	s := at(t, f, "v | document 1: [0] | z")
	if p := s.Path(); !slices.Equal(p, Path{"v", Block(1), 0, Block(0), "z"}) || s.Key() != "z" {
		t.Errorf("%#v, key %q", p, s.Key())
	}
	if key := at(t, f, "l[0][0]").Key(); key != "" {
		t.Errorf("key %q", key)
	}
	f = parse(t, "just text\n---\na: 1\n")
	s = f.scalar(0)
	if len(s.Path()) != 0 || s.Path().String() != "" || s.Key() != "" || s.Value != "just text" {
		t.Errorf("%+v", s)
	}
	if s := f.scalar(1); s.Document != 1 || f.Documents() != 2 {
		t.Errorf("%+v", s)
	}
}

// TestObjects tells what a value belongs to.
func TestObjects(t *testing.T) {
	f := parse(t, `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  data:
    app: |
      kind: Application
      apiVersion: argoproj.io/v1alpha1
      spec: {targetRevision: x}
    kind: {kind: [z]}
    values: |
      tag: y
`)
	s := at(t, f, "items[0].data.app | spec.targetRevision")
	var got []string
	for o := range s.Objects() {
		got = append(got, o.APIVersion+" "+o.Kind+" at "+o.Path.String()+" to "+s.Path()[len(o.Path):].String())
	}
	want := []string{
		"argoproj.io/v1alpha1 Application at items[0].data.app |  to spec.targetRevision",
		"v1 ConfigMap at items[0] to data.app | spec.targetRevision",
		"v1 List at  to items[0].data.app | spec.targetRevision",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if o := at(t, f, "items[0].data.values | tag").Object(); o.Kind != "ConfigMap" || o.APIVersion != "v1" {
		t.Errorf("%+v", o)
	}
	if o := parse(t, "kind: x\na: 1").scalar(1).Object(); o.Kind != "" {
		t.Errorf("%+v", o)
	}
}

// TestDuplicates edits all of a key or none.
func TestDuplicates(t *testing.T) {
	f := parse(t, `image: a
x: &x {y: 1}
spec: {tag: a, n: 1}
image: b
spec:
  tag: c
  m: 1
"k": [1, 2]
k: [3, *x]
`)
	var got []string
	for s := range f.Scalars() {
		if s.Duplicate {
			got = append(got, fmt.Sprintf("%s on %d", s.Path(), s.Line))
		}
	}
	want := []string{"image on 1", "spec.tag on 3", "image on 4", "spec.tag on 6", "k[0] on 8", "k[0] on 9"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	s := at(t, f, "spec.tag")
	_, err := f.Apply(Edit{s, "new"})
	if want := "deploy.yaml:3: cannot replace this value: spec.tag is there twice, on lines 3 and 6, and parsers disagree on which one counts: remove one"; err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	others := s.Duplicates()
	if len(others) != 1 || others[0].Line != 6 {
		t.Fatalf("%+v", others)
	}
	if _, err := f.Apply(Edit{s, "new"}, Edit{others[0], "c"}); err != nil {
		t.Error(err)
	}
	if _, err := f.Apply(Edit{at(t, f, "spec.n"), "new"}); err != nil {
		t.Error(err)
	}
	if len(at(t, f, "spec.n").Duplicates()) != 0 {
		t.Error("spec.n is there once")
	}

	// Keys in a wide mapping, and mappings below keys that are there twice.
	var wide strings.Builder
	for i := range 40 {
		fmt.Fprintf(&wide, "k%d: {a: {b: %d}}\n", i%39, i)
	}
	f = parse(t, wide.String())
	if s := f.scalar(39); !s.Duplicate || len(s.Duplicates()) != 1 || s.Duplicates()[0].Index != 0 {
		t.Errorf("%+v", s)
	}
	if f.scalar(1).Duplicate {
		t.Error("k1 is there once")
	}
}

// TestParallel uses one file from many goroutines.
func TestParallel(t *testing.T) {
	f := parse(t, "a: &x é\nb: *x\nc: {d: 1}\ne: |\n  f: [g, h]\n  i: j\n")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for s := range f.Scalars() {
				_, _ = s.Sibling("a")
				out, err := f.Apply(Edit{s, "new"})
				if (err == nil) != (s.Reason == "") || err == nil && !bytes.Contains(out, []byte("new")) {
					t.Errorf("%s: %v", s.Path(), err)
				}
			}
		})
	}
	all.Wait()
}

// TestMisuse has edits that contradict each other.
func TestMisuse(t *testing.T) {
	f := parse(t, "a: |\n  b: x\nc: d\n")
	block, value := at(t, f, "a"), at(t, f, "a | b")
	for _, test := range []struct {
		edits []Edit
		want  string
	}{
		{[]Edit{{value, "1"}, {value, "1"}}, "deploy.yaml:2: one value is edited twice"},
		{[]Edit{{value, "1"}, {block, "c: d\n"}}, "deploy.yaml:2: a block and a value inside of it are edited at once"},
		{[]Edit{{Scalar{}, "1"}}, "deploy.yaml: an edit names a scalar of another file"},
		{[]Edit{{parse(t, "a: b").scalar(0), "1"}}, "deploy.yaml: an edit names a scalar of another file"},
	} {
		out, err := f.Apply(test.edits...)
		if out != nil || err == nil || err.Error() != test.want {
			t.Errorf("got %q, %v\nwant %s", out, err, test.want)
		}
	}
	if out, err := f.Apply(); err != nil || !bytes.Equal(out, f.data) {
		t.Errorf("no edit: %q, %v", out, err)
	}
	// A value that is already there is no edit, not even of what is none.
	f = parse(t, "a: &x 1.10\nb: *x\nc: >\n  y\n")
	var same []Edit
	for s := range f.Scalars() {
		same = append(same, Edit{s, s.Value})
	}
	if out, err := f.Apply(same...); err != nil || !bytes.Equal(out, f.data) {
		t.Errorf("the same values: %q, %v", out, err)
	}
}
