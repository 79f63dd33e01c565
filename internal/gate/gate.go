// Package gate is the one engine behind every front that renders and verifies:
// generate, verify, the demo and, over the plugin protocol, serve.
package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/pin-cmp/pin-cmp/render"
	"github.com/pin-cmp/pin-cmp/verify"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// Gate renders applications and verifies what they render to. It is safe for
// concurrent use.
type Gate struct {
	Renderer render.Renderer
	Policy   *verify.Policy
	// Presence asks registries; nil where the policy does not want it.
	Presence presence.Checker
}

// New returns a gate that renders in child processes and asks registries as the
// policy says, with the credentials of this process's user. warn is told what
// the user should know and that stops nothing.
func New(policy *verify.Policy, warn func(string)) (*Gate, error) {
	g := &Gate{Renderer: &render.Isolated{}, Policy: policy}
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
		dir = CacheDir()
	}
	g.Presence = presence.NewCache(remote, presence.CacheOptions{
		Dir:          dir,
		FreshFor:     time.Duration(p.FreshFor),
		StaleIfError: time.Duration(*p.StaleIfError),
		OnWarning:    warn,
	})
	return g, nil
}

// CacheDir is where positive answers of registries are kept if the policy does
// not say: in the user's cache directory, or, for a user without a home, in a
// directory of that user's below the system's temporary one.
func CacheDir() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "pin-cmp", "presence")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("pin-cmp-%d", os.Getuid()), "presence")
}

// Outcome is what a gate says about an application.
type Outcome struct {
	Result *render.Result
	Report *verify.Report
}

// Undecided tells whether an error of Check says nothing about the application:
// the time was up, or the render died. Asking again may help; changing the
// repository does not.
func Undecided(err error) bool {
	return errors.Is(err, render.ErrCrashed) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// Check renders and verifies one application. The error is a *render.Error, a
// *presence.ConfigError or the context's; a refusal is not an error but a
// report that is not OK. Progress may be nil.
func (g *Gate) Check(ctx context.Context, app render.Application, progress func(done, total int)) (*Outcome, error) {
	result, err := g.Renderer.Render(ctx, app)
	if err != nil {
		return nil, err
	}
	if err := checkStream(result); err != nil {
		return nil, err
	}
	locator := render.NewLocator(app.Checkout, result)
	objects := make([]verify.Object, len(result.Manifests))
	for i, manifest := range result.Manifests {
		objects[i] = verify.Object{
			Content: manifest.Object,
			Locate: func(field verify.Path, value string) (string, int) {
				return locator.Locate(i, field, value)
			},
		}
	}
	// A registry that does not answer must not use up the caller's time.
	asking, cancel := context.WithTimeout(ctx, time.Duration(g.Policy.Presence.Timeout))
	defer cancel()
	report, err := verify.Verify(asking, objects, verify.Options{Policy: g.Policy, Presence: g.Presence, Progress: progress})
	if err != nil {
		return nil, err
	}
	for _, warning := range result.Warnings {
		report.Warnings = append(report.Warnings, verify.Warning{Message: warning})
	}
	return &Outcome{Result: result, Report: report}, nil
}
