package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// checkFunc is a Checker made of a function.
type checkFunc func(context.Context, Image) (Result, error)

func (f checkFunc) Check(ctx context.Context, image Image) (Result, error) { return f(ctx, image) }

func TestAll(t *testing.T) {
	var images []Image
	for i := range 300 {
		images = append(images, Image{
			Repository: fmt.Sprintf("r%d.example.org/app", i%7),
			Digest:     fmt.Sprintf("sha256:%064x", i%100),
		})
	}
	distinct := map[Image]bool{}
	for _, image := range images {
		distinct[image] = true
	}
	var mu sync.Mutex
	asked := map[Image]int{}
	c := checkFunc(func(_ context.Context, image Image) (Result, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[image]++
		return Result{Verdict: Absent, Reason: image.String()}, nil
	})
	var steps []int
	results, err := All(context.Background(), c, images, 5, func(done, total int) {
		if total != len(distinct) {
			t.Errorf("total %d, want %d", total, len(distinct))
		}
		steps = append(steps, done)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Reason != images[i].String() {
			t.Fatalf("result %d is that of %s", i, r.Reason)
		}
	}
	for image, n := range asked {
		if n != 1 {
			t.Errorf("%s asked about %d times", image, n)
		}
	}
	if len(asked) != len(distinct) || len(steps) != len(distinct) || !slices.IsSorted(steps) || steps[len(steps)-1] != len(distinct) {
		t.Errorf("%d asked, %d of progress, want %d", len(asked), len(steps), len(distinct))
	}
}

func TestAllOfNothing(t *testing.T) {
	results, err := All(context.Background(), checkFunc(nil), nil, 0, nil)
	if err != nil || len(results) != 0 {
		t.Error(results, err)
	}
}

// A registry that hangs takes no place from the images of others.
func TestAllIsFair(t *testing.T) {
	images := append(imagesOf("dead.example.org", 100), imagesOf("alive.example.org", 100)...)
	release := make(chan struct{})
	var alive atomic.Int64
	c := checkFunc(func(_ context.Context, image Image) (Result, error) {
		if image.Repository == "dead.example.org/app/web" {
			<-release
			return Result{Verdict: Unreachable}, nil
		}
		if alive.Add(1) == 100 {
			close(release)
		}
		return Result{Verdict: Present}, nil
	})
	if _, err := All(context.Background(), c, images, 4, nil); err != nil {
		t.Fatal(err)
	}
}

func TestAllEndsWithItsContext(t *testing.T) {
	for name, end := range map[string]func() (context.Context, context.CancelFunc){
		"cancelled": func() (context.Context, context.CancelFunc) { return context.WithCancel(context.Background()) },
		"deadline": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 50*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := end()
			defer cancel()
			images := imagesOf("example.org", 50)
			c := checkFunc(func(ctx context.Context, image Image) (Result, error) {
				if image == images[0] {
					return Result{Verdict: Present}, nil
				}
				if name == "cancelled" {
					cancel()
				}
				<-ctx.Done()
				return Result{}, ctx.Err()
			})
			results, err := All(ctx, c, images, 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			if results[0] != (Result{Verdict: Present}) {
				t.Errorf("what was known: %+v", results[0])
			}
			for _, r := range results[1:] {
				if r != (Result{Verdict: Unreachable, Reason: reasonTimeUsedUp}) {
					t.Fatalf("%+v", r)
				}
			}
		})
	}
}

func TestAllStopsAtAnError(t *testing.T) {
	mistake := &ConfigError{File: "f", Problem: "p", Fix: "x"}
	var asked atomic.Int64
	c := checkFunc(func(context.Context, Image) (Result, error) {
		asked.Add(1)
		return Result{}, mistake
	})
	results, err := All(context.Background(), c, imagesOf("example.org", 1000), 4, nil)
	if !errors.Is(err, mistake) || results != nil {
		t.Errorf("%v, %v", results, err)
	}
	if n := asked.Load(); n > 8 {
		t.Errorf("%d images asked about after the error", n)
	}
}
