package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Pack builds with Cloud Native Buildpacks, https://buildpacks.io, and pushes from
// the build (--publish). The lifecycle gives all files one time, and the image the
// time of the last commit that changed an input.
//
// pack has no labels of its own; a buildpack such as paketo-buildpacks/image-labels
// sets them.
type Pack struct {
	// Builder is the image that builds, and RunImage the one that the result is
	// put on. pack would take the run image that the builder names, by a tag; so
	// it is said here.
	Builder  string `yaml:"builder"`
	RunImage string `yaml:"runImage"`
	// Path is the directory of the source, relative to the pin.yaml, which is its
	// own if empty.
	Path string `yaml:"path"`
	// Env are variables of the build, and Buildpacks those to use, as pack has
	// them: an id of the builder's, docker://image, a directory.
	Env        Args     `yaml:"env"`
	Buildpacks []string `yaml:"buildpacks"`
	// Options are more flags of pack build.
	Options []string `yaml:"options"`
}

var _ Recipe = (*Pack)(nil)

func (p *Pack) file() recipeFile {
	return recipeFile{
		kind: "pack", context: p.Path, args: p.Env, options: p.Options,
		fields: map[string]string{"context": "path", "args": "env"},
		own: []string{
			"--builder", "-B", "--buildpack", "-b", "--creation-time", "--env", "-e", "--env-file", "--extension", "--insecure-registry",
			"--path", "-p", "--platform", "--post-buildpack", "--pre-buildpack", "--publish", "--report-output-dir", "--run-image", "--tag", "-t",
		},
	}
}

// Check implements [Recipe].
func (p *Pack) Check(c Component) error {
	for _, image := range []struct{ field, value, what string }{
		{"builder", p.Builder, "the image that builds"},
		{"runImage", p.RunImage, "the image that the result is put on; pack would take the one that the builder names by a tag"},
	} {
		if image.value == "" {
			return fmt.Errorf("build.pack.%s is missing: %s", image.field, image.what)
		}
		if strings.HasPrefix(image.value, "-") || strings.ContainsAny(image.value, " \t\r\n\x00") {
			return fmt.Errorf("build.pack.%s %q is no image", image.field, image.value)
		}
	}
	if len(c.Platforms) > 1 {
		return fmt.Errorf("build.pack builds for one platform, not for %s", strings.Join(c.Platforms, ", "))
	}
	for _, buildpack := range p.Buildpacks {
		switch {
		case strings.HasPrefix(buildpack, "http://") || strings.HasPrefix(buildpack, "https://"):
			return fmt.Errorf("build.pack.buildpacks: %s may be something else tomorrow; use an image by digest, docker://…", buildpack)
		case buildpack == "" || strings.ContainsAny(buildpack, ",\"\r\n\x00"): // pack reads a list between commas
			return fmt.Errorf("build.pack.buildpacks: %q is no buildpack", buildpack)
		}
		if !strings.HasPrefix(buildpack, ".") {
			continue
		}
		if err := inRepository(c, "build.pack.buildpacks", buildpack); err != nil {
			return err
		}
		if dir := filepath.ToSlash(filepath.Join(c.Dir, buildpack)); !c.Holds(dir) {
			return fmt.Errorf("build.pack.buildpacks: %s is not among the inputs of %s; add it", dir, c.Name)
		}
	}
	return p.file().check(c)
}

// Program implements [Recipe].
func (p *Pack) Program() Program {
	return Program{Name: "pack", Get: "https://buildpacks.io/docs/install-pack"}
}

// Bases implements [Recipe]: the builder, the run image, and buildpacks that are
// images. A project.toml among the inputs is pack's own.
func (p *Pack) Bases(Component, func(string) ([]byte, error)) ([]Base, error) {
	bases := []Base{{Reference: p.Builder}, {Reference: p.RunImage}}
	for _, buildpack := range p.Buildpacks {
		if image, ok := strings.CutPrefix(buildpack, "docker://"); ok {
			bases = append(bases, Base{Reference: image})
		}
	}
	return bases, nil
}

// Build implements [Builder].
func (p *Pack) Build(ctx context.Context, request Request) (string, error) {
	scratch, remove, err := request.scratch()
	if err != nil {
		return "", err
	}
	defer remove()
	source, report := filepath.Join(scratch, "context"), filepath.Join(scratch, "report")
	for _, dir := range []string{source, report} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", fmt.Errorf("make the context of the build: %w", err)
		}
	}
	if err := request.stage(ctx, p.file().contextDir(request.Component), source); err != nil {
		return "", err
	}
	args := []string{
		"build", request.tagged(), "--publish", "--builder=" + p.Builder, "--run-image=" + p.RunImage, "--path=" + source,
		"--report-output-dir=" + report, "--creation-time=" + request.epoch(), "--no-color",
	}
	for _, platform := range request.Component.Platforms {
		args = append(args, "--platform="+platform)
	}
	for _, name := range sortedKeys(p.Env) {
		args = append(args, "--env="+name+"="+p.Env[name])
	}
	args = append(args, repeated("--buildpack", p.Buildpacks)...)
	if host, _, _ := strings.Cut(request.Component.Image, "/"); request.plainHTTP() {
		args = append(args, "--insecure-registry="+host)
	}
	if err := request.run(ctx, nil, nil, "pack", slices.Concat(args, p.Options)...); err != nil {
		return "", request.onlyInputs(ctx, err)
	}
	return request.packDigest(filepath.Join(report, "report.toml"))
}

var packDigest = regexp.MustCompile(`^digest\s*=\s*"([^"]*)"$`)

// packDigest reads the digest from the report of the lifecycle
// (platform/files/report.go): key digest in table image.
func (r Request) packDigest(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("%s: read the digest: %w", r.Component.Name, err)
	}
	digest, table := "", ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			table = line
		} else if match := packDigest.FindStringSubmatch(line); match != nil && table == "[image]" {
			digest = match[1]
		}
	}
	return r.reported(digest, "pack", "as digest of [image] in its report")
}
