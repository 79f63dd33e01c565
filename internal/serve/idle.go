package serve

import (
	"sync"
	"time"
)

// afterwards is how long nothing must be under way before the server gives back
// the memory that its last requests have used. Go's own runtime would take
// minutes, and a sidecar is idle most of the time.
const afterwards = 10 * time.Second

// idle calls a function when nothing has been under way for some time.
type idle struct {
	after time.Duration

	mu    sync.Mutex
	busy  int
	timer *time.Timer
}

func newIdle(after time.Duration, call func()) *idle {
	i := &idle{after: after}
	i.timer = time.AfterFunc(after, func() {
		i.mu.Lock()
		busy := i.busy
		i.mu.Unlock()
		if busy == 0 {
			call()
		}
	})
	i.timer.Stop()
	return i
}

func (i *idle) enter() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.busy++
	i.timer.Stop()
}

func (i *idle) leave() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.busy--; i.busy == 0 {
		i.timer.Reset(i.after)
	}
}

func (i *idle) stop() { i.timer.Stop() }
