package build

import (
	"context"
	"errors"
	"fmt"
)

type checked struct{ builder Builder }

var _ Builder = checked{}

// Checked returns a builder that does what b does, and then believes what the
// registry says instead of b: it holds the digest, with every platform of the
// component. Only then does the image get its tag, by which it is found the next
// time.
//
// Where the tag names another image by then, somebody built the same inputs
// meanwhile, and theirs is taken: if each took their own, the tag would keep one of
// the two from a registry's clean-up, and git would name both.
func Checked(b Builder) Builder { return checked{b} }

// Build implements [Builder].
func (b checked) Build(ctx context.Context, request Request) (string, error) {
	c := request.Component
	digest, err := b.builder.Build(ctx, request)
	if err != nil {
		return "", err
	}
	if err := request.Registry.Confirm(ctx, c.Image, digest); err != nil {
		return "", fmt.Errorf("the build of %s reported a digest, but %w", c.Name, err)
	}
	if len(c.Platforms) > 0 {
		if err := request.Registry.CheckPlatforms(ctx, c.Image, digest, c.Platforms); err != nil {
			return "", fmt.Errorf("%s:%d: the build of %s: %w", c.File, c.Line, c.Name, err)
		}
	}
	var missing *MissingPlatformsError
	theirs, err := request.Registry.Find(ctx, c.Image, request.Tag, c.Platforms)
	switch {
	case errors.As(err, &missing): // no image for us
	case err != nil:
		return "", err
	case theirs != "" && theirs != digest:
		if request.Log != nil {
			_, _ = fmt.Fprintf(request.Log, "somebody built the same meanwhile, and their image is taken: %s\n", theirs)
		}
		return theirs, nil
	}
	marked, err := request.Registry.Mark(ctx, c.Image, request.Tag, digest)
	if err != nil {
		return "", err
	}
	if marked == MarkMoved && request.Log != nil {
		_, _ = fmt.Fprintf(request.Log, "the tag %s named another image, and names this one now\n", request.Tag)
	}
	return digest, nil
}
