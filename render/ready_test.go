package render

import (
	"errors"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

func pids(r *Ready) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []int
	for _, c := range r.waiting {
		all = append(all, c.cmd.Process.Pid)
	}
	return all
}

// TestReadyUsesEachChildOnce: what waits is used, never again, and replaced.
func TestReadyUsesEachChildOnce(t *testing.T) {
	r := NewReady(&Isolated{}, 2)
	defer r.Close()
	app := Application{Checkout: checkoutOf(t, map[string]string{"a.yaml": configMap("a")}), Path: "."}
	used := map[int]bool{}
	for range 5 {
		r.Settle(t.Context())
		before := pids(r)
		if len(before) != 2 {
			t.Fatalf("%d children wait, want 2", len(before))
		}
		result, err := r.Render(t.Context(), app)
		if err != nil || text(result) != configMap("a") {
			t.Fatalf("got %v, %v", result, err)
		}
		if used[before[0]] {
			t.Fatalf("child %d was used twice", before[0])
		}
		used[before[0]] = true
		if slices.Contains(pids(r), before[0]) {
			t.Fatalf("child %d waits after it was used", before[0])
		}
		if err := syscall.Kill(before[0], 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("child %d is still there: %v", before[0], err)
		}
	}
}

// TestReadyPassesOverTheDead: a child that was killed while it waited is nobody's
// failed render.
func TestReadyPassesOverTheDead(t *testing.T) {
	r := NewReady(&Isolated{}, 3)
	defer r.Close()
	r.Settle(t.Context())
	dead := pids(r)
	for _, pid := range dead[:2] {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for !exited(pid) {
			time.Sleep(time.Millisecond)
		}
	}
	app := Application{Checkout: checkoutOf(t, map[string]string{"a.yaml": configMap("a")}), Path: "."}
	for range 3 {
		if _, err := r.Render(t.Context(), app); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadyBurst: more renders at once than children wait.
func TestReadyBurst(t *testing.T) {
	r := NewReady(&Isolated{}, 2)
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			app := Application{Checkout: checkoutOf(t, map[string]string{"a.yaml": configMap("a")}), Path: "."}
			if _, err := r.Render(t.Context(), app); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	r.Settle(t.Context())
	if n := r.Waiting(); n != 2 {
		t.Errorf("%d children wait after a burst, want 2", n)
	}
	r.Close()
	noChildren(t)
}

// TestReadyClose: no child outlives the pool, those that are just starting
// included, and closing twice is closing once.
func TestReadyClose(t *testing.T) {
	for _, settle := range []bool{false, true} {
		r := NewReady(&Isolated{}, 4)
		if settle {
			r.Settle(t.Context())
		}
		r.Close()
		r.Close()
		if n := r.Waiting(); n != 0 {
			t.Errorf("%d children wait after the end", n)
		}
		noChildren(t)
		app := Application{Checkout: checkoutOf(t, map[string]string{"a.yaml": configMap("a")}), Path: "."}
		if _, err := r.Render(t.Context(), app); err != nil {
			t.Errorf("after the end: %v", err)
		}
		noChildren(t)
	}
}

func BenchmarkRender(b *testing.B) {
	app := Application{Checkout: checkoutOf(b, map[string]string{"kustomization.yaml": "resources: [d.yaml]\nnamePrefix: a-\n", "d.yaml": deployment}), Path: "."}
	for name, renderer := range map[string]Renderer{"isolated": &Isolated{}, "ready": NewReady(&Isolated{}, 2)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if ready, ok := renderer.(*Ready); ok {
					b.StopTimer()
					ready.Settle(b.Context())
					b.StartTimer()
				}
				if _, err := renderer.Render(b.Context(), app); err != nil {
					b.Fatal(err)
				}
			}
		})
		if ready, ok := renderer.(*Ready); ok {
			ready.Close()
		}
	}
}
