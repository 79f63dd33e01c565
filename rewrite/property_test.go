package rewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/internal/imageref"
	"github.com/pin-cmp/pin-cmp/verify"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// pushing is a builder that really pushes, and counts.
type pushing struct{ built chan string }

func (p pushing) Build(_ context.Context, request build.Request) (string, error) {
	p.built <- request.Component.Name
	return pushImage(request.Component.Image, request.Component.Image)
}

// A template is a file with marks: «mark|what it becomes», where HOST is the
// registry, REPO a component's repository, D its digest, H the same without
// "sha256:", L that of the tag 1.27 of third/x.
var templates = []struct{ name, text string }{
	{"deployment.yaml", `apiVersion: apps/v1
kind: Deployment
metadata: {name: a}  # a comment
spec:
  template:
    spec:
      initContainers:
      - image:   "HOST/REPO«@build|@D»"   # why
        name: i
      containers:
      - {name: a, image: HOST/REPO:«1.3.9@build+minor|1.4.0@D», args: [--x, "ü"]}
      - name: b
        image: 'HOST/third/x:1.27«@resolve|@L»'


`},
	{"kustomization.yaml", `# header
---
resources: [a.yaml]
images:
- name: a
  newName: HOST/REPO
  digest: «build|D»
- name: HOST/third/x
  newTag: "1.27«@resolve|@L»"   # quoted
- {name: b, newName: HOST/REPO, newTag: «1.3.9|1.4.0», digest: «build+minor|D»}
- {name: c, newName: HOST/REPO, digest: «sha256:0000000000000000000000000000000000000000000000000000000000000000|D»}
patches:
- patch: |
    - op: replace

      path: /x
      value: 1
`},
	{"values.yaml", `image:
    registry: HOST
    repository: REPO
    tag: &t 1.4.0«@build|@D»
sidecar: {repository: HOST/REPO, tag: *t}
third: &third {repository: HOST/third/x, tag: 1.27, digest: «resolve|L»}
again:
  <<: *third
  pullPolicy: Always
old:
  image: HOST/REPO
  digest: «build|D»
bare: {repository: HOST/REPO, tag: 1.0.0, sha: «build|H»}
`},
	{"application.yaml", `apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: a}
spec:
  source:
    repoURL: https://git.example.com/a.git
    targetRevision: main
    kustomize: {images: [a=HOST/REPO«@build|@D», "b=HOST/third/x:1.27«@resolve|@L»"]}
---
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: b}
spec:
  source:
    helm:
      parameters:
      - {name: image.tag, value: 1.3.9«@build+minor|!}»
      - {name: image.repository, value: HOST/REPO}
      valuesObject: {image: {repository: HOST/REPO, digest: «build|D»}}
      values: |
        # values of the chart
        image:
          repository: HOST/REPO
          tag: «1.3.9@build+minor|1.4.0@D»   # here

        other: [1, 2]
`},
	{"pod.json", `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
	"spec": {"containers": [
		{"name": "a", "image": "HOST/REPO«@build|@D»"}, {"name": "b", "image": "HOST/REPO:1.0.0«@build|@D»"}]}}`},
	{"list.yaml", `kind: ConfigMap
apiVersion: v1
metadata: {name: c}
data:
  pod.yaml: |-
    kind: Pod
    apiVersion: v1
    metadata: {name: d}
    spec:
      containers:
      - image: HOST/REPO«@build|@D»
        name: x
---
# nothing here
---
kind: CronJob
apiVersion: batch/v1
metadata: {name: e}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: HOST/REPO:v1.3.9-rc.1«@build|@D»}], volumes: [{name: v, image: {reference: HOST/REPO«@build|@D»}}]}}}}}
`},
}

// fill makes the two versions of a template.
func fill(text string, repository, digest, third, host string) (before, after string) {
	text = strings.ReplaceAll(text, "1.3.9«@build+minor|!}»", "«1.3.9@build+minor|1.4.0@D»}")
	digests := strings.NewReplacer("D", digest, "H", strings.TrimPrefix(digest, "sha256:"), "L", third)
	var was, is strings.Builder
	for text != "" {
		plain, rest, marked := strings.Cut(text, "«")
		was.WriteString(plain)
		is.WriteString(plain)
		if !marked {
			break
		}
		mark, rest, _ := strings.Cut(rest, "»")
		from, to, _ := strings.Cut(mark, "|")
		was.WriteString(from)
		is.WriteString(digests.Replace(to))
		text = rest
	}
	names := strings.NewReplacer("HOST", host, "REPO", repository)
	return names.Replace(was.String()), names.Replace(is.String())
}

// Whatever forms a repository's files have, a rewrite changes the marks and no
// other byte, a second one changes nothing, and what the gate's finder sees
// afterwards is static.
func TestRewriteAnything(t *testing.T) {
	registry := startRegistry(t)
	third, err := pushImage(registry.Addr+"/third/x", "third")
	if err != nil {
		t.Fatal(err)
	}
	checker, err := presence.NewRemote(presence.RemoteOptions{PlainHTTP: []string{registry.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	client := &build.Registry{Presence: checker, PlainHTTP: map[string]bool{registry.Addr: true}}
	if err := client.Keep(t.Context(), registry.Addr+"/third/x", "1.27", third); err != nil {
		t.Fatal(err)
	}
	finder, err := verify.NewFinder()
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]string{}
	for _, component := range []string{"web", "api", "job"} {
		repository := registry.Addr + "/acme/" + component
		if digests[component], err = pushImage(repository, repository); err != nil {
			t.Fatal(err)
		}
	}
	const rounds = 12
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	known := map[string]bool{}
	for range rounds {
		files, want := map[string]string{}, map[string]string{}
		expected := map[string]bool{}
		for n := range 1 + random.IntN(8) {
			component := []string{"web", "api", "job"}[random.IntN(3)]
			template := templates[random.IntN(len(templates))]
			before, after := fill(template.text, "acme/"+component, digests[component], third, registry.Addr)
			if strings.HasSuffix(template.name, ".yaml") {
				if random.IntN(3) == 0 {
					before, after = strings.ReplaceAll(before, "\n", "\r\n"), strings.ReplaceAll(after, "\n", "\r\n")
				}
				if random.IntN(4) == 0 {
					before, after = "\ufeff"+before, "\ufeff"+after
				}
			}
			if random.IntN(3) == 0 {
				before, after = strings.TrimRight(before, "\r\n"), strings.TrimRight(after, "\r\n")
			}
			path := fmt.Sprintf("d%d/%s", n, template.name)
			files[path], want[path] = before, after
			expected[component] = true
		}
		for component := range digests {
			files[component+"/pin.yaml"] = fmt.Sprintf("apiVersion: pin-cmp/v1\nkind: Component\nimage: %s/acme/%s\nbuild: {command: [git]}\n", registry.Addr, component)
		}
		c := newCheckout(t, files)
		c.write("notes.txt", "untracked, acme/web@build\n")
		repo, err := gitrepo.Open(t.Context(), c.dir)
		if err != nil {
			t.Fatal(err)
		}
		builder := pushing{make(chan string, 100)}
		options := Options{Builder: builder, Registry: client, Commit: random.IntN(2) == 0}
		plan, err := Run(t.Context(), repo, options)
		if err != nil {
			t.Fatal(err)
		}
		for path, content := range want {
			if got := c.read(path); got != content {
				t.Errorf("%s is\n%s\nnot\n%s", path, got, content)
			}
			isStatic(t, finder, path, content)
		}
		for component := range known { // found by its key, since nothing changed
			delete(expected, component)
		}
		if len(builder.built) != len(expected) {
			t.Errorf("%d builds of %v", len(builder.built), slices.Sorted(maps.Keys(expected)))
		}
		maps.Copy(known, expected)
		if (plan.Commit != "") != options.Commit {
			t.Errorf("commit %q", plan.Commit)
		}
		head := c.git("rev-parse", "HEAD")
		again, err := Run(t.Context(), repo, options)
		if err != nil || !again.Empty() || len(again.Warnings) > 0 || c.git("rev-parse", "HEAD") != head {
			t.Errorf("a second time: %v, %v, %v", err, again.Pins, again.Warnings)
		}
		for path, content := range want {
			if got := c.read(path); got != content {
				t.Errorf("a second time %s became\n%s", path, got)
			}
		}
		c.sound()
		if t.Failed() {
			return
		}
	}
}

// isStatic fails the test if the finder sees an image in the file that is not
// static, or none at all.
func isStatic(t *testing.T, finder *verify.Finder, path, content string) {
	t.Helper()
	found := 0
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(strings.TrimPrefix(content, "\ufeff"))))
	for {
		var object map[string]any
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		images, _ := finder.Find(object)
		for _, image := range images {
			found++
			if image.Reference.State != imageref.Static {
				t.Errorf("%s, %s: %s %s", path, image.Path, image.Reference.Text, image.Reference.Reason)
			}
		}
	}
	if found == 0 {
		t.Errorf("%s: the finder sees no image", path)
	}
}
