package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/pin-cmp/pin-cmp/build"
)

// pty is a pseudo-terminal of the kernel with a screen at its other end.
type pty struct {
	t      *testing.T
	master *os.File
	slave  *os.File // where a program writes

	mu     sync.Mutex
	screen screen
	raw    []byte // all that arrived
}

func openPty(t *testing.T, width, height int) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &pty{t: t, master: master, slave: slave, screen: screen{width: width, height: height, autowrap: true, rows: make([]row, 1)}}
	p.resize(width, height)
	read := make(chan struct{})
	go func() {
		defer close(read)
		buffer := make([]byte, 1<<12)
		for {
			n, err := master.Read(buffer)
			p.mu.Lock()
			p.screen.feed(buffer[:n])
			p.raw = append(p.raw, buffer[:n]...)
			p.mu.Unlock()
			if err != nil { // EIO: the slave is closed
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = slave.Close()
		<-read
		_ = master.Close()
	})
	return p
}

// resize changes the window, and what is on the screen, as its owner does.
func (p *pty) resize(width, height int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := unix.Winsize{Row: uint16(height), Col: uint16(width)}
	if err := unix.IoctlSetWinsize(int(p.master.Fd()), unix.TIOCSWINSZ, &size); err != nil {
		p.t.Fatal(err)
	}
	p.screen.resize(width, height)
}

func (p *pty) size() (int, int) {
	width, height, err := term.GetSize(int(p.slave.Fd()))
	if err != nil {
		p.t.Error(err)
	}
	return width, height
}

// arrived waits until everything that was written has been shown: n bytes in
// all, as they are after the line discipline has put carriage returns in.
func (p *pty) arrived(n int) {
	for {
		p.mu.Lock()
		here := len(p.raw)
		p.mu.Unlock()
		if here >= n {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// shows waits until the screen, with all that has left it at the top, is as
// wanted.
func (p *pty) shows(want func(lines []string) bool) []string {
	for {
		p.mu.Lock()
		lines := p.screen.text()
		p.mu.Unlock()
		if want(lines) {
			return lines
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// check checks what is there, with the cursor on a line of its own below it.
func (p *pty) check(want []string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := p.screen.text(); !slices.Equal(got, want) {
		p.t.Errorf("the screen has\n%s\nwant\n%s\nwritten: %q", strings.Join(got, "\n"), strings.Join(want, "\n"), p.raw)
	}
	p.checkCursor()
}

func (p *pty) checkCursor() {
	p.t.Helper()
	if s := &p.screen; s.col != 0 || len(s.rows[s.row].cells) > 0 || !s.autowrap || len(s.unknown) > 0 {
		p.t.Errorf("the cursor is at column %d of %q, autowrap is %t, not understood: %q", s.col, string(s.rows[s.row].cells), s.autowrap, s.unknown)
	}
}

// screen is as much of a terminal as pin-cmp uses.
type screen struct {
	width, height int
	reflow        bool // lines are wrapped anew when the window changes, as most terminals do; xterm cuts them
	autowrap      bool

	rows     []row // the first ones have left the screen
	top      int   // the first one on the screen
	row, col int   // of the cursor; col is width behind the last column

	partial []byte
	unknown []string
}

type row struct {
	cells   []rune // 0 is the second half of a wide one
	wrapped bool   // the next row goes on with it
}

var control = regexp.MustCompile(`^\x1b\[(\??)([0-9]*)([A-Za-z])`)

func (s *screen) feed(p []byte) {
	s.partial = append(s.partial, p...)
	for len(s.partial) > 0 {
		switch s.partial[0] {
		case '\x1b':
			m := control.FindSubmatch(s.partial)
			if m == nil {
				if len(s.partial) < 16 {
					return // for the rest of it
				}
				s.unknown = append(s.unknown, string(s.partial[:16]))
				s.partial = s.partial[1:]
				continue
			}
			s.sequence(string(m[1])+string(m[3]), string(m[2]))
			s.partial = s.partial[len(m[0]):]
		case '\r':
			s.col = 0
			s.partial = s.partial[1:]
		case '\n':
			s.down()
			s.col = min(s.col, s.width-1)
			s.partial = s.partial[1:]
		default:
			if !utf8.FullRune(s.partial) {
				return
			}
			r, size := utf8.DecodeRune(s.partial)
			if r < ' ' || r == utf8.RuneError {
				s.unknown = append(s.unknown, string(r))
			}
			s.put(r)
			s.partial = s.partial[size:]
		}
	}
}

func (s *screen) sequence(name, parameter string) {
	n := 0
	_, _ = fmt.Sscan(parameter, &n)
	switch {
	case name == "A":
		s.row = max(s.top, s.row-max(1, n))
	case name == "C":
		s.col = min(s.width-1, s.col+max(1, n))
	case name == "J" && n == 0:
		if s.row == s.top && s.col == 0 { // as tmux does
			for i := len(s.rows) - 1; i >= s.top; i-- {
				if len(s.rows[i].cells) > 0 {
					s.rows = append(s.rows[:i+1], row{})
					s.row, s.top = i+1, i+1
					return
				}
			}
		}
		s.erase(s.row, min(s.col, s.width-1))
		for i := s.row + 1; i < len(s.rows); i++ {
			s.rows[i] = row{}
		}
	case name == "K" && n == 0:
		s.erase(s.row, min(s.col, s.width-1))
	case name == "?h" && n == 7:
		s.autowrap = true
	case name == "?l" && n == 7:
		s.autowrap = false
	default:
		s.unknown = append(s.unknown, "CSI "+parameter+name)
	}
}

func (s *screen) erase(i, from int) {
	r := &s.rows[i]
	r.cells, r.wrapped = r.cells[:min(from, len(r.cells))], false
}

func (s *screen) down() {
	s.row++
	if s.row == len(s.rows) {
		s.rows = append(s.rows, row{})
	}
	s.top = max(s.top, s.row-s.height+1)
}

func (s *screen) put(r rune) {
	wide := cellsOf(r)
	if wide == 0 {
		return
	}
	if s.col+wide > s.width {
		if s.autowrap {
			s.rows[s.row].wrapped = true
			s.down()
			s.col = 0
		} else {
			s.col = s.width - wide
		}
	}
	line := &s.rows[s.row]
	for len(line.cells) < s.col+wide {
		line.cells = append(line.cells, ' ')
	}
	line.cells[s.col] = r
	for i := 1; i < wide; i++ {
		line.cells[s.col+i] = 0
	}
	s.col += wide
}

// cellsOf is the width of the characters that occur here, by Unicode's
// EastAsianWidth.txt and emoji-data.txt.
func cellsOf(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Cf):
		return 0
	case 0x2E80 <= r && r < 0xA4D0, 0xAC00 <= r && r < 0xD7A4, 0x1F300 <= r && r < 0x1FB00, strings.ContainsRune("✅❌✨", r):
		return 2
	}
	return 1
}

func (s *screen) resize(width, height int) {
	if s.reflow && width != s.width {
		s.wrap(width)
	}
	s.width, s.height = width, height
	s.col = min(s.col, width)
	s.top = max(0, len(s.rows)-height)
	if s.row < s.top { // the cursor stays, and what is below it goes
		s.top = s.row
		s.rows = s.rows[:s.top+height]
	}
	if !s.reflow {
		for i := s.top; i < len(s.rows); i++ {
			s.rows[i].cells = s.rows[i].cells[:min(width, len(s.rows[i].cells))]
		}
	}
}

// wrap wraps every line anew. The cursor stays at its character.
func (s *screen) wrap(width int) {
	var rows []row
	cursor := [2]int{}
	var line []rune
	at := -1 // where in line the cursor is
	for i, r := range s.rows {
		if i == s.row {
			at = len(line) + s.col
		}
		line = append(line, r.cells...)
		if r.wrapped && i+1 < len(s.rows) {
			continue
		}
		start := 0
		for {
			end := min(start+width, len(line))
			if end < len(line) && line[end] == 0 { // not through a wide one
				end--
			}
			last := end == len(line)
			if at >= start && (at < end || last) {
				cursor = [2]int{len(rows), min(at-start, width)}
				at = -1
			}
			rows = append(rows, row{cells: slices.Clone(line[start:end]), wrapped: !last})
			if last {
				break
			}
			start = end
		}
		line, at = nil, -1
	}
	s.rows, s.row, s.col = rows, cursor[0], cursor[1]
}

// text returns the lines as they were printed, wrapped ones as one, without
// blank ones at the end.
func (s *screen) text() []string {
	var lines []string
	line := ""
	for _, r := range s.rows {
		for _, c := range r.cells {
			if c != 0 {
				line += string(c)
			}
		}
		if !r.wrapped {
			lines = append(lines, strings.TrimRight(line, " "))
			line = ""
		}
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// onTerminal returns what a person at p sees.
func onTerminal(t *testing.T, p *pty) *terminal {
	t.Helper()
	for _, name := range []string{"CI", "NO_COLOR"} {
		t.Setenv(name, "")
	}
	return &terminal{w: p.slave, interactive: term.IsTerminal(int(p.slave.Fd()))}
}

// Two builds, as a person sees them while they run and afterwards, in a narrow
// window and in a wide one.
func TestStatusLines(t *testing.T) {
	const wide = "✅ 日本語のログ ✨ done 日本語のログ, and so on, to the end of the line and beyond it and on and on and on, as far as the eye can see and then some more of it, to be sure that it is longer than any window"
	for _, c := range []struct {
		width int
		web   string // the line of web
	}{
		{20, `^web     \ds  ✅ 日…$`},
		{200, `^web     \ds  ✅ 日本語のログ ✨ done 日本語のログ, and so on, .*to be sure that it is long…$`},
		{400, `^web     \ds  ` + wide + `$`},
	} {
		t.Run(fmt.Sprint(c.width), func(t *testing.T) {
			p := openPty(t, c.width, 10)
			ui := onTerminal(t, p)
			ui.say("before")
			watcher, done := ui.watch()
			watcher.Started("web")
			watcher.Line("web", wide)
			watcher.Started("api")
			watcher.Line("api", "\tstep 1")
			watcher.Line("api", "")
			// check waits for the lines of both, n in all, and looks at them.
			check := func(n int) {
				t.Helper()
				lines := p.shows(func(lines []string) bool {
					return len(lines) == n && strings.Contains(lines[n-2], "✅") && strings.Contains(lines[n-1], "step 1")
				})
				for i, want := range []string{c.web, `^api     \ds   step 1$`} {
					if got := lines[n-2+i]; !regexp.MustCompile(want).MatchString(got) {
						t.Errorf("%q, want %s", got, want)
					}
				}
			}
			check(3)
			long := strings.TrimSpace("a message " + strings.Repeat("that is long ", 20))
			ui.say(long)
			check(4)
			watcher.Finished("web", aDigest, nil)
			watcher.Finished("api", "", errors.New("failed"))
			done()
			ui.say("the end")
			want := []string{"before", long, "built web: " + aDigest, "the build of api failed", "the end"}
			p.shows(func(lines []string) bool { return len(lines) > 0 && lines[len(lines)-1] == "the end" })
			p.check(want)
		})
	}
}

// Whatever ends the builds, there is nothing left of the lines: Ctrl-C, which
// the terminal echoes, and a panic on the way out.
func TestStatusLinesAreRemoved(t *testing.T) {
	for name, end := range map[string]func(p *pty, cancel func()){
		"done": func(*pty, func()) {},
		"Ctrl-C": func(p *pty, cancel func()) {
			if _, err := p.master.Write([]byte{3}); err != nil {
				p.t.Error(err)
			}
			p.shows(func(lines []string) bool { return strings.Contains(strings.Join(lines, "\n"), "^C") })
			cancel()
		},
		"panic": func(*pty, func()) { panic("out of order") },
	} {
		t.Run(name, func(t *testing.T) {
			p := openPty(t, 80, 10)
			ui := onTerminal(t, p)
			func() {
				defer func() { _ = recover() }()
				watcher, done := ui.watch()
				defer done()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ui.say("a message")
				var group sync.WaitGroup
				defer group.Wait()
				defer cancel()
				b := build.Watch(build.ByRecipe{}, watcher, "")
				for _, component := range []string{"web", "api"} {
					group.Go(func() {
						_, _ = b.Build(ctx, build.Request{Top: t.TempDir(), Component: build.Component{Name: component, Recipe: build.Command{"sh", "-c", "echo running; sleep 1000"}}})
					})
				}
				p.shows(func(lines []string) bool { return strings.Count(strings.Join(lines, "\n"), "s  running") == 2 })
				end(p, cancel)
			}()
			ui.say("the end")
			p.shows(func(lines []string) bool { return len(lines) > 0 && lines[len(lines)-1] == "the end" })
			want := []string{"a message", "stopped the build of api", "stopped the build of web", "the end"}
			p.mu.Lock()
			got := p.screen.text()
			p.mu.Unlock()
			if slices.Sort(got[1 : len(got)-1]); !slices.Equal(got, want) {
				t.Errorf("%q", got)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.checkCursor()
		})
	}
}

// More builds than the window has lines.
func TestStatusLinesAreFewerThanTheWindowHas(t *testing.T) {
	for height, want := range map[int][]string{
		1: {"c0     0s"},
		2: {"c0     0s", "and 8 more, 1 waiting"},
		3: {"c0     0s", "and 8 more, 1 waiting"},
		5: {"c0     0s", "c1     0s", "c2     0s", "and 6 more, 1 waiting"},
		// One line for what waits, although all that run are there.
		11: {"c0     0s", "c1     0s", "c2     0s", "c3     0s", "c4     0s", "c5     0s", "c6     0s", "c7     0s", "c8     0s", "1 waiting"},
		0:  {"c0     0s", "c1     0s", "c2     0s", "c3     0s", "c4     0s", "c5     0s", "c6     0s", "c7     0s", "c8     0s", "1 waiting"},
	} {
		s, _ := statusLinesInMemory(height)
		s.expect([]string{"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"})
		for i := range 9 {
			s.Started(fmt.Sprint("c", i))
		}
		if got := s.lines(); !slices.Equal(got, want) {
			t.Errorf("%d high: %q", height, got)
		}
	}
}

// In CI a terminal, too, gets lines that follow each other.
func TestProgressInCI(t *testing.T) {
	p := openPty(t, 80, 10)
	ui := onTerminal(t, p)
	t.Setenv("CI", "true")
	watcher, done := ui.watch()
	watcher.Started("web")
	watcher.Line("web", "step 1")
	watcher.Finished("web", aDigest, nil)
	done()
	p.shows(func(lines []string) bool { return len(lines) == 3 })
	p.check([]string{"building web", "web | step 1", "built web: " + aDigest})
	p.mu.Lock()
	defer p.mu.Unlock()
	if strings.Contains(string(p.raw), "\x1b") {
		t.Errorf("%q", p.raw)
	}
}

// counted counts what the line discipline makes of what is written.
type counted struct {
	w io.Writer
	n int
}

func (c *counted) Write(p []byte) (int, error) {
	c.n += len(p) + strings.Count(string(p), "\n")
	return c.w.Write(p)
}

// Builds come and go, print and say things, and the window changes all the time,
// also between the question for its size and the write. At any time there are the
// messages and the lines of the builds that run, and in the end the messages: each
// on a line of its own, nothing else, whether the terminal wraps anew or cuts.
func TestStatusLinesWhileTheWindowChanges(t *testing.T) {
	for seed := range uint64(24) {
		random := rand.New(rand.NewPCG(seed, 9))
		p := openPty(t, 60, 12)
		p.screen.reflow = seed%2 == 0
		out := &counted{w: p.slave}
		clock := time.Unix(0, 0)
		s := &statusLines{w: out, now: func() time.Time { return clock }}
		lowest := 0  // how high a window must be to show all lines that are about to be written
		windows := 0 // how often it has changed
		window := func() {
			windows++
			p.arrived(out.n)
			p.resize(20+random.IntN(100), max(lowest, 3+random.IntN(15)))
		}
		s.size = func() (int, int) {
			width, height := p.size()
			if random.IntN(10) == 0 {
				lowest = height
				window()
				lowest = 0
			}
			return width, height
		}
		var messages []string
		said := func(text string) {
			messages = append(messages, text)
		}
		say := func() {
			text := fmt.Sprintf("message %d", len(messages))
			if p.screen.reflow && random.IntN(3) == 0 {
				text += strings.Repeat(", which is long", 1+random.IntN(10))
			}
			fmt.Fprintln(s, text)
			said(text)
		}
		say()
		for step := range 300 {
			clock = clock.Add(time.Duration(random.IntN(2000)) * time.Millisecond)
			switch random.IntN(8) {
			case 0:
				s.Started(fmt.Sprintf("c%d", step))
			case 1, 2:
				if len(s.running) > 0 {
					s.Line(s.running[random.IntN(len(s.running))].component, strings.Repeat("日本x ✅", random.IntN(20)))
				}
			case 3:
				if len(s.running) > 0 {
					// What is short survives terminals that cut.
					s.Finished(s.running[random.IntN(len(s.running))].component, "ok", nil)
					p.arrived(out.n)
					p.mu.Lock()
					for _, line := range p.screen.text()[len(messages):] {
						if strings.HasPrefix(line, "built") {
							said(line)
						}
					}
					p.mu.Unlock()
				}
			case 4:
				say()
			case 5:
				window()
			default:
				clock = clock.Add(time.Second)
				before := windows
				s.redraw()
				p.arrived(out.n)
				if size := s.size; windows == before { // what was asked for is what is there
					s.size = p.size
					if got := p.screen.text()[len(messages):]; !slices.Equal(got, s.lines()) {
						t.Fatalf("seed %d, step %d: below the messages the screen has\n%q\nwant\n%q", seed, step, got, s.lines())
					}
					s.size = size
				}
			}
			p.arrived(out.n)
			p.mu.Lock()
			got := p.screen.text()
			p.mu.Unlock()
			if len(got) < len(messages) || !slices.Equal(got[:len(messages)], messages) {
				t.Fatalf("seed %d, step %d: the screen has\n%s\nwant first\n%s", seed, step, strings.Join(got, "\n"), strings.Join(messages, "\n"))
			}
		}
		s.close()
		p.arrived(out.n)
		p.check(messages)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
