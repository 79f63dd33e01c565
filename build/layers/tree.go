package layers

import (
	"archive/tar"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
)

// kind is what a name stands for.
type kind byte

const (
	file      kind = 'f' // and everything else that is no directory and no link
	directory kind = 'd'
	link      kind = 'l'
)

// record is a name in a layer. The field names are those of the cache's files.
type record struct {
	Name   string            `json:"n"` // clean, absolute
	Kind   kind              `json:"k"`
	Mode   int64             `json:"m,omitempty"` // permissions, with the set-id and sticky bits
	UID    int               `json:"u,omitempty"`
	GID    int               `json:"g,omitempty"`
	Time   int64             `json:"t,omitempty"` // seconds since 1970
	Target string            `json:"l,omitempty"` // of a link
	Attr   map[string]string `json:"a,omitempty"` // a directory's extended attributes, as PAX records
}

// node is a name in a tree.
type node struct {
	kind     kind
	mode     int64
	uid, gid int
	time     int64
	target   string
	attr     map[string]string
	children map[string]*node
}

// tree is the names in an image's file system.
type tree struct{ root *node }

func newTree() *tree { return &tree{&node{kind: directory, mode: 0o755}} }

// whiteout and opaque are what a layer removes with (image-spec, layer.md).
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// apply puts a layer on the tree.
func (t *tree) apply(layer []record) {
	// Whiteouts first: they hide what is below, never what the layer itself has,
	// wherever in it they stand.
	for _, r := range layer {
		dir, base := path.Split(r.Name)
		if !strings.HasPrefix(base, whiteout) {
			continue
		}
		actual, err := t.resolve(dir)
		if err != nil {
			continue
		}
		parent := t.at(actual)
		if parent == nil {
			continue
		}
		if base == opaque {
			parent.children = nil
		} else {
			delete(parent.children, strings.TrimPrefix(base, whiteout))
		}
	}
	for _, r := range layer {
		dir, base := path.Split(r.Name)
		if base == "" || strings.HasPrefix(base, whiteout) {
			continue
		}
		made, err := t.mkdir(dir, node{mode: 0o755})
		if err != nil {
			// A layer that puts a file below a file. Runtimes differ; to leave it
			// out of the names is to make no promise about it.
			continue
		}
		n := node{kind: r.Kind, mode: r.Mode, uid: r.UID, gid: r.GID, time: r.Time, target: r.Target, attr: r.Attr}
		parent := t.at(made)
		if old := parent.children[base]; old != nil && old.kind == directory && n.kind == directory {
			n.children = old.children
		}
		parent.set(base, &n)
	}
}

func (n *node) set(name string, child *node) {
	if n.children == nil {
		n.children = map[string]*node{}
	}
	n.children[name] = child
}

// at returns the node of a path without links on the way, nil if there is none.
func (t *tree) at(name string) *node {
	n := t.root
	for part := range strings.SplitSeq(name, "/") {
		if part == "" {
			continue
		}
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}

// errLoop is a link that leads to itself.
var errLoop = errors.New("symbolic links lead in a circle")

// maxLinks is how many links Linux follows in one path.
const maxLinks = 40

// resolve follows the links on the way of a path and at its end. What does not
// exist stays as it is written. A path that goes through a file is an error.
func (t *tree) resolve(name string) (string, error) {
	var done []string
	nodes := []*node{t.root} // of done, nil where there is none
	todo := strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(done) > 0 {
				done, nodes = done[:len(done)-1], nodes[:len(nodes)-1]
			}
			continue
		}
		var next *node
		if here := nodes[len(nodes)-1]; here != nil {
			if here.kind == file {
				return "", fmt.Errorf("/%s is a file there", strings.Join(done, "/"))
			}
			next = here.children[part]
		}
		if next != nil && next.kind == link {
			if links++; links > maxLinks {
				return "", errLoop
			}
			if path.IsAbs(next.target) {
				done, nodes = nil, nodes[:1]
			}
			todo = append(strings.Split(next.target, "/"), todo...)
			continue
		}
		done, nodes = append(done, part), append(nodes, next)
	}
	return "/" + strings.Join(done, "/"), nil
}

// lookup returns the node of a path, following links; nil if there is none.
func (t *tree) lookup(name string) (*node, error) {
	actual, err := t.resolve(name)
	if err != nil {
		return nil, err
	}
	return t.at(actual), nil
}

// mkdir returns the path of a directory with all links followed. What is missing
// on the way is made like fresh.
func (t *tree) mkdir(name string, fresh node) (string, error) {
	actual, err := t.resolve(name)
	if err != nil {
		return "", err
	}
	n := t.root
	for part := range strings.SplitSeq(actual, "/") {
		if part == "" {
			continue
		}
		child := n.children[part]
		if child == nil {
			made := fresh
			made.kind, made.children = directory, nil
			child = &made
			n.set(part, child)
		}
		n = child
	}
	if n.kind != directory {
		return "", fmt.Errorf("%s is a file there", actual)
	}
	return actual, nil
}

// header is the tar entry of a directory in the tree.
func (n *node) header(name string) *tar.Header {
	return &tar.Header{
		Typeflag: tar.TypeDir, Name: strings.TrimPrefix(name, "/") + "/",
		Mode: n.mode, Uid: n.uid, Gid: n.gid, ModTime: time.Unix(n.time, 0),
		PAXRecords: n.attr, Format: tar.FormatPAX,
	}
}
