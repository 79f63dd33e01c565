package rewrite

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/pin-cmp/pin-cmp/build"
)

// Digests of the tests' images: what web, api and a looked-up tag become.
const (
	webHex   = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	apiHex   = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	thirdHex = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
)

// shown writes digests short, so that the tables can be read.
var shown = strings.NewReplacer("sha256:"+webHex, "W", "sha256:"+apiHex, "A", "sha256:"+thirdHex, "T", webHex, "w", apiHex, "a")

// foundAgain fails the test unless the pins of a rewritten file are found where
// its marks were, and nowhere else: what --changed moves is what a mark wrote.
func foundAgain(t *testing.T, plan *Plan, f *markedFile, out []byte) {
	t.Helper()
	after := &markedFile{path: f.path, content: out, components: f.components}
	pins, refused := after.pins(func(mark) bool { return true })
	got, want := map[string]string{}, map[string]string{}
	for _, pin := range pins {
		got[placeOf(pin.scalar)] = pin.ref.Repository + " " + pin.ref.Tag + " " + pin.was
	}
	for _, m := range f.marks {
		tag, err := m.newTag()
		if err != nil {
			t.Fatal(err)
		}
		want[placeOf(m.scalar)] = m.ref.Repository + " " + tag + " " + plan.targets[plan.idOf(m)].Digest
	}
	for place, pin := range want {
		if got[place] != pin {
			t.Errorf("%s: the pin %q is found as %q in\n%s%v", place, pin, got[place], out, refused)
		}
	}
	for place, pin := range got {
		if want[place] == "" && !bytes.Contains(f.content, []byte(strings.TrimPrefix(pin[strings.LastIndexByte(pin, ' ')+1:], "sha256:"))) {
			t.Errorf("%s: a pin %q that no mark made, in\n%s", place, pin, out)
		}
	}
}

// rewritten pins the marks of one file with two components declared, and returns
// its new content, problems and warnings.
func rewritten(t *testing.T, name, content string, only ...string) (out string, problems, warnings []Problem) {
	t.Helper()
	components, err := build.NewComponents([]build.Component{
		{Name: "web", Image: "ghcr.io/acme/web", File: "web/pin.yaml", Line: 1},
		{Name: "api", Image: "ghcr.io/acme/api", File: "api/pin.yaml", Line: 1},
		{Name: "tool", Image: "docker.io/library/tool", File: "tool/pin.yaml", Line: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &markedFile{path: name, content: []byte(content), components: components, template: strings.HasPrefix(name, "templates/")}
	if !maybeSymbolic(name, f.content) {
		return content, nil, nil
	}
	f.find()
	plan := newPlan([]*markedFile{f}, nil, components, only)
	plan.sortProblems()
	for _, target := range plan.Targets {
		target.Digest = "sha256:" + map[string]string{"ghcr.io/acme/web": webHex, "ghcr.io/acme/api": apiHex}[target.Image]
		if target.Action == Resolve || target.Name == "tool" {
			target.Digest = "sha256:" + thirdHex
		}
	}
	if len(plan.Problems) > 0 {
		return content, plan.Problems, plan.Warnings
	}
	changes, err := plan.changes()
	if err != nil {
		t.Fatal(err)
	}
	out = content
	if len(changes) > 0 {
		out = string(changes[0].New)
		foundAgain(t, plan, f, changes[0].New)
	}
	return out, plan.Problems, plan.Warnings
}

// Every form of the notation: what stands there before and after.
func TestNotation(t *testing.T) {
	for _, c := range []struct{ name, from, to string }{
		// whole references
		{"build", "image: ghcr.io/acme/web@build", "image: ghcr.io/acme/web@W"},
		{"tag", "image: ghcr.io/acme/web:1.4.0@build", "image: ghcr.io/acme/web:1.4.0@W"},
		{"minor", "image: ghcr.io/acme/web:1.3.9@build+minor", "image: ghcr.io/acme/web:1.4.0@W"},
		{"patch", "image: ghcr.io/acme/web:1.3.9@build+patch", "image: ghcr.io/acme/web:1.3.10@W"},
		{"major", "image: ghcr.io/acme/web:1.3.9@build+major", "image: ghcr.io/acme/web:2.0.0@W"},
		{"v", "image: ghcr.io/acme/web:v1.3.9@build+minor", "image: ghcr.io/acme/web:v1.4.0@W"},
		{"pre-release patch", "image: ghcr.io/acme/web:1.4.0-rc.1@build+patch", "image: ghcr.io/acme/web:1.4.0@W"},
		{"pre-release minor", "image: ghcr.io/acme/web:1.4.0-rc.1@build+minor", "image: ghcr.io/acme/web:1.5.0@W"},
		{"resolve", "image: nginx:1.27@resolve", "image: nginx:1.27@T"},
		{"resolve of a component", "image: ghcr.io/acme/web:1.0@resolve", "image: ghcr.io/acme/web:1.0@T"},
		{"port", "image: localhost:5000/x:1@resolve", "image: localhost:5000/x:1@T"},
		{"zero digest", "image: ghcr.io/acme/web:1.4.0@sha256:" + zeroHex, "image: ghcr.io/acme/web:1.4.0@W"},
		{"component without a slash", "image: tool@build", "image: tool@T"},
		{"component without a slash elsewhere", "runtime: tool@build", "runtime: tool@T"},
		{"unknown field", "spec: {runtime: ghcr.io/acme/web@build}", "spec: {runtime: ghcr.io/acme/web@W}"},
		{"flag", "args: [--solver-image=ghcr.io/acme/web@build]", `args: ["--solver-image=ghcr.io/acme/web@W"]`},
		{"environment", "env: [{name: RELATED_IMAGE_WEB, value: ghcr.io/acme/web@build}]", "env: [{name: RELATED_IMAGE_WEB, value: ghcr.io/acme/web@W}]"},
		{"image volume", "volumes: [{image: {reference: ghcr.io/acme/web@build}}]", "volumes: [{image: {reference: ghcr.io/acme/web@W}}]"},

		// kustomize
		{"kustomize digest", "images: [{name: x, newName: ghcr.io/acme/web, digest: build}]", "images: [{name: x, newName: ghcr.io/acme/web, digest: W}]"},
		{"kustomize name alone", "images: [{name: ghcr.io/acme/web, digest: build}]", "images: [{name: ghcr.io/acme/web, digest: W}]"},
		{"kustomize digest and tag", "images: [{name: ghcr.io/acme/web, newTag: 1.4.0, digest: build}]", "images: [{name: ghcr.io/acme/web, newTag: 1.4.0, digest: W}]"},
		{"kustomize bump", "images: [{name: ghcr.io/acme/web, newTag: \"1.3.9\", digest: build+minor}]", "images: [{name: ghcr.io/acme/web, newTag: \"1.4.0\", digest: W}]"},
		{"kustomize newTag", "images: [{name: ghcr.io/acme/web, newTag: 1.3.9@build+minor}]", "images: [{name: ghcr.io/acme/web, newTag: 1.4.0@W}]"},
		{"kustomize newTag resolve", "images: [{name: nginx, newTag: 1.27@resolve}]", "images: [{name: nginx, newTag: 1.27@T}]"},
		{"kustomize zero digest", "images: [{name: ghcr.io/acme/web, digest: sha256:" + zeroHex + "}]", "images: [{name: ghcr.io/acme/web, digest: W}]"},
		{"kustomize newTag zero digest", "images: [{name: ghcr.io/acme/web, newTag: 1.4.0@sha256:" + zeroHex + "}]", "images: [{name: ghcr.io/acme/web, newTag: 1.4.0@W}]"},

		// Helm values
		{"values digest", "image: {repository: ghcr.io/acme/web, digest: build}", "image: {repository: ghcr.io/acme/web, digest: W}"},
		{"values registry", "image: {registry: ghcr.io, repository: acme/web, tag: 1.0.0, digest: build}", "image: {registry: ghcr.io, repository: acme/web, tag: 1.0.0, digest: W}"},
		{"values registry twice", "image: {registry: ghcr.io, repository: ghcr.io/acme/web, digest: build}", "image: {registry: ghcr.io, repository: ghcr.io/acme/web, digest: W}"},
		{"values registry null", "image: {registry: ~, repository: ghcr.io/acme/web, digest: build}", "image: {registry: ~, repository: ghcr.io/acme/web, digest: W}"},
		{"values name", "image: {registry: ghcr.io, name: acme/web, tag: 1.4.0@build}", "image: {registry: ghcr.io, name: acme/web, tag: 1.4.0@W}"},
		{"values name is the container's", "- {name: main, image: ghcr.io/acme/web, tag: 1.4.0@build}", "- {name: main, image: ghcr.io/acme/web, tag: 1.4.0@W}"},
		{"values tag", "image: {repository: ghcr.io/acme/web, tag: 1.4.0@build}", "image: {repository: ghcr.io/acme/web, tag: 1.4.0@W}"},
		{"values tag with an empty digest", "image: {repository: ghcr.io/acme/web, tag: 1.4.0@build, digest: \"\"}", "image: {repository: ghcr.io/acme/web, tag: 1.4.0@W, digest: \"\"}"},
		{"values imageTag", "{image: ghcr.io/acme/web, imageTag: 1.4.0@build}", "{image: ghcr.io/acme/web, imageTag: 1.4.0@W}"},
		{"values sha", "image: {repository: ghcr.io/acme/web, tag: 1.0.0, sha: build}", "image: {repository: ghcr.io/acme/web, tag: 1.0.0, sha: w}"},
		{"values sha256", "image: {repository: ghcr.io/acme/web, sha256: build}", "image: {repository: ghcr.io/acme/web, sha256: w}"},
		{"values sha zero", "image: {repository: ghcr.io/acme/web, sha: \"" + zeroHex + "\"}", "image: {repository: ghcr.io/acme/web, sha: \"w\"}"},
		{"values digest bump", "image: {repository: ghcr.io/acme/web, tag: 1.3.9, digest: build+minor}", "image: {repository: ghcr.io/acme/web, tag: 1.4.0, digest: W}"},
		{"values digest resolve", "image: {repository: nginx, tag: 1.27, digest: resolve}", "image: {repository: nginx, tag: 1.27, digest: T}"},
		{"values tag that reads as a number", "image: {repository: nginx, tag: 1.10@resolve}", "image: {repository: nginx, tag: 1.10@T}"},
		{"values oci", "{repository: oci://ghcr.io/acme/web, tag: 1.4.0@build}", "{repository: oci://ghcr.io/acme/web, tag: 1.4.0@W}"},

		// Argo CD
		{"kustomize.images", "spec: {source: {kustomize: {images: [web=ghcr.io/acme/web@build, ghcr.io/acme/api:1.0.0@build]}}}", "spec: {source: {kustomize: {images: [web=ghcr.io/acme/web@W, ghcr.io/acme/api:1.0.0@A]}}}"},
		{"helm parameters", "helm: {parameters: [{name: image.repository, value: ghcr.io/acme/web}, {name: image.tag, value: 1.3.9@build+minor}]}", "helm: {parameters: [{name: image.repository, value: ghcr.io/acme/web}, {name: image.tag, value: 1.4.0@W}]}"},
		{"helm parameters digest", "helm: {parameters: [{name: a.digest, value: build+patch}, {name: a.tag, value: 1.0.0}, {name: a.registry, value: ghcr.io}, {name: a.repository, value: acme/web}]}", "helm: {parameters: [{name: a.digest, value: W}, {name: a.tag, value: 1.0.1}, {name: a.registry, value: ghcr.io}, {name: a.repository, value: acme/web}]}"},
		{"helm parameters zero digest", "helm: {parameters: [{name: digest, value: sha256:" + zeroHex + "}, {name: repository, value: ghcr.io/acme/web}]}", "helm: {parameters: [{name: digest, value: W}, {name: repository, value: ghcr.io/acme/web}]}"},
		{"helm parameters of two images", "helm: {parameters: [{name: a.repository, value: ghcr.io/acme/web}, {name: a.tag, value: 1.0.0@build}, {name: b.repository, value: ghcr.io/acme/api}, {name: b.tag, value: 2.0.0@build}]}", "helm: {parameters: [{name: a.repository, value: ghcr.io/acme/web}, {name: a.tag, value: 1.0.0@W}, {name: b.repository, value: ghcr.io/acme/api}, {name: b.tag, value: 2.0.0@A}]}"},
		{"valuesObject", "helm: {valuesObject: {image: {repository: ghcr.io/acme/web, tag: 1.4.0@build}}}", "helm: {valuesObject: {image: {repository: ghcr.io/acme/web, tag: 1.4.0@W}}}"},
		{"values in a block", "helm:\n  values: |\n    image:\n      repository: ghcr.io/acme/web  # here\n      tag: 1.4.0@build\n    other: 1\n", "helm:\n  values: |\n    image:\n      repository: ghcr.io/acme/web  # here\n      tag: 1.4.0@W\n    other: 1\n"},
		{"plugin parameter", "plugin:\n  parameters:\n  - name: kustomize\n    string: |\n      images: [web=ghcr.io/acme/web@build]\n", "plugin:\n  parameters:\n  - name: kustomize\n    string: |\n      images: [web=ghcr.io/acme/web@W]\n"},
		{"ApplicationSet", "kind: ApplicationSet\nspec: {template: {spec: {source: {kustomize: {images: ['web=ghcr.io/acme/web@build']}}}}}", "kind: ApplicationSet\nspec: {template: {spec: {source: {kustomize: {images: ['web=ghcr.io/acme/web@W']}}}}}"},
		{"ApplicationSet in a block", "templatePatch: |\n  spec:\n    source:\n      kustomize:\n        images: [web=ghcr.io/acme/web@build]\n", "templatePatch: |\n  spec:\n    source:\n      kustomize:\n        images: [web=ghcr.io/acme/web@W]\n"},

		// how files are written
		{"quotes", "a: 'x'\nimage:   \"ghcr.io/acme/web@build\"   # why\n", "a: 'x'\nimage:   \"ghcr.io/acme/web@W\"   # why\n"},
		{"single quotes", "image: 'ghcr.io/acme/web@build'", "image: 'ghcr.io/acme/web@W'"},
		{"no last line break", "a: 1\nimage: ghcr.io/acme/web@build", "a: 1\nimage: ghcr.io/acme/web@W"},
		{"CRLF", "a: 1\r\nimage: ghcr.io/acme/web@build\r\nb: 2\r\n", "a: 1\r\nimage: ghcr.io/acme/web@W\r\nb: 2\r\n"},
		{"byte order mark", "\ufeffimage: ghcr.io/acme/web@build\n", "\ufeffimage: ghcr.io/acme/web@W\n"},
		{"not ASCII", "- {größe: ü, image: ghcr.io/acme/web@build, ende: é}\n", "- {größe: ü, image: ghcr.io/acme/web@W, ende: é}\n"},
		{"two on a line", "[{image: ghcr.io/acme/web@build}, {image: ghcr.io/acme/api@build}]", "[{image: ghcr.io/acme/web@W}, {image: ghcr.io/acme/api@A}]"},
		{"two documents", "image: ghcr.io/acme/web@build\n---\n# two\nimage: ghcr.io/acme/api@build\n", "image: ghcr.io/acme/web@W\n---\n# two\nimage: ghcr.io/acme/api@A\n"},
		{"JSON", "{\"a\":[1,2],\n \"image\":\t\"ghcr.io/acme/web@build\"}", "{\"a\":[1,2],\n \"image\":\t\"ghcr.io/acme/web@W\"}"},
		{"a block of one line", "image: >-\n  ghcr.io/acme/api@build\nb: {image: ghcr.io/acme/web@build}\n", "image: >-\n  ghcr.io/acme/api@A\nb: {image: ghcr.io/acme/web@W}\n"},
		{"the same key twice, both marked", "image: ghcr.io/acme/web@build\nimage: ghcr.io/acme/web@build\n", "image: ghcr.io/acme/web@W\nimage: ghcr.io/acme/web@W\n"},

		// anchors
		{"anchor", "a: {image: &i ghcr.io/acme/web@build}\nb: {image: *i}\n", "a: {image: &i ghcr.io/acme/web@W}\nb: {image: *i}\n"},
		{"anchored tag", "a: {repository: ghcr.io/acme/web, tag: &t 1.0.0@build}\nb: {repository: ghcr.io/acme/web, tag: *t}\n", "a: {repository: ghcr.io/acme/web, tag: &t 1.0.0@W}\nb: {repository: ghcr.io/acme/web, tag: *t}\n"},
		{"anchor away from the image", "x-version: &v 1.0.0@build\na: {repository: ghcr.io/acme/web, tag: *v}\n", "x-version: &v 1.0.0@W\na: {repository: ghcr.io/acme/web, tag: *v}\n"},
		{"anchored map", "a: &a {repository: ghcr.io/acme/web, digest: build}\nb: *a\n", "a: &a {repository: ghcr.io/acme/web, digest: W}\nb: *a\n"},
		{"merge key", "a: &a {repository: ghcr.io/acme/web, digest: build}\nb: {<<: *a, pullPolicy: Always}\n", "a: &a {repository: ghcr.io/acme/web, digest: W}\nb: {<<: *a, pullPolicy: Always}\n"},
		{"merged tag", "a: &a {tag: 1.0.0@build}\nb: {<<: *a, repository: ghcr.io/acme/web}\n", "a: &a {tag: 1.0.0@W}\nb: {<<: *a, repository: ghcr.io/acme/web}\n"},
		{"an anchor that is used again", "a: {repository: ghcr.io/acme/web, tag: &t 1.0.0@build}\nb: {repository: ghcr.io/acme/web, tag: *t}\nc: {repository: ghcr.io/acme/api, tag: &t 2.0.0@build}\nd: {repository: ghcr.io/acme/api, tag: *t}\n", "a: {repository: ghcr.io/acme/web, tag: &t 1.0.0@W}\nb: {repository: ghcr.io/acme/web, tag: *t}\nc: {repository: ghcr.io/acme/api, tag: &t 2.0.0@A}\nd: {repository: ghcr.io/acme/api, tag: *t}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := "a.yaml"
			if c.name == "JSON" {
				file = "a.json"
			}
			got, problems, _ := rewritten(t, file, c.from)
			if len(problems) > 0 {
				t.Errorf("problems: %v", problems)
			}
			if shown.Replace(got) != c.to {
				t.Errorf("got\n%s\nwant\n%s", shown.Replace(got), c.to)
			}
			if again, _, _ := rewritten(t, file, got); again != got {
				t.Errorf("a second time it changes to\n%s", again)
			}
		})
	}
}

// What was meant as a placeholder and can't be one is said, with its line, and
// nothing of it changes.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		name, from string
		line       int
		says       string
	}{
		{"misspelt", "image: ghcr.io/acme/web@biuld", 1, "did you mean @build?"},
		{"misspelt, alone in its file", "kind: Pod\nimage: nginx:1@resovle", 2, "did you mean @resolve?"},
		{"upper case", "image: ghcr.io/acme/web@Build", 1, "did you mean @build?"},
		{"misspelt tag", "{repository: ghcr.io/acme/web, tag: 1.0@biuld}", 1, "1.0@biuld is no digest; did you mean build?"},
		{"misspelt digest", "images:\n- name: ghcr.io/acme/web\n  digest: biuld\n", 3, "did you mean build?"},
		{"bump of nothing", "image: ghcr.io/acme/web:1.0.0@build+mayor", 1, "it is +patch, +minor or +major"},
		{"bump of nothing in parts", "{repository: ghcr.io/acme/web, tag: 1.0.0@build+fix}", 1, "+patch, +minor or +major"},
		{"nothing to raise", "image: ghcr.io/acme/web@build+minor", 1, "there is no version to raise"},
		{"no version", "image: ghcr.io/acme/web:one@build+minor", 1, `"one" is no semantic version`},
		{"too short a version", "image: ghcr.io/acme/web:1.4@build+minor", 1, "no semantic version"},
		{"versions disagree", "- image: ghcr.io/acme/web:1.0.0@build+minor\n- image: ghcr.io/acme/web:1.1.0@build+minor\n", 2, "one component has one version"},
		{"raised third party", "image: nginx:1.0.0@resolve+minor", 1, "can't be raised from here"},
		{"nothing to resolve", "image: nginx@resolve", 1, "there is no tag to look up"},
		{"nothing to resolve in parts", "image: {repository: nginx, digest: resolve}", 1, "there is no tag to look up"},
		{"nobody's", "image: ghcr.io/acme/wep@build", 1, "did you mean ghcr.io/acme/web?"},
		{"alone", "{repository: ghcr.io/acme/web, tag: \"@build\"}", 1, "@build alone names nothing"},
		{"digest without an image", "a: 1\ndigest: build\n", 2, "nothing beside it says which image"},
		{"tag without an image", "image: {tag: 1.0@build}", 1, "nothing beside it says which image"},
		{"a release where no image is", "- {op: replace, path: /image/tag, value: 1.4.0@build}", 1, "nothing beside it says which image"},
		{"a bump where no image is", "x: main@build+minor", 1, "nothing beside it says which image"},
		{"newName", "images: [{name: web, newName: ghcr.io/acme/web@build}]", 1, "write digest: build beside it"},
		{"name", "images: [{name: ghcr.io/acme/web@build}]", 1, "write digest: build beside it"},
		{"repository", "image: {repository: ghcr.io/acme/web@build, tag: 1.0.0}", 1, "write digest: build beside it, or the tag as in 1.4.0@build"},
		{"image beside a tag", "{image: ghcr.io/acme/web@build, tag: 1.0.0}", 1, "the tag beside it would come behind the digest"},
		{"tag beside an old digest", "image: {repository: ghcr.io/acme/web, tag: 1.0.0@build, digest: sha256:" + webHex + "}", 1, "the digest beside it says which image it is"},
		{"two placeholders", "image: {repository: ghcr.io/acme/web, tag: 1.0.0@build, digest: build}", 1, "write one of the two"},
		{"parameter without a repository", "helm: {parameters: [{name: image.tag, value: 1.0.0@build}]}", 1, "no parameter image.repository beside it"},
		{"parameter that is no tag", "helm: {parameters: [{name: r.repository, value: ghcr.io/acme/web}, {name: r.tag, value: build}]}", 1, "write the version before it"},
		{"parameter beside a digest", "helm: {parameters: [{name: r.repository, value: ghcr.io/acme/web}, {name: r.tag, value: 1@build}, {name: r.digest, value: sha256:" + webHex + "}]}", 1, "write the placeholder there"},
		{"git reference", "source: {targetRevision: web/v1.3.9@build+minor}", 1, "a git reference is not rewritten yet"},
		{"git reference to a commit", "source: {targetRevision: main@build}", 1, "a git reference is not rewritten yet"},
		{"the same key twice", "image: ghcr.io/acme/web@build\nimage: ghcr.io/acme/web:1\n", 1, "is there twice"},
		{"custom tag", "image: !Sub ghcr.io/acme/web@build", 1, "it has the tag !Sub"},
		{"anchored tag of two images", "a: {repository: ghcr.io/acme/web, tag: &t 1.0.0@build}\nb: {repository: ghcr.io/acme/api, tag: *t}\n", 2, "which gets the digest of ghcr.io/acme/web:1.0.0 there, but here it is for ghcr.io/acme/api:1.0.0"},
		{"anchored digest of two images", "a: {repository: ghcr.io/acme/web, digest: &d build}\nb:\n  repository: ghcr.io/acme/api\n  digest: *d\n", 4, "but here it is for ghcr.io/acme/api"},
		{"anchor away from two images", "v: &v 1.0.0@build\na: {repository: ghcr.io/acme/web, tag: *v}\nb: {repository: ghcr.io/acme/api, tag: *v}\n", 3, "but here it is for ghcr.io/acme/api"},
		{"merged into another image", "a: &a {repository: ghcr.io/acme/web, tag: 1.0.0@build}\nb:\n  <<: *a\n  repository: ghcr.io/acme/api\n", 4, "but here it is for ghcr.io/acme/api"},
		{"merged with another tag", "a: &a {repository: ghcr.io/acme/web, tag: 1.0.0, digest: build}\nb: {<<: *a, tag: 2.0.0}\n", 2, "but here it is for ghcr.io/acme/web:2.0.0"},
		{"alias without an image", "a: {repository: ghcr.io/acme/web, tag: &t 1.0.0@build}\nb: {tag: *t}\n", 2, "nothing beside it says which image"},
		{"raised tag that is shared", "a: {repository: ghcr.io/acme/web, tag: &t 1.0.0, digest: build+minor}\nb: {repository: ghcr.io/acme/api, tag: *t}\n", 1, "would change there too"},
		{"no YAML", "a: [1\nimage: ghcr.io/acme/web@build\n", 2, "ghcr.io/acme/web@build can't be replaced, because the file does not parse"},
		{"no YAML, in parts", "a: [1\nimages:\n- name: web\n  digest: build\n", 4, "a placeholder can't be replaced, because the file does not parse"},
		{"no YAML, a tag", "a: [1\n  tag: 1.0@build # x\n", 2, "does not parse"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, problems, _ := rewritten(t, "a.yaml", c.from)
			if got != c.from {
				t.Errorf("it changed to\n%s", shown.Replace(got))
			}
			for _, p := range problems {
				if p.Line == c.line && strings.Contains(p.Message, c.says) {
					return
				}
			}
			t.Errorf("no problem on line %d says %q: %v", c.line, c.says, problems)
		})
	}
}

// What only looks like a placeholder stays, and stops nothing.
func TestFalseFriends(t *testing.T) {
	for _, c := range []struct{ name, from string }{
		{"ssh target", "target: deploy@build\nhosts: [ci@build, root@resolve]\n"},
		{"ssh target in a command", "command: [ssh, deploy@build, uptime]\nrun: ssh deploy@build uptime\n"},
		{"e-mail", "owner: team@build.example.com\ncontact: ops/web@build.example.com\n"},
		{"npm scope", "packages: ['@build/core', '@resolve/x', 'npm:@acme/web@build-1']\npackage: lodash@built\n"},
		{"an action", "steps:\n- uses: actions/checkout@build\n- uses: acme/deploy/.github/workflows/x.yml@resolve\n"},
		{"prose", "description: images are marked with @build, or @resolve\nnote: see build and resolve\n"},
		{"variable of a job", "env:\n- {name: TARGET, value: build}\n- {name: tag, value: build}\n- {name: digest, value: resolve}\n"},
		{"an action of a list", "stages: [build, resolve]\nstage: build\nkind: build\n"},
		{"a digest", "image: ghcr.io/acme/web@sha256:" + webHex + " # @build\n"},
		{"another digest field", "digest: built-in\nsha: abcdef0\n"},
		{"git reference", "targetRevision: build\n"},
		{"a word that is near", "image: ghcr.io/acme/build:1@sha256:" + webHex + "\nname: x\ndigest: field\n"},
		{"a host", "url: ssh://deploy@build/srv.git\nrepo: git@build:acme/web.git\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, problems, warnings := rewritten(t, "a.yaml", c.from)
			if got != c.from || len(problems) > 0 || len(warnings) > 0 {
				t.Errorf("problems: %v\nwarnings: %v\n%s", problems, warnings, got)
			}
		})
	}
}

// Placeholders that nothing replaces, because nothing renders them.
func TestLeftOver(t *testing.T) {
	for _, c := range []struct {
		name, file, from string
		want             []string
	}{
		{"comment", "a.yaml", "# ghcr.io/acme/web@build\nimage: ghcr.io/acme/web@build\n", []string{"a.yaml:1: ghcr.io/acme/web@build stands in a comment or in a longer text, and stays as it is"}},
		{"comment beside a mark", "a.yaml", "image: ghcr.io/acme/web@build # or ghcr.io/acme/api@build\n", []string{"a.yaml:1: ghcr.io/acme/api@build stands in a comment or in a longer text, and stays as it is"}},
		{"comment beside another form", "a.yaml", "# ghcr.io/acme/api@build\nimage: {repository: ghcr.io/acme/web, digest: build}\n", []string{"a.yaml:1: ghcr.io/acme/api@build stands in a comment or in a longer text, and stays as it is"}},
		{"quoted and prefixed marks", "a.yaml", "images: [\"web=ghcr.io/acme/web@build\", 'ghcr.io/acme/api@build']\nargs: [--x-image=ghcr.io/acme/web@build]\n", nil},
		{"longer text", "a.yaml", "run: docker pull ghcr.io/acme/web@build.\n", []string{"a.yaml:1: ghcr.io/acme/web@build stands in a comment or in a longer text, and stays as it is"}},
		{"key", "a.yaml", "? ghcr.io/acme/web@build\n: 1\n", []string{"a.yaml:1: ghcr.io/acme/web@build stands in a comment or in a longer text, and stays as it is"}},
		{"misspelt where anything may stand", "a.yaml", "runtime: ghcr.io/acme/web@biuld\n", []string{`a.yaml:1: ghcr.io/acme/web@biuld stays as it is: it has "biuld" after the @, which is no digest; did you mean @build?`}},
		{"comment of a template", "templates/a.yaml", "# ghcr.io/acme/web@build\nimage: {{ .Values.image }}\n", []string{"templates/a.yaml:1: ghcr.io/acme/web@build stands in a comment or in a longer text, and stays as it is"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems, warnings := rewritten(t, c.file, c.from)
			var got []string
			for _, w := range warnings {
				got = append(got, w.String())
			}
			if len(problems) > 0 || fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("problems: %v\nwarnings: %q\nwant:     %q", problems, got, c.want)
			}
		})
	}
}

// A chart's template is no YAML, also where it parses as YAML by luck.
func TestTemplate(t *testing.T) {
	for _, from := range []string{
		"kind: Pod\nimage: ghcr.io/acme/web@build\n",
		"{{ if .Values.x }}\nimage: \"ghcr.io/acme/web:1.0@build+minor\"\n{{ end }}\n",
		"a: 1\nimage: \"{{ .Values.image.repository }}@build\"\n",
	} {
		got, problems, _ := rewritten(t, "templates/a.yaml", from)
		if got != from || len(problems) != 1 || problems[0].Line != 2 || !strings.Contains(problems[0].Message, "stands in a Helm template; put the reference into values.yaml") {
			t.Errorf("%q: %v", from, problems)
		}
	}
	if !inTemplates("charts/x/templates/sub/a.yaml", map[string]bool{"charts/x": true}) || inTemplates("templates/a.yaml", map[string]bool{"charts/x": true}) {
		t.Error("templates are those below a Chart.yaml")
	}
}

// One component alone: the marks of others are as if they were not there.
func TestOnly(t *testing.T) {
	const from = "[{image: ghcr.io/acme/web@build}, {image: ghcr.io/acme/api@build}]"
	got, problems, _ := rewritten(t, "a.yaml", from, "api")
	if want := "[{image: ghcr.io/acme/web@build}, {image: ghcr.io/acme/api@A}]"; shown.Replace(got) != want || len(problems) > 0 {
		t.Errorf("%s\n%v", shown.Replace(got), problems)
	}
}

// The diff of a plan shows the quotes that stay.
func TestPreview(t *testing.T) {
	components, err := build.NewComponents([]build.Component{{Name: "web", Image: "ghcr.io/acme/web"}})
	if err != nil {
		t.Fatal(err)
	}
	f := &markedFile{path: "a.yaml", content: []byte("image: 'ghcr.io/acme/web:1.0@build'\nother:\n  sha: build\n  name: ghcr.io/acme/web\n"), components: components}
	f.find()
	plan := newPlan([]*markedFile{f}, nil, components, nil)
	var out bytes.Buffer
	if err := plan.WriteText(&out, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"+image: 'ghcr.io/acme/web:1.0@sha256:…'\n", "+  sha: …\n", "build  web  1.0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
