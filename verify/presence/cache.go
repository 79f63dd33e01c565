package presence

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Scoped is a Checker whose verdicts can be remembered.
type Scoped interface {
	Checker
	// Scope returns what a verdict on image depends on beside the image: who
	// asks, and what for. A verdict never answers for another scope. It holds
	// no secret.
	Scope(ctx context.Context, image Image) (string, error)
}

// CacheOptions says how long verdicts are believed. The zero value remembers
// nothing but refusals, for a few seconds.
type CacheOptions struct {
	// Dir keeps positive verdicts beyond the process: a directory that this
	// user alone can write to, made if it is missing. Several processes may
	// share it. "" keeps them in memory only.
	Dir string
	// FreshFor is how long a positive verdict answers without a request.
	FreshFor time.Duration
	// StaleIfError is how long after it was obtained a positive verdict still
	// passes while the registry can't answer ([Throttled], [Unreachable]).
	StaleIfError time.Duration
	// StaleAfter bounds how long such an image is asked about before the older
	// verdict is taken. 0 is 10 s.
	StaleAfter time.Duration
	// Now is the time; nil is time.Now.
	Now func() time.Time
	// OnWarning is told, in one sentence, when Dir can't be used. The cache
	// goes on in memory.
	OnWarning func(string)
}

// Refusals are kept long enough for the burst of requests that a sync makes,
// and no longer: nobody can empty this cache from outside.
const keepRefusal = 5 * time.Second

// rememberAtMost bounds the verdicts in memory.
const rememberAtMost = 100_000

// Cache is a Checker with a memory. A digest doesn't change, only whether its
// registry holds it; so a positive verdict is kept, an absence or denial never
// outweighed by it, and what an outage hides is taken from it for a while.
//
// It is safe for concurrent use.
type Cache struct {
	next    Scoped
	options CacheOptions
	store   *store // nil without a directory
	flights singleflight.Group

	mu       sync.Mutex
	present  map[key]time.Time // when it was last seen
	refusals map[key]refusal
}

type refusal struct {
	result Result
	until  time.Time
}

var _ Checker = (*Cache)(nil)

// NewCache returns a memory in front of next.
func NewCache(next Scoped, o CacheOptions) *Cache {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.StaleAfter <= 0 {
		o.StaleAfter = 10 * time.Second
	}
	c := &Cache{next: next, options: o, present: map[key]time.Time{}, refusals: map[key]refusal{}}
	if o.Dir != "" {
		s, err := openStore(o.Dir, max(o.FreshFor, o.StaleIfError))
		if err != nil {
			c.warn(err.Error() + "; verdicts on images are not kept")
		} else {
			c.store = s
		}
	}
	return c
}

func (c *Cache) warn(s string) {
	if c.options.OnWarning != nil {
		c.options.OnWarning(s)
	}
}

// Check answers from memory where it can, and asks otherwise; many who want to
// know the same at the same time are answered by one request.
func (c *Cache) Check(ctx context.Context, image Image) (Result, error) {
	scope, err := c.next.Scope(ctx, image)
	if err != nil {
		var config *ConfigError
		if errors.As(err, &config) {
			return Result{}, err
		}
		// Without knowing who asks there is nothing to look up.
		return c.next.Check(ctx, image)
	}
	k := c.key(image, scope)
	now := c.options.Now()
	seen, known := c.seen(k)
	if known && within(now, seen, c.options.FreshFor) {
		return Result{Verdict: Present}, nil
	}
	if r, ok := c.refused(k, now); ok {
		return r, nil
	}
	stale := known && within(now, seen, c.options.StaleIfError)
	result, err := c.ask(ctx, image, k, stale)
	if err != nil {
		return Result{}, err
	}
	// The time is read again: asking may have taken a while.
	if !result.Verdict.Decided() && known && within(c.options.Now(), seen, c.options.StaleIfError) {
		return Result{Verdict: Present, Stale: true, Reason: result.Reason}, nil
	}
	return result, nil
}

// within tells whether seen is less than d ago. What lies in the future was
// written under another clock and proves nothing.
func within(now, seen time.Time, d time.Duration) bool {
	age := now.Sub(seen)
	return age >= 0 && age < d
}

// ask asks next and remembers the answer. Only one caller asks; who waits for
// it leaves when its own context ends, and asks itself if the answer came from
// a context that ended sooner.
func (c *Cache) ask(ctx context.Context, image Image, k key, stale bool) (Result, error) {
	if stale {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.options.StaleAfter)
		defer cancel()
	}
	type answer struct {
		result   Result
		deadline time.Time
		bounded  bool
	}
	for {
		var mine bool
		got := c.flights.DoChan(string(k[:]), func() (any, error) {
			mine = true
			free, cancel := uncancelled(ctx)
			defer cancel()
			deadline, bounded := free.Deadline()
			result, err := c.next.Check(free, image)
			if err == nil {
				c.note(k, result)
			}
			return answer{result, deadline, bounded}, err
		})
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return Result{}, ctx.Err()
			}
			select {
			case r := <-got: // it had the same deadline, and says why
				if r.Err == nil {
					return r.Val.(answer).result, nil
				}
			case <-time.After(lastWord):
			}
			return Result{Verdict: Unreachable, Reason: reasonNoAnswer}, nil
		case r := <-got:
			if r.Err != nil {
				return Result{}, r.Err
			}
			a := r.Val.(answer)
			deadline, bounded := ctx.Deadline()
			if !mine && !a.result.Verdict.Decided() && a.bounded && (!bounded || deadline.After(a.deadline)) {
				continue
			}
			return a.result, nil
		}
	}
}

// lastWord is how long a caller whose time is up waits for the reason from the
// request that was up at the same time.
const lastWord = 100 * time.Millisecond

// note remembers what next found out.
func (c *Cache) note(k key, result Result) {
	now := c.options.Now()
	c.mu.Lock()
	delete(c.refusals, k)
	switch result.Verdict {
	case Present:
		if result.Stale {
			c.mu.Unlock()
			return
		}
		if len(c.present) >= rememberAtMost {
			clear(c.present)
		}
		c.present[k] = now
	case Absent, Denied:
		delete(c.present, k)
		if len(c.refusals) >= rememberAtMost {
			clear(c.refusals)
		}
		c.refusals[k] = refusal{result, now.Add(keepRefusal)}
	}
	c.mu.Unlock()

	if c.store == nil {
		return
	}
	var err error
	switch result.Verdict {
	case Present:
		err = c.store.put(k, now)
	case Absent, Denied:
		err = c.store.remove(k)
	}
	if err != nil && c.store.complain() {
		c.warn(err.Error() + "; verdicts on images are not kept")
	}
}

// seen returns when the registry last held the image.
func (c *Cache) seen(k key) (time.Time, bool) {
	c.mu.Lock()
	at, ok := c.present[k]
	c.mu.Unlock()
	if c.store == nil || ok && within(c.options.Now(), at, c.options.FreshFor) {
		return at, ok
	}
	// Another process may have seen it since, or seen it gone.
	stored, found := c.store.get(k)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case found && (!ok || !at.After(stored)):
		c.present[k] = stored
		return stored, true
	case !found && c.store.reliable():
		delete(c.present, k)
		return time.Time{}, false
	}
	return at, ok
}

func (c *Cache) refused(k key, now time.Time) (Result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.refusals[k]
	if ok && now.Before(r.until) && now.After(r.until.Add(-2*keepRefusal)) {
		return r.result, true
	}
	delete(c.refusals, k)
	return Result{}, false
}
