// Package build turns a component into a digest that is in the registry.
//
// A [Component] is declared in a pin.yaml beside its source: an image
// repository, the paths it is made from, and a [Recipe], which says how. All that
// determines the image goes into its inputs key ([Ingredients.Key]), and the image
// is kept under the tag "pin-<key>": where that tag is, nothing has to be built.
//
// A [Builder] builds one image and pushes it. Every recipe is one; decorators go
// around it. Whatever a builder reports is looked up in the registry before
// anybody writes it down.
package build

import (
	"context"
	"io"
	"time"
)

// Request is one image to build.
type Request struct {
	Component Component
	// Top is the work tree's root, an absolute path of this machine.
	Top string
	// Inputs are the files that the image may be made from: those that count in
	// its key.
	Inputs []Input
	// Bases are the images that it starts from, static, by what is written.
	Bases map[string]string
	// Tag is the tag to push under, "pin-" and the inputs key.
	Tag string
	// Revision is the last commit that changed an input, a full hash, and Time
	// when it was made.
	Revision string
	Time     time.Time
	// Registry is what is pushed to.
	Registry *Registry
	// Log receives what the tools print.
	Log io.Writer
}

// Builder builds and pushes an image.
//
// Build returns the digest under which the registry holds the manifest, "sha256:"
// and 64 hexadecimal digits. An error means that nothing may be pinned; what was
// pushed meanwhile stays in the registry and is harmless, since nothing names it.
type Builder interface {
	Build(ctx context.Context, request Request) (digest string, err error)
}

// ByRecipe builds each component by its own recipe.
type ByRecipe struct{}

// Build implements [Builder].
func (ByRecipe) Build(ctx context.Context, request Request) (string, error) {
	return request.Component.Recipe.Build(ctx, request)
}
