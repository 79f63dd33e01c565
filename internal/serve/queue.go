package serve

import (
	"context"
	"errors"
	"sync"
)

// queue lets a number of renders run at once and the others wait in turn: one
// each for every source that has some waiting, so that a repository with five
// hundred applications does not hold up one with a single application.
type queue struct {
	mu      sync.Mutex
	free    int
	room    int                 // how many more may wait
	waiting map[string][]*place // by source, in the order of arrival
	turns   []string            // sources with somebody waiting, next first
}

// place is one that waits.
type place struct{ called chan struct{} }

// errFull is a queue in which nobody else may wait.
var errFull = errors.New("too many applications wait for their turn")

func newQueue(atOnce, room int) *queue {
	return &queue{free: atOnce, room: room, waiting: map[string][]*place{}}
}

// enter waits for a turn. Whoever gets one must leave. The error is errFull or
// the context's cause.
func (q *queue) enter(ctx context.Context, source string) error {
	q.mu.Lock()
	if q.free > 0 {
		q.free--
		q.mu.Unlock()
		return nil
	}
	if q.room == 0 {
		q.mu.Unlock()
		return errFull
	}
	q.room--
	p := &place{called: make(chan struct{})}
	if len(q.waiting[source]) == 0 {
		q.turns = append(q.turns, source)
	}
	q.waiting[source] = append(q.waiting[source], p)
	q.mu.Unlock()

	select {
	case <-p.called:
		return nil
	case <-ctx.Done():
	}
	if q.quit(source, p) {
		return context.Cause(ctx)
	}
	q.leave() // called at the same moment
	return context.Cause(ctx)
}

// quit takes a place out of the queue; it is false if the place was called.
func (q *queue) quit(source string, p *place) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, other := range q.waiting[source] {
		if other != p {
			continue
		}
		q.room++
		q.waiting[source] = append(q.waiting[source][:i:i], q.waiting[source][i+1:]...)
		if len(q.waiting[source]) == 0 {
			delete(q.waiting, source)
			for j, name := range q.turns {
				if name == source {
					q.turns = append(q.turns[:j:j], q.turns[j+1:]...)
					break
				}
			}
		}
		return true
	}
	return false
}

// leave gives the turn to the next source.
func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.turns) == 0 {
		q.free++
		return
	}
	source := q.turns[0]
	q.turns = q.turns[1:]
	p := q.waiting[source][0]
	if q.waiting[source] = q.waiting[source][1:]; len(q.waiting[source]) == 0 {
		delete(q.waiting, source)
	} else {
		q.turns = append(q.turns, source)
	}
	q.room++
	close(p.called)
}

// length returns how many wait.
func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, places := range q.waiting {
		n += len(places)
	}
	return n
}
