package verify

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"

	"github.com/pin-cmp/pin-cmp/internal/imageref"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// The part of SARIF 2.1.0 that a code-scanning service reads. Source: OASIS,
// "Static Analysis Results Interchange Format", sections 3.13 to 3.30.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		InformationURI string      `json:"informationUri"`
		Version        string      `json:"version,omitempty"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string    `json:"id"`
		ShortDescription sarifText `json:"shortDescription"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
)

// sarifRules are all that can be found, by rule id.
var sarifRules = []sarifRule{
	{"floating-reference", sarifText{"an image is named by a tag, or by nothing, and not by its digest"}},
	{"symbolic-reference", sarifText{"a placeholder was never replaced by a digest"}},
	{"invalid-reference", sarifText{"an image reference that no node could pull"}},
	{"registry-not-allowed", sarifText{"an image comes from a repository that the policy does not allow"}},
	{"absent-image", sarifText{"the registry does not hold the digest, or denies it"}},
	{"undecided-image", sarifText{"the registry could not say whether it holds the digest"}},
	{"unreadable-input", sarifText{"an application or file could not be made into manifests"}},
	{"warning", sarifText{"something that stops nothing, and that the author should know"}},
}

// WriteSARIF writes the report as SARIF 2.1.0, for code-scanning services;
// version is the program's.
func (r *Report) WriteSARIF(w io.Writer, version string) error {
	results := []sarifResult{}
	for _, f := range r.Failures {
		level := "error"
		if f.Undecided {
			level = "warning"
		}
		results = append(results, result("unreadable-input", level, f.Message, orElse(f.File, f.Path), f.Line))
	}
	for _, f := range r.Images {
		if f.Verdict == Passed {
			continue
		}
		level := "error"
		if f.Verdict == Undecided {
			level = "warning"
		}
		text := fmt.Sprintf("%s %s: %s %s; fix: %s", printable(f.Object), printable(f.Field), f.short(), f.sentence(), f.Fix())
		results = append(results, result(f.rule(), level, text, f.File, f.Line))
	}
	for _, warning := range r.Warnings {
		results = append(results, result("warning", "note", warning.String(), warning.File, warning.Line))
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0",
		Runs: []sarifRun{{
			Tool:    sarifTool{sarifDriver{Name: "pin-cmp", InformationURI: "https://github.com/pin-cmp/pin-cmp", Version: version, Rules: sarifRules}},
			Results: results,
		}},
	})
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// rule returns the id of the rule that the finding broke.
func (f Finding) rule() string {
	switch {
	case f.Verdict == Undecided:
		return "undecided-image"
	case f.State == imageref.Floating:
		return "floating-reference"
	case f.State == imageref.Symbolic:
		return "symbolic-reference"
	case f.State == imageref.Invalid:
		return "invalid-reference"
	case f.Presence == presence.Absent || f.Presence == presence.Denied:
		return "absent-image"
	default:
		return "registry-not-allowed"
	}
}

func result(rule, level, text, file string, line int) sarifResult {
	out := sarifResult{RuleID: rule, Level: level, Message: sarifText{text}}
	if file != "" {
		physical := sarifPhysical{Artifact: sarifArtifact{(&url.URL{Path: file}).EscapedPath()}}
		if line > 0 {
			physical.Region = &sarifRegion{line}
		}
		out.Locations = []sarifLocation{{physical}}
	}
	return out
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
