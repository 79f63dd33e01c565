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
	"slices"
	"strings"
	"sync"

	"github.com/pin-cmp/pin-cmp/internal/process"
)

// dir returns where the pin.yaml is, as an absolute path.
func (r Request) dir() string {
	return filepath.Join(r.Top, filepath.FromSlash(r.Component.Dir))
}

// run runs a tool in the directory of the pin.yaml, with the user's environment
// and what env adds to it; a name alone takes that out. What it prints goes to the log; its standard output to
// stdout, too, if that is not nil. When ctx ends, the tool and all that it started
// are killed.
func (r Request) run(ctx context.Context, stdout io.Writer, env []string, program string, args ...string) error {
	cmd := process.Command(ctx, program, args...)
	cmd.Dir = r.dir()
	cmd.Env = environ(env)
	log := r.Log
	if log == nil {
		log = io.Discard
	}
	cmd.Stdout, cmd.Stderr = log, log
	if stdout != nil {
		// Two streams now, so that whole lines of each go on: half a line of one
		// is not half of the other's.
		var together sync.Mutex
		out, errOut := &wholeLines{w: log, mu: &together}, &wholeLines{w: log, mu: &together}
		defer out.end()
		defer errOut.end()
		cmd.Stdout, cmd.Stderr = io.MultiWriter(out, stdout), errOut
	}
	if err := process.Run(ctx, cmd); err != nil {
		return r.Component.failed(ctx, program, err)
	}
	return nil
}

// environ is the user's environment with changes: NAME=value, or NAME alone for
// what is not to be there at all.
func environ(changes []string) []string {
	env := slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains(changes, name)
	})
	for _, change := range changes {
		if strings.Contains(change, "=") {
			env = append(env, change)
		}
	}
	return env
}

// wholeLines passes on what is written to it line by line. A line longer than
// maxLine goes on in pieces.
type wholeLines struct {
	w    io.Writer
	mu   *sync.Mutex // held while a line is passed on
	held []byte
}

// Write implements [io.Writer].
func (l *wholeLines) Write(p []byte) (int, error) {
	l.held = append(l.held, p...)
	n := bytes.LastIndexByte(l.held, '\n') + 1
	if n == 0 && len(l.held) > maxLine {
		n = len(l.held)
	}
	return len(p), l.pass(n)
}

func (l *wholeLines) pass(n int) error {
	if n == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.w.Write(l.held[:n])
	l.held = append(l.held[:0], l.held[n:]...)
	return err
}

// end passes the rest on.
func (l *wholeLines) end() { _ = l.pass(len(l.held)) }

// failed says what became of a program that builds the component.
func (c Component) failed(ctx context.Context, program string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("build %s: %w", c.Name, context.Cause(ctx))
	}
	field := "build." + c.Kind
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		get := "install it"
		if p := c.Recipe.Program(); p.Name == program && p.Get != "" {
			get += " (" + p.Get + ")"
		}
		return fmt.Errorf("%s:%d: the program that builds %s, %s, is not here; %s, or correct %s", c.File, c.Line, c.Name, program, get, field)
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%s:%d: the program that builds %s, %s, may not be executed; chmod +x it", c.File, c.Line, c.Name, program)
	}
	var status *exec.ExitError
	if errors.As(err, &status) {
		return fmt.Errorf("%s:%d: the build of %s failed: %s ended with %w", c.File, c.Line, c.Name, program, err)
	}
	return fmt.Errorf("%s:%d: the build of %s: %w", c.File, c.Line, c.Name, err)
}

// scratch makes a directory for what the tools of one build write beside the
// image, and returns what removes it.
func (r Request) scratch() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("", "pin-cmp-build-")
	if err != nil {
		return "", nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}
