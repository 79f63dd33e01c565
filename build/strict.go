package build

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// strict decodes node into the struct that out points to. A key that the struct
// has no field for is an error that names its line and those there are: a typo
// would silently change what is built.
func strict(node *yaml.Node, out any) error {
	if err := known(node, reflect.TypeOf(out)); err != nil {
		return err
	}
	return node.Decode(out)
}

// known refuses keys that a type does not have. What is otherwise not of the type
// is left to the decoder.
func known(node *yaml.Node, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch {
	case t == reflect.TypeFor[yaml.Node]():
	case t.Kind() == reflect.Struct && node.Kind == yaml.MappingNode:
		fields := map[string]reflect.Type{}
		var names []string
		for i := range t.NumField() {
			if name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); name != "" {
				fields[name] = t.Field(i).Type
				names = append(names, name)
			}
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			if !slices.Contains(names, key.Value) {
				return lineError(key.Line, "unknown field %q; the fields are %s", key.Value, strings.Join(names, ", "))
			}
			if err := known(value, fields[key.Value]); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Slice && node.Kind == yaml.SequenceNode:
		for _, item := range node.Content {
			if err := known(item, t.Elem()); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Map && node.Kind == yaml.MappingNode:
		for i := 1; i < len(node.Content); i += 2 {
			if err := known(node.Content[i], t.Elem()); err != nil {
				return err
			}
		}
	}
	return nil
}

func lineError(line int, format string, args ...any) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %s", line, fmt.Sprintf(format, args...))}}
}
