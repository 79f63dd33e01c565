package render

import (
	"errors"
	"strings"
	"testing"
)

func TestDepth(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		line int // of the error, 0 for none
	}{
		"braces":        {"a: 1\nb: " + strings.Repeat("{x: ", 300) + "1" + strings.Repeat("}", 300) + "\n", 2},
		"dashes":        {strings.Repeat("- ", 300) + "1\n", 1},
		"blocks":        {blocks(300), 257},
		"deep enough":   {blocks(200), 0},
		"in a string":   {"a: \"" + strings.Repeat("{", 5000) + "\"\n", 0},
		"in a document": {"a: 1\n---\nb: " + strings.Repeat("[", 300) + strings.Repeat("]", 300) + "\n", 3},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkBombs("x.yaml", []byte(tt.text))
			var e *Error
			if (err != nil) != (tt.line > 0) {
				t.Fatalf("got %v", err)
			}
			if tt.line > 0 && (!errors.As(err, &e) || !errors.Is(err, ErrLimit) || e.Line != tt.line) {
				t.Errorf("got %v, want a limit at line %d", err, tt.line)
			}
		})
	}
}

// blocks returns a map in a map in a map.
func blocks(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "x:\n")
	}
	return b.String() + strings.Repeat(" ", depth) + "x: 1\n"
}

func TestSortNames(t *testing.T) {
	if got := sortNames("well-defined vars that were never replaced: B,A"); !strings.HasSuffix(got, ": A,B") {
		t.Errorf("got %q", got)
	}
}
