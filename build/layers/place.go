package layers

import (
	"archive/tar"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// placed is an entry with its place in the image. The header has no size yet.
type placed struct {
	entry
	header *tar.Header
}

// place finds where the entries of an item go in the image that names describes,
// and adds them to it. It returns them in the order that they have in the layer,
// with the directories above.
func (b *builder) place(item Copy, entries []entry, names *tree) ([]placed, error) {
	to := path.Clean(item.To)
	if strings.HasSuffix(item.To, "/") && !item.content() {
		to = path.Join(to, path.Base(item.source()))
	}
	wrong := func(err error) error { return fmt.Errorf("build.layers.files: to: %s: %w", to, err) }
	mode, err := item.mode()
	if err != nil {
		return nil, err
	}
	layer := map[string]placed{}
	seen := map[string]bool{"": true}
	// above puts a directory and those above it into the layer, as they are.
	above := func(actual string) {
		for ; !seen[strings.TrimSuffix(actual, "/")]; actual = path.Dir(actual) {
			seen[actual] = true
			layer[actual] = placed{header: names.at(actual).header(actual)}
		}
	}
	own := node{mode: 0o755, uid: b.owner.uid, gid: b.owner.gid, time: b.time().Unix()}
	// What is above the item's own place belongs to nobody else than root.
	if _, err := names.mkdir(path.Dir(to), node{mode: 0o755, time: own.time}); err != nil {
		return nil, wrong(err)
	}
	for _, e := range entries {
		name := path.Join(to, e.rel)
		if err := checkName(name); err != nil {
			return nil, wrong(err)
		}
		if e.kind == directory {
			actual, err := names.mkdir(name, own)
			if err != nil {
				return nil, wrong(err)
			}
			above(actual)
			continue
		}
		parent, err := names.mkdir(path.Dir(name), own)
		if err != nil {
			return nil, wrong(err)
		}
		above(parent)
		actual := path.Join(parent, path.Base(name))
		if other, ok := layer[actual]; ok && other.kind != 0 {
			return nil, wrong(fmt.Errorf("%s and %s would both be %s; leave one out", other.shown, e.shown, actual))
		}
		if old := names.at(actual); old != nil && old.kind == directory {
			return nil, wrong(fmt.Errorf("%s is a directory in the image, and %s is none; to put it there, end in a slash", actual, e.shown))
		}
		if mode >= 0 && e.kind == file {
			e.mode = mode
		}
		n := &node{kind: e.kind, mode: e.mode, uid: own.uid, gid: own.gid, time: own.time, target: e.target}
		names.at(parent).set(path.Base(actual), n)
		layer[actual] = placed{e, &tar.Header{
			Typeflag: tar.TypeReg, Name: strings.TrimPrefix(actual, "/"), Mode: e.mode,
			Uid: own.uid, Gid: own.gid, ModTime: time.Unix(own.time, 0), Format: tar.FormatPAX,
		}}
		if e.kind == link {
			layer[actual].header.Typeflag, layer[actual].header.Linkname = tar.TypeSymlink, e.target
		}
	}
	list := make([]placed, 0, len(layer))
	for _, name := range slices.Sorted(maps.Keys(layer)) {
		list = append(list, layer[name])
	}
	return list, nil
}

// epoch is the commit's time.
func (b *builder) epoch() time.Time {
	if b.request.Epoch.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return b.request.Epoch.UTC().Truncate(time.Second)
}

// time is that of the files.
func (b *builder) time() time.Time {
	if b.config.Mtime == "commit" {
		return b.epoch()
	}
	return time.Unix(0, 0)
}
