//go:build linux

// Package gate shows what an Argo CD does with pin-cmp as its gate: what passes,
// what is refused and with which words, and how it goes on after an outage. The
// words are in a golden file of each Argo CD, which the documentation quotes.
package gate

import (
	"testing"

	"github.com/pin-cmp/pin-cmp/test/argocd/stack"
)

// fixture is an Argo CD with everything it needs, behind one front.
type fixture struct {
	*stack.Stack
	git      *stack.GitServer
	registry *stack.Registry
	sidecar  *stack.Sidecar
	said     *golden
	// present is an image that is in the registry.
	present string
}

// Test starts an Argo CD and runs every scenario behind every front.
func Test(t *testing.T) {
	s := stack.Start(t)
	git, registry := s.StartGit(t), s.StartRegistry(t)
	present := registry.Push(t, "acme/web", "the first", "1.4.0")
	for _, front := range stack.Fronts {
		t.Run(front.Name, func(t *testing.T) {
			f := &fixture{Stack: s, git: git, registry: registry, present: present}
			f.said = openGolden(t, front.Name)
			f.sidecar = s.Sidecar(t, front, stack.Policy(""))
			t.Run("static digests are applied", f.static)
			t.Run("what is not static is refused", f.refused)
			t.Run("an image that is pushed later", f.pushedLater)
			t.Run("an image that is deleted", f.deleted)
			t.Run("a short outage of the registry is not seen", f.shortOutage)
			t.Run("a long outage of the registry", f.longOutage)
			t.Run("an outage that nobody noticed", f.knownDuringOutage)
			t.Run("no sidecar", f.noSidecar)
			t.Run("the sidecar is killed under load", f.killed)
			t.Run("the sidecar is stopped under load", f.terminated)
			f.said.check(t)
		})
	}
}

// name makes a name for an application of a front, which no other has.
func (f *fixture) name(name string) string { return name + "-" + f.sidecar.Front.Name }

// application creates a repository whose app directory uses an image, and an
// Application of it. It returns the first commit.
func (f *fixture) application(t *testing.T, name, image string) (*stack.Application, *stack.Repository, string) {
	t.Helper()
	name = f.name(name)
	repository := f.git.Create(t, name, nil)
	commit := repository.Commit(t, content(image, "0"))
	return f.Apply(t, name, stack.Source(repository, "app")), repository, commit
}

// content is an application's directory: a workload, and something beside it that
// must not be applied either when the workload is refused.
func content(image, notes string) map[string]string {
	return map[string]string{"app/web.yaml": stack.Deployment("web", image), "app/notes.yaml": stack.ConfigMap("notes", notes)}
}

// live checks what the cluster holds.
func live(t *testing.T, a *stack.Application, image, notes string) {
	t.Helper()
	if i, n := a.Live(t); i != image || n != notes {
		t.Errorf("the cluster holds image %q and notes %q, want %q and %q", i, n, image, notes)
	}
}
