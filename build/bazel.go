package build

import (
	"context"
	"fmt"
	"regexp"
)

// Bazel runs a target that pushes: an oci_push of rules_oci, or anything that takes
// its flags --repository and --tag and prints the reference with its digest on a
// line of its own.
//
// rules_oci (oci/private/push.sh.tpl) pushes by digest with crane, which prints
// repository@sha256:…, and then gives it each --tag and the target's own
// remote_tags; those move, so leave them out. What bazel's own files make of the
// image, with its bases and platforms, is theirs: the inputs have to name
// MODULE.bazel and its lock file.
type Bazel struct {
	// Target is what is run, //web:push.
	Target string `yaml:"target"`
	// Options are flags of bazel run, --config=ci.
	Options []string `yaml:"options"`
}

var _ Recipe = (*Bazel)(nil)

// bazelTarget is a label, https://bazel.build/concepts/labels, of one target.
var bazelTarget = regexp.MustCompile(`^(?:@@?[A-Za-z0-9._~+-]*)?(?://|:)[A-Za-z0-9!%@^_"#$&'()*+,;<=>?\[\]{|}~/.:-]*$`)

// Check implements [Recipe].
func (b *Bazel) Check(Component) error {
	if !bazelTarget.MatchString(b.Target) {
		return fmt.Errorf("build.bazel.target %q is no label of a target that pushes, as in //web:push", b.Target)
	}
	return checkOptions("build.bazel", b.Options, []string{"--"})
}

// Program implements [Recipe].
func (b *Bazel) Program() Program {
	return Program{Name: "bazel", Get: "https://github.com/bazelbuild/bazelisk"}
}

// Bases implements [Recipe]: bazel's own files name them by digest, and are inputs.
func (b *Bazel) Bases(Component, func(string) ([]byte, error)) ([]Base, error) { return nil, nil }

// Build implements [Builder].
func (b *Bazel) Build(ctx context.Context, request Request) (string, error) {
	args := append([]string{"run"}, b.Options...)
	args = append(args, b.Target, "--", "--repository", request.Component.Image, "--tag", request.Tag)
	if request.plainHTTP() {
		args = append(args, "--insecure")
	}
	pushed := &pushedLine{image: request.Component.Image}
	if err := request.run(ctx, pushed, []string{"SOURCE_DATE_EPOCH=" + request.epoch()}, "bazel", args...); err != nil {
		return "", err
	}
	return request.reported(pushed.last(), b.Target, "behind "+request.Component.Image+"@ on a line of its output")
}
