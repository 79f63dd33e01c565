package rewrite

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/pin-cmp/pin-cmp/build"
)

// A digest that no pin is stays when the pins move, and who believes that all of
// them did deploys the old image: so each is told.

// staying returns, by image, where files name an image that moves, or one of the
// digests that its pins had, and stay as they are.
func staying(files []*markedFile, components *build.Components, reasons map[string]string) map[string][]Problem {
	found := map[string][]Problem{}
	for _, c := range components.All() {
		if reasons[c.Image] == "" {
			continue
		}
		forms := []*regexp.Regexp{named(c.Image)}
		var known []string
		for _, f := range files {
			for _, m := range f.marks {
				if m.was == "" || m.ref.Repository != c.Image || slices.Contains(known, m.was) {
					continue
				}
				known = append(known, m.was)
				forms = append(forms, regexp.MustCompile(`(`+strings.TrimPrefix(m.was, "sha256:")+`)`))
			}
		}
		for _, f := range files {
			found[c.Image] = append(found[c.Image], f.staying(c, forms)...)
		}
	}
	return found
}

// named matches a repository with a digest behind it, in any text. Docker Hub's are
// found as people write them, too.
func named(image string) *regexp.Regexp {
	name := regexp.QuoteMeta(image)
	if parsed, err := reference.ParseNormalizedNamed(image); err == nil && reference.FamiliarName(parsed) != image {
		name += "|" + regexp.QuoteMeta(reference.FamiliarName(parsed))
	}
	return regexp.MustCompile(`(?:^|[^A-Za-z0-9._/-])((?:` + name + `)(?::` + tag + `)?@sha256:[0-9a-f]{64})`)
}

// staying returns the places of one file.
func (f *markedFile) staying(c build.Component, forms []*regexp.Regexp) []Problem {
	why := "it is in a comment or a longer text, or what is beside it does not say which image it is"
	if f.template {
		why = "it is in a Helm template; put the reference into values.yaml"
	} else if err := f.parse(); err != nil {
		why = fmt.Sprintf("the file does not parse: %v", strings.TrimPrefix(err.Error(), f.path+":"))
	}
	type span struct{ from, to int }
	var moving []span
	for _, m := range f.marks {
		from, to := m.scalar.Span()
		moving = append(moving, span{from, to})
	}
	lines := map[int]bool{}
	for _, p := range f.problems {
		lines[p.Line] = true // said already
	}
	var places []Problem
	for _, form := range forms {
		for _, match := range form.FindAllSubmatchIndex(f.content, -1) {
			at, line := match[2], lineOf(f.content, match[2])
			if lines[line] || slices.ContainsFunc(moving, func(s span) bool { return s.from <= at && at < s.to }) {
				continue
			}
			lines[line] = true
			places = append(places, Problem{f.path, line, fmt.Sprintf("%s stays as it is, although %s is built anew: %s", shortened(f.content[at:match[3]]), c.Name, why)})
		}
	}
	return places
}

// shortened is a reference or a digest that a person can read.
func shortened(text []byte) string {
	if at := bytes.LastIndexByte(text, ':'); at >= 0 && len(text)-at > 13 {
		text = text[:at+13]
	} else if at < 0 {
		text = text[:12]
	}
	return string(text) + "…"
}
