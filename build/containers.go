package build

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
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
	platforms := request.Component.Platforms
	local := "localhost/pin-cmp-" + strings.ToLower(rand.Text()) + ":"
	var made []string
	defer func() { b.forget(ctx, request, made, err == nil) }()
	for i := range max(1, len(platforms)) {
		one := fmt.Sprintf("%s%d", local, i)
		made = append(made, one)
		platform := ""
		if len(platforms) > 0 {
			platform = platforms[i]
		}
		if err := b.run(ctx, request, b.buildArgs(request, from, platform, one)...); err != nil {
			return "", request.onlyInputs(ctx, err)
		}
	}
	digestFile := filepath.Join(scratch, "digest")
	push := []string{"push", "--digestfile=" + digestFile}
	what := made[0]
	if len(platforms) > 1 {
		what = local + "index"
		if err := b.run(ctx, request, "manifest", "create", what); err != nil {
			return "", err
		}
		images := made
		made = append(made, what)
		for _, image := range images {
			if err := b.run(ctx, request, "manifest", "add", what, "containers-storage:"+image); err != nil {
				return "", err
			}
		}
		push = append([]string{"manifest"}, append(push, "--all")...)
	}
	if request.plainHTTP() {
		push = append(push, "--tls-verify=false")
	}
	if err := b.run(ctx, request, append(push, what, "docker://"+request.tagged())...); err != nil {
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
	if platform != "" {
		args = append(args, "--platform="+platform)
	}
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

// forget removes the images from the storage, as far as they were made; ok is that
// of the build, whose last words are not to be about the removal.
func (b containers) forget(ctx context.Context, request Request, images []string, ok bool) {
	if len(images) == 0 {
		return
	}
	if !ok {
		request.Log = nil
	}
	// It is done when the build is stopped, too; then it may not take long.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetTime)
	defer cancel()
	for i := len(images) - 1; i >= 0; i-- { // the index is the last
		_ = b.run(ctx, request, "rmi", "--force", images[i])
	}
}

const (
	// forgetTime bounds the removal of what a build has left behind.
	forgetTime = 30 * time.Second
	// stopTime is how long a tool may take to stop when it is told to.
	stopTime = 10 * time.Second
)

// run runs the tool. When ctx ends it is told to stop, so that it can end what runs
// in its working containers, which an OCI runtime may have put out of the reach of a
// kill, and remove them (Podman leaves a working container, as after its own
// Ctrl-C). If it does not stop, it is killed with all that it started.
func (b containers) run(ctx context.Context, request Request, args ...string) error {
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
	kill := cmd.Cancel
	var later *time.Timer
	cmd.WaitDelay += stopTime
	cmd.Cancel = func() error {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return kill() // a system without signals, or it has ended
		}
		later = time.AfterFunc(stopTime, func() { _ = kill() })
		return nil
	}
	err = process.Run(ctx, cmd)
	if later != nil {
		later.Stop()
		_ = kill() // what it has left of its group
	}
	if err == nil {
		return nil
	}
	return request.Component.failed(ctx, b.program, err)
}
