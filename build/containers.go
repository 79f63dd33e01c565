package build

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/pin-cmp/pin-cmp/internal/process"
)

// containers builds a Dockerfile with Podman or Buildah, which have one engine: the
// image is made in the user's storage under a name that nobody else has, pushed,
// and removed. What it starts from stays there, as after any build.
//
// --timestamp makes images the same that are made of the same, and so do no cached
// layers (--layers=false), which have the times of an earlier build, no label with
// the version of Buildah, and --pull=always: what a base is called in the storage,
// which can be something else after a build for another platform, goes into the
// image (its history and annotations).
type containers struct {
	recipeFile
	program            string
	secrets, ssh       []string
	cacheFrom, cacheTo []string
}

// containerOptions are the options that are not the user's to set.
var containerOptions = []string{
	"--all-platforms", "--arch", "--build-arg", "--build-arg-file", "--build-context", "--digestfile", "--file", "-f", "--from", "--identity-label",
	"--iidfile", "--label", "--layer-label", "--manifest", "--os", "--output", "-o", "--platform", "--source-date-epoch", "--tag", "-t",
	"--target", "--timestamp", "--variant",
}

func (b containers) build(ctx context.Context, request Request) (digest string, err error) {
	scratch, remove, err := request.scratch()
	if err != nil {
		return "", err
	}
	defer remove()
	from, err := b.stage(ctx, request, scratch)
	if err != nil {
		return "", err
	}
	platforms := request.Component.targets()
	mark := "pin-cmp-" + strings.ToLower(rand.Text())
	markFile := filepath.Join(scratch, "mark")
	if err := os.WriteFile(markFile, nil, 0o600); err != nil {
		return "", fmt.Errorf("make a temporary file: %w", err)
	}
	// A secret that nothing mounts: it says whose a working container is.
	b.secrets = append(slices.Clone(b.secrets), "id="+mark+",src="+markFile)
	local := "localhost/" + mark + ":"
	var made []string
	defer func() { b.forget(ctx, request, mark, made, err == nil) }()
	for i, platform := range platforms {
		one := fmt.Sprintf("%s%d", local, i)
		made = append(made, one)
		if err := b.run(ctx, request, nil, b.buildArgs(request, from, platform, one)...); err != nil {
			return "", request.onlyInputs(ctx, err)
		}
	}
	digestFile := filepath.Join(scratch, "digest")
	push := []string{"push", "--digestfile=" + digestFile}
	what := made[0]
	if len(platforms) > 1 {
		what = local + indexTag
		if err := b.run(ctx, request, nil, "manifest", "create", what); err != nil {
			return "", err
		}
		images := made
		made = append(made, what)
		for _, image := range images {
			if err := b.run(ctx, request, nil, "manifest", "add", what, "containers-storage:"+image); err != nil {
				return "", err
			}
		}
		push = append([]string{"manifest"}, append(push, "--all")...)
	}
	if request.plainHTTP() {
		push = append(push, "--tls-verify=false")
	}
	if err := b.run(ctx, request, nil, append(push, what, "docker://"+request.tagged())...); err != nil {
		return "", err
	}
	return request.digestIn(digestFile, b.program, "into its --digestfile")
}

// buildArgs are those of one platform's build.
func (b containers) buildArgs(request Request, from staged, platform, name string) []string {
	args := []string{
		"build", "--file=" + from.file, "--tag=" + name, "--timestamp=" + request.epoch(), "--identity-label=false",
		"--force-rm", "--pull=always",
	}
	// A cache in a registry is one of layers.
	args = append(args, fmt.Sprintf("--layers=%t", len(b.cacheFrom)+len(b.cacheTo) > 0))
	args = append(args, "--platform="+platform)
	args = append(args, repeated("--build-context", request.fixed(from.bases))...)
	if request.onlyPlain(from.bases) {
		args = append(args, "--tls-verify=false")
	}
	args = append(args, b.arguments(request)...)
	args = append(args, repeated("--secret", b.secrets)...)
	args = append(args, repeated("--ssh", b.ssh)...)
	args = append(args, repeated("--cache-from", b.cacheFrom)...)
	args = append(args, repeated("--cache-to", b.cacheTo)...)
	return append(append(args, b.options...), from.context)
}

// fixed returns the build contexts that put a digest in the place of each base
// that is named by its tag: what is built on is what the key says.
func (r Request) fixed(bases []Base) []string {
	var contexts []string
	for _, base := range bases {
		if static := r.Bases[base.Reference]; static != "" && static != base.Reference {
			contexts = append(contexts, base.Reference+"=docker-image://"+static)
		}
	}
	slices.Sort(contexts)
	return slices.Compact(contexts)
}

// onlyPlain tells whether all bases are in registries that are asked over HTTP. The
// flag for it holds for all of them: where one is asked over TLS, it stays so.
func (r Request) onlyPlain(bases []Base) bool {
	for _, base := range bases {
		if !r.overHTTP(base.Reference) {
			return false
		}
	}
	return len(bases) > 0
}

// forget removes the images from the storage, as far as they were made, and the
// working containers of a build that failed or was stopped; ok is that of the build.
func (b containers) forget(ctx context.Context, request Request, mark string, images []string, ok bool) {
	request.Log = nil // the last words are the build's
	// It is done when the build is stopped, too; then it may not take long.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetTime)
	defer cancel()
	if !ok {
		for _, id := range b.working(ctx, request, mark) {
			remove := []string{"rm", id}
			if b.program == "podman" {
				remove = []string{"rm", "--force", id}
			}
			_ = b.run(ctx, request, nil, remove...)
		}
	}
	for _, image := range slices.Backward(images) {
		remove := []string{"rmi", "--force"}
		if strings.HasSuffix(image, indexTag) { // which rmi says it removes, and leaves
			remove = []string{"manifest", "rm"}
		}
		_ = b.run(ctx, request, nil, append(remove, image)...)
	}
}

// working returns the working containers that a build has left behind. Where they
// are and that buildah.json has the options of the build is how containers/storage
// and Buildah have it; a storage on another machine is not looked at.
func (b containers) working(ctx context.Context, request Request, mark string) []string {
	info := []string{"info"}
	if b.program == "podman" {
		info = append(info, "--format=json")
	}
	var printed bytes.Buffer
	if b.run(ctx, request, &printed, info...) != nil {
		return nil
	}
	var read struct {
		Store struct{ GraphRoot, GraphDriverName string } `json:"store"`
	}
	if json.Unmarshal(printed.Bytes(), &read) != nil || !filepath.IsAbs(read.Store.GraphRoot) {
		return nil
	}
	containers := filepath.Join(read.Store.GraphRoot, read.Store.GraphDriverName+"-containers")
	entries, _ := os.ReadDir(containers)
	var ids []string
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(containers, entry.Name(), "userdata", "buildah.json"))
		if err == nil && bytes.Contains(content, []byte("id="+mark+",")) {
			ids = append(ids, entry.Name())
		}
	}
	return ids
}

// indexTag is the local tag of an index; those of images are numbers.
const indexTag = "index"

// forgetTime bounds the removal of what a build has left behind.
const forgetTime = 30 * time.Second

// run runs the tool; what it prints goes to the log, or its standard output to
// stdout.
func (b containers) run(ctx context.Context, request Request, stdout io.Writer, args ...string) error {
	program, err := exec.LookPath(b.program)
	if err != nil {
		return request.Component.failed(ctx, b.program, err)
	}
	if b.program == "buildah" && runtime.GOOS == "linux" {
		// Buildah makes directories with the user's umask; podman has its own.
		args = append([]string{"-c", `umask 022 && exec "$@"`, "sh", program}, args...)
		program = "sh"
	}
	cmd := process.Command(ctx, program, args...)
	cmd.Dir = request.dir()
	cmd.Stdout = request.Log
	if request.Log == nil {
		cmd.Stdout = io.Discard
	}
	cmd.Stderr = cmd.Stdout
	if stdout != nil {
		cmd.Stdout = stdout
	}
	err = process.Run(ctx, cmd)
	if err == nil {
		return nil
	}
	return request.Component.failed(ctx, b.program, err)
}
