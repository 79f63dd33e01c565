package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Command is the builder that runs the component's own command, in the
// directory of its pin.yaml, with the user's environment and
//
//	PIN_IMAGE        the repository to push to
//	PIN_CONTEXT      the directory of the pin.yaml, absolute
//	PIN_DIGEST_FILE  where to write the digest: sha256:…, or repository@sha256:…
//
// A command that leaves the file empty may print the digest, or a reference that
// ends in it, as the last line of its standard output instead. Tags that the
// author wrote are not its business: they are given to the digest afterwards.
type Command struct{}

var _ Builder = Command{}

// Build implements [Builder]. When ctx ends, the command and all it started are
// killed, and the error is ctx's. The command reads no input and has no
// terminal to ask on: it is a process group of its own.
func (Command) Build(ctx context.Context, request Request) (string, error) {
	c := request.Component
	scratch, err := os.MkdirTemp("", "pin-cmp-build-")
	if err != nil {
		return "", fmt.Errorf("make a temporary directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	digestFile := filepath.Join(scratch, "digest")

	cmd := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.Dir = filepath.Join(request.Top, filepath.FromSlash(c.Dir))
	cmd.Env = append(os.Environ(),
		"PIN_IMAGE="+c.Image, "PIN_CONTEXT="+cmd.Dir, "PIN_DIGEST_FILE="+digestFile)
	log := request.Log
	if log == nil {
		log = io.Discard
	}
	last := &lastLine{}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(log, last), log
	cmd.WaitDelay = 2 * time.Second
	killTogether(cmd)
	// A daemon that the build left behind may hold its output open.
	if err := cmd.Run(); err != nil && (ctx.Err() != nil || !errors.Is(err, exec.ErrWaitDelay)) {
		return "", c.failed(ctx, err)
	}
	reported, err := os.ReadFile(digestFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%s: read the digest: %w", c.Name, err)
	}
	if len(bytes.TrimSpace(reported)) == 0 {
		reported = last.text()
	}
	return c.digest(string(reported))
}

// failed says what became of the command.
func (c Component) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("build %s: %w", c.Name, context.Cause(ctx))
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s:%d: the build command of %s, %s, is not here; install it, or correct build.command", c.File, c.Line, c.Name, c.Command[0])
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%s:%d: the build command of %s, %s, may not be executed; chmod +x it", c.File, c.Line, c.Name, c.Command[0])
	}
	var status *exec.ExitError
	if errors.As(err, &status) {
		return fmt.Errorf("%s:%d: the build of %s failed: %s ended with %w", c.File, c.Line, c.Name, c.Command[0], err)
	}
	return fmt.Errorf("%s:%d: the build of %s: %w", c.File, c.Line, c.Name, err)
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
