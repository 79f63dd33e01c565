package forge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pin-cmp/pin-cmp/internal/process"
)

// runCommand lets Options.Command open the pull request.
func runCommand(ctx context.Context, o Options, remoteURL string, pr PullRequest) (Published, error) {
	scratch, err := os.MkdirTemp("", "pin-cmp-pr-")
	if err != nil {
		return Published{}, fmt.Errorf("make a temporary directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	body := filepath.Join(scratch, "body.md")
	if err := os.WriteFile(body, []byte(pr.Body), 0o600); err != nil {
		return Published{}, fmt.Errorf("write the description: %w", err)
	}
	cmd := process.Command(ctx, o.Command[0], o.Command[1:]...)
	cmd.Dir = o.Dir
	cmd.Env = append(append([]string{}, o.Environ...),
		"PIN_PR_TITLE="+pr.Title, "PIN_PR_BODY_FILE="+body, "PIN_PR_HEAD="+pr.Head, "PIN_PR_BASE="+pr.Base, "PIN_REMOTE_URL="+remoteURL)
	log := &oneAtATime{w: o.Log}
	if o.Log == nil {
		log.w = io.Discard
	}
	out := &bounded{most: longestAnswer}
	errs := &bounded{most: 64 << 10}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(log, out), io.MultiWriter(log, errs)
	if err := process.Run(ctx, cmd); err != nil {
		name := printable(o.Command[0])
		var status *exec.ExitError
		switch {
		case ctx.Err() != nil:
			return Published{}, context.Cause(ctx)
		case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
			return Published{}, failure(ErrMisuse, "the command of --pr-command, %s, is not here", name)
		case errors.As(err, &status):
			return Published{}, failure(ErrRefused, "the command of --pr-command, %s, ended with %v%s", name, status, lastWords(errs.kept.Bytes()))
		}
		return Published{}, failure(ErrRefused, "the command of --pr-command, %s: %v", name, err)
	}
	return Published{URL: lastURL(out.kept.Bytes()), Action: Commanded}, nil
}

// oneAtATime lets both streams of a program go to one writer.
type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *oneAtATime) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}

// lastURL returns the last line that is a URL and nothing else.
func lastURL(out []byte) (found string) {
	for line := range bytes.Lines(out) {
		s := strings.TrimSpace(string(line))
		if isPage(s) {
			found = s
		}
	}
	return found
}

// lastWords quotes the last line that was printed.
func lastWords(out []byte) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if said := printable(string(lines[len(lines)-1])); said != "" {
		return ": " + said
	}
	return ""
}
