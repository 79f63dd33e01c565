package build

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// cleaned returns the lines of a log that is written in these portions.
func cleaned(portions ...[]byte) []string {
	lines := []string{}
	l := logLines{emit: func(line string) { lines = append(lines, line) }}
	for _, p := range portions {
		l.write(p)
	}
	l.end()
	return lines
}

var logTests = []struct {
	name, log string
	want      []string
}{
	{"nothing", "", []string{}},
	{"lines", "a\nb\n", []string{"a", "b"}},
	{"no line break at the end", "a\nb", []string{"a", "b"}},
	{"blank lines", "\n\na\n", []string{"", "", "a"}},
	{"space at the end", "a \t\n  b\n", []string{"a", "  b"}},
	{"carriage returns before line breaks", "a\r\nb\r\n\r\n", []string{"a", "b", ""}},
	{"tabs", "\ta\tb\n", []string{"\ta\tb"}},

	{"percentages", "1%\r50%\r100%\ndone\n", []string{"100%", "done"}},
	{"percentages, break behind", "1%\r50%\r100%\r\ndone", []string{"100%", "done"}},
	{"percentages that end", "1%\r50%\r", []string{"50%"}},
	{"a bar that shrinks", "[=====>    ]\r[done]\n", []string{"[done]"}},
	{"npm", "\x1b[1G\x1b[0K⠙\x1b[1G\x1b[0K⠹ reify\x1b[1G\x1b[0Kadded 3 packages\n", []string{"added 3 packages"}},
	{"a line that is cleared", "waiting\r\x1b[K\nnext\n", []string{"", "next"}},
	{"cleared as a whole", "waiting\x1b[2Kdone\n", []string{"done"}},
	{"to the end only", "kept\x1b[K\n", []string{"kept"}},
	{"a spinner", "|\b/\b-\bok\n", []string{"ok"}},
	{"bold on paper", "N\bNA\bAME\n", []string{"NAME"}},
	{"backspace at the start", "\b\ba\b\b\bb\n", []string{"b"}},
	{"backspace over a rune", "aé\bb 日\b\n", []string{"ab"}},
	{"BuildKit's terminal", "\x1b[?25l#1 a\n\x1b[1A\x1b[0G\x1b[2K#1 b\n\x1b[?25h", []string{"#1 a", "#1 b"}},
	{"a bar of two lines", "a 1%\nb 1%\x1b[1A\ra 2%\x1b[1B\rb 2%\n", []string{"a 1%", "b 1%", "a 2%", "b 2%"}},

	{"colours", "\x1b[31;1merror\x1b[0m: no\x1b[38;2;1;2;3m!\x1b[m\n", []string{"error: no!"}},
	{"a title", "\x1b]0;make\x07all\n", []string{"all"}},
	{"a link", "\x1b]8;;https://example.com\x1b\\text\x1b]8;;\x1b\\ more\n", []string{"text more"}},
	{"a title without an end", "\x1b]0;make\nall\n", []string{"", "all"}},
	{"a title with an escape inside", "a\x1b]0;x\x1b[31my\n", []string{"ay"}},
	{"a device string", "\x1bPq#0;2;0;0;0\x1b\\picture\n", []string{"picture"}},
	{"a character set", "\x1b(0lqk\x1b(B\x1b=\n", []string{"lqk"}},
	{"save, reset, clear", "\x1b7a\x1bc\x1b[2Jb\x1b8\n", []string{"ab"}},
	{"a sequence that is broken off", "a\x1b[31\nb\x1b\nc\x1b[3\x1b[0md\n", []string{"a", "b", "cd"}},
	{"a sequence without an end", "a\x1b[31", []string{"a"}},
	{"a rune within a sequence", "a\x1b[3é1m\x1bé\n", []string{"aé1mé"}},
	{"eight-bit sequence", "a\u009b31mb\n", []string{"a31mb"}},
	{"control characters", "a\x00\x01\x0b\x0c\x0e\x7f\u0085b\n", []string{"ab"}},
	{"other ends of lines", "a\u2028b\u2029c\n", []string{"abc"}},
	{"text that runs backwards", "a\u202eb\u2066c\u200fd\n", []string{"abcd"}},
	{"joined emoji stay", "👩‍💻 ❤️\n", []string{"👩‍💻 ❤️"}},

	{"not UTF-8", "a\xff\xfe\x80b\xe2\x82\n\xe2\x82ac\n", []string{"a\uFFFDb\uFFFD", "\uFFFDac"}},
	{"half a rune at the end", "a\xf0\x9f\x92", []string{"a\uFFFD"}},
	{"half a rune before an escape", "\xe2\x82\x1b[31mb\r\xc3\n", []string{"\uFFFD"}},
	{"half a rune, twice", "\xc3\r\xc3\n\xc3\n", []string{"\uFFFD", "\uFFFD"}},
	{"a rune of its own", "a\uFFFD\xff\n", []string{"a\uFFFD\uFFFD"}},

	{"a long line", strings.Repeat("x", maxLogLine+1) + "\nnext\n", []string{strings.Repeat("x", maxLogLine) + "…", "next"}},
	{"as long as it may be", strings.Repeat("x", maxLogLine) + "\n", []string{strings.Repeat("x", maxLogLine)}},
	{"cut before a rune", strings.Repeat("x", maxLogLine-1) + "éyz\n", []string{strings.Repeat("x", maxLogLine-1) + "…"}},
	{"a long line that is rewritten", strings.Repeat("x", 2*maxLogLine) + "\b\rshort\n", []string{"short"}},
}

func TestLogLines(t *testing.T) {
	for _, test := range logTests {
		if got := cleaned([]byte(test.log)); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q\n got %q\nwant %q", test.name, test.log, got, test.want)
		}
	}
}

// However a log is cut into portions, its lines are the same: all ways to cut a
// short one, and for the others bytes, halves and random portions.
func TestLogLinesInPortions(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, test := range logTests {
		check := func(portions [][]byte) {
			if got := cleaned(portions...); !slices.Equal(got, test.want) {
				t.Fatalf("%s: %q\n got %q\nwant %q", test.name, portions, got, test.want)
			}
		}
		log := []byte(test.log)
		if 0 < len(log) && len(log) <= 16 {
			for cuts := range 1 << (len(log) - 1) {
				check(cutAt(log, func(i int) bool { return cuts>>(i-1)&1 == 1 }))
			}
		}
		for at := 0; at <= len(log); at += 1 + len(log)/200 {
			check([][]byte{log[:at], log[at:]})
		}
		check(cutAt(log, func(int) bool { return true }))
		for range 20 {
			check(cutAt(log, func(int) bool { return random.IntN(4) == 0 }))
		}
	}
}

// cutAt cuts p before each index that is a cut.
func cutAt(p []byte, cut func(i int) bool) [][]byte {
	var portions [][]byte
	start := 0
	for i := 1; i < len(p); i++ {
		if cut(i) {
			portions, start = append(portions, p[start:i]), i
		}
	}
	return append(portions, p[start:])
}

// checkLine says what is wrong with a line that is to be shown.
func checkLine(line string) error {
	switch {
	case !utf8.ValidString(line):
		return fmt.Errorf("%q is not UTF-8", line)
	case len(line) > maxLogLine+len("…"):
		return fmt.Errorf("a line has %d bytes", len(line))
	case strings.ContainsFunc(line, func(r rune) bool {
		return r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029')
	}):
		return fmt.Errorf("%q would move the cursor", line)
	}
	return nil
}

func FuzzLogLines(f *testing.F) {
	for _, test := range logTests {
		f.Add([]byte(test.log), uint64(3))
	}
	f.Fuzz(func(t *testing.T, log []byte, seed uint64) {
		whole := cleaned(log)
		for _, line := range whole {
			if err := checkLine(line); err != nil {
				t.Error(err)
			}
		}
		random := rand.New(rand.NewPCG(seed, 0))
		portions := cutAt(log, func(int) bool { return random.IntN(3) == 0 })
		if got := cleaned(portions...); !slices.Equal(got, whole) {
			t.Errorf("%q in portions\n got %q\nwant %q", portions, got, whole)
		}
		// A log that is nothing but text is left alone.
		if text := string(log); utf8.ValidString(text) && len(text) < maxLogLine && checkLine(strings.ReplaceAll(text, "\n", "")) == nil {
			want := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			for i := range want {
				want[i] = strings.TrimRight(want[i], " \t")
			}
			if text != "" && !slices.Equal(whole, want) {
				t.Errorf("%q\n got %q\nwant %q", text, whole, want)
			}
		}
	})
}

// 100 MiB without a line break cost no memory, and neither does any other
// nonsense, of which a few MiB would show it.
func TestLogLinesMemory(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	noise := make([]byte, 1<<15)
	for i := range noise {
		for noise[i] = byte(random.Uint32()); noise[i] == '\n'; {
			noise[i]++
		}
	}
	for name, unit := range map[string][]byte{
		"text":              []byte("x"),
		"zero bytes":        {0},
		"not UTF-8":         {0xff},
		"unfinished runes":  {0xf0, 0x9f},
		"runes":             []byte("日"),
		"escapes":           []byte("\x1b"),
		"endless sequences": []byte("\x1b[" + strings.Repeat("1;", 1<<14)),
		"endless titles":    []byte("\x1b]0;x"),
		"percentages":       []byte("12%\r"),
		"backspaces":        []byte("ab\b"),
		"noise":             noise,
	} {
		t.Run(name, func(t *testing.T) {
			portion := bytes.Repeat(unit, 1+(1<<15)/len(unit))
			var tail logTail
			l := logLines{emit: tail.add}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			size := 4 << 20
			if name == "text" {
				size = 100 << 20
			}
			for range size / len(portion) {
				l.write(portion)
			}
			l.end()
			runtime.ReadMemStats(&after)
			// Noise moves the cursor to another line now and then, and so has lines.
			if used := after.TotalAlloc - before.TotalAlloc; used > 1<<18 && name != "noise" {
				t.Errorf("%d bytes were allocated", used)
			}
			if cap(l.line) > 2*maxLogLine || cap(l.partial) > 64 || cap(l.params) > 64 {
				t.Errorf("holds a line of %d bytes, a rune of %d, parameters of %d", cap(l.line), cap(l.partial), cap(l.params))
			}
			checkTail(t, tail)
		})
	}
}

func checkTail(t *testing.T, tail logTail) {
	t.Helper()
	if len(tail.lines) > maxTailLines {
		t.Errorf("%d lines", len(tail.lines))
	}
	size := 0
	for _, line := range tail.lines {
		size += len(line) + 1
		if err := checkLine(line); err != nil {
			t.Error(err)
		}
	}
	if size > maxTail || size != tail.bytes {
		t.Errorf("%d bytes, counted as %d", size, tail.bytes)
	}
}

func TestLogTail(t *testing.T) {
	var tail logTail
	for i := range 1000 {
		tail.add(fmt.Sprint(i))
		if want := min(i+1, maxTailLines); len(tail.lines) != want || tail.lines[0] != fmt.Sprint(i+1-want) || tail.lines[want-1] != fmt.Sprint(i) {
			t.Fatalf("after line %d: %q", i, tail.lines)
		}
		checkTail(t, tail)
	}
	long := strings.Repeat("x", maxLogLine)
	for range 100 {
		tail.add(long)
		checkTail(t, tail)
	}
	if want := maxTail / (maxLogLine + 1); len(tail.lines) != want || tail.all != 1100 {
		t.Errorf("%d lines of %d", len(tail.lines), tail.all)
	}
}

func BenchmarkLogLines(b *testing.B) {
	line := []byte("#12 34.56 \x1b[32mok\x1b[0m   github.com/acme/web/internal/server  (cached) [no test files]\n")
	log := bytes.Repeat(line, 1000)
	b.SetBytes(int64(len(log)))
	l := logLines{emit: func(string) {}}
	for b.Loop() {
		l.write(log)
	}
}
