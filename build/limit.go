package build

import (
	"context"
	"errors"
	"fmt"
)

// ErrStopped matches the error of a build that did not fail by itself: its
// context ended before it began or while it ran, as when another build failed or
// the user pressed Ctrl-C. Such an error matches the context's cause, too.
var ErrStopped = errors.New("stopped")

// stopped is the error of a build whose context ended.
type stopped struct {
	component string
	cause     error // the context's
	err       error // the builder's; nil if it never began
}

var _ error = (*stopped)(nil)

// Error tells what stopped the build. If that is the failure of another one,
// it names no more than that: the failure is told by itself.
func (e *stopped) Error() string {
	var failed *FailedError
	if errors.As(e.cause, &failed) {
		return fmt.Sprintf("the build of %s was stopped, because that of %s failed", e.component, failed.Component)
	}
	return fmt.Sprintf("the build of %s was stopped: %v", e.component, e.cause)
}

// Is matches [ErrStopped].
func (e *stopped) Is(target error) bool { return target == ErrStopped }

// Unwrap returns the context's cause and what the builder returned.
func (e *stopped) Unwrap() []error {
	if e.err == nil {
		return []error{e.cause}
	}
	return []error{e.cause, e.err}
}

type limited struct {
	builder Builder
	running chan struct{}
}

var _ Builder = (*limited)(nil)

// Limit returns a builder that runs at most n builds of b at once, and at least
// one. A build that waits for its turn when its context ends is never begun, and
// its error matches [ErrStopped].
//
// The limit goes around [Watch], so that a build counts as started when it has
// its turn.
func Limit(b Builder, n int) Builder {
	return &limited{builder: b, running: make(chan struct{}, max(1, n))}
}

// Build implements [Builder].
func (l *limited) Build(ctx context.Context, request Request) (string, error) {
	select {
	case <-ctx.Done():
	case l.running <- struct{}{}:
		defer func() { <-l.running }()
	}
	if ctx.Err() != nil { // when both are ready, select picks either
		return "", &stopped{component: request.Component.Name, cause: context.Cause(ctx)}
	}
	return l.builder.Build(ctx, request)
}
