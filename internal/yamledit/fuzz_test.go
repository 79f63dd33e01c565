package yamledit

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzApply puts any value in place of any scalar of any file: either an
// error, or a file that differs in that value alone.
func FuzzApply(f *testing.F) {
	inputs, err := filepath.Glob("testdata/golden/*/in.*")
	if err != nil {
		f.Fatal(err)
	}
	for i, input := range inputs {
		data, err := os.ReadFile(input)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, filepath.Ext(input) == ".json", uint16(i), awkward[i%len(awkward)])
	}
	for seed := range uint64(50) {
		text, _ := generate(seed)
		f.Add([]byte(text), false, uint16(seed), awkward[seed%uint64(len(awkward))])
	}
	f.Fuzz(func(t *testing.T, data []byte, asJSON bool, n uint16, value string) {
		name := "fuzz.yaml"
		if asJSON {
			name = "fuzz.json"
		}
		file, err := Parse(name, data)
		if err != nil {
			if !errors.Is(err, ErrNotYAML) {
				t.Fatalf("%v is no ErrNotYAML", err)
			}
			return
		}
		var edits []Edit
		for s := range file.Scalars() {
			if s.Line < 1 || s.Column < 1 {
				t.Fatalf("%q stands on %d:%d", s.Value, s.Line, s.Column)
			}
			if s.Reason == "" && s.Index >= int(n)%file.Len() {
				edits = append(edits, Edit{s, value})
				for _, other := range s.Duplicates() {
					edits = append(edits, Edit{other, value})
				}
				break
			}
		}
		if len(edits) == 0 {
			return
		}
		out, err := file.Apply(edits...)
		var refused *RefusedError
		switch {
		case errors.As(err, &refused):
			return
		case errors.Is(err, ErrVerify) && edits[0].Scalar.Style == Plain && bytes.ContainsRune(data, '\t'):
			// After a plain value yaml/v3 takes a line of nothing but a tab;
			// after one with quotes it does not.
			return
		case err != nil:
			t.Fatalf("%q: %v", edits[0].Scalar.Value, err)
		}
		if slices.ContainsFunc(edits, func(e Edit) bool { return e.Scalar.Style == Literal }) {
			// Its text may have become YAML, or be none any more.
			if len(edits) == 1 && !besides(file, out, edits[0]) {
				t.Fatalf("%q to %q: other bytes changed", edits[0].Scalar.Value, value)
			}
			return
		}
		if problem := outside(file, out, edits); problem != "" {
			t.Fatalf("%q to %q: %s", edits[0].Scalar.Value, value, problem)
		}
	})
}
