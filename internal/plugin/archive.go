package plugin

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	"github.com/pin-cmp/pin-cmp/render"
)

// Limits bound what an archive may unpack to.
type Limits struct {
	// Bytes is the content that is kept, in bytes. 0 is DefaultBytes.
	Bytes int64
	// Entries are the files, directories and links together. 0 is
	// DefaultEntries.
	Entries int
	// Unpacked is everything that is decompressed, in bytes, kept or not. 0 is
	// DefaultUnpacked.
	Unpacked int64
}

// Defaults of Limits. The largest of the public deployment repositories we
// looked at holds 40,000 files and 300 MB beside .git.
const (
	DefaultBytes    = 512 << 20
	DefaultEntries  = 500_000
	DefaultUnpacked = 16 << 30
)

// maxPath is Linux's bound for a path, in bytes: no checkout on a disk could
// hold a longer one.
const maxPath = 4096

// entryCost is what an entry takes in memory beside its content, in bytes,
// counted generously.
const entryCost = 512

// unpacker makes a checkout of an archive.
type unpacker struct {
	limits  Limits
	prefix  string
	reserve func(int64) error
	files   map[string]render.MemoryFile
	entries int
	bytes   int64
}

// unpack reads a gzipped tar archive into memory. Of what Argo CD's own server
// unpacks (util/io/files/tar.go: files, directories, symbolic links), it leaves
// out .git and the content of files that no render would read; what that
// server would skip or could not make, it refuses.
func (u *unpacker) unpack(r io.Reader) error {
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return damaged(err)
	}
	archive := tar.NewReader(&bounded{zipped, u.limits.Unpacked})
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return damaged(err)
		}
		if err := u.add(header, archive); err != nil {
			return err
		}
	}
}

func (u *unpacker) add(header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return nil // git archive writes one
	}
	if u.entries++; u.entries > u.limits.Entries {
		return errorf(codes.ResourceExhausted, "the repository holds more than %d files and directories; let Argo CD send less of it (reposerver.plugin.tar.exclusions, manifest-generate-paths)", u.limits.Entries)
	}
	if len(header.Name) > maxPath {
		return errorf(codes.InvalidArgument, "the archive holds a path of more than %d bytes", maxPath)
	}
	name := path.Clean(header.Name)
	parts := strings.Split(name, "/")
	switch {
	case name == ".":
		return nil
	case path.IsAbs(name) || slices.Contains(parts, "..") || strings.ContainsAny(name, "\x00"):
		return errorf(codes.InvalidArgument, "the archive holds %q, which is not a path inside a repository", name)
	case slices.Contains(parts, ".git"):
		return nil
	case !utf8.ValidString(name):
		return nil // no application can name it
	}
	file := render.MemoryFile{Mode: fs.FileMode(header.Mode).Perm()}
	switch header.Typeflag {
	case tar.TypeDir:
		file.Mode |= fs.ModeDir
	case tar.TypeSymlink:
		if leaves(path.Join(u.prefix, name), header.Linkname) {
			return errorf(codes.InvalidArgument, "%s is a symbolic link to %q, which is outside the repository; point it, by a relative path, at a file of the repository", quote(name), header.Linkname)
		}
		file.Mode, file.Link = fs.ModeSymlink, header.Linkname
	case tar.TypeReg:
		file.Size = header.Size
	default:
		return errorf(codes.InvalidArgument, "the archive holds %s, which is %s; a repository holds files, directories and symbolic links", quote(name), kindOf(header.Typeflag))
	}
	if name = path.Join(u.prefix, name); len(name) > maxPath {
		return errorf(codes.InvalidArgument, "the archive holds a path of more than %d bytes", maxPath)
	}
	if old, twice := u.files[name]; twice && (!old.Mode.IsDir() || !file.Mode.IsDir()) {
		return errorf(codes.InvalidArgument, "the archive holds %s twice", quote(name))
	}
	cost := int64(entryCost + len(name))
	if file.Mode.IsRegular() && file.Size <= render.LargestFile {
		if u.bytes += file.Size; u.bytes > u.limits.Bytes {
			return errorf(codes.ResourceExhausted, "the repository holds more than %d MiB beside .git; let Argo CD send less of it (reposerver.plugin.tar.exclusions, manifest-generate-paths)", u.limits.Bytes>>20)
		}
		if err := u.reserve(cost + file.Size); err != nil {
			return err
		}
		file.Data, file.Size = make([]byte, file.Size), 0
		if _, err := io.ReadFull(content, file.Data); err != nil {
			return damaged(err)
		}
	} else if err := u.reserve(cost); err != nil {
		return err
	}
	u.files[name] = file
	return nil
}

// leaves tells whether a link's own text leads out of the repository. What
// leads out through another link is found where it is followed.
func leaves(name, target string) bool {
	if path.IsAbs(target) {
		return true
	}
	joined := path.Join(path.Dir(name), target)
	return joined == ".." || strings.HasPrefix(joined, "../")
}

func kindOf(flag byte) string {
	switch flag {
	case tar.TypeLink:
		return "a hard link"
	case tar.TypeChar, tar.TypeBlock:
		return "a device"
	case tar.TypeFifo:
		return "a named pipe"
	}
	return fmt.Sprintf("an entry of type %q", flag)
}

// quote leaves an ordinary path as it is.
func quote(name string) string {
	for _, r := range name {
		if r < ' ' || r == 0x7f {
			return fmt.Sprintf("%q", name)
		}
	}
	return name
}

// damaged is the error of an archive that can't be read, unless the cause is
// one already.
func damaged(err error) error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	var interrupted *cutError
	if errors.As(err, &interrupted) {
		return interrupted
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errorf(codes.DataLoss, "the archive of the repository ends in the middle")
	}
	return errorf(codes.InvalidArgument, "the archive of the repository can't be read: %s", plain(err))
}

// plain is the text of a decoder's error without the name of its package.
func plain(err error) string {
	text := err.Error()
	for _, prefix := range []string{"gzip: ", "flate: ", "archive/tar: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}

// bounded refuses to read more than left bytes: a small archive can unpack to a
// thousand times its size.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errorf(codes.ResourceExhausted, "the archive of the repository unpacks to more than any repository; let Argo CD leave .git out of it (reposerver.plugin.tar.exclusions)")
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err
}
