package build

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const head = "apiVersion: pin-cmp/v1\nkind: Component\n"

const list = "apiVersion: pin-cmp/v1\nkind: Components\n"

func TestParseComponents(t *testing.T) {
	for _, c := range []struct {
		name, file, content string
		want                []Component
	}{
		{
			"one", "web/pin.yaml", head + "image: ghcr.io/acme/web\nbuild: {command: [make, push]}\n",
			[]Component{{Name: "web", Image: "ghcr.io/acme/web", Inputs: []string{"web"}, Dir: "web", Recipe: Command{"make", "push"}, Kind: "command", File: "web/pin.yaml", Line: 1}},
		},
		{
			"at the root", "pin.yaml", head + "image: web\nname: front\nbuild: {command: [x]}\n",
			[]Component{{Name: "front", Image: "docker.io/library/web", Inputs: []string{"."}, Dir: ".", Recipe: Command{"x"}, Kind: "command", File: "pin.yaml", Line: 1}},
		},
		{
			"inputs", "a/b/pin.yaml", head + "image: ghcr.io/acme/web\ninputs: [., ../lib, ./x//y]\nbuild: {command: [x]}\n",
			[]Component{{Name: "web", Image: "ghcr.io/acme/web", Inputs: []string{"a/b", "a/lib", "a/b/x/y"}, Dir: "a/b", Recipe: Command{"x"}, Kind: "command", File: "a/b/pin.yaml", Line: 1}},
		},
		{
			"several", "pin.yaml", list + "components:\n- image: a.example/x\n  build: {command: [x]}\n- image: a.example/y\n  build: &b {command: [y]}\n- {image: a.example/z, build: *b}\n",
			[]Component{
				{Name: "x", Image: "a.example/x", Inputs: []string{"."}, Dir: ".", Recipe: Command{"x"}, Kind: "command", File: "pin.yaml", Line: 4},
				{Name: "y", Image: "a.example/y", Inputs: []string{"."}, Dir: ".", Recipe: Command{"y"}, Kind: "command", File: "pin.yaml", Line: 6},
				{Name: "z", Image: "a.example/z", Inputs: []string{"."}, Dir: ".", Recipe: Command{"y"}, Kind: "command", File: "pin.yaml", Line: 8},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseComponents(c.file, []byte(c.content))
			for i := range got {
				got[i].section = nil
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%v\ngot  %+v\nwant %+v", err, got, c.want)
			}
		})
	}
}

// Every mistake is said with its line.
func TestDeclarationMistakes(t *testing.T) {
	const image = "image: ghcr.io/acme/web\n"
	const command = "build: {command: [x]}\n"
	for _, c := range []struct{ name, content, want string }{
		{"empty", "", "pin.yaml: is empty; it declares a component: image, inputs, build"},
		{"comments alone", "# later\n", "pin.yaml: is empty; it declares a component"},
		{"a list", "- image: x\n", "pin.yaml:1: is not a map of image, inputs, build"},
		{"no YAML", head + "image: [\n", "pin.yaml:"},
		{"no header", image + command, `pin.yaml:1: starts with apiVersion: pin-cmp/v1 and kind: Component, or Components for a list, not "" and ""`},
		{"another version", "# x\n" + strings.Replace(head, "v1", "v2", 1) + image + command, "pin.yaml:2: starts with"},
		{"another kind", strings.Replace(head, "Component", "Policy", 1) + image + command, "pin.yaml:1: starts with"},
		{"two documents", head + image + command + "---\n" + head + image + command, "pin.yaml:5: has a second document; several components are a list, kind: Components"},
		{"typo", head + image + "imputs: [x]\n" + command, `pin.yaml:4: unknown field "imputs"; the fields are `},
		{"typo in build", head + image + "build:\n  comand: [x]\n", `; did you mean command?`},
		{"typo in an item", list + "components:\n- image: x\n  bild: {}\n", `pin.yaml:5: unknown field "bild"; the fields are name, image, inputs, source, platforms, build`},
		{"the same key twice", head + image + image + command, "pin.yaml:4: mapping key"},
		{"no image", head + command, "pin.yaml:1: image is missing: the repository that the component is pushed to"},
		{"a tag", head + "image: ghcr.io/acme/web:1\n" + command, `pin.yaml:1: image "ghcr.io/acme/web:1" is no repository; it has no tag and no digest`},
		{"upper case", head + "image: ghcr.io/Acme/web\n" + command, "is no repository"},
		{"no command", head + image, "pin.yaml:1: build is missing: one of "},
		{"an empty command", head + image + "build: {command: [\"\"]}\n", "pin.yaml:1: build.command is empty: the program that builds and pushes, and its arguments"},
		{"a command in one string", head + image + "build:\n  command: make push\n", "pin.yaml:5: is no list of words, as in [make, push]"},
		{"inputs in one string", head + image + "inputs: src\n" + command, "pin.yaml:4: is no list of words"},
		{"an input outside", head + image + "inputs: [../x]\n" + command, `pin.yaml:1: input "../x" is outside the repository`},
		{"an absolute input", head + image + "inputs: [/etc]\n" + command, `pin.yaml:1: input "/etc" is outside the repository`},
		{"a source that is no page", head + "source: git@github.com:acme/web\n" + image + command, `pin.yaml:1: source "git@github.com:acme/web" is no address of a page`},
		{"a source with a password", head + "source: https://ada:pw@github.com/acme/web\n" + image + command, `is no address of a page`},
		{"a platform", head + "platforms: [amd64]\n" + image + command, `pin.yaml:1: platform "amd64" is not written os/architecture[/variant]`},
		{"two builders", head + image + "build: {command: [x], ko: {}}\n", "pin.yaml:4: build has 2 keys, not one of bazel, "},
		{"a builder that is no map", head + image + "build: docker\n", "pin.yaml:4: build is not a map with one of bazel, "},
		{"a bad name", head + image + "name: Web\n" + command, `pin.yaml:1: name "Web" has more than lower-case letters`},
		{"a list under kind Component", head + "components: [{image: x, " + strings.TrimSpace(command) + "}]\n", "pin.yaml:1: has a list of components; its kind is Components then"},
		{"a component beside the list", list + image + "components: [{image: x, " + strings.TrimSpace(command) + "}]\n", "pin.yaml:3: image stands beside the list; it belongs into an item of components"},
		{"an empty list", list + "components: []\n", "pin.yaml:1: declares no component"},
		{"no list", list, "pin.yaml:1: declares no component"},
		{"the second of two", list + "components:\n- {image: a, " + strings.TrimSpace(command) + "}\n- {image: b}\n", "pin.yaml:5: build is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseComponents("pin.yaml", []byte(c.content))
			var mistake *DeclarationError
			if got != nil || !errors.As(err, &mistake) || !strings.HasPrefix(err.Error(), c.want) && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

func TestComponents(t *testing.T) {
	web := Component{Name: "web", Image: "ghcr.io/acme/web", File: "a/pin.yaml", Line: 1}
	api := Component{Name: "api", Image: "ghcr.io/acme/api", File: "b/pin.yaml", Line: 4}
	c, err := NewComponents([]Component{web, api})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := c.ByImage("ghcr.io/acme/api"); !ok || got.Name != "api" {
		t.Error(got, ok)
	}
	if _, ok := c.ByImage("ghcr.io/acme"); ok {
		t.Error("a component of a part of a name")
	}
	if got, ok := c.ByName("web"); !ok || got.Image != web.Image {
		t.Error(got, ok)
	}
	for image, want := range map[string][]string{
		"ghcr.io/acme/wep":      {"ghcr.io/acme/web"},
		"ghcr.io/acne/api":      {"ghcr.io/acme/api"},
		"quay.io/other/web":     {"ghcr.io/acme/web"},
		"ghcr.io/acme/database": nil,
	} {
		if got := c.Near(image); !slices.Equal(got, want) {
			t.Errorf("near %s: %v, want %v", image, got, want)
		}
	}
	twin := api
	twin.Image, twin.Name, twin.File, twin.Line = web.Image, "other", "c/pin.yaml", 7
	if _, err := NewComponents([]Component{web, twin}); err == nil || err.Error() != "c/pin.yaml:7: claims the image ghcr.io/acme/web, which a/pin.yaml:1 claims too" {
		t.Error(err)
	}
	twin.Image, twin.Name = "ghcr.io/other/web", "web"
	if _, err := NewComponents([]Component{web, twin}); err == nil || err.Error() != "c/pin.yaml:7: has the name web, which a/pin.yaml:1 has too; give one of them a name" {
		t.Error(err)
	}
}

// The schema knows the fields that the program knows, and no others.
func TestSchema(t *testing.T) {
	text, err := os.ReadFile("../docs/pin.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	defs, _ := schema["$defs"].(map[string]any)
	got := schemaFields("", schema, defs)
	fields := fieldsOf("", reflect.TypeFor[declaration]())
	for kind, read := range recipes() {
		fields = append(fields, "build."+kind)
		recipe, err := read(&yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"})
		if err == nil { // a command is a list
			fields = append(fields, fieldsOf("build."+kind+".", reflect.TypeOf(recipe).Elem())...)
		}
	}
	want := append([]string{"apiVersion", "kind", "components"}, fields...)
	for _, field := range fields {
		want = append(want, "components."+field)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the schema has\n%s\nthe program has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	name, _ := defs["name"].(map[string]any)
	if pattern := strings.ReplaceAll(nameRE.String(), "?:", ""); name["pattern"] != pattern {
		t.Errorf("the schema's names match %s, the program's %s", name["pattern"], pattern)
	}
}

// The examples of the documentation are files that load, and each builder has one.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../docs/build.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, example := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1) {
		content := string(example[1])
		if strings.HasPrefix(content, "build:") {
			content = head + "image: ghcr.io/acme/web\n" + content
		}
		components, err := ParseComponents("web/pin.yaml", []byte(content))
		if err != nil {
			t.Errorf("%v in\n%s", err, content)
		}
		for _, c := range components {
			shown[c.Kind] = true
		}
	}
	delete(shown, "")
	for _, kind := range Kinds() {
		if !shown[kind] && kind != "podman" && kind != "buildah" { // written as docker's is
			t.Errorf("no example of %s", kind)
		}
	}
}

// fieldsOf lists the YAML fields of a struct: a, a.b.
func fieldsOf(prefix string, t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("yaml")
		if name == "" {
			continue
		}
		name, _, _ = strings.Cut(name, ",")
		names = append(names, prefix+name)
		below := t.Field(i).Type
		if below.Kind() == reflect.Slice {
			below = below.Elem()
		}
		if below.Kind() == reflect.Struct && below != reflect.TypeFor[yaml.Node]() {
			names = append(names, fieldsOf(prefix+name+".", below)...)
		}
	}
	return names
}

func schemaFields(prefix string, schema, defs map[string]any) []string {
	if items, ok := schema["items"].(map[string]any); ok {
		schema = items
	}
	if ref, ok := schema["$ref"].(string); ok {
		schema, _ = defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	}
	properties, _ := schema["properties"].(map[string]any)
	var names []string
	for name, below := range properties {
		names = append(names, prefix+name)
		names = append(names, schemaFields(prefix+name+".", below.(map[string]any), defs)...)
	}
	return names
}
