package plugin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// maxSocket is the longest path of a unix socket, in bytes (sun_path of
// sockaddr_un, less its end).
const maxSocket = 107

// Socket is a unix socket that nobody finds before [Socket.Publish].
//
// From 3.2 on a repo-server that connects to a socket which accepts and does
// not speak, or stops before it has spoken, waits for ever and holds up every
// new revision of that repository. So the socket is bound in a directory of its
// own, where Argo CD does not look, and moved into place when it is served.
type Socket struct {
	*net.UnixListener
	path  string
	aside string // the directory it is bound in
	bound fs.FileInfo
	// unspoken counts the connections on which nothing was written yet.
	unspoken atomic.Int64
}

// Listen binds the socket for path. A file that an ended server left at path is
// no obstacle; a server that still answers there is.
func Listen(path string) (*Socket, error) {
	if connection, err := net.Dial("unix", path); err == nil {
		_ = connection.Close()
		return nil, fmt.Errorf("another server answers on %s; two plugins can't have one name", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s is in the way: it is no socket", path)
	}
	aside, err := os.MkdirTemp(filepath.Dir(path), ".pin-")
	if err != nil {
		return nil, fmt.Errorf("the socket's directory %s can't be used: %w", filepath.Dir(path), errors.Unwrap(err))
	}
	s := &Socket{path: path, aside: aside}
	if err := s.bind(); err != nil {
		_ = os.RemoveAll(aside)
		return nil, err
	}
	return s, nil
}

func (s *Socket) bind() error {
	bound := filepath.Join(s.aside, "s")
	if longest := max(len(bound), len(s.path)); longest > maxSocket {
		return fmt.Errorf("%s: the path of a socket has at most %d bytes; use a shorter --socket-dir or plugin name", s.path, maxSocket-(longest-len(s.path)))
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: bound, Net: "unix"})
	if err != nil {
		return fmt.Errorf("the socket can't be bound: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	if s.bound, err = os.Lstat(bound); err != nil {
		_ = listener.Close()
		return fmt.Errorf("the socket can't be bound: %w", err)
	}
	s.UnixListener = listener
	return nil
}

// Publish moves the socket to where Argo CD looks for it, over one that was
// left there. Call it when the listener is being served.
func (s *Socket) Publish() error {
	if err := os.Rename(filepath.Join(s.aside, "s"), s.path); err != nil {
		return fmt.Errorf("the socket can't be moved into place: %w", err)
	}
	if err := os.Remove(s.aside); err != nil {
		return fmt.Errorf("the socket's directory can't be cleaned up: %w", err)
	}
	return nil
}

// Accept implements [net.Listener].
func (s *Socket) Accept() (net.Conn, error) {
	connection, err := s.AcceptUnix()
	if err != nil {
		return nil, err
	}
	s.unspoken.Add(1)
	return &connected{UnixConn: connection, unspoken: &s.unspoken}, nil
}

// connected is a connection that tells when it is first spoken on.
type connected struct {
	*net.UnixConn
	spoken   sync.Once
	unspoken *atomic.Int64
}

func (c *connected) Write(p []byte) (int, error) {
	n, err := c.UnixConn.Write(p)
	c.spoken.Do(func() { c.unspoken.Add(-1) })
	return n, err
}

func (c *connected) Close() error {
	c.spoken.Do(func() { c.unspoken.Add(-1) })
	return c.UnixConn.Close()
}

// Withdraw removes the socket's file, if it is still this one, and returns when
// everybody who had found it has been accepted and spoken to, or after patience.
// The listener must still be served, and be closed only afterwards.
func (s *Socket) Withdraw(patience time.Duration) error {
	deadline := time.Now().Add(patience)
	last, err := s.hide()
	if err == nil && last != "" {
		// Connections are accepted in the order in which they were made: when
		// this one is answered, so are all before it.
		if connection, dialErr := net.Dial("unix", last); dialErr == nil {
			_ = connection.SetReadDeadline(deadline)
			_, _ = connection.Read(make([]byte, 1))
			_ = connection.Close()
		}
	}
	for s.unspoken.Load() > 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if removeErr := os.RemoveAll(s.aside); removeErr != nil && err == nil {
		err = fmt.Errorf("the socket can't be removed: %w", errors.Unwrap(removeErr))
	}
	return err
}

// hide moves the socket from where Argo CD looks for it, and returns where to.
// It returns "" if there is another one by now, or none.
func (s *Socket) hide() (string, error) {
	last := filepath.Join(s.aside, "s")
	info, err := os.Lstat(s.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, s.bound) {
		return "", nil
	}
	if err == nil {
		err = os.MkdirAll(s.aside, 0o700)
	}
	if err == nil {
		err = os.Rename(s.path, last)
	}
	if err != nil {
		return "", fmt.Errorf("the socket can't be removed: %w", errors.Unwrap(err))
	}
	return last, nil
}
