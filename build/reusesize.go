package build

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Size returns how many bytes a node that has nothing yet pulls for an image: the
// layers as they are stored, compressed, each once. Of an index it is the image
// for linux/amd64, else the first.
func (r *Registry) Size(ctx context.Context, repository, digest string) (int64, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	var size int64
	repo, options, err := r.connected(ctx, repository, transport.PullScope)
	if err == nil {
		var body []byte
		if body, _, err = readManifest(repo.Digest(digest), options); err == nil {
			size, err = (&reader{repo: repo, options: options}).size(body)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("%s@%s: %w", repository, digest, explain(ctx, err))
	}
	return size, nil
}

func (r *reader) size(body []byte) (int64, error) {
	m, err := parseManifest(body)
	if err != nil {
		return 0, err
	}
	if m.Manifests == nil {
		var sum int64
		seen := map[v1.Hash]bool{}
		for _, l := range m.Layers {
			if l.Size < 0 || sum+l.Size < sum {
				return 0, errors.New("the manifest holds a size that is none")
			}
			if !seen[l.Digest] {
				seen[l.Digest] = true
				sum += l.Size
			}
		}
		return sum, nil
	}
	var chosen *v1.Descriptor
	for _, d := range m.Manifests {
		if isAttestation(d) {
			continue
		}
		if chosen == nil {
			chosen = &d
		}
		if d.Platform != nil && platformOf(d.Platform.OS, d.Platform.Architecture, d.Platform.Variant) == "linux/amd64" {
			chosen = &d
			break
		}
	}
	if chosen == nil {
		return 0, errors.New("the index names no image")
	}
	if body, err = r.read(chosen.Digest); err != nil {
		return 0, err
	}
	return r.size(body)
}
