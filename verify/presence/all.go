package presence

import (
	"context"
	"errors"
	"strings"
	"sync"
)

// reasonTimeUsedUp is what [All] says about images it didn't get to.
const reasonTimeUsedUp = "the time for this check was used up"

// manyRegistries bounds how many registries All asks at once.
const manyRegistries = 32

// All checks images and returns their results in the same order. An image that
// is named twice is checked once. jobs is how many are under way at once in one
// registry, so that a registry that doesn't answer holds up none of the others;
// less than 1 is 16. progress, if not nil, is called after each image, one call
// at a time.
//
// When ctx ends, the images not yet known are [Unreachable]: there are results
// to show all the same. The error is the first one of c, which stops the rest.
func All(ctx context.Context, c Checker, images []Image, jobs int, progress func(done, total int)) ([]Result, error) {
	if jobs < 1 {
		jobs = 16
	}
	ctx, cancel := context.WithCancel(withBatch(ctx))
	defer cancel()
	run := &run{checker: c, progress: progress, known: map[Image]Result{}, cancel: cancel}

	// By registry, in the order of first mention.
	var registries []string
	queues := map[string][]Image{}
	seen := map[Image]bool{}
	for _, image := range images {
		if seen[image] {
			continue
		}
		seen[image] = true
		registry, _, _ := strings.Cut(image.Repository, "/")
		if queues[registry] == nil {
			registries = append(registries, registry)
		}
		queues[registry] = append(queues[registry], image)
	}
	run.total = len(seen)

	var wg sync.WaitGroup
	open := make(chan struct{}, manyRegistries)
	for _, registry := range registries {
		open <- struct{}{}
		wg.Go(func() {
			defer func() { <-open }()
			run.registry(ctx, queues[registry], jobs)
		})
	}
	wg.Wait()
	if run.err != nil {
		return nil, run.err
	}
	results := make([]Result, len(images))
	for i, image := range images {
		results[i] = run.known[image]
	}
	return results, nil
}

// run is one call of All.
type run struct {
	checker  Checker
	progress func(done, total int)
	total    int
	cancel   context.CancelFunc

	mu    sync.Mutex
	known map[Image]Result
	err   error
}

// registry checks the images of one registry.
func (r *run) registry(ctx context.Context, images []Image, jobs int) {
	queue := make(chan Image, len(images))
	for _, image := range images {
		queue <- image
	}
	close(queue)
	var wg sync.WaitGroup
	for range min(jobs, len(images)) {
		wg.Go(func() {
			for image := range queue {
				r.check(ctx, image)
			}
		})
	}
	wg.Wait()
}

func (r *run) check(ctx context.Context, image Image) {
	result := Result{Verdict: Unreachable, Reason: reasonTimeUsedUp}
	var err error
	if ctx.Err() == nil {
		result, err = r.checker.Check(ctx, image)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		result = Result{Verdict: Unreachable, Reason: reasonTimeUsedUp}
	case err != nil:
		if r.err == nil {
			r.err = err
			r.cancel()
		}
		return
	}
	r.known[image] = result
	if r.progress != nil && r.err == nil {
		r.progress(len(r.known), r.total)
	}
}
