package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pin-cmp/pin-cmp/build"
)

const aDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// stoppedBuild is the error of a build that was stopped.
func stoppedBuild(t *testing.T, component string) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := build.Limit(build.ByRecipe{}, 1).Build(ctx, build.Request{Component: build.Component{Name: component}})
	if !errors.Is(err, build.ErrStopped) {
		t.Fatal(err)
	}
	return err
}

// Where there is no terminal, lines follow each other.
func TestProgressInLines(t *testing.T) {
	var out bytes.Buffer
	ui := &terminal{w: &out}
	p, done := ui.watch()
	p.Started("web")
	p.Line("web", "unaligned")
	p.expect([]string{"web", "worker"})
	p.Line("web", "step 1")
	ui.say("a message")
	p.Started("worker")
	p.Line("worker", "")
	p.Line("worker", "\tat ::error::")
	fmt.Fprintln(p, "a hook's line")
	p.Finished("web", aDigest, nil)
	p.Finished("worker", "", &build.FailedError{Component: "worker", Err: errors.New("exit status 1")})
	p.Started("api")
	p.Finished("api", "", stoppedBuild(t, "api"))
	done()
	done()
	ui.say("the end")
	want := `building web
web | unaligned
web    | step 1
a message
building worker
worker |
worker | 	at ::error::
a hook's line
built web: ` + aDigest + `
the build of worker failed
building api
stopped the build of api
the end
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// With --quiet there is nothing but errors.
func TestProgressQuiet(t *testing.T) {
	var out bytes.Buffer
	ui := &terminal{w: &out, quiet: true}
	p, done := ui.watch()
	p.expect([]string{"web"})
	p.Started("web")
	p.Line("web", "step 1")
	ui.say("a message")
	p.Finished("web", "", errors.New("failed"))
	done()
	ui.fail(&exitError{err: errors.New("it failed")})
	if out.String() != "pin-cmp: it failed\n" {
		t.Errorf("%q", out.String())
	}
}

// Lines of builds that run at once, and messages, never mix within a line.
func TestProgressWholeLines(t *testing.T) {
	out := new(shreds)
	ui := &terminal{w: out}
	p, done := ui.watch()
	var group sync.WaitGroup
	for _, component := range []string{"web", "api", "worker"} {
		group.Go(func() {
			p.Started(component)
			for range 1000 {
				p.Line(component, "some text of "+component)
			}
			p.Finished(component, aDigest, nil)
		})
	}
	group.Go(func() {
		for range 1000 {
			ui.say("a message")
		}
	})
	group.Wait()
	done()
	whole := regexp.MustCompile(`^(building (web|api|worker)|built (web|api|worker): ` + aDigest + `|web \| some text of web|api \| some text of api|worker \| some text of worker|a message)$`)
	lines := strings.Split(strings.TrimSuffix(string(*out), "\n"), "\n")
	if len(lines) != 4*1000+2*3 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if !whole.MatchString(line) {
			t.Fatalf("%q", line)
		}
	}
}

// shreds takes what is written to it one byte at a time, as a slow pipe may. It
// has no lock of its own.
type shreds []byte

func (s *shreds) Write(p []byte) (int, error) {
	for _, b := range p {
		*s = append(*s, b)
	}
	return len(p), nil
}

// The end of a failed build's log, and where the rest of it is.
func TestProgressLog(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, ".git", "logs", "web.log")
	shown := filepath.Join(".git", "logs", "web.log")
	tail := []string{"step 9", "", "\tno such module"}
	for _, c := range []struct {
		name   string
		failed build.FailedError
		want   string
	}{
		{"nothing was printed", build.FailedError{LogFile: file}, ""},
		{"all of it", build.FailedError{Tail: tail, Lines: 3}, "the log of web:\nweb | step 9\nweb |\nweb | \tno such module\n"},
		{"its end", build.FailedError{Tail: tail, Lines: 12, LogFile: file}, "the last 3 of 12 lines of the log of web:\nweb | step 9\nweb |\nweb | \tno such module\nthe log is in " + shown + "\n"},
		{"its last line", build.FailedError{Tail: tail[:1], Lines: 12}, "the last of 12 lines of the log of web:\nweb | step 9\n"},
		{"a full disk", build.FailedError{Tail: tail[:1], Lines: 1, LogFile: file, LogErr: errors.New("no space left on device")}, "the log of web:\nweb | step 9\nthe log, as far as it could be kept, is in " + shown + ": no space left on device\n"},
		{"no file", build.FailedError{Tail: tail[:1], Lines: 1, LogErr: errors.New("permission denied")}, "the log of web:\nweb | step 9\nthe log could not be kept: permission denied\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.failed.Component, c.failed.Err = "web", errors.New("exit status 1")
			for _, quiet := range []bool{false, true} { // it is part of the error
				var out bytes.Buffer
				ui := &terminal{w: &out, quiet: quiet}
				ui.log(fmt.Errorf("nothing was rewritten: %w", &c.failed))
				if out.String() != c.want {
					t.Errorf("got\n%s\nwant\n%s", out.String(), c.want)
				}
			}
		})
	}
	var out bytes.Buffer
	ui := &terminal{w: &out}
	ui.log(stoppedBuild(t, "web"))
	ui.log(errors.New("another"))
	ui.log(nil)
	if out.Len() > 0 {
		t.Errorf("%q", out.String())
	}
}

// writes keeps what is written to it, write by write.
type writes struct{ writes []string }

func (w *writes) Write(p []byte) (int, error) {
	w.writes = append(w.writes, string(p))
	return len(p), nil
}

// statusLinesInMemory are drawn when they are told to, in a window of 80 columns,
// and time stands still.
func statusLinesInMemory(height int) (*statusLines, *writes) {
	out := new(writes)
	return &statusLines{
		w:    out,
		size: func() (int, int) { return 80, height },
		now:  func() time.Time { return time.Unix(0, 0) },
	}, out
}

// A log of ten thousand lines a second is no write to the terminal; neither is
// a redraw that changes nothing.
func TestStatusLinesAreDrawnSeldom(t *testing.T) {
	s, out := statusLinesInMemory(24)
	s.Started("web")
	for i := range 10_000 {
		s.Line("web", fmt.Sprint("line ", i))
	}
	if len(out.writes) > 0 {
		t.Errorf("%q", out.writes)
	}
	s.redraw()
	s.redraw()
	if len(out.writes) != 1 || !strings.Contains(out.writes[0], "line 9999") {
		t.Errorf("%q", out.writes)
	}
}

// A message is one write together with the lines below it, and appears when it
// is complete.
func TestStatusLinesMessages(t *testing.T) {
	s, out := statusLinesInMemory(24)
	fmt.Fprint(s, "no build runs: ")
	s.Started("web")
	s.redraw()
	fmt.Fprint(s, "half ")
	fmt.Fprint(s, "a line\nhalf")
	s.Finished("nobody", "", nil)
	s.Finished("web", aDigest, nil)
	fmt.Fprint(s, "of another")
	s.close()
	fmt.Fprint(s, " and its end\n")
	fmt.Fprint(s, "open")
	s.Started("api")
	s.Finished("api", aDigest, nil)
	line := "\r\x1b[?7lweb     0s\x1b[J\r\x1b[?7h"
	want := []string{
		"no build runs: ", "\n" + line, eraseLines + "half a line\n" + line,
		eraseLines + "built web: " + aDigest + "\n", "half", "of another", " and its end\n", "open", "\nbuilt api: " + aDigest + "\n",
	}
	if !slices.Equal(out.writes, want) {
		t.Errorf("got %q\nwant %q", out.writes, want)
	}
}

// A hook that prints without end, and without line breaks, is not kept in memory.
func TestStatusLinesHoldLittle(t *testing.T) {
	s, _ := statusLinesInMemory(24)
	s.Started("web")
	for range 1000 {
		fmt.Fprint(s, strings.Repeat("x", 1<<10))
	}
	if len(s.held) > maxHeld || cap(s.held) > 4*maxHeld {
		t.Errorf("%d bytes are held in %d", len(s.held), cap(s.held))
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"", 5, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"abcd", 1, "…"},
		{"abcd", 0, ""},
		{"a\tb", 3, "a b"},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日…"},
		{"✅✅", 3, "✅…"},
		{"éé", 1, "…"},
		{"e\u0301e\u0301", 2, "e\u0301e\u0301"},
		{"e\u0301e\u0301e", 2, "e\u0301…"},
		{"├── ✓ ok", 8, "├── ✓ ok"},
	} {
		if got := cut(c.text, c.width); got != c.want {
			t.Errorf("%q in %d cells: %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

func TestElapsed(t *testing.T) {
	for seconds, want := range map[int]string{0: "0s", 59: "59s", 60: "1m00s", 3599: "59m59s", 3600: "1h00m", 100 * 3600: "100h00m"} {
		if got := elapsed(time.Duration(seconds)*time.Second + time.Second/2); got != want {
			t.Errorf("%d s: %s, want %s", seconds, got, want)
		}
	}
}
