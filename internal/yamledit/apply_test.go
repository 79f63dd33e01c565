package yamledit

import (
	"errors"
	"testing"
)

// TestVerify splices text that the encoder would never write, and lets the
// comparison find it.
func TestVerify(t *testing.T) {
	for _, test := range []struct{ name, text, path, splice, value string }{
		{"a comment", "a: x\n", "a", "new # c", "new # c"},
		{"a further key", "a: x\n", "a", "new\nc: d", "new"},
		{"a further item", "[x, y]\n", "[0]", "new, z", "new"},
		{"a mapping", "[x]\n", "[0]", "new: z", "new"},
		{"an anchor", "a: x\n", "a", "&b new", "new"},
		{"an alias", "a: &a new\nb: x\n", "b", "*a", "new"},
		{"an anchor given again", "a: &a y\nb: [x, *a]\n", "b[0]", "&a new", "new"},
		{"an anchor for an alias behind it", "a: &a y\nb: {c: x}\nd: *a\n", "b.c", "new, e: &a y", "new"},
		{"a number", "a: x\n", "a", "3", "3"},
		{"a tag", "a: x\n", "a", "!!str 3", "3"},
		{"no tag", "a: x\n", "a", "!t new", "new"},
		{"other quotes", "a: 'x'\n", "a", `"new"`, "new"},
		{"no quotes", "a: 'x'\n", "a", "new", "new"},
		{"a block", "a: x\n", "a", "|-\n  new", "new"},
		{"another line", "a: \"x\"\nb: y\n", "a", "\"ne\\\n  w\"", "new"},
		{"another document", "a: x\n", "a", "new\n---\nb: 1", "new"},
		{"another value", "a: x\n", "a", "new", "newer"},
		{"a block that is no YAML any more", "a: |\n  b: x\n  c: d\n", "a | b", "[new", "new"},
		{"a block with one more key", "a: |\n  b: x\n  c: d\n", "a | b", "new\n  e: f", "new"},
		{"a block that ends early", "a: |\n  b: x\n  c: d\n", "a | b", "new\ne: |\n  f: g", "new"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := parse(t, test.text)
			s := at(t, f, test.path)
			start, end := s.Span()
			out := test.text[:start] + test.splice + test.text[end:]
			after, err := Parse("deploy.yaml", []byte(out))
			if err != nil {
				t.Fatal(err)
			}
			r := &f.records[s.Index]
			err = f.verify(after, []splice{{record: r, start: start, end: end, text: test.splice, value: test.value}})
			if !errors.Is(err, ErrVerify) {
				t.Errorf("%q passed for %q with %q: %v", out, test.text, test.value, err)
			}
		})
	}
}
