// Package presence answers one question about a digest: does its registry hold
// it, so that a cluster can pull it?
//
// The answer is a [Verdict], and the words are kept apart on purpose: an image
// is never called absent because a registry is down, and an outage is never
// excused as a missing image. Only [Present] passes the gate.
//
// A [Checker] answers for one image. [NewRemote] asks the registries
// themselves; [NewCache] puts a memory in front of them; [All] checks many images
// at once.
package presence

import (
	"context"
	"fmt"
)

// Verdict is what is known about an image in its registry.
type Verdict string

// The verdicts. Their values are part of the JSON output.
const (
	// Present: the registry holds the manifest and, for an index, the
	// manifests of every platform that was asked for.
	Present Verdict = "present"
	// Absent: the registry answered, and it does not hold what was asked for.
	Absent Verdict = "absent"
	// Denied: the registry answered 401 or 403. Many registries answer so for
	// repositories that do not exist, too.
	Denied Verdict = "denied"
	// Throttled: the registry answered 429 until the time was up, or asked for
	// more patience than there is time.
	Throttled Verdict = "throttled"
	// Unreachable: no usable answer; the fault is not the image's.
	Unreachable Verdict = "unreachable"
	// Unchecked: nobody asked.
	Unchecked Verdict = "unchecked"
)

// Decided tells whether v says something about the image itself rather than
// about the registry's health: asking again later will not change it.
func (v Verdict) Decided() bool {
	return v == Present || v == Absent || v == Denied
}

// Image names a manifest by digest.
type Image struct {
	// Repository is the normalised name: "docker.io/library/nginx",
	// "ghcr.io/acme/web", "127.0.0.1:5000/web".
	Repository string
	// Digest is "sha256:" and 64 lower-case hexadecimal digits.
	Digest string
}

// String returns repository@digest.
func (i Image) String() string { return i.Repository + "@" + i.Digest }

// Result is the answer for one image.
type Result struct {
	Verdict Verdict
	// Reason says in one clause what the registry answered. The same situation
	// always gives the same text: it holds no time, duration, request id or
	// secret, because Argo CD stores it in the Application.
	Reason string
	// Stale is true where Verdict is Present only because the image was seen
	// within the stale-if-error window and its registry can't answer now.
	// Reason then says why it can't.
	Stale bool
}

// Checker finds out whether images are present.
//
// Check returns an error only where no verdict can be reached for a reason
// that is neither the image's nor the registry's: a [*ConfigError], or the
// context's error when the caller gave up.
type Checker interface {
	Check(ctx context.Context, image Image) (Result, error)
}

// ConfigError is a mistake in the configuration of this program's user: a
// credential helper that is named but not installed, say. It is never turned
// into a verdict, and never into anonymous access.
type ConfigError struct {
	// File and Line say where the mistake stands; Line is 1-based, 0 if unknown.
	File string
	Line int
	// Registry is the host that the configuration is for.
	Registry string
	// Problem is one sentence; Fix says what to do.
	Problem, Fix string
	Err          error
}

// Error returns file:line, the problem and the way out, in one line.
func (e *ConfigError) Error() string {
	at := e.File
	if e.Line > 0 {
		at = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	return fmt.Sprintf("%s: %s; %s", at, e.Problem, e.Fix)
}

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }
