package render

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// awkward are scalars that a YAML writer can get wrong.
var awkward = []string{
	"yes", "no", "on", "off", "y", "n", "true", "True", "~", "null", "NULL", "", " ", "1", "01", "0o7", "0x1f", "0b1", "1_000",
	"1e3", "1e+3", "1E400", ".5", "5.", ".inf", "-.INF", ".nan", "12:30:45", "190:20:30", "2001-01-01", "2001-01-01T00:00:00Z",
	"=", "<<", "-", "- a", "?", "? a", ":", ": a", "a: b", "a #b", "#a", "a:", "*a", "&a", "!a", "!!str a", "%a", "@a", "`a",
	"{a", "}", "[a", "]", ",a", "|", ">", "'", "\"", "'a'", "\"a\"", "\\", "a\\nb", "---", "--- a", "...", "a\n---\nb", "---\na",
	"a\nb", "a\n", "a\n\n", "\na", "\n", "\n\n", " a", "a ", "a\n b\n", " a\nb", "a\tb", "\ta", "a\n\tb\n", "a\r\nb", "a\rb",
	"ä", "日本", "😀", "\u0085", "\u2028", "\u2029", "\ufeff", "a\ufeffb", "\u00a0", "\u007f", "\u0080", "\u0000", "\u001b[1m", "\ufffe", "\ufffd",
	"sha256:0000000000000000000000000000000000000000000000000000000000000000", "1.10", "010", "12345678901234567890", "9223372036854775807",
	"<script>&amp;", strings.Repeat("long words ", 50), strings.Repeat("x", 5000),
}

func awkwardValue(r *rand.Rand, depth int) any {
	switch n := r.IntN(12); {
	case n < 2 && depth > 0:
		m := map[string]any{}
		for range r.IntN(4) {
			m[awkward[r.IntN(len(awkward))]] = awkwardValue(r, depth-1)
		}
		return m
	case n < 4 && depth > 0:
		s := []any{}
		for range r.IntN(4) {
			s = append(s, awkwardValue(r, depth-1))
		}
		return s
	case n == 4:
		return nil
	case n == 5:
		return r.IntN(2) == 0
	case n == 6:
		return int64(r.Uint64())
	case n == 7:
		return r.NormFloat64() * 1e300
	case n == 8:
		return r.Float64() / 1e300
	case n == 9:
		return float64(r.IntN(1e6)) / 1000
	}
	var s strings.Builder
	for range 1 + r.IntN(3) {
		s.WriteString(awkward[r.IntN(len(awkward))])
	}
	return s.String()
}

// TestEncodeObject checks the property that what is verified is what is
// applied: decoding the text gives the object.
func TestEncodeObject(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	check := func(value any) {
		t.Helper()
		object := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": value}
		text, back, err := encodeObject(object)
		if err != nil {
			t.Fatalf("%#v: %v", object, err)
		}
		if !reflect.DeepEqual(wholeNumbers(object), back) {
			t.Fatalf("%#v\nbecomes\n%#v\nby\n%s", object, back, text)
		}
		again, err := decodeObject(text)
		if err != nil || !reflect.DeepEqual(again, back) {
			t.Fatalf("%#v\nis decoded as\n%#v: %v\nfrom\n%s", back, again, err, text)
		}
		if strings.HasPrefix(string(text), "---") || strings.Contains(string(text), "\n---") {
			t.Fatalf("a separator inside of\n%s", text)
		}
	}
	for _, s := range awkward {
		check(s)
		check(map[string]any{s: s})
	}
	for range 5000 {
		check(awkwardValue(r, 4))
	}
}

func TestEncodeWholeFloats(t *testing.T) {
	// Argo CD sends objects around as JSON, where 1e3 is 1000.
	object, err := decodeObject([]byte("kind: X\na: 1e3\nb: 1.5\nc: 12345678901234567890\nd: 0.1e-7\ne: 9007199254740993\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, back, err := encodeObject(object)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"kind": "X", "a": int64(1000), "b": 1.5, "c": 1.2345678901234567e19, "d": 1e-8, "e": int64(9007199254740993)}
	if !reflect.DeepEqual(back, want) {
		t.Errorf("got %#v, want %#v", back, want)
	}
}

func FuzzDirectoryYAML(f *testing.F) {
	f.Add([]byte(configMap("a") + "---\n" + configMap("b")))
	f.Add([]byte(`{"kind":"X"}{"kind":"Y"}` + "\n---\nkind: Z\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := NewMemory(map[string]MemoryFile{"a.yaml": {Data: data}})
		if err != nil {
			t.Fatal(err)
		}
		result, err := InProcess{}.Render(t.Context(), Application{Checkout: m, Path: ".", Options: Options{Type: Directory}})
		if err != nil {
			return
		}
		l := NewLocator(m, result)
		for i, manifest := range result.Manifests {
			back, err := decodeObject(manifest.YAML)
			if err != nil || !reflect.DeepEqual(back, manifest.Object) {
				t.Fatalf("%v: %s", err, manifest.YAML)
			}
			kind, _ := manifest.Object["kind"].(string)
			if file, _ := l.Locate(i, []any{"kind"}, kind); file != "a.yaml" {
				t.Fatalf("the kind is in %q", file)
			}
		}
	})
}
