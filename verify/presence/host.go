package presence

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Waits between attempts double from firstWait to lastWait, for as long as the
// caller has time. go-containerregistry's own three attempts are over after
// four seconds, and one invocation has to sit out a registry's restart by
// itself: Argo CD pauses an application for an hour after three failures
// (ARGOCD_PAUSE_GEN_AFTER_FAILED_ATTEMPTS).
const (
	firstWait = 250 * time.Millisecond
	lastWait  = 5 * time.Second
	// gateLimit bounds how long one answer can keep a host from being asked,
	// whatever its Retry-After says: a long-lived process must not believe a
	// broken proxy for a day.
	gateLimit = time.Minute
	// badManifests is how many manifests have to fail, with no answer between
	// them, before a host that does answer is taken to be down.
	badManifests = 3
)

// clock is the time as the retries see it.
type clock struct {
	now   func() time.Time
	sleep func(context.Context, time.Duration) error
}

func wallClock() clock {
	return clock{now: time.Now, sleep: func(ctx context.Context, d time.Duration) error {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

// host bounds, retries and paces everything that is asked of one registry:
// manifests, sign-ins and what they redirect to.
type host struct {
	name    string
	inner   http.RoundTripper
	clock   clock
	attempt time.Duration // the longest that one attempt may take
	slots   chan struct{} // one for each request under way

	mu       sync.Mutex
	closedTo time.Time // no request before then: a Retry-After
	last     *fault    // since the last good answer
	strikes  int       // requests that ran out of retries since the last good answer
}

// do sends req until an answer comes that says something, or until waiting
// for the next attempt would take longer than the context allows. The answer's
// body is in memory. check may find fault with an answer.
//
// The error is an [*outage], or context.Canceled.
func (h *host) do(req *http.Request, check func(*http.Response, []byte) *fault) (*http.Response, error) {
	ctx := req.Context()
	began := h.clock.now()
	deadline, _ := ctx.Deadline()
	if f := batchOf(ctx).outageOf(h.name, deadline.Sub(began)); f != nil {
		return nil, &outage{fault: *f, deadline: deadline}
	}
	for tries := 1; ; tries++ {
		if err := h.gate(ctx, deadline); err != nil {
			return nil, err
		}
		resp, f := h.once(ctx, req, check)
		if f == nil {
			h.answered(f)
			return resp, nil
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err()
		}
		h.answered(f)
		wait := max(f.wait, backoff(tries))
		if f.verdict == Throttled {
			if f.wait > 0 {
				wait = f.wait
			}
			h.close(wait)
		}
		if tries == f.tries || h.clock.now().Add(wait).After(deadline) {
			h.gaveUp(ctx, req, *f, deadline.Sub(began))
			return nil, &outage{fault: *f, deadline: deadline}
		}
		if err := h.clock.sleep(ctx, wait); err != nil {
			return nil, h.timeUp(ctx)
		}
	}
}

// backoff is the wait after the given number of attempts: doubling, and spread
// by a quarter to either side so that many clients don't return together.
func backoff(tries int) time.Duration {
	wait := min(lastWait, firstWait<<min(tries-1, 10))
	return time.Duration(float64(wait) * (0.75 + rand.Float64()/2))
}

// once makes one attempt and reads the whole answer, so that a body that stops
// half-way is retried like any other fault.
func (h *host) once(ctx context.Context, req *http.Request, check func(*http.Response, []byte) *fault) (*http.Response, *fault) {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, h.lastFault()
	}
	defer func() { <-h.slots }()

	ctx, cancel := context.WithTimeout(ctx, h.attempt)
	defer cancel()
	out := req.Clone(ctx)
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			f := networkFault(err)
			return nil, &f
		}
		out.Body = body
	}
	resp, err := h.inner.RoundTrip(out)
	if err != nil {
		f := networkFault(err)
		return nil, &f
	}
	defer func() { _ = resp.Body.Close() }()
	if f, bad := serverFault(resp, h.clock.now()); bad {
		return nil, &f
	}
	var body []byte
	if req.Method != http.MethodHead {
		body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
		if err == nil && len(body) > maxBody {
			err = errTooLarge
		}
		if err != nil {
			f := networkFault(err)
			return nil, &f
		}
	}
	if check != nil {
		if f := check(resp, body); f != nil {
			return nil, f
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// gate waits until the host may be asked again.
func (h *host) gate(ctx context.Context, deadline time.Time) error {
	for {
		h.mu.Lock()
		until := h.closedTo
		h.mu.Unlock()
		wait := until.Sub(h.clock.now())
		if wait <= 0 {
			return nil
		}
		if until.After(deadline) {
			return &outage{fault: fault{verdict: Throttled, reason: reasonThrottled}, deadline: deadline}
		}
		if h.clock.sleep(ctx, wait) != nil {
			return h.timeUp(ctx)
		}
	}
}

// close keeps every request to the host waiting, for at most gateLimit.
func (h *host) close(wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until := h.clock.now().Add(min(wait, gateLimit)); until.After(h.closedTo) {
		h.closedTo = until
	}
}

// answered notes how the last attempt went; f is nil for a good one.
func (h *host) answered(f *fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last = f; f == nil {
		h.strikes = 0
	}
}

// gaveUp tells the batch that this host is down, so that its other images
// needn't find out by themselves. A host that answers, but not about this one
// manifest, gets the benefit of the doubt at first.
func (h *host) gaveUp(ctx context.Context, req *http.Request, f fault, paid time.Duration) {
	h.mu.Lock()
	h.strikes++
	strikes := h.strikes
	h.mu.Unlock()
	if f.answered && isManifest(req) && strikes < badManifests {
		return
	}
	batchOf(ctx).lost(h.name, f, paid)
}

// lastFault is what the host failed with last, in case it is not this request
// that can tell.
func (h *host) lastFault() *fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last != nil {
		f := *h.last
		return &f
	}
	return &fault{verdict: Unreachable, reason: reasonNoAnswer}
}

// timeUp is the error of a request whose context ended while it waited.
func (h *host) timeUp(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	deadline, _ := ctx.Deadline()
	return &outage{fault: *h.lastFault(), deadline: deadline}
}

// batch is many images that are checked together. What one of them has found
// out about a dead host at the price of a whole retry budget holds for the
// others; the next batch finds out anew.
type batch struct {
	mu   sync.Mutex
	dead map[string]deadHost
}

type deadHost struct {
	fault fault
	paid  time.Duration
}

type batchKey struct{}

func withBatch(ctx context.Context) context.Context {
	return context.WithValue(ctx, batchKey{}, &batch{dead: map[string]deadHost{}})
}

func batchOf(ctx context.Context) *batch {
	b, _ := ctx.Value(batchKey{}).(*batch)
	return b
}

func (b *batch) lost(host string, f fault, paid time.Duration) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if paid > b.dead[host].paid {
		b.dead[host] = deadHost{fault: f, paid: paid}
	}
}

// outageOf returns how host was lost, if that took about as long as the caller
// could wait itself: who was in a hurry does not speak for who is not.
func (b *batch) outageOf(host string, budget time.Duration) *fault {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if d, ok := b.dead[host]; ok && budget <= d.paid+d.paid/8 {
		return &d.fault
	}
	return nil
}
