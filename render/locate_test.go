package render

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// at makes a path of "spec.containers.0.image".
func at(path string) []any {
	var steps []any
	for _, step := range strings.Split(path, ".") {
		if i, err := strconv.Atoi(step); err == nil {
			steps = append(steps, i)
		} else {
			steps = append(steps, step)
		}
	}
	return steps
}

const image = "spec.template.spec.containers.0.image"

func TestLocate(t *testing.T) {
	const digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	base := map[string]string{"base/kustomization.yaml": "resources:\n- d.yaml\n", "base/d.yaml": deployment}
	with := func(files map[string]string) map[string]string {
		for name, content := range base {
			if _, ok := files[name]; !ok {
				files[name] = content
			}
		}
		return files
	}
	for _, test := range []struct {
		name     string
		files    map[string]string
		manifest string // kind/name
		path     string
		value    string
		want     string
	}{
		{name: "a plain file", files: map[string]string{"app/d.yaml": deployment}, manifest: "Deployment/web", path: image, value: "nginx:1.25", want: "app/d.yaml:15"},
		{name: "the object itself", files: map[string]string{"app/d.yaml": "# head\n---\n" + deployment}, manifest: "Deployment/web", path: "kind", value: "Deployment", want: "app/d.yaml:4"},
		{name: "a later document", files: map[string]string{"app/d.yaml": "# head\n---\n# nothing\n---\n" + configMap("a") + "---\n" + deployment}, manifest: "Deployment/web", path: image, value: "nginx:1.25", want: "app/d.yaml:24"},
		{name: "after a document end", files: map[string]string{"app/d.yaml": configMap("a") + "...\n---\n" + deployment}, manifest: "Deployment/web", path: image, value: "nginx:1.25", want: "app/d.yaml:21"},
		{name: "CRLF", files: map[string]string{"app/d.yaml": strings.ReplaceAll(configMap("a")+"---\n"+deployment, "\n", "\r\n")}, manifest: "Deployment/web", path: image, value: "nginx:1.25", want: "app/d.yaml:20"},
		{name: "UTF-16", files: map[string]string{"app/d.yaml": utf16Text(configMap("ä")+"---\n"+deployment, true)}, manifest: "Deployment/web", path: image, value: "nginx:1.25", want: "app/d.yaml:20"},
		{name: "an item of a list", files: map[string]string{"app/d.yaml": "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec:\n    containers:\n    - image: a:1\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: b}\n  spec:\n    containers:\n    - image: a:1\n"}, manifest: "Pod/b", path: "spec.containers.0.image", value: "a:1", want: "app/d.yaml:15"},
		{name: "JSON", files: map[string]string{"app/d.json": "{\n \"apiVersion\": \"v1\",\n \"kind\": \"Pod\",\n \"metadata\": {\"name\": \"a\"},\n \"spec\": {\n  \"containers\": [\n   {\"name\": \"a\",\n    \"image\": \"a:1\"}\n  ]\n }\n}\n"}, manifest: "Pod/a", path: "spec.containers.0.image", value: "a:1", want: "app/d.json:8"},
		{name: "JSON objects in a YAML file", files: map[string]string{"app/d.yaml": "{\"apiVersion\": \"v1\", \"kind\": \"Pod\",\n \"metadata\": {\"name\": \"a\"}}\n{\"apiVersion\": \"v1\", \"kind\": \"Pod\",\n \"metadata\": {\n \"name\": \"b\"}}\n"}, manifest: "Pod/b", path: "metadata.name", value: "b", want: "app/d.yaml:5"},
		{name: "an alias", files: map[string]string{"app/d.yaml": "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    image: &image a:1\nspec:\n  containers:\n  - image: *image\n"}, manifest: "Pod/a", path: "spec.containers.0.image", value: "a:1", want: "app/d.yaml:6"},
		{name: "an alias of a map", files: map[string]string{"app/d.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  initContainers:\n  - &c\n    image: a:1\n  containers:\n  - *c\n"}, manifest: "Pod/a", path: "spec.containers.0.image", value: "a:1", want: "app/d.yaml:7"},
		{name: "a merge key", files: map[string]string{"app/d.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  initContainers:\n  - &c\n    image: a:1\n  containers:\n  - <<: *c\n    name: b\n"}, manifest: "Pod/a", path: "spec.containers.0.image", value: "a:1", want: "app/d.yaml:7"},
		{name: "the last of two equal keys", files: map[string]string{"app/d.yaml": configMap("a") + "data:\n  a: x\n  a: b\n"}, manifest: "ConfigMap/a", path: "data.a", value: "b", want: "app/d.yaml:7"},
		{name: "a text", files: map[string]string{"app/d.yaml": configMap("a") + "data:\n  a: |\n    image: b\n"}, manifest: "ConfigMap/a", path: "data.a", value: "image: b\n", want: "app/d.yaml:6"},
		{name: "a path that the file does not have", files: map[string]string{"app/d.yaml": deployment}, manifest: "Deployment/web", path: "spec.template.nothing.x", value: "", want: "app/d.yaml:10"},
		{name: "through a link", files: map[string]string{"app/d.yaml": "-> ../shared/d.yaml", "shared/d.yaml": deployment}, manifest: "Deployment/web", path: image, value: "nginx:1.25", want: "app/d.yaml:15"},

		{name: "a resource of a base", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\n"}), manifest: "Deployment/web", path: image, value: "nginx:1.25", want: "base/d.yaml:15"},
		{name: "a name with prefix and suffix", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\nnamePrefix: a-\nnameSuffix: -b\n"}), manifest: "Deployment/a-web-b", path: image, value: "nginx:1.25", want: "base/d.yaml:15"},
		{name: "a digest of an images entry", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\nimages:\n- name: other\n  digest: " + digest + "\n- name: nginx\n  newName: ghcr.io/acme/nginx\n  newTag: v1\n  digest: " + digest + "\n"}), manifest: "Deployment/web", path: image, value: "ghcr.io/acme/nginx:v1@" + digest, want: "app/kustomization.yaml:8"},
		{name: "a tag of an images entry", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\nimages:\n- name: nginx\n  newTag: '1.26'\n"}), manifest: "Deployment/web", path: image, value: "nginx:1.26", want: "app/kustomization.yaml:4"},
		{name: "a tag that holds a digest", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\nimages:\n- name: nginx\n  newTag: v1@" + digest + "\n"}), manifest: "Deployment/web", path: image, value: "nginx:v1@" + digest, want: "app/kustomization.yaml:4"},
		{name: "a symbolic digest", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\nimages:\n- {name: nginx, newTag: 1.4.0, digest: build}\n"}), manifest: "Deployment/web", path: image, value: "nginx:1.4.0@build", want: "app/kustomization.yaml:3"},
		{name: "a new name alone", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\nimages:\n- name: nginx\n  newName: mirror.example.com/nginx\n"}), manifest: "Deployment/web", path: image, value: "mirror.example.com/nginx:1.25", want: "app/kustomization.yaml:4"},
		{name: "the outermost images entry", files: with(map[string]string{"app/kustomization.yaml": "resources: [../mid]\nimages:\n- name: nginx\n  newTag: '1.26'\n", "mid/kustomization.yaml": "resources: [../base]\nimages:\n- name: nginx\n  newTag: '1.26'\n"}), manifest: "Deployment/web", path: image, value: "nginx:1.26", want: "app/kustomization.yaml:4"},
		{name: "the images entry of a base", files: with(map[string]string{"app/kustomization.yaml": "resources: [../mid]\nimages:\n- name: other\n  newTag: '1.26'\n", "mid/kustomization.yaml": "resources: [../base]\nimages:\n- name: nginx\n  newTag: '1.26'\n"}), manifest: "Deployment/web", path: image, value: "nginx:1.26", want: "mid/kustomization.yaml:4"},
		{name: "a patch file", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\npatches: [{path: p.yaml}]\n", "app/p.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers:\n      - name: web\n        image: patched:1\n"}), manifest: "Deployment/web", path: image, value: "patched:1", want: "app/p.yaml:9"},
		{name: "a patch at another index", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\npatches: [{path: p.yaml}]\n", "app/p.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers:\n      - name: side\n        image: side:1\n      - name: web\n        image: patched:1\n"}), manifest: "Deployment/web", path: "spec.template.spec.containers.1.image", value: "patched:1", want: "app/p.yaml:11"},
		{name: "an inline patch", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\npatches:\n- patch: |\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: web}\n    spec:\n      template:\n        spec:\n          containers:\n          - name: web\n            image: patched:1\n"}), manifest: "Deployment/web", path: image, value: "patched:1", want: "app/kustomization.yaml:12"},
		{name: "a JSON patch", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\npatches:\n- path: p.yaml\n  target: {kind: Deployment}\n", "app/p.yaml": "- op: replace\n  path: /spec/template/spec/containers/0/image\n  value: patched:1\n"}), manifest: "Deployment/web", path: image, value: "patched:1", want: "app/p.yaml:3"},
		{name: "an inline JSON patch", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\npatches:\n- target: {kind: Deployment}\n  patch: |-\n    - op: replace\n      path: /spec/template/spec/containers/0/image\n      value: patched:1\n"}), manifest: "Deployment/web", path: image, value: "patched:1", want: "app/kustomization.yaml:7"},
		{name: "the object of the name, of two", files: map[string]string{"app/kustomization.yaml": "resources: [a.yaml, b.yaml]\n", "app/a.yaml": strings.ReplaceAll(deployment, "name: web", "name: a"), "app/b.yaml": strings.ReplaceAll(deployment, "name: web", "name: b")}, manifest: "Deployment/b", path: image, value: "nginx:1.25", want: "app/b.yaml:15"},
		{name: "two patches of the same value", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\npatches: [{path: p.yaml}, {path: q.yaml}]\n", "app/p.yaml": "- {op: replace, path: /spec/template/spec/containers/0/image, value: 'patched:1'}\n", "app/q.yaml": "- {op: replace, path: /spec/template/spec/containers/0/image, value: 'patched:1'}\n", "app/x": ""}), manifest: "", want: ""},
		{name: "a value that nobody wrote", files: with(map[string]string{"app/kustomization.yaml": "resources: [../base]\nnamePrefix: a-\n"}), manifest: "Deployment/a-web", path: "metadata.name", value: "a-web", want: ":0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.manifest == "" {
				test.manifest, test.path, test.value, test.want = "Deployment/web", image, "patched:1", ":0"
				test.files["app/kustomization.yaml"] = strings.Replace(test.files["app/kustomization.yaml"], "[{path: p.yaml}, {path: q.yaml}]", "[{path: p.yaml, target: {kind: Deployment}}, {path: q.yaml, target: {kind: Deployment}}]", 1)
			}
			for _, checkout := range []Application{{Checkout: checkoutOf(t, test.files)}, {Checkout: directoryOf(t, test.files)}} {
				checkout.Path = "app"
				result, err := InProcess{}.Render(context.Background(), checkout)
				if err != nil {
					t.Fatal(err)
				}
				i := slices.Index(strings.Fields(names(result)), test.manifest)
				if i < 0 {
					t.Fatalf("no %s in %s", test.manifest, names(result))
				}
				file, line := NewLocator(checkout.Checkout, result).Locate(i, at(test.path), test.value)
				if got := fmt.Sprintf("%s:%d", file, line); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
			}
		})
	}
}

func TestLocateOutOfRange(t *testing.T) {
	l := NewLocator(checkoutOf(t, nil), &Result{})
	for _, i := range []int{-1, 0, 7} {
		if file, line := l.Locate(i, nil, "x"); file != "" || line != 0 {
			t.Errorf("%d is at %s:%d", i, file, line)
		}
	}
}
