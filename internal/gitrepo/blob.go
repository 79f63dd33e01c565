package gitrepo

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// argBytes bounds the paths put on one command line. The least that a system
// allows in practice is 128 KiB with the environment.
const argBytes = 64 << 10

// TreeEntry is one path of a commit.
type TreeEntry struct {
	Mode   uint32
	Object string
}

// TreeEntries looks paths up in the tree of rev. A path that it does not have
// is not in the answer.
func (r *Repo) TreeEntries(ctx context.Context, rev string, paths []string) (map[string]TreeEntry, error) {
	entries := make(map[string]TreeEntry, len(paths))
	for len(paths) > 0 {
		n, size := 0, 0
		for n < len(paths) && (n == 0 || size+len(paths[n]) < argBytes) {
			size += len(paths[n]) + 1
			n++
		}
		some, err := r.lsTree(ctx, rev, paths[:n])
		if err != nil {
			return nil, err
		}
		maps.Copy(entries, some)
		paths = paths[n:]
	}
	return entries, nil
}

// lsTree asks git once.
func (r *Repo) lsTree(ctx context.Context, rev string, paths []string, flags ...string) (map[string]TreeEntry, error) {
	out, err := r.Run(ctx, Command{Args: slices.Concat([]string{"ls-tree", "-z", "--full-tree"}, flags, []string{rev, "--"}, paths)})
	if err != nil {
		return nil, err
	}
	entries := make(map[string]TreeEntry, len(paths))
	for record := range strings.SplitSeq(string(out), "\x00") {
		meta, path, ok := strings.Cut(record, "\t")
		fields := strings.Fields(meta)
		if !ok || len(fields) != 3 {
			continue
		}
		mode, err := strconv.ParseUint(fields[0], 8, 32)
		if err != nil {
			return nil, fmt.Errorf("git ls-tree: cannot understand %q", record)
		}
		entries[path] = TreeEntry{Mode: uint32(mode), Object: fields[2]}
	}
	return entries, nil
}

// Blob names the bytes of one file: an object, and the path whose attributes
// say how a checkout would write it.
type Blob struct {
	Object string
	Path   string
}

// CheckedOut returns the bytes that a checkout would write for each blob, in
// order: end-of-line conversion and smudge filters applied.
func (r *Repo) CheckedOut(ctx context.Context, blobs []Blob) ([][]byte, error) {
	contents := make([][]byte, len(blobs))
	var batch bytes.Buffer
	var batched []int
	for i, b := range blobs {
		if strings.Contains(b.Path, "\n") { // the batch is read line by line
			out, err := r.Run(ctx, Command{Args: []string{"cat-file", "--filters", "--path=" + b.Path, b.Object}, AsUser: true})
			if err != nil {
				return nil, err
			}
			contents[i] = out
			continue
		}
		fmt.Fprintf(&batch, "%s %s\n", b.Object, b.Path)
		batched = append(batched, i)
	}
	if len(batched) == 0 {
		return contents, nil
	}
	// The size that git announces is the one before the filters, so it cannot
	// tell where a file ends; a line that no file can hold does.
	mark := rand.Text()
	out, err := r.Run(ctx, Command{Args: []string{"cat-file", "--batch=" + mark + " %(objecttype)", "--filters"}, Stdin: batch.Bytes(), AsUser: true})
	if err != nil {
		return nil, err
	}
	records := bytes.Split(append([]byte("\n"), out...), []byte("\n"+mark+" "))
	if len(records[0]) > 0 || len(records) != len(batched)+1 {
		return nil, fmt.Errorf("git cat-file: %d files for %d: an object is missing: run \"git fsck\"", len(records)-1, len(batched))
	}
	records = records[1:]
	records[len(records)-1] = bytes.TrimSuffix(records[len(records)-1], []byte("\n"))
	for n, i := range batched {
		kind, content, ok := bytes.Cut(records[n], []byte("\n"))
		if !ok || string(kind) != "blob" {
			return nil, fmt.Errorf("git cat-file: %s (%s) is a %s, not a file", blobs[i].Path, blobs[i].Object, kind)
		}
		contents[i] = content
	}
	return contents, nil
}

// FilesAt returns the files that rev has at paths, as a checkout would write
// them. A path that it does not have, or that is no regular file there, is not
// in the answer.
func (r *Repo) FilesAt(ctx context.Context, rev string, paths []string) (map[string][]byte, error) {
	entries, err := r.TreeEntries(ctx, rev, paths)
	if err != nil {
		return nil, err
	}
	var blobs []Blob
	for _, path := range paths {
		if e, ok := entries[path]; ok && e.Mode&0o170000 == 0o100000 {
			blobs = append(blobs, Blob{Object: e.Object, Path: path})
		}
	}
	contents, err := r.CheckedOut(ctx, blobs)
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(blobs))
	for i, b := range blobs {
		files[b.Path] = contents[i]
	}
	return files, nil
}
