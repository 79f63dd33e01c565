package render

import (
	"context"
	"slices"
	"sync"
)

// InProcess renders in the process that calls it. Use [Isolated]: a render
// executes what a repository contains, it can take any amount of time and
// memory, and kustomize prints warnings to the process's standard error.
type InProcess struct {
	build buildOptions
}

var _ Renderer = InProcess{}

// kustomizeLock serialises kustomize, whose OpenAPI schema is a global.
var kustomizeLock sync.Mutex

// Render implements [Renderer].
func (r InProcess) Render(ctx context.Context, app Application) (*Result, error) {
	result, err := r.render(ctx, app)
	if err != nil {
		return nil, err
	}
	for i := range result.Manifests {
		if err := result.Manifests[i].decode(result); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// render is Render without the objects of the manifests, which the receiver of
// a child's answer decodes itself.
func (r InProcess) render(ctx context.Context, app Application) (*Result, error) {
	c := newCheckout(app.Checkout)
	dir, link, err := c.appDir(app.Path)
	if err != nil {
		return nil, err
	}
	tool, err := detect(c, dir, link, app.Options)
	if err != nil {
		return nil, err
	}
	var result *Result
	switch tool {
	case Directory:
		result, err = renderDirectory(ctx, c, dir, link, app.Options.Directory)
	case Kustomize:
		kustomizeLock.Lock()
		defer kustomizeLock.Unlock()
		result, err = renderKustomize(ctx, c, dir, app.Options.Kustomize, app.Options.Env, r.build)
	default:
		err = &Error{
			File: dir, Message: "Helm charts are not rendered yet",
			Fix: "commit the chart's output (helm template), or keep this application on Argo CD's own rendering", Err: ErrUnsupported,
		}
	}
	if err != nil {
		return nil, err
	}
	slices.Sort(result.Warnings)
	result.Warnings = slices.Compact(result.Warnings)
	return result, nil
}

// decode fills in the object of a manifest from its text.
func (m *Manifest) decode(result *Result) error {
	if m.Object != nil {
		return nil
	}
	object, err := decodeObject(m.YAML)
	if err != nil {
		return &Error{File: m.Source.File, Message: "an object of the " + string(result.Type) + " output cannot be read back: " + err.Error()}
	}
	m.Object = object
	return nil
}
