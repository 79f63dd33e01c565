//go:build unix

package layers

import (
	"io"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"
)

func withUmask(t *testing.T, mask int) {
	t.Helper()
	old := syscall.Umask(mask)
	t.Cleanup(func() { syscall.Umask(old) })
}

func newSqueeze(t *testing.T, w io.Writer) *gzip.Writer {
	t.Helper()
	squeeze, err := gzip.NewWriterLevel(w, compression)
	if err != nil {
		t.Fatal(err)
	}
	return squeeze
}
