//go:build unix

package process

import (
	"os/exec"
	"syscall"
)

// together makes the end of cmd's context the end of everything that cmd
// started: a build is a tree of processes. First they are interrupted, as Ctrl-C
// at a terminal would: compilers and container tools clean up then.
func together(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
}

// killRest kills what is left of cmd's group.
func killRest(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
}
