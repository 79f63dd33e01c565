package serve

import (
	"context"
	"sync"
)

// budget bounds the memory that all checkouts take together. Who asks for more
// than is left waits, and with it the sender of its repository. The one that
// came first is never made to wait: it will end, and give back what it has. So
// the most that is ever taken is the budget and one checkout.
type budget struct {
	limit int64

	mu      sync.Mutex
	taken   int64
	holders []*share // in the order of arrival
	changed chan struct{}
}

// share is what one request has taken.
type share struct {
	of    *budget
	taken int64
	given bool // back
}

func newBudget(limit int64) *budget {
	return &budget{limit: limit, changed: make(chan struct{})}
}

// join makes a request one that may take memory. It must give it back.
func (b *budget) join() *share {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &share{of: b}
	b.holders = append(b.holders, s)
	return s
}

// take takes n bytes, waiting for them if it must. The error is the context's
// cause.
func (s *share) take(ctx context.Context, n int64) error {
	b := s.of
	for {
		b.mu.Lock()
		if s.given {
			b.mu.Unlock()
			return context.Canceled
		}
		if b.taken+n <= b.limit || b.holders[0] == s {
			b.taken += n
			s.taken += n
			b.mu.Unlock()
			return nil
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// give gives everything back.
func (s *share) give() {
	b := s.of
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.given {
		return
	}
	s.given = true
	b.taken -= s.taken
	for i, holder := range b.holders {
		if holder == s {
			b.holders = append(b.holders[:i:i], b.holders[i+1:]...)
			break
		}
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

// held returns the bytes that are taken.
func (b *budget) held() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken
}

// joined returns how many requests there are.
func (b *budget) joined() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.holders)
}
