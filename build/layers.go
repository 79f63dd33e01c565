package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pin-cmp/pin-cmp/build/layers"
	"github.com/pin-cmp/pin-cmp/internal/imageref"
)

// Layers builds in this process, without a daemon: it runs a command in a copy of
// the component's inputs, puts files on a base image, and pushes the result. See
// [layers].
type Layers layers.Config

var _ Recipe = (*Layers)(nil)

// Check implements [Recipe].
func (l *Layers) Check(Component) error {
	config := layers.Config(*l)
	if imageref.Parse(config.Base).State == imageref.Symbolic {
		config.Base = "" // replaced before anything is built
	}
	return config.Check()
}

// Program implements [Recipe].
func (l *Layers) Program() Program {
	if len(l.Command) == 0 || strings.ContainsAny(l.Command[0], `/\$`) {
		return Program{}
	}
	return Program{Name: l.Command[0]}
}

// Bases implements [Recipe].
func (l *Layers) Bases(Component, func(string) ([]byte, error)) ([]Base, error) {
	if base := layers.Config(*l).BaseReference(); base != "" {
		return []Base{{Reference: base}}, nil
	}
	return nil, nil
}

// Build implements [Builder].
func (l *Layers) Build(ctx context.Context, request Request) (digest string, err error) {
	c := request.Component
	failed := func(err error) (string, error) {
		if ctx.Err() != nil {
			return "", fmt.Errorf("build %s: %w", c.Name, context.Cause(ctx))
		}
		var status *exec.ExitError
		if errors.As(err, &status) {
			err = fmt.Errorf("%w; if it misses a file: it sees the inputs of %s and nothing else", err, c.Name)
		}
		return "", fmt.Errorf("%s:%d: the build of %s failed: %w", c.File, c.Line, c.Name, err)
	}
	config := layers.Config(*l)
	files, err := asFiles(request.Inputs)
	if err != nil {
		return failed(err)
	}
	var base *layers.Base
	if reference := config.BaseReference(); reference != "" {
		if base, err = request.Registry.base(ctx, reference); err != nil {
			return failed(fmt.Errorf("the base: %w", err))
		}
	}
	tree, remove, err := request.tree(ctx)
	if err != nil {
		return failed(err)
	}
	defer remove()
	artifact, err := layers.Build(ctx, config, layers.Request{
		Top: tree, Dir: c.Dir, Image: c.Image, Files: files, Platforms: c.Platforms, Base: base,
		Epoch: request.Time, Source: request.Component.Source, Revision: request.Revision, Log: request.Log,
		Cache: baseCache(),
	})
	if err != nil {
		return failed(err)
	}
	defer func() { err = errors.Join(err, artifact.Close()) }()
	var pushed Artifact = artifact.Image()
	if index := artifact.Index(); index != nil {
		pushed = index
	}
	// Its tag comes when the registry has confirmed it.
	if digest, err = request.Registry.Push(ctx, c.Image, pushed); err != nil {
		return "", fmt.Errorf("push %s: %w", c.Name, err)
	}
	return digest, nil
}

// tree makes a directory that holds the component's inputs where the repository
// has them, and nothing else: a command that reads what does not count in the key
// finds nothing, instead of making an image that everybody else would then be
// given for their inputs.
func (r Request) tree(ctx context.Context) (dir string, remove func(), err error) {
	if dir, remove, err = r.scratch(); err != nil {
		return "", nil, err
	}
	if err = r.stage(ctx, ".", dir); err == nil {
		err = os.MkdirAll(filepath.Join(dir, filepath.FromSlash(r.Component.Dir)), 0o755)
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return dir, remove, nil
}

// asFiles are the inputs that can be put into an image.
func asFiles(inputs []Input) ([]layers.File, error) {
	var files []layers.File
	for _, input := range inputs {
		mode, err := strconv.ParseUint(input.Mode, 8, 32)
		if err != nil {
			return nil, fmt.Errorf("%s: git has no mode %s", input.Path, input.Mode)
		}
		if mode == 0o160000 {
			continue // a submodule: its files are another repository's
		}
		file := layers.File{Path: input.Path, Mode: uint32(mode), Object: input.Object}
		if input.LFS {
			file.Object = ""
		}
		files = append(files, file)
	}
	return files, nil
}

// baseCache is where the names in base images are remembered, "" for nowhere.
func baseCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "pin-cmp", "bases")
}

// base reads a static reference's image, or index.
func (r *Registry) base(ctx context.Context, reference string) (*layers.Base, error) {
	ref := imageref.Parse(reference)
	if ref.State != imageref.Static {
		return nil, fmt.Errorf("%s names no digest", reference)
	}
	repo, options, err := r.connected(ctx, ref.Repository, transport.PullScope)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", reference, explain(ctx, err))
	}
	descriptor, err := remote.Get(repo.Digest(ref.Digest), options...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", reference, explain(ctx, err))
	}
	base := &layers.Base{Name: strings.TrimSuffix(reference, "@"+ref.Digest)}
	if descriptor.MediaType.IsIndex() {
		base.Index, err = descriptor.ImageIndex()
	} else {
		base.Image, err = descriptor.Image()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", reference, err)
	}
	return base, nil
}
