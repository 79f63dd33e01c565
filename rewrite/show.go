package rewrite

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/rogpeppe/go-internal/diff"
)

// WriteJSON writes the plan as the document that docs/rewrite.md describes.
func (p *Plan) WriteJSON(w io.Writer) error {
	document := struct {
		Pins       []Pin     `json:"pins"`
		Components []*Target `json:"components"`
		Warnings   []Problem `json:"warnings"`
		Problems   []Problem `json:"problems,omitempty"`
		Commit     string    `json:"commit"`
	}{p.Pins, p.Targets, p.Warnings, p.Problems, p.Commit}
	if document.Pins == nil {
		document.Pins = []Pin{}
	}
	if document.Components == nil {
		document.Components = []*Target{}
	}
	if document.Warnings == nil {
		document.Warnings = []Problem{}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

// WriteText writes the plan for people: a line a target, a line a pin, and,
// with withDiff, the change of each file.
func (p *Plan) WriteText(w io.Writer, withDiff bool) error {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, t := range p.Targets {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", t.Action, t.Name, strings.Join(t.Tags, ","), t.Reason)
	}
	_ = table.Flush() // into memory
	for _, t := range p.Targets {
		if t.Why != nil {
			t.Why.write(&b, t)
		}
	}
	for _, pin := range p.Pins {
		fmt.Fprintf(table, "%s:%d\t%s\t%s\t-> %s\n", pin.File, pin.Line, pin.Component, pin.From, pin.To)
	}
	_ = table.Flush()
	if withDiff {
		for _, f := range p.files {
			b.Write(diff.Diff("a/"+f.path, f.content, "b/"+f.path, p.preview(f)))
		}
	}
	if p.Empty() && len(p.Problems) == 0 {
		b.WriteString("nothing to rewrite\n")
	}
	if p.Commit != "" {
		fmt.Fprintf(&b, "committed %.12s\n", p.Commit)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

// preview is the file as it would become, for a person to read: digests that are
// not known yet are "sha256:…".
func (p *Plan) preview(f *markedFile) []byte {
	edits, err := p.editsOf(f, func(t *Target) string { return cmp.Or(t.Digest, someDigest) })
	if err != nil {
		return f.content // said already, at the mark
	}
	edited, err := f.parsed.Apply(edits...)
	if err != nil {
		return f.content
	}
	return bytes.ReplaceAll(edited, []byte(strings.TrimPrefix(someDigest, "sha256:")), []byte("…"))
}
