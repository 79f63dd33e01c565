package build

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Docker builds a Dockerfile with docker buildx, which is BuildKit: on this machine,
// or wherever the builder is that buildx has in use, such as a cluster's or a
// remote BuildKit.
//
// The context holds the component's inputs and nothing else. Times in the image are
// those of the last commit that changed an input, so that the same inputs make the
// same image if the instructions do. There are no attestations unless they are
// asked for: provenance says when it was made, and gives each build another digest.
//
// An engine that does not keep images in containerd does not rewrite times, and the
// image stays in it: use another builder there for the same inputs to make the same
// image.
//
// A build is over when its client is: BuildKit cancels what the connection asked
// for.
type Docker struct {
	// Context is the directory that COPY sees; that of the pin.yaml if empty. File
	// is the Dockerfile; Context/Dockerfile if empty. Both are relative to the
	// pin.yaml.
	Context string `yaml:"context"`
	File    string `yaml:"file"`
	// Target is the stage to build; the last one if empty.
	Target string `yaml:"target"`
	// Args are build arguments.
	Args Args `yaml:"args"`
	// Secrets, SSH, CacheFrom and CacheTo are passed through as buildx has them:
	// id=npm,src=.npmrc; default; type=registry,ref=ghcr.io/acme/cache.
	Secrets   []string `yaml:"secrets"`
	SSH       []string `yaml:"ssh"`
	CacheFrom []string `yaml:"cacheFrom"`
	CacheTo   []string `yaml:"cacheTo"`
	// Builder is the name of a buildx builder; the one in use if empty.
	Builder string `yaml:"builder"`
	// Provenance and SBOM are as buildx has them: true, mode=max; none if empty.
	Provenance string `yaml:"provenance"`
	SBOM       string `yaml:"sbom"`
	// Options are more flags of docker buildx build.
	Options []string `yaml:"options"`
}

var _ Recipe = (*Docker)(nil)

func (d *Docker) file() recipeFile {
	return recipeFile{
		kind: "docker", context: d.Context, file: d.File, target: d.Target, args: d.Args, options: d.Options,
		own: []string{
			"--attest", "--build-arg", "--build-context", "--builder", "--call", "--check", "--file", "-f", "--iidfile", "--label", "--load",
			"--metadata-file", "--output", "-o", "--platform", "--print", "--provenance", "--push", "--sbom", "--tag", "-t", "--target",
		},
		names: []string{"Dockerfile"}, frontend: true,
	}
}

// Check implements [Recipe].
func (d *Docker) Check(c Component) error { return d.file().check(c) }

// Program implements [Recipe].
func (d *Docker) Program() Program {
	return Program{Name: "docker", Get: "https://docs.docker.com/engine/install/, with its plugin buildx"}
}

// Bases implements [Recipe]: what the Dockerfile names, and the frontend of its
// syntax directive.
func (d *Docker) Bases(c Component, read func(string) ([]byte, error)) ([]Base, error) {
	return d.file().bases(c, read)
}

// Build implements [Builder].
func (d *Docker) Build(ctx context.Context, request Request) (string, error) {
	scratch, remove, err := request.scratch()
	if err != nil {
		return "", err
	}
	defer remove()
	file := d.file()
	from, err := file.stage(ctx, request, scratch)
	if err != nil {
		return "", err
	}
	metadata := filepath.Join(scratch, "metadata.json")
	// An engine that keeps images in containerd unpacks what it builds, can't do
	// that and rewrite times (exporter/containerimage of BuildKit), and keeps it.
	output := "type=image,push=true,unpack=false,store=false,rewrite-timestamp=true"
	if request.plainHTTP() {
		output += ",registry.insecure=true"
	}
	args := []string{"buildx", "build", "--progress=plain", "--pull"}
	if d.Builder != "" {
		args = append(args, "--builder="+d.Builder)
	}
	args = append(args,
		"--file="+from.file, "--tag="+request.tagged(), "--output="+output, "--metadata-file="+metadata,
		"--provenance="+orFalse(d.Provenance), "--sbom="+orFalse(d.SBOM),
	)
	args = append(args, "--platform="+strings.Join(request.Component.targets(), ","))
	args = append(args, repeated("--build-context", request.fixed(from.bases))...)
	args = append(args, file.arguments(request)...)
	args = append(args, repeated("--secret", d.Secrets)...)
	args = append(args, repeated("--ssh", d.SSH)...)
	args = append(args, repeated("--cache-from", d.CacheFrom)...)
	args = append(args, repeated("--cache-to", d.CacheTo)...)
	args = append(append(args, d.Options...), from.context)
	if err := request.run(ctx, nil, []string{"SOURCE_DATE_EPOCH=" + request.epoch()}, "docker", args...); err != nil {
		return "", request.onlyInputs(ctx, err)
	}
	return request.buildxDigest(metadata)
}

// buildxDigest reads what --metadata-file writes; see
// https://docs.docker.com/reference/cli/docker/buildx/build/#metadata-file. What
// --iidfile has is the digest of the configuration with some drivers.
func (r Request) buildxDigest(file string) (string, error) {
	const where = "as containerimage.digest of its metadata"
	content, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return r.reported("", "docker buildx", where)
	}
	if err != nil {
		return "", fmt.Errorf("%s: read the digest: %w", r.Component.Name, err)
	}
	var metadata struct {
		Digest string `json:"containerimage.digest"`
	}
	if err := json.Unmarshal(content, &metadata); err != nil {
		return r.reported(string(content), "docker buildx", where)
	}
	return r.reported(metadata.Digest, "docker buildx", where)
}

func orFalse(s string) string {
	if s == "" {
		return "false"
	}
	return s
}
