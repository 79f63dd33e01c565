//go:build linux

package gate

import (
	"strings"
	"testing"
	"time"

	"github.com/pin-cmp/pin-cmp/test/argocd/stack"
)

var (
	policyDefault = stack.Policy("")
	// policyThatAsks asks the registry in every render.
	policyThatAsks = stack.Policy("  freshFor: 1ms\n")
	// policyOfSeconds gives up soon.
	policyOfSeconds = stack.Policy("  timeout: 2s\n")
)

func refreshed(s stack.Status) bool { return !s.Refreshing }

// shortOutage is one that ends within the time that the gate has for its
// questions: it asks again until then, and neither the application nor Argo CD's
// count of failures hears of it.
func (f *fixture) shortOutage(t *testing.T) {
	image := f.registry.Push(t, "acme/web", "short outage, "+f.sidecar.Front.Name, "short")
	a, repository, commit := f.application(t, "short", f.present)
	a.WaitApplied(t, commit)

	f.registry.Stop()
	commit = repository.Commit(t, content(image, "1"))
	a.Refresh(t, "normal")
	// A connection that is refused is refused at once: in this time the gate asks
	// in vain again and again.
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if s := a.Status(t); s.Blocked() {
			t.Fatalf("blocked: %v", s)
		}
	}
	live(t, a, f.present, "0")
	f.registry.Start(t)
	a.Wait(t, "synced, without ever being blocked", func(s stack.Status) bool {
		if s.Blocked() {
			t.Fatalf("blocked: %v", s)
		}
		return s.Applied(commit)
	})
	live(t, a, image, "1")
}

// longOutage is one that outlasts that time: the message says that it is not the
// application's fault, and the first refresh after it, of the same commit, finds
// the image. Argo CD pauses after three failures in a row; then only a hard refresh
// or a commit goes on.
func (f *fixture) longOutage(t *testing.T) {
	f.sidecar.SetPolicy(t, policyOfSeconds)
	defer f.sidecar.SetPolicy(t, policyDefault)
	t.Run("one failure", func(t *testing.T) {
		image := f.registry.Push(t, "acme/web", "long outage, "+f.sidecar.Front.Name, "long")
		a, repository, commit := f.application(t, "long", f.present)
		a.WaitApplied(t, commit)
		f.registry.Stop()
		commit = repository.Commit(t, content(image, "1"))
		condition := a.WaitBlocked(t, "normal")
		f.registry.Start(t)
		if !strings.Contains(condition, "unreachable") {
			t.Errorf("it does not say that the registry is unreachable: %s", condition)
		}
		f.said.record(t, "unreachable", a, hide(condition, image))
		live(t, a, f.present, "0")
		a.WaitApplied(t, commit) // by itself: three failures have not been reached
		live(t, a, image, "1")
	})
	t.Run("paused", func(t *testing.T) {
		image := f.registry.Push(t, "acme/web", "paused, "+f.sidecar.Front.Name, "paused")
		f.registry.Stop()
		a, _, commit := f.application(t, "paused", image)
		paused := func(s stack.Status) bool {
			if s.Refreshing {
				return false
			}
			if s.Blocked() && strings.Contains(s.Conditions[0], "Manifest generation error (cached): ") {
				return true
			}
			a.Refresh(t, "normal")
			return false
		}
		condition := a.Wait(t, "paused", paused).Conditions[0]
		f.said.record(t, "paused", a, hide(condition, image))
		f.registry.Start(t)
		a.Refresh(t, "normal")
		if s := a.Wait(t, "refreshed", refreshed); !paused(s) {
			t.Errorf("a normal refresh ended the pause: %v", s)
		}
		a.Wait(t, "refreshed", refreshed)
		a.Refresh(t, "hard")
		a.WaitApplied(t, commit)
		live(t, a, image, "0")
	})
}

// hide replaces a reference that is another behind each front.
func hide(condition, image string) string {
	return strings.ReplaceAll(condition, image, "registry.example.com/acme/web@sha256:…")
}

// knownDuringOutage renders, in an outage, a commit whose images have been seen
// before: the answer of then is good, for a day.
func (f *fixture) knownDuringOutage(t *testing.T) {
	f.sidecar.SetPolicy(t, stack.Policy("  freshFor: 1ms\n  timeout: 2s\n"))
	defer f.sidecar.SetPolicy(t, policyDefault)
	a, repository, commit := f.application(t, "known", f.present)
	a.WaitApplied(t, commit)
	f.registry.Stop()
	defer f.registry.Start(t)
	commit = repository.Commit(t, content(f.present, "1"))
	a.Refresh(t, "normal")
	a.WaitApplied(t, commit)
	live(t, a, f.present, "1")
}
