//go:build linux

package stack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is a program that the stack runs.
type Process struct {
	Name string
	// Log is the file of what it prints.
	Log    string
	cmd    *exec.Cmd
	exited chan struct{}
}

// telling are the programs whose logs help: the others fail at the start, which
// shows them, or not at all.
var telling = []string{"argocd-application-controller", "argocd-repo-server", "argocd-cmp-server", PluginName}

// start starts a program under a name, which becomes its argv[0]. Its output is
// appended to a log of that name; a failed test shows the end of it. It is killed
// when that test ends: give the one that it belongs to, not one within it.
func (s *Stack) start(t *testing.T, name, program string, env []string, args ...string) *Process {
	t.Helper()
	p := &Process{Name: name, Log: filepath.Join(s.Dir, "log", name), exited: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	offset, err := log.Seek(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(program, args...)
	p.cmd.Args[0] = name
	p.cmd.Env = env
	p.cmd.Dir = s.Dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() && slices.Contains(telling, name) {
			t.Logf("the end of %s's log:\n%s", name, tail(p.Log, offset))
		}
	})
	return p
}

// Kill ends the process and its children at once, and waits for it.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

// Terminate asks the process to end, as a kubelet does first.
func (p *Process) Terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("SIGTERM to %s: %v", p.Name, err)
	}
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// running fails the test if the process has ended.
func (p *Process) running(t *testing.T) {
	t.Helper()
	select {
	case <-p.exited:
		t.Fatalf("%s ended: %v\n%s", p.Name, p.cmd.ProcessState, tail(p.Log, 0))
	default:
	}
}

// ready waits until the process answers. It has no time limit of its own.
func (p *Process) ready(t *testing.T, answers func() error) {
	t.Helper()
	for {
		err := answers()
		if err == nil {
			return
		}
		p.running(t)
		outOfTime(t, "%s is not ready: %v", p.Name, err)
		time.Sleep(20 * time.Millisecond)
	}
}

// outOfTime fails the test when go test is about to end it, which would show
// neither what it waited for nor any log.
func outOfTime(t *testing.T, format string, args ...any) {
	t.Helper()
	if deadline, ok := t.Deadline(); ok && time.Until(deadline) < 20*time.Second {
		t.Fatalf(format, args...)
	}
}

// tail returns the last lines of what a file holds behind an offset.
func tail(path string, offset int64) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if offset < int64(len(content)) {
		content = content[offset:]
	}
	lines := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	const last = 25
	if len(lines) > last {
		lines = append([]string{fmt.Sprintf("(%d lines before)", len(lines)-last)}, lines[len(lines)-last:]...)
	}
	for i, line := range lines {
		if len(line) > 500 {
			lines[i] = line[:500] + "…"
		}
	}
	return strings.Join(lines, "\n")
}
