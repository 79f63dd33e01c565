package forge

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel end a program with this one, however it ends.
func endWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
