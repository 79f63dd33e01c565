package yamledit

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestGolden applies the edits of each directory in testdata/golden to its
// input. The file edits says on top what the case is about: inputs that break
// a peer name it. Its lines are: document, path, new value.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/golden/*/in.*")
	if err != nil || len(inputs) < 20 {
		t.Fatalf("%d cases, %v", len(inputs), err)
	}
	for _, input := range inputs {
		dir := filepath.Dir(input)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			in, want := read(t, input), read(t, filepath.Join(dir, "out"+filepath.Ext(input)))
			f, err := Parse(input, in)
			if err != nil {
				t.Fatal(err)
			}
			var edits []Edit
			for line := range strings.Lines(string(read(t, filepath.Join(dir, "edits")))) {
				if !strings.HasPrefix(line, "#") {
					edits = append(edits, parseEdit(t, f, strings.TrimSuffix(line, "\n"))...)
				}
			}
			got, err := f.Apply(edits...)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("got\n%q\nwant\n%q", got, want)
			}

			// Again: the same edits of the new file change nothing.
			f, err = Parse(input, got)
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range edits {
				edits[i].Scalar = f.Scalar(e.Scalar.Index)
			}
			again, err := f.Apply(edits...)
			if err != nil || !bytes.Equal(again, want) {
				t.Fatalf("the second time: %v\n%q", err, again)
			}
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// parseEdit finds the scalars that one line of an edits file means.
func parseEdit(t *testing.T, f *File, line string) []Edit {
	t.Helper()
	where, quoted, ok := strings.Cut(line, " = ")
	document, path, ok2 := strings.Cut(where, " ")
	value, err := strconv.Unquote(quoted)
	if !ok || !ok2 || err != nil {
		t.Fatalf("not an edit: %q", line)
	}
	var edits []Edit
	for s := range f.Scalars() {
		if strconv.Itoa(s.Document) == document && s.Path().String() == path {
			edits = append(edits, Edit{s, value})
		}
	}
	if len(edits) == 0 {
		t.Fatalf("no scalar at %s", where)
	}
	return edits
}
