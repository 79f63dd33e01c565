//go:build linux

package monorepo

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// edit replaces text in a file of a clone.
func (e *engineer) edit(dir, file, old, next string) {
	e.t.Helper()
	path := filepath.Join(dir, file)
	content, err := os.ReadFile(path)
	if err != nil {
		e.t.Fatal(err)
	}
	if !strings.Contains(string(content), old) {
		e.t.Fatalf("%s has no %q", file, old)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(content), old, next)), 0o644); err != nil {
		e.t.Fatal(err)
	}
}

// krona changes the shared library, in a commit.
func (e *engineer) krona(dir string) {
	e.t.Helper()
	e.edit(dir, "lib/rates/rates.def", "RATE(USD", "RATE(SEK, 11012000)\nRATE(USD")
	e.git(dir, "commit", "-qam", "Take Swedish kronor")
}

// remark turns the pins of an overlay back into marks.
func (e *engineer) remark(dir, overlay, mark string) {
	e.t.Helper()
	path := filepath.Join(dir, overlay, "kustomization.yaml")
	content, err := os.ReadFile(path)
	if err != nil {
		e.t.Fatal(err)
	}
	lines := strings.Split(string(content), "\n")
	for i, line := range lines {
		if before, _, ok := strings.Cut(line, "digest: "); ok {
			lines[i] = before + "digest: " + mark
		}
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		e.t.Fatal(err)
	}
}

// repositories returns whose images something was sent to, sorted.
func repositories(requests []string) string {
	var names []string
	for _, request := range writes(requests) {
		name, _, _ := strings.Cut(strings.SplitN(request, "/", 4)[3], "/")
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " ")
}

// A change of the library builds the two that are made from it, without a mark
// anywhere; and with marks.
func TestLibraryChanges(t *testing.T) {
	for _, test := range []struct {
		name string
		mark func(e *engineer, dir string)
		args []string
		// files that the commit changes
		files string
	}{
		{
			"changed, versions raised", nil,
			[]string{"--changed", "--base", "origin/main", "--bump", "patch"},
			"deploy/prod/kustomization.yaml deploy/staging/kustomization.yaml",
		},
		{
			"changed, base found, staging alone", nil,
			[]string{"--changed", "--exclude", "deploy/prod/*"},
			"deploy/staging/kustomization.yaml",
		},
		{
			"marks, not committed", func(e *engineer, dir string) { e.remark(dir, "deploy/staging", "build") },
			nil, "deploy/staging/kustomization.yaml",
		},
		{
			"marks, committed", func(e *engineer, dir string) {
				e.remark(dir, "deploy/prod", "build+minor")
				e.git(dir, "commit", "-qam", "Release")
			},
			nil, "deploy/prod/kustomization.yaml",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRegistry(t, "")
			bare := released(t, r)
			e := newEngineer(t, r)
			shop := e.clone(bare, "krona")
			e.krona(shop)
			if test.mark != nil {
				test.mark(e, shop)
			}
			head := e.git(shop, "rev-parse", "HEAD")
			p := e.must(0, shop, append([]string{"rewrite", "--commit", "--output", "json"}, test.args...)...).planned(t)
			expect(t, "what happened", p.actions(), "api build, worker build")
			expect(t, "compilers ran in", e.compiled(), "api worker")
			expect(t, "something was sent to", repositories(r.asked()), "api worker")
			expect(t, "the commit's parent", e.git(shop, "rev-parse", "HEAD~1"), head)
			expect(t, "git status", e.git(shop, "status", "--porcelain"), "")
			expect(t, "files", strings.ReplaceAll(e.git(shop, "diff", "--name-only", "HEAD~1"), "\n", " "), test.files)
			for line := range strings.SplitSeq(e.git(shop, "diff", "--unified=0", "HEAD~1"), "\n") {
				edited := strings.HasPrefix(line, "+ ") || strings.HasPrefix(line, "- ")
				if edited && !strings.Contains(line, " digest: ") && !strings.Contains(line, " newTag: ") {
					t.Errorf("it changed the line %q", line)
				}
			}
			for _, overlay := range []string{"deploy/staging", "deploy/prod"} {
				e.must(0, shop, "verify", overlay)
			}
			// Once more, and nothing happens.
			contains(t, e.must(0, shop, append([]string{"rewrite", "--commit"}, test.args...)...).stdout, "nothing to rewrite")
			expect(t, "compilers ran in", e.compiled(), "")
			expect(t, "something was sent to", repositories(r.asked()), "")
		})
	}
}

// Which of the components a change concerns, told by plan without a registry.
func TestWhatAChangeConcerns(t *testing.T) {
	r := newRegistry(t, "")
	bare := released(t, r)
	for _, test := range []struct {
		file, want string
	}{
		{"lib/rates/rates.h", "api, worker"},
		{"services/api/main.go", "api"},
		{"services/worker/worker.c", "worker"},
		{"services/web/public/app.js", "web"},
		{"go.mod", "api, static, web"}, // web, because static is below it
		{"images/static/main.go", "static, web"},
		{"deploy/base/api.yaml", ""},
		{"README.md", ""},
	} {
		t.Run(test.file, func(t *testing.T) {
			e := newEngineer(t, r)
			shop := e.clone(bare, "change")
			content, err := os.ReadFile(filepath.Join(shop, test.file))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(shop, test.file), string(content)+"\n")
			e.git(shop, "commit", "-qam", "Change")
			p := e.must(0, shop, "plan", "--changed", "--bump", "patch", "--output", "json").planned(t)
			var names []string
			for _, c := range p.Components {
				names = append(names, c.Name)
			}
			slices.Sort(names)
			expect(t, "to build", strings.Join(names, ", "), test.want)
		})
	}
	expect(t, "requests", len(r.asked()), 0)
}

// A change of the base is built on: static first, and web on the new one.
func TestBaseChanges(t *testing.T) {
	r := newRegistry(t, "")
	bare := released(t, r)
	e := newEngineer(t, r)
	shop := e.clone(bare, "static")
	e.edit(shop, "images/static/main.go", "listening on", "serving on")
	e.git(shop, "commit", "-qam", "Other words")
	p := e.must(0, shop, "rewrite", "--changed", "--bump", "patch", "--commit", "--output", "json").planned(t)
	expect(t, "what happened", p.actions(), "static build, web build")
	expect(t, "compilers ran in", e.compiled(), "static")
	contains(t, e.git(shop, "show", "HEAD:services/web/pin.yaml"), "static@"+p.digest(t, "static"))
	layers, err := r.pull(t, p.reference(t, "web")).Layers()
	if err != nil {
		t.Fatal(err)
	}
	below, err := r.pull(t, p.reference(t, "static")).Layers()
	if err != nil {
		t.Fatal(err)
	}
	first, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	want, err := below[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "the first layer of web", first, want)
}

// What staging has been tested with is what production gets: nothing is built.
func TestPromote(t *testing.T) {
	r := newRegistry(t, "")
	bare := released(t, r)
	e := newEngineer(t, r)
	shop := e.clone(bare, "krona")
	e.krona(shop)
	staging := e.must(0, shop, "rewrite", "--changed", "--exclude", "deploy/prod/*", "--commit", "--output", "json").planned(t)
	r.asked()
	e.compiled()
	e.remark(shop, "deploy/prod", "build+minor")
	prod := e.must(0, shop, "rewrite", "--commit", "--output", "json").planned(t)
	expect(t, "what happened", prod.actions(), "api reuse, worker reuse")
	expect(t, "compilers ran in", e.compiled(), "")
	for _, name := range []string{"api", "worker"} {
		expect(t, name, prod.digest(t, name), staging.digest(t, name))
	}
	expect(t, "what was sent", len(writes(r.asked())), 2) // a tag each
	contains(t, e.git(shop, "show", "HEAD"), "+  newTag: 0.2.0", "-  newTag: 0.1.0")
}
