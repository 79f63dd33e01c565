// Package render turns an application directory into the manifests that Argo
// CD itself would make of it.
//
// An [Application] is a directory inside a checkout, with the options of the
// Argo CD Application that points there. A [Renderer] makes a [Result] of it:
// [InProcess] does the work, [Isolated] runs InProcess in a child process of
// its own, which is what everything but a test should use: a render executes
// what a repository contains.
//
// The renderer sees a checkout, never a disk: an fs.FS rooted at the
// repository, be it a directory ([OpenDir]) or files held in memory.
package render

import (
	"context"
	"io/fs"
)

// Type is the tool that renders an application, in Argo CD's spelling.
type Type string

// The application types.
const (
	Directory Type = "Directory"
	Kustomize Type = "Kustomize"
	Helm      Type = "Helm"
)

// Application is a directory of a checkout and how to render it.
type Application struct {
	// Checkout is the repository. Its root bounds every file that the render
	// may read; symbolic links inside it are followed as long as they stay
	// inside.
	Checkout fs.FS
	// Path is the application's directory in Checkout, slash-separated, "."
	// for the root.
	Path string
	// Options are those of the Argo CD Application's source.
	Options Options
}

// Options are the options of an Argo CD Application's source. The zero value
// renders the directory as Argo CD does for an Application that sets none.
type Options struct {
	// Type forces the tool; "" detects it from the directory's files.
	Type Type `json:"type,omitempty"`
	// Kustomize and Directory hold the native blocks, spec.source.kustomize
	// and spec.source.directory.
	Kustomize *KustomizeOptions `json:"kustomize,omitempty"`
	Directory *DirectoryOptions `json:"directory,omitempty"`
	// Env is Argo CD's build environment (ARGOCD_APP_NAME, …), for the options
	// in which Argo CD substitutes variables. Nothing else is ever substituted.
	Env map[string]string `json:"env,omitempty"`
}

// Result is a rendered application.
type Result struct {
	// Type is the tool that rendered it.
	Type Type
	// Manifests are the objects in the order of the output. There is at least
	// one: an application that renders to nothing is an error, because Argo CD
	// would prune everything it owns.
	Manifests []Manifest
	// Files are the files of the checkout that the render read, sorted,
	// slash-separated. The origin of a value is looked for in these.
	Files []string
	// Warnings are what the tool would have printed: deprecated fields, files
	// passed over. Sorted, each a sentence.
	Warnings []string
}

// Manifest is one rendered object.
type Manifest struct {
	// YAML is the text of the object, without document separator, ending in a
	// newline. The concatenation of these with "---\n" between them is the
	// output.
	YAML []byte
	// Object is what Argo CD's decoder makes of exactly those bytes, so that
	// what is verified is what is applied.
	Object map[string]any
	// Source is where the object came from, as far as the tool can tell.
	Source Source
}

// Source is where an object came from.
type Source struct {
	// File is the slash-separated path in the checkout, "" if unknown.
	File string `json:"file,omitempty"`
	// Document is the 0-based index of the YAML document in File, counted as
	// Kubernetes' decoder does: a line that starts with --- ends a document,
	// and documents that hold nothing count.
	Document int `json:"document,omitempty"`
	// Item is the 0-based index in the document's List, -1 if it is no List.
	Item int `json:"item"`
}

// Renderer renders applications. Errors are sentences for the author of the
// repository: which file and line, what is wrong, what to do.
type Renderer interface {
	Render(ctx context.Context, app Application) (*Result, error)
}
