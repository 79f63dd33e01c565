package verify

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/pin-cmp/pin-cmp/internal/imageref"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// Verdict is what becomes of an image.
type Verdict int

// The verdicts, worst first.
const (
	// Refused: the image may not be applied as it is written.
	Refused Verdict = iota
	// Undecided: nothing is wrong with the text, but its registry can't say.
	Undecided
	// Passed: a digest that its registry holds, or an exemption.
	Passed
)

// Finding is one image of one object, judged.
type Finding struct {
	// Reference is as the manifest has it, put together where it is in parts.
	Reference string           `json:"reference"`
	State     imageref.State   `json:"state"`
	Presence  presence.Verdict `json:"presence"`
	// Object is Kind/namespace/name; Field a path in it.
	Object string `json:"object"`
	Field  string `json:"field"`
	// File and Line are where the author wrote the value; "" and 0 if unknown.
	File string `json:"file"`
	Line int    `json:"line"`
	// Reason is why it did not pass, or why an exemption let it; else "".
	Reason string `json:"reason"`

	Verdict Verdict `json:"-"`

	tier   Tier
	ref    imageref.Reference
	exempt bool
}

// Warning is something the author should know that stops nothing.
type Warning struct {
	Message string `json:"message"`
	Object  string `json:"object,omitempty"`
	Field   string `json:"field,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
}

// Failure is an input that could not be made into manifests.
type Failure struct {
	// Path is what was to be rendered or read.
	Path string `json:"path"`
	// File and Line are where the mistake stands, if known.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Message is the mistake and the way out.
	Message string `json:"message"`
	// Undecided is set if the failure says nothing about the input: it took too
	// long, or this program failed.
	Undecided bool `json:"undecided,omitempty"`
}

// Report is the outcome of a verification.
type Report struct {
	// Images are refused first, then undecided, then passed.
	Images   []Finding
	Warnings []Warning
	// Failures are set by callers that verify several inputs.
	Failures []Failure
}

// Exit codes of the commands that verify.
const (
	ExitPassed    = 0
	ExitRefused   = 1
	ExitMisuse    = 2
	ExitUndecided = 3
)

// ExitCode returns ExitPassed, ExitRefused or ExitUndecided. A refusal wins
// over an open question: it stays one when the registry is back.
func (r *Report) ExitCode() int {
	failed := func(f Failure) bool { return !f.Undecided }
	switch {
	case slices.ContainsFunc(r.Failures, failed) || r.count(Refused) > 0:
		return ExitRefused
	case len(r.Failures) > 0 || r.count(Undecided) > 0:
		return ExitUndecided
	}
	return ExitPassed
}

// OK tells whether everything passed.
func (r *Report) OK() bool { return r.ExitCode() == ExitPassed }

func (r *Report) count(v Verdict) int {
	n := 0
	for _, f := range r.Images {
		if f.Verdict == v {
			n++
		}
	}
	return n
}

// Join returns one report of several, in the order of a single one.
func Join(reports ...*Report) *Report {
	joined := &Report{}
	for _, r := range reports {
		joined.Images = append(joined.Images, r.Images...)
		joined.Warnings = append(joined.Warnings, r.Warnings...)
		joined.Failures = append(joined.Failures, r.Failures...)
	}
	joined.sort()
	return joined
}

// WriteJSON writes the report as the JSON document that docs/output.md
// describes: ok, images, warnings and, where inputs could not be read, errors.
func (r *Report) WriteJSON(w io.Writer) error {
	document := struct {
		OK       bool      `json:"ok"`
		Images   []Finding `json:"images"`
		Warnings []Warning `json:"warnings"`
		Errors   []Failure `json:"errors,omitempty"`
	}{r.OK(), r.Images, r.Warnings, r.Failures}
	if document.Images == nil {
		document.Images = []Finding{}
	}
	if document.Warnings == nil {
		document.Warnings = []Warning{}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
