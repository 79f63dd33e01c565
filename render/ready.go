package render

import (
	"context"
	"sync"
	"time"
)

// Ready renders as its [Isolated] does, in children that were started before
// they were needed: the start of a process is not part of the render. Each child
// is used once, and replaced when its render has ended.
//
// It is safe for concurrent use. Close it, or the waiting children stay for as
// long as this process.
type Ready struct {
	isolated *Isolated
	size     int

	mu       sync.Mutex
	waiting  []*child
	starting int
	started  sync.Cond // starting has gone down
	closed   bool
	ended    chan struct{} // closed by Close
}

var _ Renderer = (*Ready)(nil)

// startAgain is how long a child that could not be started is not tried again:
// the system has no process or no memory to spare.
const startAgain = time.Second

// NewReady starts n children that wait. It does not wait for them.
func NewReady(isolated *Isolated, n int) *Ready {
	r := &Ready{isolated: isolated, size: n, ended: make(chan struct{})}
	r.started.L = &r.mu
	r.fill()
	return r
}

// Render implements [Renderer]. When no child is waiting it starts one.
func (r *Ready) Render(ctx context.Context, app Application) (*Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, stopped(ctx)
	}
	defer r.fill()
	c := r.take()
	if c == nil {
		return r.isolated.Render(ctx, app)
	}
	return c.render(ctx, app)
}

// Waiting returns how many children wait.
func (r *Ready) Waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)
}

// Settle waits until as many children wait as there should be, or one could not
// be started, or ctx ends.
func (r *Ready) Settle(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.started.Broadcast()
	})
	defer stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.starting > 0 && ctx.Err() == nil {
		r.started.Wait()
	}
}

// Close ends the children that wait and starts no more. A render under way goes
// on; one that begins later starts its own child.
func (r *Ready) Close() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.closed = true
	waiting := r.waiting
	r.waiting = nil
	close(r.ended)
	r.mu.Unlock()
	for _, c := range waiting {
		c.end()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.starting > 0 {
		r.started.Wait()
	}
}

// take returns a waiting child, nil if there is none. One that has died while
// it waited is passed over.
func (r *Ready) take() *child {
	for {
		r.mu.Lock()
		if len(r.waiting) == 0 {
			r.mu.Unlock()
			return nil
		}
		c := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.mu.Unlock()
		if !exited(c.cmd.Process.Pid) {
			return c
		}
		c.end()
	}
}

// fill starts the children that are missing.
func (r *Ready) fill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.closed && len(r.waiting)+r.starting < r.size {
		r.starting++
		go r.startOne()
	}
}

func (r *Ready) startOne() {
	c, err := r.isolated.start()
	if err == nil {
		// The child says hello when it is ready; the render reads the word.
		if _, err = c.stdout.Peek(1); err != nil {
			c.end()
		}
	}
	r.mu.Lock()
	switch {
	case err == nil && r.closed:
		r.mu.Unlock()
		c.end()
		r.mu.Lock()
	case err == nil:
		r.waiting = append(r.waiting, c)
	}
	r.starting--
	r.started.Broadcast()
	r.mu.Unlock()
	if err != nil {
		go r.fillLater()
	}
}

func (r *Ready) fillLater() {
	select {
	case <-time.After(startAgain):
		r.fill()
	case <-r.ended:
	}
}

// end ends a child that has not been asked.
func (c *child) end() {
	c.kill()
	_ = c.stdin.Close()
	_ = c.cmd.Wait()
}
