package build

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// buildFunc is a builder of the tests' own.
type buildFunc func(ctx context.Context, request Request) (string, error)

func (f buildFunc) Build(ctx context.Context, request Request) (string, error) {
	return f(ctx, request)
}

func named(name string) Request {
	return Request{Component: Component{Name: name, File: name + "/pin.yaml", Line: 3}}
}

// Of twenty builds never more than three run, and three do: each waits until
// there have been as many at once.
func TestLimit(t *testing.T) {
	for _, n := range []int{3, 1, 0, -1} {
		most := int64(max(1, n))
		var running, seen atomic.Int64
		full := make(chan struct{})
		b := Limit(buildFunc(func(context.Context, Request) (string, error) {
			now := running.Add(1)
			defer running.Add(-1)
			for {
				before := seen.Load()
				if now <= before || seen.CompareAndSwap(before, now) {
					break
				}
			}
			if now == most {
				select {
				case <-full:
				default:
					close(full)
				}
			}
			<-full
			return someDigest, nil
		}), n)
		var group errgroup.Group
		for i := range 20 {
			group.Go(func() error {
				digest, err := b.Build(t.Context(), named(fmt.Sprint(i)))
				if digest != someDigest {
					return fmt.Errorf("%q, %w", digest, err)
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if seen.Load() != most {
			t.Errorf("limit %d: %d at once", n, seen.Load())
		}
	}
}

// A build whose turn never comes ends with its context, and is not begun; one
// that panics or leaves its goroutine gives its turn back.
func TestLimitWaiting(t *testing.T) {
	why := errors.New("the lights went out")
	ctx, cancel := context.WithCancelCause(t.Context())
	begun, release := make(chan string, 10), make(chan struct{})
	b := Limit(buildFunc(func(_ context.Context, r Request) (string, error) {
		begun <- r.Component.Name
		<-release
		if r.Component.Name == "crash" {
			panic("crash")
		}
		return someDigest, nil
	}), 1)

	var first, waiting sync.WaitGroup
	first.Go(func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		_, _ = b.Build(t.Context(), named("crash"))
	})
	if name := <-begun; name != "crash" {
		t.Fatal(name)
	}
	for range 5 {
		waiting.Go(func() {
			digest, err := b.Build(ctx, named("web"))
			if digest != "" || !errors.Is(err, ErrStopped) || !errors.Is(err, why) || err.Error() != "the build of web was stopped: the lights went out" {
				t.Errorf("%q, %v", digest, err)
			}
		})
	}
	cancel(why)
	waiting.Wait()
	close(release)
	first.Wait()
	if _, err := b.Build(ctx, named("web")); !errors.Is(err, ErrStopped) {
		t.Errorf("a turn is free, but the context has ended: %v", err)
	}
	if digest, err := b.Build(t.Context(), named("last")); digest != someDigest || err != nil {
		t.Errorf("%q, %v", digest, err)
	}
	if name := <-begun; name != "last" || len(begun) > 0 {
		t.Errorf("%s was begun", name)
	}
}
