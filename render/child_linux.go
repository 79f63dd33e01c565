package render

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// executable is this program, even if its file has been replaced since.
func executable() (string, error) {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self, nil
	}
	return os.Executable()
}

func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func killGroup(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
}

func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

func isBrokenPipe(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed)
}

// runtimeOverhead is what a Go process maps beside its heap, in bytes, counted
// generously: the limit is there to stop a runaway, not to weigh one.
const runtimeOverhead = 256 << 20

// limitMemory makes the kernel refuse this process more than its share. The
// collector works towards GOMEMLIMIT long before.
func limitMemory(text string) error {
	bytes, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("the memory limit %q is not a number", text)
	}
	limit := uint64(bytes) + runtimeOverhead
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: limit, Max: limit})
}
