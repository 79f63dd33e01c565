package build

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Recipe is how a component is built: what its pin.yaml has under build. Its
// fields are those of the file, and all of them count in the inputs key.
type Recipe interface {
	Builder
	// Check returns a mistake that can be seen without building. The error starts
	// with the field: "build.docker.file is …".
	Check(c Component) error
	// Program is the tool that it runs; the zero value if it needs none.
	Program() Program
	// Bases returns the images that it starts from, in the order they are named.
	// read returns a file of the repository by its path from the root; its error
	// matches fs.ErrNotExist where the file is none of the component's inputs.
	Bases(c Component, read func(path string) ([]byte, error)) ([]Base, error)
}

// Program is a tool that has to be installed.
type Program struct {
	// Name is what is looked for in $PATH.
	Name string
	// Get is how to get it: an address or a command.
	Get string
}

// Base is an image that another one is made from.
type Base struct {
	// Reference is as it is written, with build arguments put in.
	Reference string
	// File and Line are where it is written. File is empty where that is the
	// pin.yaml itself.
	File string
	Line int
}

// recipes are the kinds that a pin.yaml can name.
func recipes() map[string]func(node *yaml.Node) (Recipe, error) {
	return map[string]func(node *yaml.Node) (Recipe, error){
		"bazel":   decode[Bazel],
		"buildah": decode[Buildah],
		"command": decodeCommand,
		"layers":  decode[Layers],
		"docker":  decode[Docker],
		"ko":      decode[Ko],
		"nix":     decode[Nix],
		"pack":    decode[Pack],
		"podman":  decode[Podman],
	}
}

// Kinds returns the names of all recipes, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(recipes())) }

// decode reads the section of a recipe; a field that T does not have is an error.
func decode[T any, P interface {
	*T
	Recipe
}](node *yaml.Node) (Recipe, error) {
	recipe := P(new(T))
	if err := strict(node, recipe); err != nil {
		return nil, err
	}
	return recipe, nil
}
