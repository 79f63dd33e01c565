package layers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// image puts layers on the base, which is nil for scratch.
func (b *builder) image(p v1.Platform, base v1.Image, layers []*layer) (v1.Image, error) {
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: v1.Descriptor{MediaType: types.OCIConfigJSON}}
	if b.docker() {
		manifest.MediaType, manifest.Config.MediaType = types.DockerManifestSchema2, types.DockerConfigJSON
	}
	config := &v1.ConfigFile{}
	made := &image{}
	if base != nil {
		below, err := base.Manifest()
		if err != nil {
			return nil, fmt.Errorf("read the base %s: %w", b.baseName(), err)
		}
		if made.layers, err = base.Layers(); err != nil {
			return nil, fmt.Errorf("read the base %s: %w", b.baseName(), err)
		}
		for _, l := range below.Layers {
			l.Data = nil
			manifest.Layers = append(manifest.Layers, l)
		}
		if config, err = base.ConfigFile(); err != nil {
			return nil, fmt.Errorf("read the base %s: %w", b.baseName(), err)
		}
		config = config.DeepCopy()
	}
	b.configure(config, p)
	for i, l := range layers {
		item := b.config.items()[i]
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
		config.History = append(config.History, v1.History{
			Created: config.Created, CreatedBy: fmt.Sprintf("pin-cmp layers: %s to: %s", item, item.To),
		})
		manifest.Layers = append(manifest.Layers, v1.Descriptor{MediaType: l.mediaType, Size: l.size, Digest: l.digest})
		made.layers = append(made.layers, l)
	}
	var err error
	if made.rawConfig, err = json.Marshal(config); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	if manifest.Config.Digest, manifest.Config.Size, err = v1.SHA256(bytes.NewReader(made.rawConfig)); err != nil {
		return nil, err
	}
	if !b.docker() {
		manifest.Annotations = b.standard()
	}
	if made.rawManifest, err = json.Marshal(manifest); err != nil {
		return nil, fmt.Errorf("write the manifest: %w", err)
	}
	made.mediaType = manifest.MediaType
	return made, nil
}

// configure makes the base's configuration the image's, as the instructions of a
// Dockerfile do.
func (b *builder) configure(c *v1.ConfigFile, p v1.Platform) {
	c.OS, c.Architecture, c.Variant = p.OS, p.Architecture, p.Variant
	c.Created = v1.Time{Time: b.epoch()}
	c.RootFS.Type = "layers"
	// These are of the container in which the base was built.
	c.Container, c.DockerVersion, c.Config.Hostname, c.Config.Domainname, c.Config.Image = "", "", "", "", "" //nolint:staticcheck // read from old images
	run := &c.Config
	if b.config.Entrypoint != nil {
		run.Entrypoint, run.Cmd = slices.Clone(b.config.Entrypoint), nil
	}
	if b.config.Cmd != nil {
		run.Cmd = slices.Clone(b.config.Cmd)
	}
	for _, name := range slices.Sorted(maps.Keys(b.config.Env)) {
		setting := name + "=" + b.config.Env[name]
		if i := slices.IndexFunc(run.Env, func(s string) bool { return strings.HasPrefix(s, name+"=") }); i >= 0 {
			run.Env[i] = setting
		} else {
			run.Env = append(run.Env, setting)
		}
	}
	if b.config.User != "" {
		run.User = b.config.User
	}
	if b.config.Workdir != "" {
		run.WorkingDir = b.config.Workdir
	}
	for _, text := range b.config.Ports {
		if run.ExposedPorts == nil {
			run.ExposedPorts = map[string]struct{}{}
		}
		if port, err := parsePort(text); err == nil {
			run.ExposedPorts[port] = struct{}{}
		}
	}
	labels := map[string]string{}
	for name, value := range run.Labels {
		// What the base says of where it comes from isn't so of this image.
		if !slices.Contains(standardNames, name) {
			labels[name] = value
		}
	}
	maps.Copy(labels, b.standard())
	if run.Labels = labels; len(labels) == 0 {
		run.Labels = nil
	}
}

// The annotations of the OCI image specification (annotations.md) that the
// builder knows the values of.
const (
	labelCreated    = "org.opencontainers.image.created"
	labelSource     = "org.opencontainers.image.source"
	labelRevision   = "org.opencontainers.image.revision"
	labelBaseName   = "org.opencontainers.image.base.name"
	labelBaseDigest = "org.opencontainers.image.base.digest"
)

var standardNames = []string{labelCreated, labelSource, labelRevision, labelBaseName, labelBaseDigest}

// standard are the labels of the image that are not the base's: the author's, and
// those that the builder knows.
func (b *builder) standard() map[string]string {
	labels := map[string]string{}
	set := func(name, value string) {
		if value != "" {
			labels[name] = value
		}
	}
	if !b.request.Epoch.IsZero() {
		set(labelCreated, b.epoch().Format(time.RFC3339))
	}
	set(labelSource, b.request.Source)
	set(labelRevision, b.request.Revision)
	if base := b.request.Base; base != nil {
		set(labelBaseName, base.Name)
		if digest, err := base.digest(); err == nil {
			set(labelBaseDigest, digest.String())
		}
	}
	maps.Copy(labels, b.config.Labels)
	return labels
}

// image is an image whose parts are known. The base's layers are passed on as
// they came, so that a push can mount them from where they are.
type image struct {
	mediaType              types.MediaType
	rawConfig, rawManifest []byte
	layers                 []v1.Layer
}

var _ v1.Image = (*image)(nil)

// Layers implements [v1.Image].
func (i *image) Layers() ([]v1.Layer, error) { return slices.Clone(i.layers), nil }

// MediaType implements [v1.Image].
func (i *image) MediaType() (types.MediaType, error) { return i.mediaType, nil }

// Size implements [v1.Image].
func (i *image) Size() (int64, error) { return int64(len(i.rawManifest)), nil }

// ConfigName implements [v1.Image].
func (i *image) ConfigName() (v1.Hash, error) { return partial.ConfigName(i) }

// ConfigFile implements [v1.Image].
func (i *image) ConfigFile() (*v1.ConfigFile, error) { return partial.ConfigFile(i) }

// RawConfigFile implements [v1.Image].
func (i *image) RawConfigFile() ([]byte, error) { return i.rawConfig, nil }

// Digest implements [v1.Image].
func (i *image) Digest() (v1.Hash, error) { return partial.Digest(i) }

// Manifest implements [v1.Image].
func (i *image) Manifest() (*v1.Manifest, error) { return partial.Manifest(i) }

// RawManifest implements [v1.Image].
func (i *image) RawManifest() ([]byte, error) { return i.rawManifest, nil }

// LayerByDigest implements [v1.Image].
func (i *image) LayerByDigest(digest v1.Hash) (v1.Layer, error) {
	if name, err := i.ConfigName(); err == nil && name == digest {
		return partial.ConfigLayer(i)
	}
	return i.find(digest, v1.Layer.Digest)
}

// LayerByDiffID implements [v1.Image].
func (i *image) LayerByDiffID(diffID v1.Hash) (v1.Layer, error) {
	return i.find(diffID, v1.Layer.DiffID)
}

func (i *image) find(want v1.Hash, of func(v1.Layer) (v1.Hash, error)) (v1.Layer, error) {
	for _, l := range i.layers {
		if have, err := of(l); err == nil && have == want {
			return l, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", want)
}
