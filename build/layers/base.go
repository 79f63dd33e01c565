package layers

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Base is the image below: an image, or an index with one for each platform.
// Layers of it that come from a registry are read there, for their names, and
// mounted or copied by whoever pushes.
type Base struct {
	// Name is how the author calls it, without the digest: for labels.
	Name string
	// Image or Index is the image, the other is nil.
	Image v1.Image
	Index v1.ImageIndex
}

// docker tells whether the media types are Docker's.
func (b *builder) docker() bool {
	if b.request.Base == nil {
		return false
	}
	mediaType, err := b.request.Base.mediaType()
	return err == nil && (mediaType == types.DockerManifestSchema2 || mediaType == types.DockerManifestList)
}

func (b *Base) mediaType() (types.MediaType, error) {
	if b.Index != nil {
		return b.Index.MediaType()
	}
	return b.Image.MediaType()
}

func (b *Base) digest() (v1.Hash, error) {
	if b.Index != nil {
		return b.Index.Digest()
	}
	return b.Image.Digest()
}

// baseName is what errors call the base.
func (b *builder) baseName() string { return b.config.BaseReference() }

// checkBase refuses a base that is not the one that is written, or is no image.
func (b *builder) checkBase() error {
	base := b.request.Base
	if (base == nil) != (b.config.BaseReference() == "") {
		return errors.New("the caller of the layers builder has not got the base that build.layers.base names")
	}
	if base == nil {
		return nil
	}
	if (base.Image == nil) == (base.Index == nil) {
		return errors.New("the caller of the layers builder gives either an image or an index for the base")
	}
	mediaType, err := base.mediaType()
	if err != nil {
		return fmt.Errorf("read the base %s: %w", b.baseName(), err)
	}
	switch {
	case mediaType.IsSchema1():
		return fmt.Errorf("build.layers.base: %s has the old manifest format, schema 1; pull it and push it again with a current tool, and use that", b.baseName())
	case base.Index != nil && !mediaType.IsIndex(), base.Image != nil && !mediaType.IsImage():
		return fmt.Errorf("build.layers.base: %s is no image, but %s", b.baseName(), mediaType)
	}
	named, err := reference.ParseNormalizedNamed(b.config.BaseReference())
	if err != nil {
		return fmt.Errorf("build.layers.base: %w", err)
	}
	if pinned, ok := named.(reference.Digested); ok {
		digest, err := base.digest()
		if err != nil {
			return fmt.Errorf("read the base %s: %w", b.baseName(), err)
		}
		if digest.String() != pinned.Digest().String() {
			return fmt.Errorf("build.layers.base: %s was asked for, and %s was given", b.baseName(), digest)
		}
	}
	return nil
}

// base returns the base for a platform, nil for scratch.
func (b *builder) base(p v1.Platform) (v1.Image, error) {
	if b.request.Base == nil {
		return nil, nil
	}
	image := b.request.Base.Image
	if index := b.request.Base.Index; index != nil {
		var err error
		if image, err = b.choose(index, p); err != nil {
			return nil, err
		}
	}
	return image, b.checkImage(image, p)
}

// choose returns the image of an index that is for a platform, or that this
// platform runs.
func (b *builder) choose(index v1.ImageIndex, p v1.Platform) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read the base %s: %w", b.baseName(), err)
	}
	var best *v1.Descriptor
	var has []string
	for _, m := range manifest.Manifests {
		// Attestations stand in an index as images for unknown/unknown.
		if m.Platform == nil || m.Platform.OS == "unknown" || !m.MediaType.IsImage() {
			continue
		}
		has = append(has, m.Platform.String())
		if best == nil && fitness(p, *m.Platform) > 0 || best != nil && fitness(p, *m.Platform) > fitness(p, *best.Platform) {
			best = &m
		}
	}
	if best == nil {
		slices.Sort(has)
		list := strings.Join(slices.Compact(has), ", ")
		if list == "" {
			list = "none that it names"
		}
		return nil, fmt.Errorf("build.layers.base: %s has no image for %s; it has %s", b.baseName(), p, list)
	}
	image, err := index.Image(best.Digest)
	if err != nil {
		return nil, fmt.Errorf("read the base %s: %w", b.baseName(), err)
	}
	return image, nil
}

// checkImage refuses an image that can't be built on.
func (b *builder) checkImage(image v1.Image, p v1.Platform) error {
	manifest, err := image.Manifest()
	if err != nil {
		return fmt.Errorf("read the base %s: %w", b.baseName(), err)
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("build.layers.base: %s %s", b.baseName(), fmt.Sprintf(format, args...))
	}
	if !manifest.Config.MediaType.IsConfig() {
		return wrong("is no container image: its configuration is %s", manifest.Config.MediaType)
	}
	for _, l := range manifest.Layers {
		switch {
		case !l.MediaType.IsDistributable() || len(l.URLs) > 0:
			return wrong("has the layer %s, which may not be pushed to another registry (%s)", l.Digest, l.MediaType)
		case !l.MediaType.IsLayer():
			return wrong("has the layer %s of a kind that is not known: %s", l.Digest, l.MediaType)
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return fmt.Errorf("read the base %s: %w", b.baseName(), err)
	}
	have := v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}
	switch {
	case fitness(p, have) == 0:
		return wrong("is for %s, and the image is to be for %s; name the digest of an index that has it", have, p)
	case len(config.RootFS.DiffIDs) != len(manifest.Layers):
		return wrong("is broken: %d layers, and its configuration knows of %d", len(manifest.Layers), len(config.RootFS.DiffIDs))
	case len(config.Config.OnBuild) > 0:
		return wrong("has ONBUILD instructions, which only a Dockerfile's build runs; use a base without them, or another builder")
	}
	return nil
}
