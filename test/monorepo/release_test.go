//go:build linux

package monorepo

import (
	"strings"
	"testing"
)

// Two components, one command, one commit, static digests, and the gate passes. On
// a second clone nothing is built, and a question for each is all that is asked.
func TestFirstRelease(t *testing.T) {
	r := newRegistry(t, "")
	bare := origin(t, r)
	ada := newEngineer(t, r)
	shop := ada.clone(bare, "release")
	for _, overlay := range []string{"deploy/staging", "deploy/prod"} {
		contains(t, ada.must(1, shop, "verify", overlay).stdout, "build")
	}
	r.asked()

	first := ada.must(0, shop, "rewrite", "api", "worker", "--commit", "--output", "json").planned(t)
	expect(t, "what happened", first.actions(), "api build, worker build")
	expect(t, "compilers ran in", ada.compiled(), "api worker")
	expect(t, "commits", ada.git(shop, "rev-list", "--count", "origin/main..HEAD"), "1")
	expect(t, "the commit", first.Commit, ada.git(shop, "rev-parse", "HEAD"))
	expect(t, "git status", ada.git(shop, "status", "--porcelain"), "")
	expect(t, "pins", len(first.Pins), 4)
	for _, pin := range first.Pins {
		if !static.MatchString(pin.To) {
			t.Errorf("%s: %s becomes %s", pin.File, pin.From, pin.To)
		}
	}
	expect(t, "lines changed", ada.git(shop, "diff", "--shortstat", "HEAD~1"), " 2 files changed, 4 insertions(+), 4 deletions(-)")
	for _, overlay := range []string{"deploy/staging", "deploy/prod"} {
		ada.must(0, shop, "verify", overlay)
	}

	// The same on the machine of somebody else.
	r.asked()
	grace := newEngineer(t, r)
	second := grace.clone(bare, "release")
	again := grace.must(0, second, "rewrite", "api", "worker", "--commit", "--output", "json").planned(t)
	expect(t, "sign-ins", r.signsIn(), 1)
	requests := r.asked()
	expect(t, "what happened", again.actions(), "api reuse, worker reuse")
	expect(t, "compilers ran in", grace.compiled(), "")
	if changes := writes(requests); len(changes) > 0 {
		t.Errorf("something was sent:\n%s", strings.Join(changes, "\n"))
	}
	for _, name := range []string{"api", "worker"} {
		expect(t, "the digest of "+name, again.digest(t, name), first.digest(t, name))
		expect(t, "questions about the key of "+name, count(requests, "/shop/"+name+"/manifests/pin-"), 1)
		// Its version has to be looked up: a tag is never moved.
		expect(t, "questions about the version of "+name, count(requests, "/shop/"+name+"/manifests/0.1.0"), 1)
	}
	expect(t, "requests", len(requests), 4)
	expect(t, "the tree", grace.git(second, "rev-parse", "HEAD^{tree}"), ada.git(shop, "rev-parse", "HEAD^{tree}"))

	// And once more, on the same clone: nothing to do, and nobody to ask.
	contains(t, grace.must(0, second, "rewrite", "--commit", "api", "worker").stdout, "nothing to rewrite")
	expect(t, "requests", len(r.asked()), 0)

	// The rest: static, and web on it.
	rest := ada.must(0, shop, "rewrite", "--commit", "--output", "json").planned(t)
	expect(t, "what happened", rest.actions(), "static build, web build")
	expect(t, "compilers ran in", ada.compiled(), "static")
	contains(t, ada.must(0, shop, "plan").stdout, "nothing to rewrite")
}

// count counts the requests that have a text in them.
func count(requests []string, part string) int {
	n := 0
	for _, request := range requests {
		if strings.Contains(request, part) {
			n++
		}
	}
	return n
}
