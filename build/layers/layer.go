package layers

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layerKey names what is in a layer of the work tree's files, without reading
// them.
type layerKey [sha256.Size]byte

// layer makes the layer of an item. One of the work tree's that an earlier
// platform has is used again.
func (b *builder) layer(ctx context.Context, item Copy, entries []entry, names *tree) (*layer, error) {
	list, err := b.place(item, entries, names)
	if err != nil {
		return nil, err
	}
	key := keyOf(list)
	if made := b.layers[key]; made != nil && item.From != "" {
		return made, nil
	}
	content, err := newBlob(ctx, list)
	if err != nil {
		return nil, err
	}
	b.blobs = append(b.blobs, content)
	l := &layer{content, types.OCILayer}
	if b.docker() {
		l.mediaType = types.DockerLayer
	}
	if item.From != "" {
		b.layers[key] = l
	}
	return l, nil
}

func keyOf(list []placed) layerKey {
	h := sha256.New()
	for _, p := range list {
		fmt.Fprintf(h, "%q %c %o %d %d %d %q %q %q\n", p.header.Name, p.header.Typeflag, p.header.Mode,
			p.header.Uid, p.header.Gid, p.header.ModTime.Unix(), p.header.Linkname, p.header.PAXRecords, p.path)
	}
	return layerKey(h.Sum(nil))
}
