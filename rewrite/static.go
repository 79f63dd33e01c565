package rewrite

import (
	"bytes"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/imageref"
	"github.com/pin-cmp/pin-cmp/internal/yamledit"
)

// A static pin is where a mark was before it was replaced. So it is found as one:
// with a verb in the digest's place.

var (
	staticRE = regexp.MustCompile(`^(|.*@)sha256:([0-9a-f]{64})$`)
	hexRE    = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// asPlaceholder shows a digest as the placeholder that it was.
func asPlaceholder(s yamledit.Scalar) (yamledit.Scalar, bool) {
	if digestIn(s) == "" {
		return s, false
	}
	at, _, _ := strings.Cut(s.Value, "@")
	if at == s.Value {
		s.Value = string(imageref.Build)
	} else {
		s.Value = s.Value[:strings.LastIndexByte(s.Value, '@')+1] + string(imageref.Build)
	}
	return s, true
}

// digestIn returns the digest that a scalar ends in, "" if it has none.
func digestIn(s yamledit.Scalar) string {
	if match := staticRE.FindStringSubmatch(s.Value); match != nil && match[2] != zeroHex {
		return "sha256:" + match[2]
	}
	if key := s.Key(); (key == "sha" || key == "sha256" || key == "value") && hexRE.MatchString(s.Value) && s.Value != zeroHex {
		return "sha256:" + s.Value
	}
	return ""
}

// mayPin tells, without parsing, whether a file may hold a static pin of one of
// the components.
func mayPin(content []byte, components *build.Components) bool {
	if !bytes.Contains(content, []byte("sha256:")) && !hashField(content) {
		return false
	}
	return slices.ContainsFunc(components.All(), func(c build.Component) bool {
		return bytes.Contains(content, []byte(path.Base(c.Image)))
	})
}

// pins returns the static pins that are wanted: marks whose scalar holds a
// digest. Those that can't be replaced are among the refused.
func (f *markedFile) pins(wanted func(mark) bool) (pins []mark, refused []Problem) {
	if f.template || f.parse() != nil {
		return nil, nil
	}
	marks, problems, warnings := f.marks, f.problems, f.warnings
	f.marks, f.problems = nil, nil
	r := f.readAll(asPlaceholder)
	for index, all := range r.of {
		all = slices.DeleteFunc(all, func(one reading) bool { return one.mark == nil })
		// One that is wanted in one place is replaced in all of them.
		if !slices.ContainsFunc(all, func(one reading) bool { return wanted(*one.mark) }) {
			all = nil
		}
		r.of[index] = all
	}
	r.order = slices.DeleteFunc(r.order, func(index int) bool { return len(r.of[index]) == 0 })
	f.settle(r, "digest")
	pins, refused = f.marks, f.problems
	f.marks, f.problems, f.warnings = marks, problems, warnings
	for i := range pins {
		pins[i].was = digestIn(pins[i].scalar)
	}
	return pins, refused
}

// owned tells whether a mark is of a declared component.
func (f *markedFile) owned(m mark) bool {
	_, ok := f.components.ByImage(m.ref.Repository)
	return ok
}
