// Package layers builds a container image without a daemon and without running
// anything in a container: it runs a command of the author's on this machine,
// puts files and directories on a base image, and sets the configuration.
//
// [Config] is what the author writes in a pin.yaml; [Build] makes the image of
// it, or the index if it is for several platforms. Pushing is the caller's.
//
// # The same bytes
//
// The same commit gives the same digest, whoever builds it and where. For what
// the author's command writes that is the author's to see to; everything else is
// the package's:
//
//   - Files are in the order of their names, belong to the owner that the author
//     gives (0:0), and carry no user names, no extended attributes and no time
//     but 1970-01-01, as those of ko and Bazel do. A file's own time differs from
//     checkout to checkout, and the commit's would change every layer with every
//     commit, so that a registry and a node would hold the same content many
//     times. Servers that tell browsers a file's age want another: mtime: commit.
//   - Modes are git's: 0644 and 0755 for files, 0755 for directories. Of a
//     command's output only the executable bit counts, so the umask doesn't.
//   - The compressor is a module whose version go.mod fixes, not the standard
//     library's, whose output is another with some versions of Go.
//   - Without platforms the image is for linux/amd64, never for what this machine
//     happens to be.
//
// # What the base has stays
//
// A layer holds the directories above its files, too. One that the base has (or
// an earlier layer) keeps its mode, owner and time: /tmp stays 1777. One that
// nobody has is made with 0755 and 0:0. A symbolic link on the way is followed as
// it stands in the image: with a base where /bin points at usr/bin, to: /bin/web
// makes usr/bin/web, and the link lives. This needs the names in the base's
// layers, so those are read; see Request.Cache.
//
// It is what BuildKit does. The shorter ways break images: a layer that leaves
// its directories out gets them from the runtime, with 0600 from some
// (containers/storage issue 1288, jib issues 523 and 727) and with 0755 over the
// base's own from others (opencontainers/image-spec issue 737); one that has them
// all with 0755 closes /tmp and replaces links (the "Launch Problems" of jib's FAQ).
package layers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Request is what a build needs beside the author's Config.
type Request struct {
	// Top is the work tree's root, an absolute path of this machine.
	Top string
	// Dir is the directory of the pin.yaml, from the work tree's root, with
	// slashes; "." is the root.
	Dir string
	// Image is the repository that the image is for: PIN_IMAGE.
	Image string
	// Files are the files and links that git tracks and that count as inputs of
	// the component. No other is put into an image by from.
	Files []File
	// Platforms are os/architecture[/variant], in the order they have in the
	// index. None is linux/amd64; one, or none, gives an image, and more give an
	// index.
	Platforms []string
	// Base is what Config.Base names; nil for scratch.
	Base *Base
	// Epoch is the commit's time: created in the image, SOURCE_DATE_EPOCH for the
	// command. The zero time is 1970-01-01.
	Epoch time.Time
	// Source and Revision are the repository's URL and the commit, for labels and
	// annotations; an empty one is left out.
	Source, Revision string
	// Log receives what the command prints; nil discards it.
	Log io.Writer
	// Environ is the user's environment; nil is this process's.
	Environ []string
	// Cache is a directory to remember the names in base layers in, so that a
	// base is read once on a machine. "" remembers nothing. It is made if it is
	// missing; several builds may share it.
	Cache string
}

// File is a file of the work tree.
type File struct {
	// Path is relative to the work tree's root, with slashes.
	Path string
	// Mode is git's: 0o100644, 0o100755, or 0o120000 for a symbolic link.
	Mode uint32
	// Object is the id of the blob in git. If it is given, a file with other
	// content is refused: one that was changed behind git's back or while it was
	// read, or that this user's git converts (core.autocrlf, filters), so that
	// another checkout of the commit would make another image. Leave it empty
	// where the conversion is meant, as for Git LFS.
	Object string
}

// Artifact is a built image or index. Its layers are in temporary files, which
// Close removes.
type Artifact struct {
	image  v1.Image
	index  v1.ImageIndex
	digest v1.Hash
	blobs  []*blob
}

// Image returns the image, nil if there are several platforms.
func (a *Artifact) Image() v1.Image { return a.image }

// Index returns the index, nil if there is one platform.
func (a *Artifact) Index() v1.ImageIndex { return a.index }

// Digest is the digest of the image's manifest, or the index's.
func (a *Artifact) Digest() v1.Hash { return a.digest }

// Close removes the layers. The image can't be read, or pushed, afterwards.
func (a *Artifact) Close() error {
	var errs []error
	for _, b := range a.blobs {
		errs = append(errs, b.close())
	}
	a.blobs = nil
	return errors.Join(errs...)
}

// Build makes the image. Platforms are built one after the other. When ctx ends,
// the command and all it started are killed, nothing is left behind, and the
// error wraps ctx's cause.
//
// An error is one of the author's files, command or configuration, of the base,
// or of this machine; its text says which, and what to do. The caller closes the
// Artifact.
func Build(ctx context.Context, config Config, request Request) (*Artifact, error) {
	if err := config.Check(); err != nil {
		return nil, err
	}
	b := &builder{config: config, request: request}
	artifact, err := b.build(ctx)
	if err == nil {
		return artifact, nil
	}
	for _, blob := range b.blobs {
		_ = blob.close()
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("build %s: %w", request.Image, context.Cause(ctx))
	}
	return nil, err
}

// builder is one build under way.
type builder struct {
	config  Config
	request Request

	owner   owner
	tracked *tracked
	scratch string // a directory of this build alone
	names   *nameCache

	blobs  []*blob
	layers map[layerKey]*layer // those that another platform can have, too
}

func (b *builder) build(ctx context.Context) (*Artifact, error) {
	platforms, err := parsePlatforms(b.request.Platforms)
	if err != nil {
		return nil, err
	}
	if err := b.checkBase(); err != nil {
		return nil, err
	}
	b.owner, _ = parseOwner(b.config.Owner)
	b.names, b.layers = &nameCache{dir: b.request.Cache}, map[layerKey]*layer{}
	if b.tracked, err = openTracked(b.request.Top, b.request.Dir, b.request.Files); err != nil {
		return nil, err
	}
	defer b.tracked.close()
	items := b.config.items()
	// What can be found wrong without running the command is found before it.
	for _, item := range items {
		if item.From != "" {
			if _, err := b.tracked.entries(ctx, item); err != nil {
				return nil, err
			}
		}
	}
	if b.scratch, err = os.MkdirTemp("", "pin-cmp-layers-"); err != nil {
		return nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	defer removeAll(b.scratch)
	var images []platformImage
	for i, p := range platforms {
		image, err := b.platform(ctx, items, p, filepath.Join(b.scratch, fmt.Sprintf("out-%d", i)))
		if err != nil && len(platforms) > 1 {
			err = fmt.Errorf("for %s: %w", p, err)
		}
		if err != nil {
			return nil, err
		}
		images = append(images, platformImage{p, image})
	}
	return b.artifact(images)
}

// platform makes the image for one platform. What the command writes is in the
// directory out while it is needed.
func (b *builder) platform(ctx context.Context, items []Copy, p v1.Platform, out string) (v1.Image, error) {
	base, err := b.base(p)
	if err != nil {
		return nil, err
	}
	names, err := b.names.image(ctx, base)
	if err != nil {
		return nil, fmt.Errorf("read the base %s: %w", b.baseName(), err)
	}
	var written *written
	if len(b.config.Command) > 0 {
		if err := os.Mkdir(out, 0o755); err != nil {
			return nil, fmt.Errorf("make a temporary directory: %w", err)
		}
		defer removeAll(out)
		if len(b.request.Platforms) > 1 && b.request.Log != nil {
			fmt.Fprintf(b.request.Log, "for %s\n", p)
		}
		if err := b.run(ctx, p, out); err != nil {
			return nil, err
		}
		if written, err = openWritten(out, b.request.Top); err != nil {
			return nil, err
		}
		defer written.close()
	}
	var layers []*layer
	for _, item := range items {
		var entries []entry
		if item.From != "" {
			entries, err = b.tracked.entries(ctx, item)
		} else {
			entries, err = written.entries(ctx, item)
		}
		if err != nil {
			return nil, err
		}
		l, err := b.layer(ctx, item, entries, names)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	if err := b.checkEntrypoint(names); err != nil {
		return nil, err
	}
	return b.image(p, base, layers)
}

// removeAll removes a directory, also one in which a command has left
// directories that may not be written, as Go's module cache has.
func removeAll(dir string) {
	if os.RemoveAll(dir) == nil {
		return
	}
	_ = filepath.WalkDir(dir, func(path string, entry os.DirEntry, _ error) error {
		if entry != nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	_ = os.RemoveAll(dir)
}
