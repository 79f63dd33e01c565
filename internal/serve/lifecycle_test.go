package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pin-cmp/pin-cmp/internal/plugin"
)

// noChildren wants no process left that was started here.
func noChildren(t *testing.T) {
	t.Helper()
	if n := len(children(t)); n > 0 {
		t.Errorf("%d children are left", n)
	}
}

func children(t *testing.T) []string {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Skip("only Linux lists the children of a process")
	}
	var all []string
	for _, list := range lists {
		if pids, err := os.ReadFile(list); err == nil {
			all = append(all, strings.Fields(string(pids))...)
		}
	}
	return all
}

// TestStopWithRequests: who has connected is answered; the socket is gone
// before; nothing is left.
func TestStopWithRequests(t *testing.T) {
	w := start(t, func(o *Options) { o.Drain = time.Minute })
	client := w.dial(t)
	stream, err := client.GenerateManifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := good(t)
	half := &sent{metadata: s.metadata, archive: s.archive[:len(s.archive)/2], chunk: 1024}
	if err := half.send(stream); err != nil {
		t.Fatal(err)
	}
	for w.server.service.memory.joined() == 0 { // until the server has it
		time.Sleep(time.Millisecond)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()
	for exists(w.socket) {
		time.Sleep(time.Millisecond)
	}
	if err := stream.Send(file(s.archive[len(s.archive)/2:])); err != nil {
		t.Fatal(err)
	}
	if response, err := stream.CloseAndRecv(); err != nil || len(response.GetManifests()) != 1 {
		t.Errorf("the request under way: %v, %v", response, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	noChildren(t)
	if entries, err := os.ReadDir(w.dir); err != nil || len(entries) != 2 { // the policy and the cache
		t.Errorf("left: %v, %v", entries, err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// TestStopWithEndlessRequests: after the time for draining, requests are
// answered, not cut.
func TestStopWithEndlessRequests(t *testing.T) {
	w := start(t, func(o *Options) { o.Drain = 100 * time.Millisecond })
	var group sync.WaitGroup
	for range 3 {
		client := w.dial(t)
		group.Go(func() {
			_, err := slow(t).generate(t.Context(), client)
			refusedAs(t, err, codes.Unavailable, "the plugin is being stopped; this says nothing about the application")
			oneLine(t, err)
		})
	}
	for w.server.service.memory.joined() < 3 {
		time.Sleep(time.Millisecond)
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	group.Wait()
	noChildren(t)
}

// TestConnectionsAtTheEnd: a client that finds the socket is spoken to, or does
// not find it. From 3.2 on a repo-server that is cut off before the server has
// said its first word waits for ever.
func TestConnectionsAtTheEnd(t *testing.T) {
	w := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var spoken, silent int
	var mu sync.Mutex
	for range 8 {
		group.Go(func() {
			for ctx.Err() == nil {
				connection, err := net.Dial("unix", w.socket)
				if err != nil {
					continue // not found, or refused
				}
				// An HTTP/2 server's first word is its settings, once it has read the
				// client's preface.
				_, err = connection.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
				word := make([]byte, 9)
				var n int
				if err == nil {
					n, _ = connection.Read(word)
				}
				mu.Lock()
				if n > 3 && word[3] == 4 {
					spoken++
				} else {
					silent++
				}
				mu.Unlock()
				_ = connection.Close()
			}
		})
	}
	for done := false; !done; {
		mu.Lock()
		done = spoken > 200
		mu.Unlock()
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	cancel()
	group.Wait()
	if silent > 0 {
		t.Errorf("%d of %d connections were never spoken to", silent, silent+spoken)
	}
}

// TestManyAtOnce: 64 applications are refreshed together.
func TestManyAtOnce(t *testing.T) {
	w := start(t, nil)
	image := w.push(t)
	var group sync.WaitGroup
	for i := range 64 {
		client := w.dial(t)
		group.Go(func() {
			s := request(t, "app", map[string]string{"app/a.yaml": strings.Replace(pod(image), "name: web}", fmt.Sprintf("name: web%d}", i), 1)})
			manifests, err := s.generate(t.Context(), client)
			if err != nil || len(manifests) != 1 || !strings.Contains(manifests[0], fmt.Sprintf(`"web%d"`, i)) {
				t.Errorf("%d: %v, %v", i, manifests, err)
			}
		})
	}
	group.Wait()
	if held := w.server.service.memory.held(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

// TestSameApplicationTwice at the same time, with different contents: neither
// sees the other's.
func TestSameApplicationTwice(t *testing.T) {
	w := start(t, nil)
	var group sync.WaitGroup
	for i := range 8 {
		client := w.dial(t)
		group.Go(func() {
			name := fmt.Sprintf("v%d", i)
			s := request(t, "app", map[string]string{"app/kustomization.yaml": "namePrefix: " + name + "-\nresources: [c.yaml]\n", "app/c.yaml": configMap})
			manifests, err := s.generate(t.Context(), client)
			if err != nil || len(manifests) != 1 || !strings.Contains(manifests[0], name+"-c") {
				t.Errorf("%s: %v, %v", name, manifests, err)
			}
		})
	}
	group.Wait()
}

// TestManyInARow: nothing grows.
func TestManyInARow(t *testing.T) {
	w := start(t, nil)
	image := w.push(t)
	s := request(t, "app", map[string]string{"app/a.yaml": pod(image)})
	bad := request(t, "app", map[string]string{"app/a.yaml": pod("nginx")})
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	var goroutines, processes int
	var heap uint64
	for i := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		client, hangUp := w.connect(t)
		switch i % 10 {
		case 7: // one that goes away in the middle
			stream, err := client.GenerateManifest(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := (&sent{metadata: s.metadata, archive: s.archive[:50], chunk: 1024}).send(stream); err != nil {
				t.Fatal(err)
			}
		case 8:
			if _, err := bad.generate(ctx, client); status.Code(err) != codes.FailedPrecondition {
				t.Fatalf("round %d: %v", i, err)
			}
		default:
			if _, err := s.generate(ctx, client); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
		}
		cancel()
		hangUp()
		if i == rounds/10 || i == rounds-1 {
			g, p, h := w.quiet(t)
			if i == rounds-1 {
				if g > goroutines+5 || p > processes || h > heap+heap/4+4<<20 {
					t.Errorf("after %d rounds: %d goroutines, %d children, %d KiB; before: %d, %d, %d KiB", rounds, g, p, h>>10, goroutines, processes, heap>>10)
				}
				t.Logf("%d goroutines, %d children, %d KiB; after the first tenth %d, %d, %d KiB", g, p, h>>10, goroutines, processes, heap>>10)
			}
			goroutines, processes, heap = g, p, h
		}
	}
}

// quiet returns what the process holds when nothing is under way.
func (w *world) quiet(t *testing.T) (goroutines, processes int, heap uint64) {
	t.Helper()
	for w.server.service.memory.joined() > 0 {
		time.Sleep(time.Millisecond)
	}
	w.server.ready.Settle(t.Context())
	var stats runtime.MemStats
	least := runtime.NumGoroutine()
	for range 50 { // connections end in their own time
		time.Sleep(2 * time.Millisecond)
		least = min(least, runtime.NumGoroutine())
	}
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return least, len(children(t)), stats.HeapAlloc
}

// TestStaleSocket: what a killed server left is replaced; what is alive, or is
// no socket, is not.
func TestStaleSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "pin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	stale := filepath.Join(dir, "pin-cmp.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	old, err := os.Lstat(stale)
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(o *Options) { o.SocketDir = dir })
	for {
		if info, err := os.Lstat(stale); err == nil && !os.SameFile(info, old) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	w.stillServes(t)

	second, err := New(Options{Config: plugin.Config{Name: "pin-cmp"}, SocketDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another server answers on") {
		t.Errorf("a second server: %v", err)
	}
	w.stillServes(t)
}

// TestPolicyChanges: an edit of the mounted file counts from the next request
// on; a mistake in it refuses, it does not fall back.
func TestPolicyChanges(t *testing.T) {
	w := start(t, nil)
	image := w.push(t)
	s := request(t, "app", map[string]string{"app/a.yaml": pod(image)})
	client := w.dial(t)
	if _, err := s.generate(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	w.writePolicy(t, "exemptions: [{image: \"**\", reason: all}]\n")
	if _, err := request(t, "app", map[string]string{"app/a.yaml": pod("nginx")}).generate(t.Context(), client); err != nil {
		t.Errorf("a laxer policy: %v", err)
	}
	w.writePolicy(t, "sweeep: off\n")
	for range 2 {
		_, err := s.generate(t.Context(), client)
		refusedAs(t, err, codes.FailedPrecondition, "policy.yaml:4: ")
		oneLine(t, err)
	}
	if err := os.Remove(w.policy); err != nil {
		t.Fatal(err)
	}
	_, err := s.generate(t.Context(), client)
	refusedAs(t, err, codes.FailedPrecondition, "policy.yaml: no such file")
	w.writePolicy(t, "")
	if _, err := s.generate(t.Context(), client); err != nil {
		t.Errorf("the policy is back: %v", err)
	}
}

// TestOptionalPolicy: a policy that was there once is no longer optional.
func TestOptionalPolicy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yaml")
	e := &engine{file: file, optional: true, metrics: newMetrics()}
	if g, err := e.current(); err != nil || g == nil {
		t.Fatalf("got %v, %v", g, err)
	}
	if err := os.WriteFile(file, []byte("apiVersion: pin-cmp/v1\nkind: Policy\nregistries: {allowed: [ghcr.io/acme]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := e.current()
	if err != nil || len(g.Policy.Registries.Allowed) != 1 {
		t.Fatalf("got %v, %v", g, err)
	}
	if again, err := e.current(); err != nil || again != g {
		t.Errorf("an unchanged policy made a new gate: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if g, err := e.current(); err == nil {
		t.Errorf("a policy that vanished is replaced by %v", g.Policy)
	}
}

// TestMistakesAtTheStart end the program, with the reason.
func TestMistakesAtTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if _, err := New(Options{PolicyFile: file}); err == nil {
		t.Error("a policy that is named and missing")
	}
	if err := os.WriteFile(file, []byte("kind: Pollicy\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{PolicyFile: file, PolicyOptional: true}); err == nil {
		t.Error("a policy with a mistake")
	}
	noChildren(t)
	s, err := New(Options{Config: plugin.Config{Name: "pin-cmp"}, SocketDir: filepath.Join(t.TempDir(), "gone")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "gone can't be used: no such file or directory") {
		t.Errorf("got %v", err)
	}
	noChildren(t)
}

// TestHealthy: before, while and after.
func TestHealthy(t *testing.T) {
	w := start(t, nil)
	if err := Healthy(t.Context(), w.socket); err != nil {
		t.Error(err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if err := Healthy(t.Context(), w.socket); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
	// One that accepts and does not speak.
	listener, err := net.Listen("unix", w.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := Healthy(ctx, w.socket); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("got %v", err)
	}
}

var errEnough = errors.New("enough")

// TestQueueIsFair: a source with one waiting is not behind all of another.
func TestQueueIsFair(t *testing.T) {
	q := newQueue(1, 100)
	if err := q.enter(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	var order []string
	var group sync.WaitGroup
	wait := func(source string) {
		before := q.length()
		group.Go(func() {
			if err := q.enter(context.Background(), source); err != nil {
				t.Error(err)
				return
			}
			order = append(order, source) // one at a time: that is the queue's job
			q.leave()
		})
		for q.length() == before {
			time.Sleep(100 * time.Microsecond)
		}
	}
	for range 4 {
		wait("a")
	}
	wait("b")
	wait("c")
	wait("b")
	// One that does not wait any longer leaves no gap.
	ctx, cancel := context.WithCancelCause(t.Context())
	var gone sync.WaitGroup
	gone.Go(func() {
		if err := q.enter(ctx, "d"); !errors.Is(err, errEnough) {
			t.Errorf("got %v", err)
		}
	})
	for q.length() < 8 {
		time.Sleep(100 * time.Microsecond)
	}
	cancel(errEnough)
	gone.Wait()
	q.leave()
	group.Wait()
	if got := strings.Join(order, ""); got != "abcabaa" {
		t.Errorf("the turns were %s, want abcabaa", got)
	}
	if q.free != 1 || q.room != 100 || len(q.turns) != 0 || len(q.waiting) != 0 {
		t.Errorf("left %+v", q)
	}
}

func TestQueueIsBounded(t *testing.T) {
	q := newQueue(1, 0)
	if err := q.enter(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := q.enter(t.Context(), "b"); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
	q.leave()
	if err := q.enter(t.Context(), "b"); err != nil {
		t.Error(err)
	}
}

// TestBudget: who came first gets what it needs, whatever is left; the others
// wait until it is given back.
func TestBudget(t *testing.T) {
	b := newBudget(100)
	first, second, third := b.join(), b.join(), b.join()
	for _, take := range []struct {
		share *share
		n     int64
	}{{second, 60}, {first, 90}} {
		if err := take.share.take(t.Context(), take.n); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := third.take(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	taken := make(chan error)
	go func() { taken <- third.take(t.Context(), 30) }()
	first.give()
	if err := <-taken; err != nil {
		t.Error(err)
	}
	second.give()
	second.give()
	third.give()
	if err := third.take(t.Context(), 1); err == nil {
		t.Error("memory was taken after it was given back")
	}
	if b.held() != 0 || b.joined() != 0 {
		t.Errorf("left %+v", b)
	}
}
