//go:build unix

package build

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// linkTime sets the time of a link itself.
func linkTime(root *os.Root, name string, at time.Time) error {
	dir, err := root.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	spec := unix.NsecToTimespec(at.UnixNano())
	return unix.UtimesNanoAt(int(dir.Fd()), filepath.Base(name), []unix.Timespec{spec, spec}, unix.AT_SYMLINK_NOFOLLOW)
}
