//go:build linux

package gate

import (
	"strings"
	"testing"
)

func (f *fixture) static(t *testing.T) {
	a, repository, commit := f.application(t, "static", f.present)
	a.WaitApplied(t, commit)
	live(t, a, f.present, "0")
	// A tag beside the digest changes nothing.
	tagged := strings.Replace(f.present, "@", ":1.4.0@", 1)
	commit = repository.Commit(t, content(tagged, "1"))
	a.Refresh(t, "normal")
	a.WaitApplied(t, commit)
	live(t, a, tagged, "1")
}

// refused commits references that are refused, to an application that runs and to
// one that has never been applied. It goes on with the commit that fixes it.
func (f *fixture) refused(t *testing.T) {
	for _, c := range []struct{ name, image string }{
		{"floating", "registry.example.com/acme/web:1.4.0"},
		{"symbolic", "registry.example.com/acme/web:1.4.0@build+minor"},
		{"absent", f.registry.Image("acme/web", "never pushed")},
		{"malformed", "registry.example.com/acme/web@sha256:1234"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, repository, commit := f.application(t, c.name, f.present)
			fresh, _, _ := f.application(t, c.name+"-fresh", c.image)
			a.WaitApplied(t, commit)
			repository.Commit(t, content(c.image, "1"))
			condition := a.WaitBlocked(t, "normal")
			f.said.record(t, c.name, a, condition)
			live(t, a, f.present, "0")
			f.said.record(t, c.name, fresh, fresh.WaitBlocked(t, "normal"))
			live(t, fresh, "", "")

			commit = repository.Commit(t, content(f.present, "2"))
			if c.name != "floating" { // by itself, within Argo CD's interval
				a.Refresh(t, "normal") // as a webhook does
			}
			a.WaitApplied(t, commit)
			live(t, a, f.present, "2")
		})
	}
	t.Run("many", func(t *testing.T) {
		a, repository, commit := f.application(t, "many", f.present)
		a.WaitApplied(t, commit)
		files := content("registry.example.com/acme/web:1.4.0", "1")
		files["app/worker.yaml"] = strings.ReplaceAll(strings.ReplaceAll(files["app/web.yaml"], "web", "worker"), ":1.4.0", ":latest")
		files["app/job.yaml"] = strings.ReplaceAll(strings.ReplaceAll(files["app/web.yaml"], "name: web", "name: job"), "acme/web:1.4.0", "acme/job@resolve")
		repository.Commit(t, files)
		f.said.record(t, "many", a, a.WaitBlocked(t, "normal"))
		live(t, a, f.present, "0")
	})
}

// pushedLater commits a digest before its image is there. The commit stays the
// same; once it is there the next refresh finds it.
func (f *fixture) pushedLater(t *testing.T) {
	text := "pushed later, " + f.sidecar.Front.Name
	image := f.registry.Image("acme/web", text)
	a, _, commit := f.application(t, "later", image)
	a.WaitBlocked(t, "normal")
	live(t, a, "", "")
	f.registry.Push(t, "acme/web", text, "later")
	a.Refresh(t, "hard")
	a.WaitApplied(t, commit)
	live(t, a, image, "0")
}

// deleted deletes an image that is applied: a hard refresh finds it, and what runs
// stays.
func (f *fixture) deleted(t *testing.T) {
	text := "deleted, " + f.sidecar.Front.Name
	image := f.registry.Push(t, "acme/web", text, "deleted")
	f.sidecar.SetPolicy(t, policyThatAsks)
	defer f.sidecar.SetPolicy(t, policyDefault)
	a, _, commit := f.application(t, "deleted", image)
	a.WaitApplied(t, commit)
	f.registry.Delete(t, "acme/web", text)
	a.Refresh(t, "normal")
	a.Wait(t, "refreshed", refreshed)
	if s := a.Status(t); !s.Applied(commit) {
		t.Errorf("a normal refresh asked again: %v", s)
	}
	f.said.record(t, "deleted", a, hide(a.WaitBlocked(t, "hard"), image))
	live(t, a, image, "0")
}
