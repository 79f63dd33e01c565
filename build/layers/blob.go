package layers

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha1" //nolint:gosec // git's name for a file, not a defence
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
)

// compression is a level that costs a third more time than the module's fastest
// and makes layers a tenth smaller; the standard library's takes three times as
// long for the same. What it makes depends on nothing but the module's version.
const compression = 6

// blob is a layer's compressed content, in a temporary file.
type blob struct {
	file           *os.File
	size           int64
	digest, diffID v1.Hash
}

// close removes the file.
func (b *blob) close() error {
	err := b.file.Close()
	// It is gone already where an open file can be removed; see newBlob.
	if removeErr := os.Remove(b.file.Name()); !errors.Is(removeErr, os.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}

// newBlob makes a layer's content of what is to be in it.
func newBlob(ctx context.Context, entries []placed) (_ *blob, err error) {
	f, err := os.CreateTemp("", "pin-cmp-layer-")
	if err != nil {
		return nil, full(fmt.Errorf("make a temporary file: %w", reason(err)))
	}
	b := &blob{file: f}
	// Removed while it is open, it can neither be left behind by a kill nor be
	// cleaned away before it is pushed. Windows can't do that.
	_ = os.Remove(f.Name())
	defer func() {
		if err != nil {
			_ = b.close()
		}
	}()
	compressed, plain := sha256.New(), sha256.New()
	buffer := bufio.NewWriterSize(io.MultiWriter(f, compressed), 1<<18)
	squeeze, err := gzip.NewWriterLevel(buffer, compression)
	if err != nil {
		return nil, err
	}
	archive := tar.NewWriter(io.MultiWriter(plain, squeeze))
	copying := make([]byte, 1<<18)
	for _, p := range entries {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := p.write(ctx, archive, copying); err != nil {
			return nil, full(err)
		}
	}
	for _, finish := range []func() error{archive.Close, squeeze.Close, buffer.Flush} {
		if err := finish(); err != nil {
			return nil, full(fmt.Errorf("write a layer: %w", reason(err)))
		}
	}
	if b.size, err = f.Seek(0, io.SeekCurrent); err != nil {
		return nil, fmt.Errorf("write a layer: %w", reason(err))
	}
	b.digest, b.diffID = sum(compressed), sum(plain)
	return b, nil
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// full says of an error that comes of a full disk what to do.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("there is no room for a layer in the directory for temporary files; make room, or set TMPDIR to another: %w", err)
	}
	return err
}

// write writes the entry, with its content, to the archive.
func (p placed) write(ctx context.Context, archive *tar.Writer, buffer []byte) error {
	if p.kind != file {
		if err := archive.WriteHeader(p.header); err != nil {
			return fmt.Errorf("write %s to a layer: %w", p.header.Name, reason(err))
		}
		return nil
	}
	f, size, err := p.open()
	if err != nil {
		return fmt.Errorf("%s can't be read: %w", p.shown, reason(err))
	}
	defer func() { _ = f.Close() }()
	header := *p.header
	header.Size = size
	if err := archive.WriteHeader(&header); err != nil {
		return fmt.Errorf("write %s to a layer: %w", p.shown, reason(err))
	}
	into := io.Writer(archive)
	object := newObject(p.object, size)
	if object != nil {
		into = io.MultiWriter(archive, object)
	}
	// One byte more than there should be shows a file that grows.
	content := io.LimitReader(&interruptible{ctx: ctx, inner: f}, size)
	n, err := io.CopyBuffer(into, content, buffer)
	if err != nil {
		return fmt.Errorf("%s: %w", p.shown, reason(err))
	}
	more, err := f.Read(buffer[:1])
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s can't be read: %w", p.shown, reason(err))
	}
	if n < size || more > 0 {
		return fmt.Errorf("%s changed while it was read; run this again when nothing writes to it", p.shown)
	}
	if object != nil && hex.EncodeToString(object.Sum(nil)) != p.object {
		return differs(p.shown)
	}
	return nil
}

// open opens the file, and nothing else that may have taken its place: a pipe
// would wait for a writer for ever.
func (p placed) open() (*os.File, int64, error) {
	named, err := p.root.Lstat(p.path)
	if err != nil {
		return nil, 0, err
	}
	if !named.Mode().IsRegular() {
		return nil, 0, errors.New("it is no regular file here")
	}
	f, err := p.root.OpenFile(p.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(named, opened) {
		err = errors.New("it was replaced while it was read; run this again when nothing writes to it")
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, opened.Size(), nil
}

// newObject returns the hash that names a file of that size in git, nil if there
// is none to compare with.
func newObject(id string, size int64) hash.Hash {
	var h hash.Hash
	switch len(id) {
	case 0:
		return nil
	case 2 * sha256.Size:
		h = sha256.New()
	default:
		h = sha1.New() //nolint:gosec // see the import
	}
	fmt.Fprintf(h, "blob %d\x00", size)
	return h
}

// checkObject compares content with the blob that git has.
func checkObject(f File, content string) error {
	h := newObject(f.Object, int64(len(content)))
	if h == nil {
		return nil
	}
	_, _ = io.WriteString(h, content)
	if hex.EncodeToString(h.Sum(nil)) != f.Object {
		return differs(f.Path)
	}
	return nil
}

// differs is the error for a file whose content is not git's.
func differs(name string) error {
	return fmt.Errorf("%s is not in the work tree as it is in git, so another checkout would make another image: it was changed (by the build command?), or git converts it (core.autocrlf, eol, a filter); commit it, or let the command write it to $PIN_OUT and say out", name)
}

// layer is a blob with its media type.
type layer struct {
	*blob
	mediaType types.MediaType
}

var _ v1.Layer = (*layer)(nil)

// Digest implements [v1.Layer].
func (l *layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID implements [v1.Layer].
func (l *layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// Size implements [v1.Layer].
func (l *layer) Size() (int64, error) { return l.size, nil }

// MediaType implements [v1.Layer].
func (l *layer) MediaType() (types.MediaType, error) { return l.mediaType, nil }

// Compressed implements [v1.Layer]. It can be read many times, and at once.
func (l *layer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(l.file, 0, l.size)), nil
}

// Uncompressed implements [v1.Layer].
func (l *layer) Uncompressed() (io.ReadCloser, error) {
	return gzip.NewReader(bufio.NewReaderSize(io.NewSectionReader(l.file, 0, l.size), 1<<18))
}
