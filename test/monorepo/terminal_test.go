//go:build linux

package monorepo

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a new terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// The keys Ctrl and C on a real terminal: what is left on the screen is one clear
// line, the cursor is back, and nobody is left.
func TestCtrlC(t *testing.T) {
	r := newRegistry(t, "")
	e := newEngineer(t, r)
	e.set("TERM", "xterm")
	shop := e.clone(origin(t, r), "release")
	pids := filepath.Join(e.home, "pids")
	e.install("gcc", fmt.Sprintf("echo compiling\nsleep 100000 &\necho $$ $! >%q.new && mv %q.new %q\nwait", pids, pids, pids))
	before := e.state(shop)
	master, slave := openTerminal(t)
	cmd := e.command(shop, filepath.Join(built, "pin-cmp"), "rewrite", "worker", "--commit")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := slave.Close(); err != nil {
		t.Fatal(err)
	}
	screen := &lockedBuffer{}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer) // EIO when nobody has the other end
			_, _ = screen.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var written []byte
	for written == nil {
		select {
		case err := <-ended:
			t.Fatalf("it ended before it was stopped: %v\n%s", err, screen)
		case <-time.After(5 * time.Millisecond):
			written, _ = os.ReadFile(pids)
		}
	}
	if _, err := master.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	err := <-ended
	<-drained
	_ = master.Close()
	if status := (*exec.ExitError)(nil); !errors.As(err, &status) || status.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
	rows := shown(screen.String())
	expect(t, "the last row", rows[len(rows)-1], "")
	expect(t, "the row before it", rows[len(rows)-2], "pin-cmp: stopped; nothing was written")
	if text := strings.Join(rows, "\n"); strings.Contains(text, "compiling") {
		t.Errorf("what the builds showed is left:\n%s", text)
	}
	if raw := screen.String(); strings.LastIndex(raw, "\x1b[?25l") > strings.LastIndex(raw, "\x1b[?25h") {
		t.Errorf("the cursor is hidden: %q", raw)
	}
	for _, pid := range strings.Fields(string(written)) {
		if !gone(t, pid) {
			t.Errorf("the process %s is left", pid)
		}
	}
	expect(t, "the work tree", e.state(shop), before)
	e.clean()
}

// shown returns the rows that a terminal shows, down to the cursor's. It knows
// what pin-cmp writes.
func shown(raw string) []string {
	rows := []string{""}
	at, column := 0, 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '\r':
			column = 0
		case '\n':
			if at++; at == len(rows) {
				rows = append(rows, "")
			}
		case '\x1b':
			n, end := 0, i+1
			for end++; end < len(raw) && (raw[end] == '?' || raw[end] >= '0' && raw[end] <= '9'); end++ {
				if raw[end] != '?' {
					n = 10*n + int(raw[end]-'0')
				}
			}
			if end == len(raw) {
				return rows
			}
			switch raw[end] {
			case 'A':
				at = max(0, at-max(1, n))
			case 'K':
				rows[at] = rows[at][:min(column, len(rows[at]))]
			case 'J':
				rows[at] = rows[at][:min(column, len(rows[at]))]
				rows = rows[:at+1]
			}
			i = end
		default:
			row := rows[at]
			for len(row) < column {
				row += " "
			}
			rows[at] = row[:column] + string(raw[i]) + row[min(len(row), column+1):]
			column++
		}
	}
	return rows[:at+1]
}
