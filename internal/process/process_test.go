//go:build unix

package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// gone waits until a process has ended; one that nobody has reaped yet has.
func gone(t *testing.T, pid int) {
	t.Helper()
	for syscall.Kill(pid, 0) == nil {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err == nil && strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// A program that is interrupted can clean up; what it started ends with it,
// whether it listens or not.
func TestInterrupted(t *testing.T) {
	for name, script := range map[string]string{
		"cleans up":            `trap 'rm -f "$1"; exit 1' INT; : >"$1"; sleep 1000 & echo $! >"$2"; wait`,
		"a child that listens": `trap 'rm -f "$1"; exit 1' INT; : >"$1"; (trap "" INT TERM; sleep 1000 & echo $! >"$2.new"; mv "$2.new" "$2"; wait) & wait`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			left, pids := filepath.Join(dir, "left"), filepath.Join(dir, "pids")
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error)
			go func() { done <- Run(ctx, Command(ctx, "sh", "-c", script, "sh", left, pids)) }()
			var pid int
			for pid == 0 {
				text, _ := os.ReadFile(pids)
				pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
				time.Sleep(time.Millisecond)
			}
			why := errors.New("enough")
			cancel(why)
			if err := <-done; !errors.Is(err, why) {
				t.Errorf("%v", err)
			}
			gone(t, pid)
			if _, err := os.Stat(left); err == nil {
				t.Error("it had no time to clean up")
			}
		})
	}
}

// One that does not listen is killed.
func TestDeaf(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- Run(ctx, Command(ctx, "sh", "-c", `trap "" INT TERM; : >"$1"; while :; do sleep 1000; done`, "sh", ready))
	}()
	for {
		if _, err := os.Stat(ready); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// What a program that ended well leaves behind is its own business.
func TestDaemon(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	cmd := Command(t.Context(), "sh", "-c", `sleep 1000 & echo $! >"$1"`, "sh", pids)
	var out strings.Builder
	cmd.Stdout = &out
	if err := Run(t.Context(), cmd); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the daemon is gone: %v", err)
	}
}
