package serve

import (
	"context"
	"time"

	"github.com/pin-cmp/pin-cmp/render"
)

// visit is what is known of a request while it is under way.
type visit struct {
	// source is what the queue is fair between: the project and the repository.
	source           string
	queued, rendered time.Duration
	turn             bool // has been reached
}

type visitKey struct{}

func withVisit(ctx context.Context, v *visit) context.Context {
	return context.WithValue(ctx, visitKey{}, v)
}

// queued lets few renders run at once. Only these count: an application that
// waits for a slow registry keeps no other one from being rendered.
type queued struct {
	next    render.Renderer
	queue   *queue
	metrics *metrics
}

var _ render.Renderer = (*queued)(nil)

// Render implements [render.Renderer].
func (q *queued) Render(ctx context.Context, app render.Application) (*render.Result, error) {
	v, _ := ctx.Value(visitKey{}).(*visit)
	if v == nil {
		v = &visit{}
	}
	began := time.Now()
	err := q.queue.enter(ctx, v.source)
	v.queued = time.Since(began)
	q.metrics.queued.observe(v.queued.Seconds())
	if err != nil {
		return nil, err
	}
	defer q.queue.leave()
	v.turn = true
	began = time.Now()
	result, err := q.next.Render(ctx, app)
	v.rendered = time.Since(began)
	q.metrics.rendered.observe(v.rendered.Seconds())
	return result, err
}
