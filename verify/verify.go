// Package verify decides whether manifests may be applied: whether every image
// they name is a digest that its registry holds.
//
// [Finder] finds where objects name images, [Policy] is what the cluster's
// administrator demands of them, and package presence asks the registries.
// [Verify] puts the three together and returns a [Report], whose [Report.Message]
// is the text that Argo CD shows.
//
// Everything fails closed. What cannot be decided is not a pass: a reference
// that does not parse is refused, and a registry that does not answer gives
// "could not decide", which is kept apart from "refused".
package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/imageref"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// Object is a manifest to verify.
type Object struct {
	// Content is the decoded manifest.
	Content map[string]any
	// Locate says where a field's value stands in the author's files: a path
	// and a 1-based line, or "" and 0 if that is not known. May be nil.
	Locate func(field Path, value string) (file string, line int)
}

// Options are what Verify needs besides the objects.
type Options struct {
	// Policy is DefaultPolicy() if nil.
	Policy *Policy
	// Presence asks registries. If it is nil no digest can be called present,
	// unless the policy turns the question off.
	Presence presence.Checker
	// Progress, if set, is called with the number of digests asked for so far.
	Progress func(done, total int)
}

// Verify finds the images of the objects and judges them. The error is a
// *presence.ConfigError, or the context's.
func Verify(ctx context.Context, objects []Object, o Options) (*Report, error) {
	policy := o.Policy
	if policy == nil {
		policy = DefaultPolicy()
	}
	report := &Report{}
	for _, object := range objects {
		owner := identify(object.Content)
		images, warnings := policy.finder.Find(object.Content)
		for _, image := range images {
			policy.judge(report, object, owner, image)
		}
		for _, warning := range warnings {
			if warning.Object == "" {
				warning.Object = owner.String()
			}
			report.Warnings = append(report.Warnings, warning)
		}
	}
	if policy.CheckPresence() {
		if err := report.ask(ctx, policy, o); err != nil {
			return nil, err
		}
	}
	report.sort()
	return report, nil
}

// judge adds an image to the report by what its text alone says.
func (p *Policy) judge(report *Report, object Object, owner identity, image Image) {
	ref := image.Reference
	f := Finding{
		Reference: ref.Text,
		State:     ref.State,
		Presence:  presence.Unchecked,
		Object:    owner.String(),
		Field:     image.Path.String(),
		Verdict:   Passed,
		tier:      image.Tier,
		ref:       ref,
	}
	if object.Locate != nil {
		f.File, f.Line = object.Locate(image.Path.Outer(), image.Value)
	}
	if image.Tier == Sweep {
		p.sweep(report, f)
		return
	}
	if reason, ok := p.exempt(owner, ref); ok {
		f.Reason = "exempt by policy: " + reason
		f.exempt = true
	} else if ref.State != imageref.Static {
		f.Verdict, f.Reason = Refused, ref.Reason
	} else if !p.allows(ref.Repository) {
		f.Verdict = Refused
		f.Reason = fmt.Sprintf("comes from %s, which the policy does not allow", ref.Repository)
	}
	report.Images = append(report.Images, f)
}

// sweep handles a text that has only the shape of a reference.
func (p *Policy) sweep(report *Report, f Finding) {
	if f.State == imageref.Static || p.Sweep == SweepOff {
		return
	}
	if p.Sweep == SweepRefuse {
		f.Verdict, f.Reason = Refused, f.ref.Reason
		report.Images = append(report.Images, f)
		return
	}
	report.Warnings = append(report.Warnings, Warning{
		Object: f.Object, Field: f.Field, File: f.File, Line: f.Line,
		Message: fmt.Sprintf("%s looks like an image and %s; the policy's images: can say whether it is one", f.Reference, f.ref.Reason),
	})
}

// ask finds out which of the images that passed so far are there.
func (r *Report) ask(ctx context.Context, policy *Policy, o Options) error {
	var images []presence.Image
	var asked []*Finding
	for i := range r.Images {
		f := &r.Images[i]
		if f.State != imageref.Static || f.Verdict != Passed || f.exempt {
			continue
		}
		images = append(images, presence.Image{Repository: f.ref.Repository, Digest: f.ref.Digest})
		asked = append(asked, f)
	}
	if len(images) == 0 {
		return nil
	}
	if o.Presence == nil {
		for _, f := range asked {
			f.Verdict, f.Reason = Undecided, "was not looked up: no registry can be asked from here"
		}
		return nil
	}
	results, err := presence.All(ctx, o.Presence, images, policy.jobs(), o.Progress)
	if err != nil {
		return err
	}
	for i, result := range results {
		f := asked[i]
		f.Presence = result.Verdict
		switch {
		case result.Verdict == presence.Present && result.Stale:
			r.Warnings = append(r.Warnings, Warning{
				Object: f.Object, Field: f.Field, File: f.File, Line: f.Line,
				Message: fmt.Sprintf("%s passes on an earlier answer of its registry, which can't answer now: %s", f.Reference, result.Reason),
			})
		case result.Verdict == presence.Present:
		case result.Verdict.Decided():
			f.Verdict, f.Reason = Refused, result.Reason
		default:
			f.Verdict, f.Reason = Undecided, result.Reason
		}
	}
	return nil
}

// jobs is how many images are asked for at once. The bound that protects a
// registry is the one per registry; this one only has to keep several
// registries busy.
func (p *Policy) jobs() int { return 4 * p.Presence.PerRegistry }

// sort puts the report in the order of its text: what is refused first, then
// what is undecided, each by place, object and field.
func (r *Report) sort() {
	slices.SortStableFunc(r.Images, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(a.Verdict, b.Verdict),
			strings.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			strings.Compare(a.Object, b.Object),
			compareNatural(a.Field, b.Field),
			strings.Compare(a.Reference, b.Reference),
		)
	})
	slices.SortStableFunc(r.Warnings, func(a, b Warning) int {
		return cmp.Or(
			strings.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			strings.Compare(a.Object, b.Object),
			compareNatural(a.Field, b.Field),
			strings.Compare(a.Message, b.Message),
		)
	})
	r.Warnings = slices.Compact(r.Warnings)
	slices.SortStableFunc(r.Failures, func(a, b Failure) int { return compareNatural(a.Path, b.Path) })
}

// compareNatural orders containers[2] before containers[10].
func compareNatural(a, b string) int {
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x != "" && y != "" {
			if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[len(x):], b[len(y):]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits returns the digits that s starts with.
func digits(s string) string {
	end := 0
	for end < len(s) && '0' <= s[end] && s[end] <= '9' {
		end++
	}
	return s[:end]
}
