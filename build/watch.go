package build

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// Watcher is told how builds come along, from several goroutines at once. For
// each build it is Started, then any number of times Line, then Finished, always;
// builds of different components overlap.
//
// A build waits while a method runs.
type Watcher interface {
	Started(component string)
	// Line is a line of the build's log, safe to show: valid UTF-8 without line
	// breaks and control characters but tabs, at most a few KiB.
	Line(component, line string)
	// Finished has either a digest or an error: a *[FailedError], or one that
	// matches [ErrStopped].
	Finished(component, digest string, err error)
}

// FailedError is a build that failed by itself, with the end of its log.
type FailedError struct {
	Component string
	// Err is what the builder returned.
	Err error
	// Tail are the last lines of the log, at most 40 and 64 KiB, as
	// [Watcher].Line gets them. Lines is how many there were in all.
	Tail  []string
	Lines int
	// LogFile is where the log is, up to its first 64 MiB byte for byte as the
	// tools printed it; "" if there is none. LogErr is why it is missing or
	// incomplete.
	LogFile string
	LogErr  error
}

// Error returns what the builder said, without the log.
func (e *FailedError) Error() string { return e.Err.Error() }

// Unwrap returns what the builder returned.
func (e *FailedError) Unwrap() error { return e.Err }

type watched struct {
	builder Builder
	watcher Watcher
	logDir  string
}

var _ Builder = (*watched)(nil)

// Watch returns a builder that does what b does, and tells about it: w, which may
// be nil, sees each build while it runs, and the error of one that failed is a
// *[FailedError] with the end of its log. One that was stopped matches
// [ErrStopped] instead, and has no log in its error: what was printed before says
// nothing about why.
//
// If logDir is not "", the whole log of each build is kept there, in a file
// <component>.log of mode 0600 that the next build of the component replaces:
// 40 lines often miss a compiler's first error, and to build again for the rest
// may take an hour or not fail any more. The directory is made when it is needed.
// That a log can't be kept never stops a build.
//
// The request's own Log gets nothing: w is there in its place.
//
// A panic of b's Build becomes an error: the other builds end in order then, with
// all the programs that they started, instead of being left behind.
func Watch(b Builder, w Watcher, logDir string) Builder {
	if w == nil {
		w = nobody{}
	}
	return &watched{builder: b, watcher: w, logDir: logDir}
}

// Build implements [Builder].
func (w *watched) Build(ctx context.Context, request Request) (digest string, err error) {
	c := request.Component
	log := &buildLog{file: openLogFile(w.logDir, c.Name)}
	log.lines.emit = func(line string) {
		log.tail.add(line)
		w.watcher.Line(c.Name, line)
	}
	request.Log = log

	returned := false
	w.watcher.Started(c.Name)
	defer func() {
		switch p := recover(); {
		case p != nil:
			log.crash(p)
			err = fmt.Errorf("%s:%d: the build of %s crashed pin-cmp: %v; this is a mistake in pin-cmp, please report it with the log", c.File, c.Line, c.Name, p)
		case !returned: // runtime.Goexit
			err = fmt.Errorf("%s:%d: the build of %s ended without a result", c.File, c.Line, c.Name)
		}
		log.close()
		if err != nil {
			digest = ""
			if returned && ctx.Err() != nil {
				err = &stopped{c.Name, context.Cause(ctx), err}
			} else {
				err = log.failed(c.Name, err)
			}
		}
		w.watcher.Finished(c.Name, digest, err)
	}()
	digest, err = w.builder.Build(ctx, request)
	returned = true
	return digest, err
}

// nobody watches.
type nobody struct{}

func (nobody) Started(string)                 {}
func (nobody) Line(string, string)            {}
func (nobody) Finished(string, string, error) {}

// buildLog receives what one build prints. After close it takes everything and
// keeps nothing, because a builder may leave a goroutine behind that still prints.
type buildLog struct {
	file *logFile

	mu     sync.Mutex
	lines  logLines
	tail   logTail
	closed bool
}

// Write implements io.Writer.
func (l *buildLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.file.write(p)
		l.lines.write(p)
	}
	return len(p), nil
}

// crash logs a panic; it is called while that is under way.
func (l *buildLog) crash(p any) {
	l.mu.Lock()
	begun := l.lines.begun
	l.mu.Unlock()
	if begun {
		fmt.Fprintln(l)
	}
	fmt.Fprintf(l, "panic: %v\n\n%s", p, debug.Stack())
}

func (l *buildLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines.end()
	l.file.close(&l.tail)
	l.closed = true
}

// failed returns the error of a build whose log is closed.
func (l *buildLog) failed(component string, err error) error {
	failed := &FailedError{Component: component, Err: err, Tail: l.tail.lines, Lines: l.tail.all}
	if l.file != nil {
		failed.LogFile, failed.LogErr = l.file.path, l.file.err
	}
	return failed
}

// errNoLogName is a component whose name can't be a file's; no pin.yaml can
// declare one.
var errNoLogName = errors.New("the component's name is no file name")
