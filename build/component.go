package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"go.yaml.in/yaml/v3"

	"github.com/pin-cmp/pin-cmp/internal/editdistance"
)

// ComponentFile is the name of the files that declare components.
const ComponentFile = "pin.yaml"

// Component is something that is built from this repository.
type Component struct {
	// Name is unique in the repository; the last part of Image if not given.
	Name string
	// Image is the normalised repository the image is pushed to.
	Image string
	// Inputs are the files and directories that determine the image, from the
	// repository's root, slash-separated. The directory of the pin.yaml if none
	// are given.
	Inputs []string
	// Dir is the directory of the pin.yaml, from the repository's root.
	Dir string
	// Command builds and pushes the image; see [Command].
	Command []string
	// File and Line are where it is declared.
	File string
	Line int
}

// DeclarationError is a mistake in a pin.yaml.
type DeclarationError struct {
	File string
	Line int // 1-based, 0 if unknown
	Err  error
}

// Error returns file:line and the mistake.
func (e *DeclarationError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.File, e.Err)
}

// Unwrap returns the cause.
func (e *DeclarationError) Unwrap() error { return e.Err }

// declaration is a component as it is written.
type declaration struct {
	Name   string   `yaml:"name"`
	Image  string   `yaml:"image"`
	Inputs []string `yaml:"inputs"`
	Build  struct {
		Command []string `yaml:"command"`
	} `yaml:"build"`

	line int
}

// UnmarshalYAML remembers the line, for errors.
func (d *declaration) UnmarshalYAML(node *yaml.Node) error {
	type plain declaration
	if err := known(node, "name", "image", "inputs", "build"); err != nil {
		return err
	}
	if err := node.Decode((*plain)(d)); err != nil {
		return err
	}
	d.line = node.Line
	return nil
}

// ComponentVersion is the apiVersion of a pin.yaml.
const ComponentVersion = "pin-cmp/v1"

// known refuses keys that do not exist: a typo would silently change what is
// built.
func known(node *yaml.Node, keys ...string) error {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode {
		return nil // Decode says so
	}
	for i := 0; i < len(node.Content); i += 2 {
		key := node.Content[i]
		if !slices.Contains(keys, key.Value) {
			return lineError(key.Line, "unknown field %q; the fields are %s", key.Value, strings.Join(keys, ", "))
		}
		if key.Value == "build" {
			if err := known(node.Content[i+1], "command"); err != nil {
				return err
			}
		}
	}
	return nil
}

func lineError(line int, format string, args ...any) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %s", line, fmt.Sprintf(format, args...))}}
}

// ParseComponents reads a pin.yaml; file is its path from the repository's
// root. The error is a *[DeclarationError].
func ParseComponents(file string, content []byte) ([]Component, error) {
	var root, more yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	if err := decoder.Decode(&root); err != nil && !errors.Is(err, io.EOF) {
		return nil, mistake(file, err)
	}
	if err := decoder.Decode(&more); err == nil {
		return nil, &DeclarationError{File: file, Line: more.Line, Err: errors.New("has a second document; several components are a list, kind: Components")}
	} else if !errors.Is(err, io.EOF) {
		return nil, mistake(file, err)
	}
	if len(root.Content) == 0 {
		return nil, &DeclarationError{File: file, Err: errors.New("is empty; it declares a component: image, inputs, build")}
	}
	top := root.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, &DeclarationError{File: file, Line: top.Line, Err: errors.New("is not a map of image, inputs, build")}
	}
	if err := known(top, "apiVersion", "kind", "components", "name", "image", "inputs", "build"); err != nil {
		return nil, mistake(file, err)
	}
	var header struct {
		APIVersion string        `yaml:"apiVersion"`
		Kind       string        `yaml:"kind"`
		Components []declaration `yaml:"components"`
	}
	if err := top.Decode(&header); err != nil {
		return nil, mistake(file, err)
	}
	if header.APIVersion != ComponentVersion || header.Kind != "Components" && header.Kind != "Component" {
		return nil, &DeclarationError{File: file, Line: top.Line, Err: fmt.Errorf("starts with apiVersion: %s and kind: Component, or Components for a list, not %q and %q", ComponentVersion, header.APIVersion, header.Kind)}
	}
	declarations := header.Components
	if header.Kind == "Components" {
		for i := 0; i < len(top.Content); i += 2 {
			if key := top.Content[i]; slices.Contains([]string{"name", "image", "inputs", "build"}, key.Value) {
				return nil, &DeclarationError{File: file, Line: key.Line, Err: fmt.Errorf("%s stands beside the list; it belongs into an item of components", key.Value)}
			}
		}
	} else {
		if declarations != nil {
			return nil, &DeclarationError{File: file, Line: top.Line, Err: errors.New("has a list of components; its kind is Components then")}
		}
		one, err := single(top)
		if err != nil {
			return nil, mistake(file, err)
		}
		declarations = []declaration{one}
	}
	var components []Component
	for _, d := range declarations {
		c, err := d.component(file)
		if err != nil {
			return nil, &DeclarationError{File: file, Line: d.line, Err: err}
		}
		components = append(components, c)
	}
	if len(components) == 0 {
		return nil, &DeclarationError{File: file, Line: top.Line, Err: errors.New("declares no component")}
	}
	return components, nil
}

// single reads a pin.yaml that is one component.
func single(top *yaml.Node) (declaration, error) {
	type plain declaration
	var one plain
	if err := top.Decode(&one); err != nil {
		return declaration{}, err
	}
	one.line = top.Line
	return declaration(one), nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// mistake gives the decoder's error a line and this file's name.
func mistake(file string, err error) error {
	text := err.Error()
	var types *yaml.TypeError
	if errors.As(err, &types) && len(types.Errors) > 0 {
		text = types.Errors[0]
	}
	out := &DeclarationError{File: file}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		out.Line, _ = strconv.Atoi(m[1])
		text = m[2]
	}
	if strings.HasSuffix(text, "into []string") {
		text = "is no list of words, as in [make, push]"
	}
	out.Err = errors.New(strings.TrimPrefix(text, "yaml: "))
	return out
}

var nameRE = regexp.MustCompile(`^[a-z0-9]+(?:[._-][a-z0-9]+)*$`)

// component checks a declaration and fills in what it leaves out.
func (d declaration) component(file string) (Component, error) {
	named, err := reference.ParseNormalizedNamed(d.Image)
	switch {
	case d.Image == "":
		return Component{}, errors.New("image is missing: the repository that the component is pushed to")
	case err != nil || !reference.IsNameOnly(named):
		return Component{}, fmt.Errorf("image %q is no repository; it has no tag and no digest, as in ghcr.io/acme/web", d.Image)
	case len(d.Build.Command) == 0 || d.Build.Command[0] == "":
		return Component{}, errors.New("build.command is missing: the program that builds and pushes, and its arguments")
	}
	c := Component{
		Name: d.Name, Image: named.Name(), Dir: path.Dir(file),
		Command: d.Build.Command, File: file, Line: d.line,
	}
	if c.Name == "" {
		c.Name = path.Base(c.Image)
	}
	if !nameRE.MatchString(c.Name) {
		return Component{}, fmt.Errorf("name %q has more than lower-case letters, digits and single . _ - between them", c.Name)
	}
	inputs := d.Inputs
	if len(inputs) == 0 {
		inputs = []string{"."}
	}
	for _, input := range inputs {
		full := path.Join(c.Dir, input)
		if path.IsAbs(input) || full == ".." || strings.HasPrefix(full, "../") {
			return Component{}, fmt.Errorf("input %q is outside the repository", input)
		}
		c.Inputs = append(c.Inputs, full)
	}
	return c, nil
}

// Components are the components of a repository.
type Components struct{ list []Component }

// NewComponents joins the components of several files. Two that claim one image
// or one name are an error that names both places.
func NewComponents(list []Component) (*Components, error) {
	images, names := map[string]Component{}, map[string]Component{}
	for _, c := range list {
		if other, ok := images[c.Image]; ok {
			return nil, &DeclarationError{c.File, c.Line, fmt.Errorf("claims the image %s, which %s:%d claims too", c.Image, other.File, other.Line)}
		}
		if other, ok := names[c.Name]; ok {
			return nil, &DeclarationError{c.File, c.Line, fmt.Errorf("has the name %s, which %s:%d has too; give one of them a name", c.Name, other.File, other.Line)}
		}
		images[c.Image], names[c.Name] = c, c
	}
	return &Components{list}, nil
}

// All returns the components in the order of their files.
func (c *Components) All() []Component { return c.list }

// ByImage returns the component that owns a normalised repository.
func (c *Components) ByImage(image string) (Component, bool) {
	i := slices.IndexFunc(c.list, func(one Component) bool { return one.Image == image })
	if i < 0 {
		return Component{}, false
	}
	return c.list[i], true
}

// ByName returns the component of that name.
func (c *Components) ByName(name string) (Component, bool) {
	i := slices.IndexFunc(c.list, func(one Component) bool { return one.Name == name })
	if i < 0 {
		return Component{}, false
	}
	return c.list[i], true
}

// Near returns the images most like the one that nobody declares, closest
// first, at most three.
func (c *Components) Near(image string) []string {
	type match struct {
		image    string
		distance int
	}
	var matches []match
	for _, one := range c.list {
		d := min(editdistance.Between(one.Image, image), editdistance.Between(path.Base(one.Image), path.Base(image))+1)
		if d <= max(2, len(path.Base(image))/3) {
			matches = append(matches, match{one.Image, d})
		}
	}
	slices.SortStableFunc(matches, func(a, b match) int { return a.distance - b.distance })
	var near []string
	for _, m := range matches[:min(3, len(matches))] {
		near = append(near, m.image)
	}
	return near
}
