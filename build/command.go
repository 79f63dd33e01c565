package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Command is the builder that runs the component's own command, in the
// directory of its pin.yaml, with the user's environment and
//
//	PIN_IMAGE          the repository to push to
//	PIN_TAG            the tag that keeps the image: pin-<inputs key>
//	PIN_PLATFORMS      those of the pin.yaml, linux/amd64,linux/arm64; may be empty
//	PIN_CONTEXT        the directory of the pin.yaml, absolute
//	PIN_DIGEST_FILE    where to write the digest: sha256:…, or repository@sha256:…
//	SOURCE_DATE_EPOCH  when the inputs last changed, in seconds since 1970
//
// A command that leaves the file empty may print the digest, or a reference that
// ends in it, as the last line of its standard output instead. Tags are not its
// business: it may push under PIN_TAG, and they are given to the digest afterwards.
type Command []string

var _ Recipe = Command{}

// decodeCommand reads a list of words.
func decodeCommand(node *yaml.Node) (Recipe, error) {
	var c Command
	if err := node.Decode(&c); err != nil {
		return nil, lineError(node.Line, "is no list of words, as in [make, push]")
	}
	return c, nil
}

// Check implements [Recipe].
func (c Command) Check(Component) error {
	if len(c) == 0 || c[0] == "" {
		return errors.New("build.command is empty: the program that builds and pushes, and its arguments")
	}
	return nil
}

// Program implements [Recipe].
func (c Command) Program() Program {
	if strings.ContainsAny(c[0], `/\`) {
		return Program{} // in the repository, perhaps made by another build
	}
	return Program{Name: c[0]}
}

// Bases implements [Recipe]: what a command starts from is in its inputs.
func (c Command) Bases(Component, func(string) ([]byte, error)) ([]Base, error) { return nil, nil }

// Build implements [Builder]. When ctx ends, the command and all it started are
// killed, and the error is ctx's. The command reads no input and has no
// terminal to ask on: it is a process group of its own.
func (c Command) Build(ctx context.Context, request Request) (string, error) {
	scratch, remove, err := request.scratch()
	if err != nil {
		return "", err
	}
	defer remove()
	digestFile := filepath.Join(scratch, "digest")
	last := &lastLine{}
	env := []string{
		"PIN_IMAGE=" + request.Component.Image,
		"PIN_TAG=" + request.Tag,
		"PIN_PLATFORMS=" + strings.Join(request.Component.Platforms, ","),
		"PIN_CONTEXT=" + request.dir(),
		"PIN_DIGEST_FILE=" + digestFile,
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(request.Time.Unix(), 10),
	}
	if err := request.run(ctx, last, env, c[0], c[1:]...); err != nil {
		return "", err
	}
	reported, err := os.ReadFile(digestFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%s: read the digest: %w", request.Component.Name, err)
	}
	if len(bytes.TrimSpace(reported)) == 0 {
		reported = last.text()
	}
	return request.Component.digest(string(reported))
}

var reportedDigest = regexp.MustCompile(`^(?:[^\s@]+@)?(sha256:[0-9a-f]{64})$`)

// digest takes the digest out of what the command reported.
func (c Component) digest(reported string) (string, error) {
	reported = strings.TrimSpace(reported)
	match := reportedDigest.FindStringSubmatch(reported)
	if match == nil {
		if len(reported) > 80 {
			reported = strings.ToValidUTF8(reported[:80], "") + "…"
		}
		return "", fmt.Errorf("%s:%d: the build command of %s ended well but reported no digest; it writes sha256:<64 hex> to $PIN_DIGEST_FILE or as its last line, not %q", c.File, c.Line, c.Name, reported)
	}
	return match[1], nil
}

// lastLine keeps the last line that is not blank of what is written to it.
type lastLine struct{ line, last []byte }

// maxLine is longer than any reference.
const maxLine = 4096

// Write implements io.Writer.
func (l *lastLine) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case b == '\n':
			l.close()
		case len(l.line) < maxLine:
			l.line = append(l.line, b)
		}
	}
	return len(p), nil
}

func (l *lastLine) close() {
	if len(bytes.TrimSpace(l.line)) > 0 {
		l.last = append(l.last[:0], l.line...)
	}
	l.line = l.line[:0]
}

func (l *lastLine) text() []byte {
	l.close()
	return l.last
}
