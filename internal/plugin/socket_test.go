package plugin

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// socketDir is a directory whose path leaves room for a socket's name.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		if entry.Type() == os.ModeSocket {
			all = append(all, entry.Name())
		}
	}
	return strings.Join(all, " ")
}

// TestSocket: nobody finds it before it is published, and nothing is left.
func TestSocket(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "a.sock")
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if got := names(t, dir); got != "" {
		t.Errorf("before it is published there is %s", got)
	}
	if err := s.Publish(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != "a.sock" {
		t.Errorf("published: %s", got)
	}
	go func() {
		for {
			connection, err := s.Accept()
			if err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
			_, _ = connection.Write([]byte("x"))
		}
	}()
	early, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = early.Close() }()
	if err := s.Withdraw(time.Minute); err != nil {
		t.Fatal(err)
	}
	if n := s.unspoken.Load(); n != 0 {
		t.Errorf("%d connections were not spoken to", n)
	}
	if _, err := early.Read(make([]byte, 1)); err != nil {
		t.Errorf("who had connected got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// TestSocketOfAnother is not removed.
func TestSocketOfAnother(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "a.sock")
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Publish(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if err := other.Publish(); err != nil {
		t.Fatal(err)
	}
	if err := s.Withdraw(0); err != nil {
		t.Error(err)
	}
	if got := names(t, dir); got != "a.sock" {
		t.Errorf("left: %q", got)
	}
}

func TestSocketMistakes(t *testing.T) {
	dir := socketDir(t)
	long := strings.Repeat("x", maxSocket-len(dir)-1)
	for path, want := range map[string]string{
		filepath.Join(dir, "gone", "a.sock"): "the socket's directory " + dir + "/gone can't be used: no such file or directory",
		filepath.Join(dir, long):             "",
		filepath.Join(dir, long+"x"):         "the path of a socket has at most 107 bytes",
	} {
		s, err := Listen(path)
		if err == nil {
			if err = s.Publish(); err != nil {
				t.Error(err)
			}
			_ = s.Close()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	file := filepath.Join(dir, "file.sock")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil || !strings.Contains(err.Error(), "is in the way: it is no socket") {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left: %v, %v", entries, err)
	}
}
