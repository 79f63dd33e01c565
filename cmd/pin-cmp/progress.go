package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/term"

	"github.com/pin-cmp/pin-cmp/build"
)

// progress shows builds while they run, and messages beside them, from several
// goroutines at once.
type progress interface {
	build.Watcher
	// Write prints messages, or what hooks print. A line that is still to be
	// ended may wait until it is.
	io.Writer
	// expect names the builds that are to come, so that the names line up and it
	// can be said how many wait. It need not be called.
	expect(components []string)
	close()
}

// watch returns what shows builds. Until done is called everything that t prints
// goes through it, too. Call done by defer, so that a panic leaves a clean
// terminal, and before a result is printed; twice is once.
//
// On a terminal there is a line for each build that runs. Elsewhere, and in CI,
// where a terminal is a file that somebody reads later, lines of the logs follow
// each other, each with the name of its component: the logs of one CI job can't
// be folded by component, since builds that run at once mix. With --quiet there
// is nothing.
func (t *terminal) watch() (p progress, done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	w := t.w
	switch file, ok := w.(*os.File); {
	case t.quiet:
		p = &silence{w: w}
	case ok && t.interactive && !inCI() && runtime.GOOS != "windows": // whose console has to be asked before it takes escapes
		p = startStatusLines(file, func() (int, int) {
			width, height, _ := term.GetSize(int(file.Fd()))
			return width, height
		})
	default:
		p = &prefixedLines{w: w}
	}
	t.w = p
	return p, sync.OnceFunc(func() {
		p.close()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.w = w
	})
}

// inCI tells whether this is a CI job: all of them set $CI.
func inCI() bool {
	ci := os.Getenv("CI")
	return ci != "" && ci != "0" && ci != "false"
}

// log prints the end of the log of the build that failed, if err is about one.
func (t *terminal) log(err error) {
	var failed *build.FailedError
	if !errors.As(err, &failed) || failed.Lines == 0 {
		return
	}
	switch n := len(failed.Tail); n {
	case failed.Lines:
		t.print("the log of " + failed.Component + ":")
	case 1:
		t.print(fmt.Sprintf("the last of %d lines of the log of %s:", failed.Lines, failed.Component))
	default:
		t.print(fmt.Sprintf("the last %d of %d lines of the log of %s:", n, failed.Lines, failed.Component))
	}
	for _, line := range failed.Tail {
		t.print(prefixed(failed.Component, line))
	}
	switch file := shortPath(failed.LogFile); {
	case file != "" && failed.LogErr != nil:
		t.print(fmt.Sprintf("the log, as far as it could be kept, is in %s: %v", file, failed.LogErr))
	case file != "":
		t.print("the log is in " + file)
	case failed.LogErr != nil:
		t.print(fmt.Sprintf("the log could not be kept: %v", failed.LogErr))
	}
}

// shortPath returns a path from here where that is shorter.
func shortPath(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}

// prefixed returns a line of a log with the name of the component before it. So
// no line of a log can start with what a CI system takes for a command, as
// "::error" of GitHub.
func prefixed(component, line string) string {
	if line == "" {
		return component + " |"
	}
	return component + " | " + line
}

// silence shows messages alone, which are few when it is used.
type silence struct {
	mu sync.Mutex
	w  io.Writer
}

func (*silence) Started(string)                 {}
func (*silence) Line(string, string)            {}
func (*silence) Finished(string, string, error) {}
func (*silence) expect([]string)                {}
func (*silence) close()                         {}

// Write implements io.Writer.
func (s *silence) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// prefixedLines shows every line of every log as soon as it is complete. Apart
// from the order between components, the text is the same each time.
type prefixedLines struct {
	mu    sync.Mutex
	w     io.Writer
	width int
}

// Started implements [build.Watcher].
func (p *prefixedLines) Started(component string) { p.print("building " + component) }

// Line implements [build.Watcher].
func (p *prefixedLines) Line(component, line string) {
	p.mu.Lock()
	name := fmt.Sprintf("%-*s", p.width, component)
	p.mu.Unlock()
	p.print(prefixed(name, line))
}

// Finished implements [build.Watcher].
func (p *prefixedLines) Finished(component, digest string, err error) {
	p.print(outcome(component, digest, err))
}

// outcome says how a build ended, without why: the first failure is told at the
// end, and stopped the others.
func outcome(component, digest string, err error) string {
	switch {
	case err == nil:
		return "built " + component + ": " + digest
	case errors.Is(err, build.ErrStopped):
		return "stopped the build of " + component
	default:
		return "the build of " + component + " failed"
	}
}

func (p *prefixedLines) print(line string) { fmt.Fprintln(p, line) }

// Write implements io.Writer.
func (p *prefixedLines) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.w.Write(text)
}

func (p *prefixedLines) expect(components []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, component := range components {
		p.width = max(p.width, len(component))
	}
}

func (*prefixedLines) close() {}
