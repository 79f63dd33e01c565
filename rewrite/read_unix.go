//go:build unix

package rewrite

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// errGone is a file that is not there any more.
var errGone = fs.ErrNotExist

// root is the work tree, for reading many small files fast. On 20,000 files this
// takes half the time of os.ReadFile, which allocates, asks for the size,
// registers with the poller and walks the whole path again.
type root struct{ fd int }

func openRoot(top string) (root, error) {
	fd, err := retried(func() (int, error) { return unix.Open(top, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	return root{fd}, err
}

func (r root) close() { _ = unix.Close(r.fd) }

// readInto reads a file whole into buffer, which it grows. The content is good
// until the next call. A link in the file's place is not followed.
func (r root) readInto(name string, buffer *[]byte) ([]byte, error) {
	fd, err := retried(func() (int, error) {
		return unix.Openat(r.fd, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	})
	if err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil, errGone
		}
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	b := *buffer
	if cap(b) == 0 {
		b = make([]byte, 0, 256<<10)
	}
	b = b[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		space := cap(b) - len(b)
		n, err := retried(func() (int, error) { return unix.Read(fd, b[len(b):cap(b)]) })
		if errors.Is(err, unix.EISDIR) {
			return nil, errGone
		}
		if err != nil {
			return nil, err
		}
		b = b[:len(b)+n]
		if n < space { // a regular file gives less only at its end
			*buffer = b
			return b, nil
		}
	}
}

// retried calls again what a signal interrupted.
func retried(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
