//go:build unix

package process

import (
	"os/exec"
	"syscall"
)

// together makes the end of cmd's context the end of everything that cmd
// started: a build is a tree of processes.
func together(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
