package render

import (
	"golang.org/x/sys/unix"
)

// exited tells whether a child of this process has ended. It stays for Wait.
func exited(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err != nil || info.Signo != 0
}
