package build

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Input is a file that an image is made from, as git has it: what determines its
// bytes, whoever has it checked out, and where.
type Input struct {
	// Path is from the repository's root, slash-separated.
	Path string
	// Mode is git's: 100644, 100755, 120000 (link), 160000 (submodule).
	Mode string
	// Object is the hash of the content.
	Object string
	// LFS: git has a pointer, and the work tree the content.
	LFS bool
	// Written is how this checkout writes the content, where that is not as git has
	// it: "eol=crlf", "filter=crypt". It is "" for all others, and for LFS.
	Written string
}

// Ingredients are all that determines an image.
type Ingredients struct {
	// Dir is where the recipe is, from the repository's root, and Kind its name.
	Dir, Kind string
	// Recipe is the build section as JSON, its references static.
	Recipe    string
	Source    string
	Platforms []string
	// Bases are static references of what it starts from, by what is written.
	Bases map[string]string
	// Inputs are the files that count.
	Inputs []Input
}

// Ingredients returns what the component is made of, with the files that count
// and what its bases mean.
func (c Component) Ingredients(inputs []Input, bases map[string]string) (Ingredients, error) {
	recipe, err := canonical(c.section)
	if err != nil {
		return Ingredients{}, located(c.File, c.Line, err)
	}
	return Ingredients{c.Dir, c.Kind, recipe, c.Source, c.Platforms, bases, inputs}, nil
}

// canonical writes a section as JSON: its meaning, without comments, order of
// keys, anchors and quotes. Values are taken as they are written, since the recipes
// take them so: to YAML the versions 1.20 and 1.2 are one number.
func canonical(node *yaml.Node) (string, error) {
	plain := replaced(node, func(*yaml.Node) (string, bool) { return "", false })
	if err := asText(plain); err != nil {
		return "", err
	}
	var value any
	if err := plain.Decode(&value); err != nil {
		return "", err
	}
	text, err := json.Marshal(value)
	if err != nil {
		return "", lineError(node.Line, "build has a key that is no text: %v", err)
	}
	return string(text), nil
}

// asText makes text of every value but null.
func asText(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		switch node.ShortTag() {
		case "!!int", "!!float", "!!bool", "!!timestamp":
			node.Tag = "!!str"
		case "!!binary":
			return lineError(node.Line, "!!binary is no text")
		}
		return nil
	}
	for i, below := range node.Content {
		if node.Kind == yaml.MappingNode && i%2 == 0 {
			continue // a key
		}
		if err := asText(below); err != nil {
			return err
		}
	}
	return nil
}

// TagPrefix is what the tags start with that images are kept and found under. It
// is ours: no author's tag may start with it.
const TagPrefix = "pin-"

// Key returns the inputs key: 40 hexadecimal digits, as a git hash has, over
// everything that determines the image. The same key means the same image.
func (i Ingredients) Key() string {
	hash := sha256.New()
	line := func(parts ...string) {
		// With their lengths, so that no path can pretend to be two.
		for _, part := range parts {
			_, _ = fmt.Fprintf(hash, "%d:%s,", len(part), part)
		}
		_, _ = hash.Write([]byte("\n"))
	}
	line("pin-cmp inputs key 1")
	line("recipe", i.Dir, i.Kind, i.Recipe, i.Source)
	for _, platform := range i.Platforms {
		line("platform", platform)
	}
	for _, written := range sortedKeys(i.Bases) {
		line("base", written, i.Bases[written])
	}
	for _, input := range sortedInputs(i.Inputs) {
		if input.Written == "" {
			line("input", input.Mode, input.Object, input.Path)
		} else {
			line("input", input.Mode, input.Object, input.Path, input.Written)
		}
	}
	return hex.EncodeToString(hash.Sum(nil))[:40]
}

// Tag returns the tag that the image is kept and found under.
func (i Ingredients) Tag() string { return TagPrefix + i.Key() }

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func sortedInputs(inputs []Input) []Input {
	return slices.SortedFunc(slices.Values(inputs), func(a, b Input) int { return strings.Compare(a.Path, b.Path) })
}

// Change is why one key differs from another.
type Change struct {
	// Kind is "added", "removed" or "changed".
	Kind string `json:"kind"`
	// What is the path of an input, or "build section", "platforms", "base …".
	What string `json:"what"`
}

// String returns the change on one line.
func (c Change) String() string { return c.Kind + " " + c.What }

// Since returns what became of earlier ingredients, the recipe first and then the
// inputs by their paths. It is empty if, and only if, the keys are equal.
func (i Ingredients) Since(earlier Ingredients) []Change {
	var changes []Change
	if i.Recipe != earlier.Recipe || i.Kind != earlier.Kind || i.Dir != earlier.Dir {
		changes = append(changes, Change{"changed", "the build section"})
	}
	if i.Source != earlier.Source {
		changes = append(changes, Change{"changed", "the source's address"})
	}
	if !slices.Equal(i.Platforms, earlier.Platforms) {
		changes = append(changes, Change{"changed", "the platforms"})
	}
	changes = append(changes, difference(earlier.Bases, i.Bases, "the base ")...)
	before, after := map[string]string{}, map[string]string{}
	for _, input := range earlier.Inputs {
		before[input.Path] = input.Mode + " " + input.Object
	}
	for _, input := range i.Inputs {
		after[input.Path] = input.Mode + " " + input.Object
	}
	return append(changes, difference(before, after, "")...)
}

func difference(before, after map[string]string, what string) []Change {
	var changes []Change
	for name, value := range after {
		if was, ok := before[name]; !ok {
			changes = append(changes, Change{"added", what + name})
		} else if was != value {
			changes = append(changes, Change{"changed", what + name})
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			changes = append(changes, Change{"removed", what + name})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.What, b.What) })
	return changes
}

// Holds tells whether a path is one of the component's inputs, or below one.
func (c Component) Holds(name string) bool {
	return slices.ContainsFunc(c.Inputs, func(input string) bool {
		return input == "." || name == input || strings.HasPrefix(name, input+"/")
	})
}

// Names tells whether a path is itself named as an input: then it counts,
// whatever it holds.
func (c Component) Names(name string) bool { return slices.Contains(c.Inputs, name) }
