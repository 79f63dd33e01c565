//go:build linux

package gate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pin-cmp/pin-cmp/test/argocd/stack"
)

// noSidecar takes the plugin away: an application that names it is blocked, and
// Argo CD does not render it without.
func (f *fixture) noSidecar(t *testing.T) {
	a, repository, commit := f.application(t, "nosidecar", f.present)
	a.WaitApplied(t, commit)
	f.sidecar.Kill()
	repository.Commit(t, content("registry.example.com/acme/web:1.4.0", "1"))
	condition := a.WaitBlocked(t, "normal")
	f.said.record(t, "no sidecar", a, strings.ReplaceAll(condition, f.Plugins(), "/home/argocd/cmp-server/plugins"))
	live(t, a, f.present, "0")
	f.sidecar.Start(t)
	a.Refresh(t, "normal")
	a.Wait(t, "blocked by the gate", func(s stack.Status) bool {
		return s.Blocked() && strings.Contains(s.Conditions[0], "pin-cmp: ")
	})
	live(t, a, f.present, "0")
	commit = repository.Commit(t, content(f.present, "2"))
	a.Refresh(t, "normal")
	a.WaitApplied(t, commit)
}

const crowd = 12

// killed kills the sidecar as the kernel does when its memory is used up.
func (f *fixture) killed(t *testing.T) {
	f.underLoad(t, "killed", func() { f.sidecar.Kill() })
}

// terminated stops it as a kubelet does: SIGTERM, and SIGKILL to one that does not
// end.
func (f *fixture) terminated(t *testing.T) {
	f.underLoad(t, "terminated", func() {
		f.sidecar.Terminate(t)
		if f.sidecar.Front.Drains {
			<-f.sidecar.Exited()
			return
		}
		f.sidecar.Kill()
	})
}

// underLoad ends the sidecar while Argo CD renders applications of one repository
// and of several, and starts it again. Every application goes on: no request waits
// for ever, and none holds the lock of its repository, which blocks every new
// commit to it.
func (f *fixture) underLoad(t *testing.T, name string, end func()) {
	shared := f.git.Create(t, f.name(name), nil)
	shared.Commit(t, content(f.present, "0"))
	var applications []*stack.Application
	var repositories []*stack.Repository
	for i := range crowd {
		repository := shared
		if i%2 == 0 {
			repository = f.git.Create(t, fmt.Sprintf("%s-%d", f.name(name), i), content(f.present, "0"))
		}
		repositories = append(repositories, repository)
		applications = append(applications, f.Apply(t, fmt.Sprintf("%s-%d", f.name(name), i), stack.Source(repository, "app")))
	}
	for _, a := range applications {
		a.Wait(t, "synced", func(s stack.Status) bool { return s.Sync == "Synced" })
	}

	// Load: every application is rendered again and again, whatever is cached.
	load := func() {
		for _, a := range applications {
			if !a.Status(t).Refreshing {
				a.Refresh(t, "hard")
			}
		}
	}
	for range 3 {
		load()
	}
	start := time.Now()
	end()
	for range 3 {
		load()
	}
	f.sidecar.Start(t)
	back := time.Now()

	// New commits, which need the repository's lock.
	commits := map[*stack.Repository]string{shared: shared.Commit(t, content(f.present, "1"))}
	for _, repository := range repositories {
		if repository != shared {
			commits[repository] = repository.Commit(t, content(f.present, "1"))
		}
	}
	for i, a := range applications {
		a.Wait(t, "refreshed", refreshed)
		a.Refresh(t, "normal")
		a.WaitApplied(t, commits[repositories[i]])
		live(t, a, f.present, "1")
	}
	t.Logf("%s: away for %.1f s, all %d applications at their next commit %.1f s after", name, back.Sub(start).Seconds(), crowd, time.Since(back).Seconds())
}
