//go:build unix

package render

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNotAFile(t *testing.T) {
	d := directoryOf(t, map[string]string{"app/kustomization.yaml": "resources: [fifo.yaml]\n"})
	if err := unix.Mkfifo(filepath.Join(d.path, "app/fifo.yaml"), 0o600); err != nil {
		t.Skipf("this system makes no FIFOs: %v", err)
	}
	_, err := rendered(t, d, "app", Options{})
	if err == nil || !strings.Contains(err.Error(), "app/fifo.yaml: is neither a file nor a directory") {
		t.Errorf("got %v", err)
	}
}
