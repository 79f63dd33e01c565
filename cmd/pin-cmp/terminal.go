package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// terminal is everything that a person sees beside the result: errors, hints,
// warnings and progress, all on stderr. Lower case, no full stop.
type terminal struct {
	w           io.Writer
	quiet       bool
	interactive bool

	mu   sync.Mutex
	line bool // a progress line stands there
	last time.Time
}

func newTerminal(cmd *cobra.Command) *terminal {
	t := &terminal{w: cmd.ErrOrStderr()}
	t.quiet, _ = cmd.Flags().GetBool("quiet")
	if f, ok := t.w.(*os.File); ok {
		t.interactive = term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
	}
	return t
}

// fail prints the error that ends the program.
func (t *terminal) fail(e *exitError) {
	if e.err == nil {
		return
	}
	t.print("pin-cmp: " + e.err.Error())
	if e.hint != "" {
		t.print("pin-cmp: hint: " + e.hint)
	}
}

// warn prints something that stops nothing.
func (t *terminal) warn(message string) {
	if !t.quiet {
		t.print("pin-cmp: warning: " + message)
	}
}

// say prints a line for people; it is no result.
func (t *terminal) say(message string) {
	if !t.quiet {
		t.print(message)
	}
}

// progress shows one line that replaces the one before, on a terminal only and
// at most ten times a second.
func (t *terminal) progress(format string, args ...any) {
	if t.quiet || !t.interactive {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.last) >= 100*time.Millisecond {
		t.last = now
		fmt.Fprintf(t.w, "\r\x1b[K"+format, args...)
		t.line = true
	}
}

// done removes the progress line.
func (t *terminal) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
}

func (t *terminal) clear() {
	if t.line {
		fmt.Fprint(t.w, "\r\x1b[K")
		t.line = false
	}
}

func (t *terminal) print(message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	fmt.Fprintln(t.w, message)
}
