package build

import (
	"context"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// component reads one component for a test.
func component(t *testing.T, file, content string) Component {
	t.Helper()
	list, err := ParseComponents(file, []byte(head+content))
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

func ingredients(t *testing.T, content string, inputs []Input, bases map[string]string) Ingredients {
	t.Helper()
	i, err := component(t, "web/pin.yaml", content).Ingredients(inputs, bases)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

const layersRecipe = "image: ghcr.io/acme/web\nplatforms: [linux/amd64]\nbuild:\n  layers:\n    files: [{from: a, to: /a}]\n    env: {A: x, B: y}\n"

// What is written otherwise, and means the same, has the same key; whatever
// determines the image changes it.
func TestKey(t *testing.T) {
	inputs := []Input{{Path: "web/a", Mode: "100644", Object: "1"}, {Path: "web/b", Mode: "100755", Object: "2"}}
	bases := map[string]string{"base:1": "base:1@" + someDigest}
	key := ingredients(t, layersRecipe, inputs, bases).Key()
	if !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(key) {
		t.Fatalf("%q", key)
	}
	for name, same := range map[string]Ingredients{
		"order of the inputs": ingredients(t, layersRecipe, []Input{inputs[1], inputs[0]}, bases),
		"order of the keys":   ingredients(t, strings.Replace(layersRecipe, "{A: x, B: y}", "{B: y, A: x}", 1), inputs, bases),
		"quotes and comments": ingredients(t, strings.Replace(layersRecipe, "{A: x, B: y}", "\n      A: 'x' # yes\n      \"B\": \"y\"", 1), inputs, bases),
		"another repository":  ingredients(t, strings.Replace(layersRecipe, "acme/web", "other/web", 1), inputs, bases),
		"a name":              ingredients(t, "name: other\n"+layersRecipe, inputs, bases),
		"LFS":                 ingredients(t, layersRecipe, []Input{{Path: "web/a", Mode: "100644", Object: "1", LFS: true}, inputs[1]}, bases),
	} {
		if same.Key() != key {
			t.Errorf("%s changes the key", name)
		}
		if changes := same.Since(ingredients(t, layersRecipe, inputs, bases)); len(changes) > 0 {
			t.Errorf("%s: %v", name, changes)
		}
	}
	for name, c := range map[string]struct {
		now  Ingredients
		want string
	}{
		"content":   {ingredients(t, layersRecipe, []Input{{Path: "web/a", Mode: "100644", Object: "9"}, inputs[1]}, bases), "changed web/a"},
		"mode":      {ingredients(t, layersRecipe, []Input{{Path: "web/a", Mode: "100755", Object: "1"}, inputs[1]}, bases), "changed web/a"},
		"a rename":  {ingredients(t, layersRecipe, []Input{{Path: "web/z", Mode: "100644", Object: "1"}, inputs[1]}, bases), "removed web/a, added web/z"},
		"one more":  {ingredients(t, layersRecipe, append([]Input{{Path: "web/c", Mode: "100644", Object: "3"}}, inputs...), bases), "added web/c"},
		"one less":  {ingredients(t, layersRecipe, inputs[:1], bases), "removed web/b"},
		"recipe":    {ingredients(t, strings.Replace(layersRecipe, "A: x", "A: z", 1), inputs, bases), "changed the build section"},
		"platforms": {ingredients(t, strings.Replace(layersRecipe, "amd64", "arm64", 1), inputs, bases), "changed the platforms"},
		"a base":    {ingredients(t, layersRecipe, inputs, map[string]string{"base:1": "base:1@sha256:" + strings.Repeat("7", 64)}), "changed the base base:1"},
		"no base":   {ingredients(t, layersRecipe, inputs, nil), "removed the base base:1"},
	} {
		if c.now.Key() == key {
			t.Errorf("%s does not change the key", name)
		}
		var changes []string
		for _, change := range c.now.Since(ingredients(t, layersRecipe, inputs, bases)) {
			changes = append(changes, change.String())
		}
		if got := strings.Join(changes, ", "); got != c.want {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

// No path, mode or reference can pretend to be two: whatever differs has another
// key, and nothing else does.
func TestKeyIsInjective(t *testing.T) {
	alphabet := []string{"a", "\n", "\"", "\\", " ", "[", "]", ",", "input", "\x00", "é", "\xff", "\ufffd", "1:"}
	random := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		var b strings.Builder
		for range 1 + random.IntN(4) {
			b.WriteString(alphabet[random.IntN(len(alphabet))])
		}
		return b.String()
	}
	seen := map[string]string{}
	for range 20000 {
		i := Ingredients{Dir: word(), Recipe: word(), Inputs: []Input{{Path: word(), Mode: word(), Object: word()}}, Bases: map[string]string{word(): word()}}
		if random.IntN(2) == 0 {
			i.Inputs = append(i.Inputs, Input{Path: word(), Mode: "100644", Object: word()})
		}
		text := strings.Join([]string{i.Dir, i.Recipe}, "\x01")
		for _, input := range sortedInputs(i.Inputs) {
			text += "\x02" + input.Path + "\x01" + input.Mode + "\x01" + input.Object
		}
		for written, base := range i.Bases {
			text += "\x03" + written + "\x01" + base
		}
		if other, ok := seen[i.Key()]; ok && other != text {
			t.Fatalf("%q and %q have one key", other, text)
		}
		seen[i.Key()] = text
	}
}

func TestWithReferences(t *testing.T) {
	c := component(t, "web/pin.yaml", "image: ghcr.io/acme/web\nbuild:\n  layers:\n    base: ghcr.io/acme/base:1.3.9@build+minor\n    files: [{from: a, to: /a}]\n")
	if !c.Mentions("ghcr.io/acme/base:1.3.9@build+minor") || c.Mentions("base") || !slices.Contains(c.Values(), "/a") {
		t.Errorf("%q", c.Values())
	}
	static := "ghcr.io/acme/base:1.4.0@" + someDigest
	got, err := c.WithReferences(map[string]string{"ghcr.io/acme/base:1.3.9@build+minor": static, "base": "no key is replaced"})
	if err != nil {
		t.Fatal(err)
	}
	if base := got.Recipe.(*Layers).Base; base != static {
		t.Errorf("the base is %q", base)
	}
	if before := c.Recipe.(*Layers).Base; before == static || c.Mentions(static) {
		t.Error("the component itself was changed")
	}
	bases, err := got.Recipe.Bases(got, nil)
	if err != nil || len(bases) != 1 || bases[0].Reference != static {
		t.Errorf("%v, %v", bases, err)
	}
	if _, err := c.WithReferences(map[string]string{"/a": "no absolute path"}); err == nil || !strings.HasPrefix(err.Error(), "web/pin.yaml:1: build.layers.files: ") {
		t.Errorf("%v", err)
	}
}

func TestHolds(t *testing.T) {
	c := Component{Inputs: []string{"web", "lib/x"}}
	for name, want := range map[string]bool{"web": true, "web/a/b": true, "lib/x": true, "lib/x/y": true, "lib": false, "lib/xy": false, "webs": false, "": false} {
		if c.Holds(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
	if !(Component{Inputs: []string{"."}}).Holds("anything") {
		t.Error("the root does not hold all")
	}
	if !c.Names("lib/x") || c.Names("web/a") {
		t.Error("names")
	}
}

// says is a builder that has built that already.
type says string

func (s says) Build(context.Context, Request) (string, error) { return string(s), nil }

// A builder that lies is found out, and its image gets no tag to be found by.
func TestChecked(t *testing.T) {
	server := serve(t)
	registry, repository := server.client(t), server.host+"/acme/web"
	request := Request{Component: Component{Name: "web", Image: repository, File: "web/pin.yaml", Line: 3}, Tag: "pin-1", Registry: registry}
	there := says(server.push(t, "acme/web:1", "web"))
	for name, c := range map[string]struct {
		builder   Builder
		platforms []string
		want      string
	}{
		"a digest that is not there": {says(someDigest), nil, "the build of web reported a digest, but "},
		"a platform that is missing": {there, []string{"linux/s390x"}, "web/pin.yaml:3: the build of web: "},
	} {
		t.Run(name, func(t *testing.T) {
			request.Component.Platforms = c.platforms
			digest, err := Checked(c.builder).Build(t.Context(), request)
			if digest != "" || err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%q, %v", digest, err)
			}
			if found, err := registry.Find(t.Context(), repository, "pin-1", nil); found != "" || err != nil {
				t.Errorf("it is found: %q, %v", found, err)
			}
		})
	}
	request.Component.Platforms = nil
	digest, err := Checked(there).Build(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := registry.Find(t.Context(), repository, "pin-1", nil); found != digest || err != nil {
		t.Errorf("%q, %v, not %q", found, err, digest)
	}
}
