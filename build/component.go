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
	// Source is where people find the source, a URL that goes into the image as a
	// label; "" leaves that out. It is written down, not taken from git's
	// configuration: that differs from clone to clone.
	Source string
	// Platforms are those that the image is for, "linux/arm64", as they are
	// declared. Without any it is for linux/amd64; what a command, Bazel or Nix
	// makes is theirs to say.
	Platforms []string
	// Dir is the directory of the pin.yaml, from the repository's root.
	Dir string
	// Recipe is how it is built, and Kind its name in the pin.yaml.
	Recipe Recipe
	Kind   string
	// File and Line are where it is declared.
	File string
	Line int

	section *yaml.Node // what Recipe was made from
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
	Name      string    `yaml:"name"`
	Image     string    `yaml:"image"`
	Inputs    []string  `yaml:"inputs"`
	Source    string    `yaml:"source"`
	Platforms []string  `yaml:"platforms"`
	Build     yaml.Node `yaml:"build"`

	line int
}

// UnmarshalYAML remembers the line, for errors.
func (d *declaration) UnmarshalYAML(node *yaml.Node) error {
	type plain declaration
	if err := strict(node, (*plain)(d)); err != nil {
		return err
	}
	d.line = node.Line
	return nil
}

// ComponentVersion is the apiVersion of a pin.yaml.
const ComponentVersion = "pin-cmp/v1"

// file is a pin.yaml: one component, or a list.
type file struct {
	APIVersion string        `yaml:"apiVersion"`
	Kind       string        `yaml:"kind"`
	Components []declaration `yaml:"components"`
	// Of a single component:
	Name      string    `yaml:"name"`
	Image     string    `yaml:"image"`
	Inputs    []string  `yaml:"inputs"`
	Source    string    `yaml:"source"`
	Platforms []string  `yaml:"platforms"`
	Build     yaml.Node `yaml:"build"`
}

// ParseComponents reads a pin.yaml; name is its path from the repository's
// root. The error is a *[DeclarationError].
func ParseComponents(name string, content []byte) ([]Component, error) {
	var root, more yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	if err := decoder.Decode(&root); err != nil && !errors.Is(err, io.EOF) {
		return nil, mistake(name, err)
	}
	if err := decoder.Decode(&more); err == nil {
		return nil, &DeclarationError{File: name, Line: more.Line, Err: errors.New("has a second document; several components are a list, kind: Components")}
	} else if !errors.Is(err, io.EOF) {
		return nil, mistake(name, err)
	}
	if len(root.Content) == 0 {
		return nil, &DeclarationError{File: name, Err: errors.New("is empty; it declares a component: image, inputs, build")}
	}
	top := root.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, &DeclarationError{File: name, Line: top.Line, Err: errors.New("is not a map of image, inputs, build")}
	}
	var read file
	if err := strict(top, &read); err != nil {
		return nil, mistake(name, err)
	}
	if read.APIVersion != ComponentVersion || read.Kind != "Components" && read.Kind != "Component" {
		return nil, &DeclarationError{File: name, Line: top.Line, Err: fmt.Errorf("starts with apiVersion: %s and kind: Component, or Components for a list, not %q and %q", ComponentVersion, read.APIVersion, read.Kind)}
	}
	declarations := read.Components
	switch {
	case read.Kind == "Components":
		for i := 0; i < len(top.Content); i += 2 {
			if key := top.Content[i]; key.Value != "apiVersion" && key.Value != "kind" && key.Value != "components" {
				return nil, &DeclarationError{File: name, Line: key.Line, Err: fmt.Errorf("%s stands beside the list; it belongs into an item of components", key.Value)}
			}
		}
	case declarations != nil:
		return nil, &DeclarationError{File: name, Line: top.Line, Err: errors.New("has a list of components; its kind is Components then")}
	default:
		declarations = []declaration{{Name: read.Name, Image: read.Image, Inputs: read.Inputs, Source: read.Source, Platforms: read.Platforms, Build: read.Build, line: top.Line}}
	}
	var components []Component
	for _, d := range declarations {
		c, err := d.component(name)
		if err != nil {
			return nil, located(name, d.line, err)
		}
		components = append(components, c)
	}
	if len(components) == 0 {
		return nil, &DeclarationError{File: name, Line: top.Line, Err: errors.New("declares no component")}
	}
	return components, nil
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

// located gives a mistake the line of the declaration, unless it has one itself.
func located(file string, line int, err error) error {
	var types *yaml.TypeError
	if errors.As(err, &types) {
		return mistake(file, err)
	}
	return &DeclarationError{File: file, Line: line, Err: err}
}

// component checks a declaration and fills in what it leaves out.
func (d declaration) component(file string) (Component, error) {
	named, err := reference.ParseNormalizedNamed(d.Image)
	switch {
	case d.Image == "":
		return Component{}, errors.New("image is missing: the repository that the component is pushed to")
	case err != nil || !reference.IsNameOnly(named):
		return Component{}, fmt.Errorf("image %q is no repository; it has no tag and no digest, as in ghcr.io/acme/web", d.Image)
	}
	c := Component{
		Name: d.Name, Image: named.Name(), Dir: path.Dir(file),
		Source: d.Source, Platforms: d.Platforms, File: file, Line: d.line, section: &d.Build,
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
	if d.Source != "" && !sourceRE.MatchString(d.Source) {
		return Component{}, fmt.Errorf("source %q is no address of a page, as https://github.com/acme/shop", d.Source)
	}
	for _, platform := range d.Platforms {
		if !platformRE.MatchString(platform) {
			return Component{}, fmt.Errorf("platform %q is not written os/architecture[/variant], as in linux/arm64", platform)
		}
	}
	return c, c.readRecipe()
}

var sourceRE = regexp.MustCompile(`^https?://[^\s/@]+(?:/[^\s]*)?$`)

var platformRE = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9]+)?$`)

// readRecipe reads the section build.
func (c *Component) readRecipe() error {
	section := c.section
	if section.Kind == yaml.AliasNode {
		section = section.Alias
	}
	all := strings.Join(Kinds(), ", ")
	switch {
	case section.Kind == 0 || section.Tag == "!!null":
		return fmt.Errorf("build is missing: one of %s", all)
	case section.Kind != yaml.MappingNode:
		return lineError(section.Line, "build is not a map with one of %s", all)
	case len(section.Content) != 2:
		return lineError(section.Line, "build has %d keys, not one of %s", len(section.Content)/2, all)
	}
	key, value := section.Content[0], section.Content[1]
	read, ok := recipes()[key.Value]
	if !ok {
		text := ""
		if near := editdistance.Nearest(key.Value, Kinds()); near != "" {
			text = "; did you mean " + near + "?"
		}
		return lineError(key.Line, "unknown builder %q; there are %s%s", key.Value, all, text)
	}
	recipe, err := read(value)
	if err != nil {
		return err
	}
	c.Recipe, c.Kind = recipe, key.Value
	return recipe.Check(*c)
}

// WithReferences returns the component with references of its build section
// replaced: a value of it that is a key of written becomes what that says. So a
// component whose base is a tag is built on what the tag means.
func (c Component) WithReferences(written map[string]string) (Component, error) {
	return c.with(func(node *yaml.Node) (string, bool) {
		value, ok := written[node.Value]
		return value, ok
	})
}

// Place is where a value stands in a pin.yaml: its line and column, 1-based, and
// what it is.
type Place struct {
	Line, Column int
	Value        string
}

// at tells whether a scalar is the one that stands there. The parser says of one
// with an anchor or a tag where that begins.
func (p Place) at(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.Value == p.Value && node.Line == p.Line &&
		(node.Column == p.Column || node.Anchor != "" || node.Style&yaml.TaggedStyle != 0)
}

// WithValues returns the component with values of its build section replaced, by
// where they stand: one that waits for a digest may be as short as "build", which
// other values may be, too. So a component whose base is a placeholder is built on
// what the placeholder becomes.
func (c Component) WithValues(written map[Place]string) (Component, error) {
	return c.with(func(node *yaml.Node) (string, bool) {
		for place, value := range written {
			if place.at(node) {
				return value, true
			}
		}
		return "", false
	})
}

func (c Component) with(value func(*yaml.Node) (string, bool)) (Component, error) {
	c.section = replaced(c.section, value)
	if err := c.readRecipe(); err != nil {
		return c, located(c.File, c.Line, err)
	}
	return c, nil
}

// replaced copies a section: aliases written out, and each scalar that value has
// something for replaced by that.
func replaced(node *yaml.Node, value func(*yaml.Node) (string, bool)) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return replaced(node.Alias, value)
	}
	out := *node
	if node.Kind == yaml.ScalarNode {
		if text, ok := value(node); ok {
			out.Value = text
		}
	}
	out.Content = make([]*yaml.Node, len(node.Content))
	for i, below := range node.Content {
		if node.Kind == yaml.MappingNode && i%2 == 0 {
			out.Content[i] = below // a key
			continue
		}
		out.Content[i] = replaced(below, value)
	}
	return &out
}

// HasAt tells whether a value stands in the build section.
func (c Component) HasAt(place Place) bool {
	found := false
	if c.section != nil {
		_ = replaced(c.section, func(node *yaml.Node) (string, bool) {
			found = found || place.at(node)
			return "", false
		})
	}
	return found
}

// Staged tells whether the builder sees nothing but a copy of the inputs, each
// compared with what git has of it: then what happens in the work tree while it
// builds does not matter.
func (c Component) Staged() bool {
	switch c.Recipe.(type) {
	case *Layers, *Docker, *Podman, *Buildah, *Ko, *Pack:
		return true
	}
	return false
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

// Mentions tells whether a scalar of the build section is this text, all of it.
func (c Component) Mentions(text string) bool {
	return slices.Contains(c.Values(), text)
}

// Values returns the scalars of the build section, keys left out, in the order
// of the file.
func (c Component) Values() []string {
	if c.section == nil {
		return nil
	}
	return values(nil, c.section)
}

func values(found []string, node *yaml.Node) []string {
	switch node.Kind {
	case yaml.AliasNode:
		return values(found, node.Alias)
	case yaml.ScalarNode:
		return append(found, node.Value)
	case yaml.MappingNode:
		for i := 1; i < len(node.Content); i += 2 {
			found = values(found, node.Content[i])
		}
	default:
		for _, item := range node.Content {
			found = values(found, item)
		}
	}
	return found
}
