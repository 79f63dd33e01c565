package layers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pin-cmp/pin-cmp/internal/process"
)

// run runs the author's command, which writes to out.
func (b *builder) run(ctx context.Context, p v1.Platform, out string) error {
	variables := b.variables(p, out)
	arguments := make([]string, len(b.config.Command))
	for i, argument := range b.config.Command {
		arguments[i] = expand(argument, variables)
	}
	cmd := process.Command(ctx, arguments[0], arguments[1:]...)
	cmd.Dir = b.context()
	cmd.Env = b.request.Environ
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = slices.Clone(cmd.Env)
	for _, v := range variables {
		cmd.Env = append(cmd.Env, v[0]+"="+v[1])
	}
	log := b.request.Log
	if log == nil {
		log = io.Discard
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := process.Run(ctx, cmd); err != nil {
		return b.failed(ctx, cmd.Dir, err)
	}
	return nil
}

// context is the directory of the pin.yaml, absolute.
func (b *builder) context() string {
	return filepath.Join(b.request.Top, filepath.FromSlash(b.request.Dir))
}

// variables are the builder's own, in a fixed order.
func (b *builder) variables(p v1.Platform, out string) [][2]string {
	variables := [][2]string{
		{"PIN_OUT", out},
		{"PIN_CONTEXT", b.context()},
		{"PIN_IMAGE", b.request.Image},
		{"TARGETPLATFORM", p.String()},
		{"TARGETOS", p.OS},
		{"TARGETARCH", p.Architecture},
		{"TARGETVARIANT", p.Variant},
		{"CGO_ENABLED", "0"},
		{"SOURCE_DATE_EPOCH", strconv.FormatInt(b.epoch().Unix(), 10)},
		{"TZ", "UTC"},
		{"LC_ALL", "C.UTF-8"},
	}
	return append(variables, goVariables(p)...)
}

var variableRE = regexp.MustCompile(`\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})`)

// expand replaces the variables in an argument, and leaves what else has a dollar
// alone.
func expand(argument string, variables [][2]string) string {
	return variableRE.ReplaceAllStringFunc(argument, func(found string) string {
		name := strings.Trim(found, "${}")
		for _, v := range variables {
			if v[0] == name {
				return v[1]
			}
		}
		return found
	})
}

// failed says what became of the command.
func (b *builder) failed(ctx context.Context, dir string, err error) error {
	program := b.config.Command[0]
	var status *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		if info, statErr := os.Stat(dir); statErr != nil || !info.IsDir() {
			return fmt.Errorf("the directory %s, in which the build command of %s runs, is not here", b.request.Dir, b.request.Image)
		}
		if _, statErr := os.Stat(filepath.Join(dir, program)); statErr == nil && strings.Contains(program, "/") {
			return fmt.Errorf("its command, %s, is here, but the interpreter in its first line is not; install it, or correct that line", program)
		}
		return fmt.Errorf("its command, %s, is not here; install it, or correct build.layers.command", program)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("its command, %s, may not be executed; chmod +x it", program)
	case errors.As(err, &status):
		return fmt.Errorf("%s ended with %w", program, err)
	}
	return fmt.Errorf("%s: %w", program, err)
}
