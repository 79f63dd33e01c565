package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// MissingPlatformsError is an image that lacks platforms.
type MissingPlatformsError struct {
	// Image is repository:tag or repository@digest, Digest what it is.
	Image, Digest string
	// Missing are the platforms as they were asked for; Has are those that the
	// image has, sorted.
	Missing, Has []string
}

// Error names them.
func (e *MissingPlatformsError) Error() string {
	has := strings.Join(e.Has, ", ")
	if has == "" {
		has = "none that it names"
	}
	return fmt.Sprintf("%s has no %s; it has %s", e.Image, strings.Join(e.Missing, ", "), has)
}

// Platforms returns what platforms a manifest is for, sorted, as "linux/amd64" or
// "linux/arm/v7": those of an index, or the one that the configuration of an image
// names. Attestations are none.
func (r *Registry) Platforms(ctx context.Context, repository, digest string) ([]string, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	var has []string
	repo, options, err := r.connected(ctx, repository, transport.PullScope)
	if err == nil {
		var body []byte
		if body, _, err = readManifest(repo.Digest(digest), options); err == nil {
			has, err = (&reader{repo: repo, options: options}).platforms(body)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s@%s: %w", repository, digest, explain(ctx, err))
	}
	return has, nil
}

// CheckPlatforms returns a [*MissingPlatformsError] if a manifest lacks any of the
// platforms.
func (r *Registry) CheckPlatforms(ctx context.Context, repository, digest string, want []string) error {
	has, err := r.Platforms(ctx, repository, digest)
	if err != nil {
		return err
	}
	return lacks(repository+"@"+digest, digest, has, want)
}

func lacks(image, digest string, has, want []string) error {
	e := &MissingPlatformsError{Image: image, Digest: digest, Has: has}
	for _, p := range want {
		if !slices.Contains(has, normalPlatform(p)) {
			e.Missing = append(e.Missing, p)
		}
	}
	if len(e.Missing) == 0 {
		return nil
	}
	return e
}

// manifest is what of an index or an image matters here.
type manifest struct {
	Manifests []v1.Descriptor `json:"manifests"`
	Config    *v1.Descriptor  `json:"config"`
	Layers    []v1.Descriptor `json:"layers"`
}

func parseManifest(body []byte) (*manifest, error) {
	m := &manifest{}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, errors.New("the manifest is not valid JSON of its kind")
	}
	// What is both means one thing to one client and another to the next
	// (CVE-2021-41190).
	if (m.Manifests == nil) == (m.Config == nil) {
		return nil, errors.New("the manifest is neither an index nor an image")
	}
	return m, nil
}

// maxUnnamed bounds the manifests that are read because an index does not say what
// they are.
const maxUnnamed = 16

// reader reads manifests of one repository.
type reader struct {
	repo    name.Repository
	options []remote.Option
	reads   int
}

func (r *reader) read(digest v1.Hash) ([]byte, error) {
	if r.reads++; r.reads > maxUnnamed {
		return nil, fmt.Errorf("the index names more than %d manifests without their platform", maxUnnamed)
	}
	body, _, err := readManifest(r.repo.Digest(digest.String()), r.options)
	return body, err
}

func (r *reader) platforms(body []byte) ([]string, error) {
	m, err := parseManifest(body)
	if err != nil {
		return nil, err
	}
	has, err := r.of(m)
	if err != nil {
		return nil, err
	}
	slices.Sort(has)
	return slices.Compact(has), nil
}

func (r *reader) of(m *manifest) ([]string, error) {
	if m.Manifests == nil {
		p, err := r.config(m.Config)
		if err != nil || p == "" {
			return nil, err
		}
		return []string{p}, nil
	}
	var has []string
	for _, d := range m.Manifests {
		if isAttestation(d) {
			continue
		}
		if d.Platform != nil && d.Platform.OS != "" && d.Platform.Architecture != "" {
			has = append(has, platformOf(d.Platform.OS, d.Platform.Architecture, d.Platform.Variant))
			continue
		}
		body, err := r.read(d.Digest)
		if err != nil {
			return nil, err
		}
		child, err := parseManifest(body)
		if err != nil {
			return nil, err
		}
		of, err := r.of(child)
		if err != nil {
			return nil, err
		}
		has = append(has, of...)
	}
	return has, nil
}

// config returns the platform that a configuration names, "" if what it configures
// is no image.
func (r *reader) config(d *v1.Descriptor) (string, error) {
	if d.MediaType != types.OCIConfigJSON && d.MediaType != types.DockerConfigJSON {
		return "", nil
	}
	layer, err := remote.Layer(r.repo.Digest(d.Digest.String()), r.options...)
	if err != nil {
		return "", err
	}
	content, err := layer.Compressed()
	if err != nil {
		return "", err
	}
	defer func() { _ = content.Close() }()
	body, err := io.ReadAll(content) // the wire has bounded it, the library hashes it
	if err != nil {
		return "", err
	}
	var config struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
		Variant      string `json:"variant"`
	}
	if err := json.Unmarshal(body, &config); err != nil {
		return "", errors.New("the image's configuration is not valid JSON of its kind")
	}
	if config.OS == "" || config.Architecture == "" {
		return "", nil
	}
	return platformOf(config.OS, config.Architecture, config.Variant), nil
}

// isAttestation tells what BuildKit puts into an index beside the images
// (https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md).
func isAttestation(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" ||
		d.Platform != nil && d.Platform.OS == "unknown" && d.Platform.Architecture == "unknown"
}

// normalPlatform gives equal platforms one spelling.
func normalPlatform(p string) string {
	parts := append(strings.SplitN(p, "/", 3), "", "")
	return platformOf(parts[0], parts[1], parts[2])
}

// platformOf writes a platform as containerd normalises it
// (github.com/containerd/platforms, database.go).
func platformOf(os, arch, variant string) string {
	os, arch, variant = strings.ToLower(os), strings.ToLower(arch), strings.ToLower(variant)
	switch arch {
	case "x86_64", "x86-64":
		arch = "amd64"
	case "i386":
		arch, variant = "386", ""
	case "aarch64":
		arch = "arm64"
	case "armhf":
		arch, variant = "arm", "v7"
	case "armel":
		arch, variant = "arm", "v6"
	}
	switch {
	case arch == "amd64" && variant == "v1", arch == "arm64" && (variant == "8" || variant == "v8"):
		variant = ""
	case arch == "arm" && variant == "":
		variant = "v7"
	case arch == "arm" && len(variant) == 1:
		variant = "v" + variant
	}
	return strings.TrimSuffix(os+"/"+arch+"/"+variant, "/")
}
