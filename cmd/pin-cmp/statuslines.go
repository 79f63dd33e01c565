package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/pin-cmp/pin-cmp/build"
)

// statusLines shows a line for each build that runs, at the bottom of what has
// been printed: its name, how long it takes, the last line of its log.
//
// The cursor rests at the start of the first of these lines. So all of them are
// "from the cursor to the end of the screen", even after the terminal has wrapped
// them anew because its window changed, and nothing has to be counted to remove
// them. It stays visible, and no other state of the terminal is changed for
// longer than one write: whatever kills this process leaves a terminal to work
// with.
type statusLines struct {
	w    io.Writer
	size func() (width, height int) // in cells; 0 where nobody knows
	now  func() time.Time
	stop func()

	mu       sync.Mutex
	expected map[string]bool // those that have not started
	running  []*runningBuild
	drawn    string // what stands below the messages
	held     []byte // the start of a message
	open     bool   // the messages end in the middle of a line
	closed   bool
}

type runningBuild struct {
	component string
	began     time.Time
	last      string // line of its log
}

var _ build.Watcher = (*statusLines)(nil)

const (
	// redrawEvery is how often the lines follow the builds. A log of thousands of
	// lines a second must not become as many writes to a terminal.
	redrawEvery = 100 * time.Millisecond
	// eraseLines erases all from the cursor's line on. It does so from the second
	// column: tmux keeps what is erased from the screen's first character on in
	// its history, as if it had scrolled away.
	eraseLines = "\r\x1b[K\x1b[C\x1b[J\r"
	// maxHeld is how long the start of a message, in bytes, waits for its end.
	maxHeld = 64 << 10
)

// startStatusLines shows builds on a terminal until it is closed.
func startStatusLines(w io.Writer, size func() (width, height int)) *statusLines {
	s := &statusLines{w: w, size: size, now: time.Now}
	stop, stopped := make(chan struct{}), make(chan struct{})
	s.stop = func() {
		close(stop)
		<-stopped
	}
	go func() {
		defer close(stopped)
		tick := time.NewTicker(redrawEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				s.redraw()
			}
		}
	}()
	return s
}

// Started implements [build.Watcher].
func (s *statusLines) Started(component string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.expected, component)
	s.running = append(s.running, &runningBuild{component: component, began: s.now()})
}

// Line implements [build.Watcher]. It draws nothing.
func (s *statusLines) Line(component, line string) {
	if strings.TrimSpace(line) == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(component); i >= 0 {
		s.running[i].last = line
	}
}

// Finished implements [build.Watcher].
func (s *statusLines) Finished(component, digest string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(component)
	if i < 0 {
		return
	}
	s.running = append(s.running[:i], s.running[i+1:]...)
	line := outcome(component, digest, err) + "\n"
	if s.open {
		line = "\n" + line
	}
	s.draw([]byte(line)) // before what is held, which may never be ended
	s.message(nil)
}

func (s *statusLines) find(component string) int {
	for i, b := range s.running {
		if b.component == component {
			return i
		}
	}
	return -1
}

func (s *statusLines) expect(components []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expected = map[string]bool{}
	for _, component := range components {
		s.expected[component] = true
	}
}

// Write prints above the lines.
func (s *statusLines) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.message(p)
	return len(p), nil
}

// message prints whole lines; what is begun waits while there are lines below.
func (s *statusLines) message(p []byte) {
	s.held = append(s.held, p...)
	end := len(s.held)
	if len(s.running) > 0 && !s.closed {
		end = bytes.LastIndexByte(s.held, '\n') + 1
		if end == 0 && len(s.held) > maxHeld {
			s.held = append(s.held, '\n')
			end = len(s.held)
		}
	}
	s.draw(s.held[:end])
	s.held = append(s.held[:0], s.held[end:]...)
}

// redraw brings the lines up to date.
func (s *statusLines) redraw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draw(nil)
}

// draw prints messages, and the lines below them, in one write.
func (s *statusLines) draw(messages []byte) {
	frame := s.frame()
	if len(messages) == 0 && frame == s.drawn {
		return
	}
	var out []byte
	if s.drawn != "" && (len(messages) > 0 || frame == "") {
		out = append(out, eraseLines...)
	}
	out = append(out, messages...)
	if len(messages) > 0 {
		s.open = messages[len(messages)-1] != '\n'
	}
	if frame != "" && s.open {
		out = append(out, '\n')
		s.open = false
	}
	out = append(out, frame...)
	s.drawn = frame
	// Nobody could be told that the terminal is gone.
	_, _ = s.w.Write(out)
}

// frame returns what draws the lines over what is there, and leaves the cursor
// where it was; "" if there are none.
//
// Lines are cut to the window. Where the terminal takes a character to be wider
// than [cells] does, or the window has just become narrower, it must not wrap
// them: autowrap is off meanwhile.
func (s *statusLines) frame() string {
	if s.closed || len(s.running) == 0 {
		return ""
	}
	lines := s.lines()
	up := ""
	if len(lines) > 1 {
		up = fmt.Sprintf("\x1b[%dA", len(lines)-1)
	}
	return "\r\x1b[?7l" + strings.Join(lines, "\x1b[K\n") + "\x1b[J" + up + "\r\x1b[?7h"
}

// lines returns what a person reads: at most two lines less than the window has,
// and one for what that leaves out.
func (s *statusLines) lines() []string {
	width, height := s.size()
	if width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	width-- // in the last column some terminals wrap already

	shown := s.running[:min(len(s.running), max(1, height-2))]
	name := 0
	for _, b := range shown {
		name = max(name, len(b.component))
	}
	name = min(name, width/3)
	var lines []string
	for _, b := range shown {
		text := fmt.Sprintf("%-*s %6s  %s", name, cut(b.component, name), elapsed(s.now().Sub(b.began)), b.last)
		lines = append(lines, strings.TrimRight(cut(text, width), " "))
	}
	var rest []string
	if more := len(s.running) - len(shown); more > 0 {
		rest = append(rest, fmt.Sprintf("and %d more", more))
	}
	if waiting := len(s.expected); waiting > 0 {
		rest = append(rest, fmt.Sprintf("%d waiting", waiting))
	}
	if len(rest) > 0 && len(lines) < height {
		lines = append(lines, cut(strings.Join(rest, ", "), width))
	}
	return lines
}

func (s *statusLines) close() {
	if s.stop != nil {
		s.stop()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.message(nil)
}

// elapsed is a duration at a glance.
func elapsed(d time.Duration) string {
	switch seconds := int(d / time.Second); {
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%dm%02ds", seconds/60, seconds%60)
	default:
		return fmt.Sprintf("%dh%02dm", seconds/3600, seconds/60%60)
	}
}

// cut returns as much of text as fits into so many cells, in one line.
func cut(text string, width int) string {
	text = strings.ReplaceAll(text, "\t", " ")
	used, fits := 0, 0 // fits is where an ellipsis still has room
	for i, r := range text {
		if used < width {
			fits = i
		}
		if used += cells(r); used > width {
			return text[:fits] + "…"[:min(len("…"), width*len("…"))]
		}
	}
	return text
}

// cells is how many cells of a terminal a character takes, or more. Terminals
// disagree about many, so this errs on the side that is never wrapped: all from
// U+1100 on, where the first wide ones are, count double, but for the ranges of
// narrow ones that tools print.
func cells(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case r == 0xFE0F: // makes the symbol before it an emoji, which is wide
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r < 0x1100,
		0x1E00 <= r && r < 0x2300, // letters with accents, punctuation, arrows
		0x2500 <= r && r < 0x25A0, // lines and blocks
		0x2713 <= r && r < 0x2719, // ticks and crosses
		0x2800 <= r && r < 0x2900, // spinners of dots
		r == unicode.ReplacementChar:
		return 1
	}
	return 2
}
