// Package build turns a component into a digest that is in the registry.
//
// A [Component] is declared in a pin.yaml beside its source: an image
// repository, the paths it is made from, and how. A [Builder] builds one and
// pushes it. Whatever a builder reports is looked up in the registry before
// anybody writes it down.
package build

import (
	"context"
	"io"
)

// Request is one image to build.
type Request struct {
	Component Component
	// Top is the work tree's root, an absolute path of this machine.
	Top string
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
