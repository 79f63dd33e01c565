package layers

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// nameCache reads the names in layers, and remembers them in dir, if that isn't
// "". What can't be remembered is read again the next time.
type nameCache struct{ dir string }

// image returns the names in an image, none of nil.
func (c *nameCache) image(ctx context.Context, image v1.Image) (*tree, error) {
	t := newTree()
	if image == nil {
		return t, nil
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		records, ok := c.load(digest)
		if !ok {
			if records, err = readNames(ctx, l); err != nil {
				return nil, fmt.Errorf("layer %s: %w", digest, err)
			}
			c.store(digest, records)
		}
		t.apply(records)
	}
	return t, nil
}

// remembered is a file of the cache. Version changes with the meaning of a
// record.
type remembered struct {
	Version int      `json:"version"`
	Layer   string   `json:"layer"`
	Names   []record `json:"names"`
}

const rememberedVersion = 1

func (c *nameCache) file(digest v1.Hash) string {
	return filepath.Join(c.dir, "layer-"+digest.Algorithm+"-"+digest.Hex+".json")
}

func (c *nameCache) load(digest v1.Hash) ([]record, bool) {
	if c.dir == "" {
		return nil, false
	}
	content, err := os.ReadFile(c.file(digest))
	if err != nil {
		return nil, false
	}
	var r remembered
	if json.Unmarshal(content, &r) != nil || r.Version != rememberedVersion || r.Layer != digest.String() {
		return nil, false
	}
	return r.Names, true
}

func (c *nameCache) store(digest v1.Hash, names []record) {
	if c.dir == "" || os.MkdirAll(c.dir, 0o755) != nil {
		return
	}
	content, err := json.Marshal(remembered{rememberedVersion, digest.String(), names})
	if err != nil {
		return
	}
	// Under its name there is only ever a whole file.
	f, err := os.CreateTemp(c.dir, "new-*")
	if err != nil {
		return
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), c.file(digest))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}

// maxNames is how many parts the paths in a layer may have in all: more than any
// image has, and few enough for memory. maxNameBytes is the same for their text.
const (
	maxNames     = 8 << 20
	maxNameBytes = 256 << 20
)

// readNames lists the names in a layer. It reads to the end: what the layer holds
// is checked against its digest there.
func readNames(ctx context.Context, layer v1.Layer) (_ []record, err error) {
	stream, err := layer.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := stream.Close(); err == nil && closeErr != nil {
			err = closeErr
		}
	}()
	var records []record
	parts, bytes := 0, 0
	content := &interruptible{ctx: ctx, inner: stream}
	archive := tar.NewReader(content)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		parts += 1 + strings.Count(header.Name, "/")
		bytes += len(header.Name) + len(header.Linkname)
		if parts > maxNames || bytes > maxNameBytes {
			return nil, errors.New("has more names than any image should")
		}
		if len(header.Name) > maxPath {
			continue // no runtime can unpack it, and nothing can stand below it
		}
		r := record{Name: path.Clean("/" + header.Name), Kind: file, Mode: header.Mode & 0o7777}
		switch header.Typeflag {
		case tar.TypeDir:
			r.Kind, r.UID, r.GID, r.Time = directory, header.Uid, header.Gid, header.ModTime.Unix()
			for key, value := range header.PAXRecords {
				if strings.HasPrefix(key, "SCHILY.xattr.") {
					if r.Attr == nil {
						r.Attr = map[string]string{}
					}
					r.Attr[key] = value
				}
			}
		case tar.TypeSymlink:
			r.Kind, r.Target = link, header.Linkname
		case tar.TypeXGlobalHeader:
			continue
		}
		records = append(records, r)
	}
	_, err = io.Copy(io.Discard, content)
	return records, err
}

// interruptible is a reader that ends with the context.
type interruptible struct {
	ctx   context.Context
	inner io.Reader
}

// Read implements [io.Reader].
func (r *interruptible) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.inner.Read(p)
}
