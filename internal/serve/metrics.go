package serve

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// metrics are what the server tells Prometheus.
type metrics struct {
	exposition

	generates  *counter
	took       *histogram
	queued     *histogram
	rendered   *histogram
	verdicts   *counter
	registries *histogram

	mu    sync.Mutex
	hosts map[string]bool
}

// maxRegistries bounds the registries that have a series of their own: their
// names are the repository's to choose.
const maxRegistries = 50

func newMetrics() *metrics {
	m := &metrics{hosts: map[string]bool{}}
	m.generates = m.counter("pin_cmp_generates_total", "Applications that were asked for, by what became of them.", "result")
	m.took = m.histogram("pin_cmp_generate_seconds", "Time from the request to its answer.", "result")
	m.queued = m.histogram("pin_cmp_queue_seconds", "Time that an application waited for its render.")
	m.rendered = m.histogram("pin_cmp_render_seconds", "Time of a render in its child process.")
	m.verdicts = m.counter("pin_cmp_verdicts_total", "Images that were asked about, by registry and verdict; stale is present on an earlier answer.", "registry", "verdict")
	m.registries = m.histogram("pin_cmp_registry_seconds", "Time until a registry's verdict on one image, retries included; what is answered from memory is not in it.", "registry")
	m.gauge("pin_cmp_goroutines", "Goroutines of the server.", func() float64 { return float64(runtime.NumGoroutine()) })
	m.gauge("pin_cmp_heap_bytes", "Bytes of the server's live and dead objects.", func() float64 {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return float64(stats.HeapAlloc)
	})
	return m
}

// registry is the label for a registry.
func (m *metrics) registry(host string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.hosts[host] && (len(m.hosts) >= maxRegistries || len(host) > 253) {
		return "other"
	}
	m.hosts[host] = true
	return host
}

// counted counts the verdicts of a checker.
type counted struct {
	next    presence.Checker
	metrics *metrics
}

var _ presence.Checker = (*counted)(nil)

// Check implements [presence.Checker].
func (c *counted) Check(ctx context.Context, image presence.Image) (presence.Result, error) {
	result, err := c.next.Check(ctx, image)
	if err != nil {
		return result, err
	}
	verdict := string(result.Verdict)
	if result.Stale {
		verdict = "stale"
	}
	c.metrics.verdicts.add(c.metrics.registry(hostOf(image)), verdict)
	return result, nil
}

// timed measures the registries behind a cache.
type timed struct {
	next    presence.Scoped
	metrics *metrics
}

var _ presence.Scoped = (*timed)(nil)

// Check implements [presence.Checker].
func (t *timed) Check(ctx context.Context, image presence.Image) (presence.Result, error) {
	began := time.Now()
	result, err := t.next.Check(ctx, image)
	if err == nil {
		t.metrics.registries.observe(time.Since(began).Seconds(), t.metrics.registry(hostOf(image)))
	}
	return result, err
}

// Scope implements [presence.Scoped].
func (t *timed) Scope(ctx context.Context, image presence.Image) (string, error) {
	return t.next.Scope(ctx, image)
}

func hostOf(image presence.Image) string {
	host, _, _ := strings.Cut(image.Repository, "/")
	return host
}
