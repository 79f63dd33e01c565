//go:build !unix

package transaction

import (
	"errors"
	"io/fs"
	"os"
)

// flock is refused where a lock does not die with the last process that
// inherited it: without that, recovery could run beside a git that a killed run
// left behind.
func flock(*os.File) (bool, error) {
	return false, errors.New("changing files needs flock, which this operating system does not have: run it on Linux, macOS or in WSL")
}

func writable(string) error { return nil }

func keepOwner(*os.File, fs.FileInfo) {}

func otherDevice(error) bool { return true }

func syncDir(string) error { return nil }
