package rewrite

import (
	"strings"
	"testing"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/verify"
)

// What a repository that never pinned anything becomes, and what is left alone
// and said.
func TestFloating(t *testing.T) {
	components, err := build.NewComponents(nil)
	if err != nil {
		t.Fatal(err)
	}
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: ["
	for _, c := range []struct {
		name, from, to string
		left           []string
	}{
		{"tag", pod + "{image: nginx:1.27}]}", pod + "{image: nginx:1.27@T}]}", nil},
		{"nothing", pod + "{image: nginx}]}", pod + "{image: nginx@T}]}", nil},
		{"static already", pod + "{image: nginx:1.27@sha256:" + webHex + "}]}", pod + "{image: nginx:1.27@W}]}", nil},
		{"split", "image: {registry: ghcr.io, repository: acme/x, tag: 1.10}", "image: {registry: ghcr.io, repository: acme/x, tag: 1.10@T}", nil},
		{"split without a tag", "image: {registry: ghcr.io, repository: acme/x}", "image: {registry: ghcr.io, repository: acme/x}", []string{"a.yaml:1: ghcr.io/acme/x was not pinned: there is no tag to put a digest behind"}},
		{"a block", "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: a}\nspec:\n  source:\n    helm:\n      values: |\n        image: {repository: acme/x, tag: v1.0}\n", "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: a}\nspec:\n  source:\n    helm:\n      values: |\n        image: {repository: acme/x, tag: v1.0@T}\n", nil},
		{"a number in a block", "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: a}\nspec:\n  source:\n    helm:\n      values: |\n        image: {repository: acme/x, tag: 1.0}\n", "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: a}\nspec:\n  source:\n    helm:\n      values: |\n        image: {repository: acme/x, tag: 1.0}\n", []string{"a.yaml:8: acme/x:1 was not pinned: the tag 1.0 is a number here; put quotes around it"}},
		{"anchored", pod + "{image: &i nginx:1}, {image: *i}]}", pod + "{image: &i nginx:1@T}, {image: *i}]}", nil},
		{
			"an anchored tag of two images", "a: {repository: acme/x, tag: &t 1.0}\nb: {repository: acme/y, tag: *t}\n", "a: {repository: acme/x, tag: &t 1.0}\nb: {repository: acme/y, tag: *t}\n",
			[]string{"a.yaml:1: acme/x:1.0 was not pinned: an alias shares its value with another place; write it out", "a.yaml:2: acme/y:1.0 was not pinned: an alias shares its value with another place; write it out"},
		},
		{
			"a tag from elsewhere", "v: &v 1.0\na: {repository: acme/x, tag: *v}\n", "v: &v 1.0\na: {repository: acme/x, tag: *v}\n",
			[]string{"a.yaml:2: acme/x:1.0 was not pinned: an alias shares its value with another place; write it out"},
		},
		{
			"merged into another image", "a: &a {repository: acme/x, tag: 1.0}\nb: {<<: *a, repository: acme/y}\n", "a: &a {repository: acme/x, tag: 1.0}\nb: {<<: *a, repository: acme/y}\n",
			[]string{"a.yaml:1: acme/x:1.0 was not pinned: an alias shares its value with another place; write it out"},
		},
		{"a key that is there twice", pod + "{image: nginx:1, image: nginx:2}]}", pod + "{image: nginx:1, image: nginx:2}]}", []string{"a.yaml:4: nginx:2 was not pinned: the key is there twice"}},
		{"a mark beside it", pod + "{image: nginx:1}, {image: busybox:1@resolve}]}", pod + "{image: nginx:1@T}, {image: busybox:1@T}]}", nil},
		{"no YAML", "image: x:1\n  a: [", "image: x:1\n  a: [", []string{"a.yaml: is a template or no YAML, so nothing in it was pinned"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &markedFile{path: "a.yaml", content: []byte(c.from), components: components}
			if !maybeFloating(f.path, f.content) {
				t.Fatal("it is not even read")
			}
			f.find()
			f.findFloating(verify.DefaultPolicy())
			plan := newPlan([]*markedFile{f}, nil, components, nil)
			plan.sortProblems()
			for _, target := range plan.Targets {
				target.Digest = "sha256:" + thirdHex
			}
			changes, err := plan.changes()
			if err != nil || len(plan.Problems) > 0 {
				t.Fatal(err, plan.Problems)
			}
			got := c.from
			if len(changes) > 0 {
				got = string(changes[0].New)
			}
			if shown.Replace(got) != c.to {
				t.Errorf("got\n%s\nwant\n%s", shown.Replace(got), c.to)
			}
			var left []string
			for _, w := range plan.Warnings {
				left = append(left, w.String())
			}
			if strings.Join(left, "\n") != strings.Join(c.left, "\n") {
				t.Errorf("left\n%s\nwant\n%s", strings.Join(left, "\n"), strings.Join(c.left, "\n"))
			}
		})
	}
}
