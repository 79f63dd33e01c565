package layers

import (
	"bytes"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// platformImage is an image of an index.
type platformImage struct {
	platform v1.Platform
	image    v1.Image
}

// artifact joins the images.
func (b *builder) artifact(images []platformImage) (*Artifact, error) {
	a := &Artifact{blobs: b.blobs}
	var err error
	if len(images) == 1 {
		a.image = images[0].image
		a.digest, err = a.image.Digest()
		return a, err
	}
	manifest := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if b.docker() {
		manifest.MediaType = types.DockerManifestList
	} else {
		manifest.Annotations = b.standard()
	}
	made := &index{mediaType: manifest.MediaType, images: map[v1.Hash]v1.Image{}}
	for _, one := range images {
		d := v1.Descriptor{Platform: &one.platform}
		if d.MediaType, err = one.image.MediaType(); err != nil {
			return nil, err
		}
		if d.Size, err = one.image.Size(); err != nil {
			return nil, err
		}
		if d.Digest, err = one.image.Digest(); err != nil {
			return nil, err
		}
		manifest.Manifests = append(manifest.Manifests, d)
		made.images[d.Digest] = one.image
	}
	if made.raw, err = json.Marshal(manifest); err != nil {
		return nil, fmt.Errorf("write the index: %w", err)
	}
	a.index = made
	a.digest, err = made.Digest()
	return a, err
}

// index is an index whose images are known.
type index struct {
	mediaType types.MediaType
	raw       []byte
	images    map[v1.Hash]v1.Image
}

var _ v1.ImageIndex = (*index)(nil)

// MediaType implements [v1.ImageIndex].
func (i *index) MediaType() (types.MediaType, error) { return i.mediaType, nil }

// Size implements [v1.ImageIndex].
func (i *index) Size() (int64, error) { return int64(len(i.raw)), nil }

// RawManifest implements [v1.ImageIndex].
func (i *index) RawManifest() ([]byte, error) { return i.raw, nil }

// IndexManifest implements [v1.ImageIndex].
func (i *index) IndexManifest() (*v1.IndexManifest, error) {
	return v1.ParseIndexManifest(bytes.NewReader(i.raw))
}

// Digest implements [v1.ImageIndex].
func (i *index) Digest() (v1.Hash, error) {
	digest, _, err := v1.SHA256(bytes.NewReader(i.raw))
	return digest, err
}

// Image implements [v1.ImageIndex].
func (i *index) Image(digest v1.Hash) (v1.Image, error) {
	if image, ok := i.images[digest]; ok {
		return image, nil
	}
	return nil, fmt.Errorf("the index has no image %s", digest)
}

// ImageIndex implements [v1.ImageIndex]. There is none below.
func (i *index) ImageIndex(digest v1.Hash) (v1.ImageIndex, error) {
	return nil, fmt.Errorf("the index has no index %s", digest)
}
