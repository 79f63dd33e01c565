//go:build linux

package monorepo

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Two engineers release the same commit at the same time, on clones of their own:
// both succeed, with the same digests.
func TestTwoAtOnce(t *testing.T) {
	r := newRegistry(t, "")
	bare := origin(t, r)
	type outcome struct {
		result result
		dir    string
	}
	done := make(chan outcome)
	engineers := []*engineer{newEngineer(t, r), newEngineer(t, r)}
	for _, e := range engineers {
		dir := e.clone(bare, "release")
		go func() { done <- outcome{e.pin(dir, "rewrite", "--commit", "--output", "json"), dir} }()
	}
	var plans []plan
	var trees []string
	for range engineers {
		o := <-done
		if o.result.code != 0 {
			t.Errorf("status %d\n%s%s", o.result.code, o.result.stdout, o.result.stderr)
			continue
		}
		plans = append(plans, o.result.planned(t))
		trees = append(trees, engineers[0].git(o.dir, "rev-parse", "HEAD^{tree}"))
	}
	if t.Failed() {
		return
	}
	for _, name := range []string{"api", "worker", "web", "static"} {
		expect(t, name, plans[0].reference(t, name), plans[1].reference(t, name))
	}
	expect(t, "the trees", trees[0], trees[1])
}

// The same commit on a machine that knows nothing of the first one, in another
// directory, with other habits and a cold cache, and pushed to an empty registry:
// the same bytes.
func TestReproducible(t *testing.T) {
	r := newRegistry(t, "")
	bare := origin(t, r)
	one := newEngineer(t, r)
	first := one.must(0, one.clone(bare, "release"), "rewrite", "--output", "json").planned(t)
	r.renew(t, "")
	other := newEngineer(t, r)
	other.set("GOCACHE", t.TempDir())
	for name, value := range map[string]string{"TZ": "Pacific/Auckland", "LANG": "de_DE.UTF-8", "SOURCE_DATE_EPOCH": "1", "CGO_ENABLED": "1", "GOAMD64": "v3", "GOOS": "windows"} {
		other.set(name, value)
	}
	old := syscall.Umask(0o077)
	shop := other.clone(bare, "a-branch-of-another-name")
	second := other.must(0, shop, "rewrite", "--output", "json", "--jobs", "1").planned(t)
	syscall.Umask(old)
	expect(t, "what happened", second.actions(), "api build, static build, web build, worker build")
	for _, name := range []string{"api", "worker", "web", "static"} {
		expect(t, name, second.reference(t, name), first.reference(t, name))
	}
}

// From anywhere in a work tree, also in one that git worktree made.
func TestPlaces(t *testing.T) {
	r := newRegistry(t, "")
	bare := origin(t, r)
	for _, test := range []struct {
		name string
		dir  func(e *engineer, shop string) string
	}{
		{"below", func(_ *engineer, shop string) string { return filepath.Join(shop, "services/api") }},
		{"a worktree", func(e *engineer, shop string) string {
			dir := filepath.Join(e.home, "worktree")
			e.git(shop, "worktree", "add", "-q", "-b", "other", dir)
			return dir
		}},
		{"below a worktree, through a link", func(e *engineer, shop string) string {
			dir := filepath.Join(e.home, "worktree")
			e.git(shop, "worktree", "add", "-q", "-b", "other", dir)
			link := filepath.Join(e.home, "link")
			if err := os.Symlink(filepath.Join(dir, "services/api"), link); err != nil {
				e.t.Fatal(err)
			}
			return link
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEngineer(t, r)
			shop := e.clone(bare, "release")
			main := e.state(shop)
			dir := test.dir(e, shop)
			p := e.must(0, dir, "rewrite", "api", "--commit", "--output", "json").planned(t)
			expect(t, "pins", len(p.Pins), 2)
			expect(t, "the first file", p.Pins[0].File, "deploy/prod/kustomization.yaml")
			expect(t, "git status", e.git(dir, "status", "--porcelain"), "")
			expect(t, "commits", e.git(dir, "rev-list", "--count", "origin/main..HEAD"), "1")
			if e.git(dir, "rev-parse", "--show-toplevel") != e.git(shop, "rev-parse", "--show-toplevel") {
				expect(t, "the other work tree", e.state(shop), main)
			}
			top := e.git(dir, "rev-parse", "--show-toplevel")
			e.must(1, top, "verify", "deploy/prod") // the worker is a placeholder still
			e.must(0, dir, "rewrite", "worker", "--commit")
			e.must(0, top, "verify", "deploy/prod")
		})
	}
}
