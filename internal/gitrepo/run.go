package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stopGrace is how long a git that was told to stop may take to remove its
// lock files before it is killed.
const stopGrace = 5 * time.Second

// Command is one run of git at the top of the work tree.
type Command struct {
	Args []string
	// Config are settings for this run alone, each "name=value".
	Config []string
	// Stdin is what git reads; nothing when nil.
	Stdin []byte
	// Env is added to the environment, and wins over it.
	Env []string
	// AsUser leaves the environment as the user has it, but for the variables
	// that point at another repository. It is for what runs the user's own
	// programs (hooks, filters, signing), whose output may depend on the locale.
	// Without it messages are in English, pathspecs are literal, and git takes
	// no lock only to refresh the index.
	AsUser bool
	// Stderr receives git's standard error as it comes, beside its place in the
	// error.
	Stderr io.Writer
	// Inherit is an open file that git and its children keep open while they run.
	Inherit *os.File
}

// Error is a git command that failed. Stderr is trimmed, and passwords in URLs
// are taken out.
type Error struct {
	// Command is git's subcommand, without its arguments.
	Command string
	Stderr  string
	// Code is the exit status, or -1 when git was stopped by a signal.
	Code int
	// Stdout is what git printed before it failed.
	Stdout []byte
}

func (e *Error) Error() string {
	if e.Stderr != "" {
		return fmt.Sprintf("git %s: %s", e.Command, e.Stderr)
	}
	if e.Code < 0 {
		return fmt.Sprintf("git %s: stopped by a signal", e.Command)
	}
	return fmt.Sprintf("git %s: exit status %d", e.Command, e.Code)
}

// Run runs git and returns its standard output. When ctx ends git is told to
// stop, and killed if it does not; the error is then ctx's. A git that fails is
// an [*Error], and what it printed until then is returned beside it.
func (r *Repo) Run(ctx context.Context, c Command) ([]byte, error) {
	var args []string
	for _, setting := range c.Config {
		args = append(args, "-c", setting)
	}
	cmd := exec.CommandContext(ctx, r.program, append(args, c.Args...)...)
	cmd.Dir = r.top
	base := r.env
	if c.AsUser {
		base = r.userEnv
	}
	cmd.Env = slices.Concat(base, c.Env)
	if c.Stdin != nil {
		cmd.Stdin = bytes.NewReader(c.Stdin)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if c.Stderr != nil {
		cmd.Stderr = io.MultiWriter(&stderr, c.Stderr)
	}
	if c.Inherit != nil {
		cmd.ExtraFiles = []*os.File{c.Inherit}
	}
	cmd.Cancel = func() error {
		if runtime.GOOS == "windows" {
			return cmd.Process.Kill()
		}
		return cmd.Process.Signal(syscall.SIGTERM)
	}
	cmd.WaitDelay = stopGrace
	err := cmd.Run()
	if err == nil {
		return stdout.Bytes(), nil
	}
	if ctx.Err() != nil {
		return stdout.Bytes(), fmt.Errorf("git %s: %w", c.Args[0], context.Cause(ctx))
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return stdout.Bytes(), fmt.Errorf("git %s: %w", c.Args[0], err)
	}
	return stdout.Bytes(), &Error{
		Command: c.Args[0],
		Stderr:  Redact(strings.TrimSpace(stderr.String())),
		Code:    exit.ExitCode(),
		Stdout:  stdout.Bytes(),
	}
}

// failedWith reports whether err is a git that exited with code: how git's
// plumbing says "no" as opposed to "I could not".
func failedWith(err error, code int) bool {
	var failed *Error
	return errors.As(err, &failed) && failed.Code == code
}

var userinfo = regexp.MustCompile(`(://)[^/@\s'"]+@`)

// Redact takes user names and passwords out of the URLs in s.
func Redact(s string) string { return userinfo.ReplaceAllString(s, "${1}***@") }

// location names the variables that point git at a repository ("git rev-parse
// --local-env-vars"), without those that carry "git -c" settings.
var location = []string{
	"GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX",
	"GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE",
	"GIT_INTERNAL_SUPER_PREFIX", "GIT_QUARANTINE_PATH",
}

func withoutLocation(env []string) []string { return without(env, location) }

func plumbingEnv(user []string) []string {
	env := without(user, []string{"GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS"})
	return append(env, "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_LITERAL_PATHSPECS=1")
}

func without(env, names []string) []string {
	kept := make([]string, 0, len(env)+4)
	for _, pair := range env {
		if name, _, _ := strings.Cut(pair, "="); !slices.Contains(names, name) {
			kept = append(kept, pair)
		}
	}
	return kept
}
