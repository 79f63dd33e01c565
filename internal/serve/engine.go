package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/pin-cmp/pin-cmp/internal/gate"
	"github.com/pin-cmp/pin-cmp/render"
	"github.com/pin-cmp/pin-cmp/verify"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// engine is the gate under the policy as it is now: a ConfigMap that is edited
// changes its files under a running process. What is known about registries
// stays warm for as long as the policy is the same.
type engine struct {
	file     string // "" is the default policy
	optional bool   // the default policy stands in for a file that was never there
	renderer render.Renderer
	metrics  *metrics
	warn     func(string)

	mu    sync.Mutex
	stamp fs.FileInfo
	gate  *gate.Gate
	err   error
}

// current returns the gate. The error is a *verify.PolicyError or about
// something that the policy names.
func (e *engine) current() (*gate.Gate, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var info fs.FileInfo
	if e.file != "" {
		var err error
		if info, err = os.Stat(e.file); err != nil {
			if !errors.Is(err, fs.ErrNotExist) || !e.optional {
				return nil, &verify.PolicyError{File: e.file, Err: errors.Unwrap(err)}
			}
			info = nil
		}
	}
	if (e.gate != nil || e.err != nil) && unchanged(e.stamp, info) {
		return e.gate, e.err
	}
	e.stamp = info
	e.gate, e.err = e.read(info != nil)
	return e.gate, e.err
}

func unchanged(old, now fs.FileInfo) bool {
	if old == nil || now == nil {
		return old == nil && now == nil
	}
	return os.SameFile(old, now) && old.Size() == now.Size() && old.ModTime().Equal(now.ModTime())
}

func (e *engine) read(there bool) (*gate.Gate, error) {
	policy := verify.DefaultPolicy()
	if there {
		e.optional = false // a policy that vanishes is not replaced by a laxer one
		var err error
		if policy, err = verify.LoadPolicy(e.file); err != nil {
			return nil, err
		}
	}
	g := &gate.Gate{Renderer: e.renderer, Policy: policy}
	if !policy.CheckPresence() {
		return g, nil
	}
	p := policy.Presence
	remote, err := presence.NewRemote(presence.RemoteOptions{
		Keychain:  presence.DefaultKeychain(),
		PlainHTTP: policy.Registries.PlainHTTP,
		Platforms: p.Platforms,
		PerHost:   p.PerRegistry,
		Timeout:   time.Duration(p.Timeout),
		CABundle:  p.CABundle,
	})
	if err != nil {
		return nil, fmt.Errorf("policy presence: %w", err)
	}
	dir := p.CacheDir
	if dir == "" {
		dir = gate.CacheDir()
	}
	// The memory is kept by credential: what one may see is no answer for
	// another (presence.Scoped).
	g.Presence = &counted{presence.NewCache(&timed{remote, e.metrics}, presence.CacheOptions{
		Dir:          dir,
		FreshFor:     time.Duration(p.FreshFor),
		StaleIfError: time.Duration(*p.StaleIfError),
		OnWarning:    e.warn,
	}), e.metrics}
	return g, nil
}
