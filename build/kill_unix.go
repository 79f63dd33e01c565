//go:build unix

package build

import (
	"os/exec"
	"syscall"
)

// killTogether makes the end of cmd's context the end of everything that cmd
// started: a build is a tree of processes.
func killTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
