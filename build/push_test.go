package build

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// depot is a registry that counts what arrives, in which a blob belongs to the
// repositories that it was pushed to, as in those in use, and that a test can
// spoil.
type depot struct {
	*httptest.Server
	host  string
	inner http.Handler

	mu       sync.Mutex
	fault    func(n int, w http.ResponseWriter, r *http.Request) bool // n counts requests of that method and kind
	requests []string
	headers  []http.Header
	counts   map[string]int
	sent     int64
	blobs    map[string]bool // repository@digest
}

func newDepot(t *testing.T) *depot {
	t.Helper()
	d := &depot{
		inner:  registry.New(registry.Logger(stdlog.New(io.Discard, "", 0))),
		counts: map[string]int{}, blobs: map[string]bool{},
	}
	d.Server = httptest.NewUnstartedServer(d)
	d.Config.ErrorLog = stdlog.New(io.Discard, "", 0)
	d.Start()
	d.host = strings.TrimPrefix(d.URL, "http://")
	t.Cleanup(func() {
		d.CloseClientConnections()
		d.Close()
	})
	return d
}

// kind names a step of a push.
func kind(r *http.Request) string {
	what := "blob"
	switch {
	case r.URL.Path == "/v2/":
		what = "ping"
	case strings.Contains(r.URL.Path, "/manifests/"):
		what = "manifest"
	case strings.Contains(r.URL.Path, "/uploads/"):
		what = "upload"
	case r.URL.Path == "/token":
		what = "token"
	}
	return r.Method + " " + what
}

func (d *depot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	k := kind(r)
	d.counts[k]++
	n, fault := d.counts[k], d.fault
	d.requests = append(d.requests, k)
	d.headers = append(d.headers, r.Header.Clone())
	d.mu.Unlock()
	r.Body = &countedBody{r.Body, d}
	if fault != nil && fault(n, w, r) {
		return
	}
	repository, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/")
	switch {
	case k == "HEAD blob" && !d.has(repository+"@"+rest):
		w.WriteHeader(http.StatusNotFound)
		return
	case k == "POST upload" && r.URL.Query().Get("mount") != "":
		if digest := r.URL.Query().Get("mount"); d.has(r.URL.Query().Get("from") + "@" + digest) {
			d.put(repository + "@" + digest)
			w.WriteHeader(http.StatusCreated)
			return
		}
	case k == "DELETE upload":
		w.WriteHeader(http.StatusNoContent)
		return
	case k == "PUT upload":
		recorder := httptest.NewRecorder()
		d.inner.ServeHTTP(recorder, r)
		if recorder.Code == http.StatusCreated {
			d.put(repository + "@" + r.URL.Query().Get("digest"))
		}
		maps.Copy(w.Header(), recorder.Header())
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes())
		return
	}
	d.inner.ServeHTTP(w, r)
}

func (d *depot) has(blob string) bool { d.mu.Lock(); defer d.mu.Unlock(); return d.blobs[blob] }
func (d *depot) put(blob string)      { d.mu.Lock(); defer d.mu.Unlock(); d.blobs[blob] = true }

func (d *depot) spoil(fault func(n int, w http.ResponseWriter, r *http.Request) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = fault
}

// seen returns, sorted, and forgets what was asked, and how many bytes of blobs
// came.
func (d *depot) seen() (requests []string, sent int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	requests, sent = d.requests, d.sent
	slices.Sort(requests)
	d.requests, d.sent, d.headers, d.counts = nil, 0, nil, map[string]int{}
	return requests, sent
}

type countedBody struct {
	io.ReadCloser
	d *depot
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.d.mu.Lock()
	c.d.sent += int64(n)
	c.d.mu.Unlock()
	return n, err
}

func (d *depot) client() *Registry {
	return &Registry{PlainHTTP: map[string]bool{d.host: true}, pause: time.Millisecond, Transport: &http.Transport{}}
}

// layered returns an image of layers of so many bytes, and all bytes that a push
// has to send: layers, configuration, manifest.
func layered(t *testing.T, sizes ...int) (v1.Image, int64) {
	t.Helper()
	var layers []v1.Layer
	for _, size := range sizes {
		content := make([]byte, size)
		_, _ = rand.Read(content)
		layers = append(layers, static.NewLayer(content, types.OCILayer))
	}
	i, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layers...)
	if err != nil {
		t.Fatal(err)
	}
	return i, weight(t, i)
}

func weight(t *testing.T, artifacts ...partial.Describable) int64 {
	t.Helper()
	u := &upload{sizes: map[string]int64{}}
	for _, a := range artifacts {
		if err := u.plan(a); err != nil {
			t.Fatal(err)
		}
	}
	return u.total
}

func indexOf(t *testing.T, images map[string]v1.Image) v1.ImageIndex {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range slices.Sorted(maps.Keys(images)) {
		platform, err := v1.ParsePlatform(p)
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: images[p], Descriptor: v1.Descriptor{Platform: platform}})
	}
	return index
}

func digestOf(t *testing.T, a partial.Describable) string {
	t.Helper()
	d, err := a.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func counted(requests []string) string {
	counts := map[string]int{}
	for _, r := range requests {
		counts[r]++
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s ×%d", k, counts[k]))
	}
	return strings.Join(parts, ", ")
}

// pulled reads a whole image of acme/web back, with every layer's hash checked.
func (d *depot) pulled(t *testing.T, digest string) {
	t.Helper()
	ref, err := name.NewDigest(d.host+"/acme/web@"+digest, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	i, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := i.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		content, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			t.Fatal(err)
		}
		_ = content.Close()
	}
}

func TestPush(t *testing.T) {
	d := newDepot(t)
	one, weightOne := layered(t, 100_000, 200_000)
	two, _ := layered(t, 50_000)
	index := indexOf(t, map[string]v1.Image{"linux/amd64": one, "linux/arm64": two})
	repository := d.host + "/acme/web"
	for _, step := range []struct {
		name     string
		artifact Artifact
		tags     []string
		requests string
		sent     int64
	}{
		{"new", one, nil, "GET ping ×1, HEAD blob ×3, HEAD manifest ×1, PATCH upload ×3, POST upload ×3, PUT manifest ×1, PUT upload ×3", weightOne},
		{"again", one, nil, "GET ping ×1, HEAD manifest ×1", 0},
		{"a tag for it", one, []string{"1.0"}, "GET ping ×1, HEAD manifest ×2, PUT manifest ×1", int64(len(must(one.RawManifest())))},
		{"the tag again", one, []string{"1.0"}, "GET ping ×1, HEAD manifest ×2", 0},
		{"an index with it", index, []string{"pin-abc", "2.0"}, "GET ping ×1, HEAD blob ×2, HEAD manifest ×5, PATCH upload ×2, POST upload ×2, PUT manifest ×4, PUT upload ×2", weight(t, index) - weightOne + 2*int64(len(must(index.RawManifest())))},
	} {
		got, err := d.client().Push(t.Context(), repository, step.artifact, step.tags...)
		if want := digestOf(t, step.artifact); got != want || err != nil {
			t.Fatalf("%s: %q, %v", step.name, got, err)
		}
		requests, sent := d.seen()
		if counted(requests) != step.requests || sent != step.sent {
			t.Errorf("%s: %s; sent %d, not %d", step.name, counted(requests), sent, step.sent)
		}
		for _, tag := range step.tags {
			if held, err := d.client().tagged(t.Context(), repository, tag); held != got || err != nil {
				t.Errorf("%s: %s names %q, %v", step.name, tag, held, err)
			}
		}
		d.seen()
	}
	d.pulled(t, digestOf(t, one))
	d.pulled(t, digestOf(t, two))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// The layers of a base that another repository has are mounted. A registry that
// doesn't, or denies us the other repository, gets them sent; one that only
// stumbles is asked again.
func TestPushMounts(t *testing.T) {
	base, _ := layered(t, 300_000)
	for _, c := range []struct {
		name    string
		fault   func(n int, w http.ResponseWriter, r *http.Request) bool
		mounted bool
	}{
		{"mounted", nil, true},
		{"503 once", func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n > 1 || r.URL.Query().Get("mount") == "" {
				return false
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}, true},
		{"denied", func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("from") == "" {
				return false
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDepot(t)
			r := d.client()
			if _, err := r.Push(t.Context(), d.host+"/acme/base", base, "1"); err != nil {
				t.Fatal(err)
			}
			ref, err := name.ParseReference(d.host+"/acme/base:1", name.Insecure)
			if err != nil {
				t.Fatal(err)
			}
			from, err := remote.Image(ref)
			if err != nil {
				t.Fatal(err)
			}
			mine, err := mutate.AppendLayers(from, static.NewLayer([]byte("mine"), types.OCILayer))
			if err != nil {
				t.Fatal(err)
			}
			total := weight(t, mine)
			d.seen()
			d.spoil(c.fault)
			digest, err := r.Push(t.Context(), d.host+"/acme/web", mine)
			if err != nil {
				t.Fatal(err)
			}
			want := total
			if c.mounted {
				want -= 300_000
			}
			if _, sent := d.seen(); sent != want {
				t.Errorf("sent %d, not %d", sent, want)
			}
			d.spoil(nil)
			d.pulled(t, digest)
		})
	}
}

func statusFault(status int, body string, headers ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// resetFault takes a part of the body, then resets the connection.
func resetFault(w http.ResponseWriter, r *http.Request) {
	_, _ = io.CopyN(io.Discard, r.Body, 20_000)
	drop(w)
}

func drop(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

var steps = []string{"GET ping", "HEAD manifest", "HEAD blob", "POST upload", "PATCH upload", "PUT upload", "PUT manifest"}

var faults = map[string]func(http.ResponseWriter, *http.Request){
	"408": statusFault(408, ""), "429": statusFault(429, ""), "500": statusFault(500, `{"errors":[{"code":"UNKNOWN"}]}`),
	"502": statusFault(502, "<html>"), "503": statusFault(503, ""), "504": statusFault(504, ""),
	"reset":         resetFault,
	"upload lost":   statusFault(404, `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}`),
	"wrong offset":  statusFault(416, `{"errors":[{"code":"BLOB_UPLOAD_INVALID"}]}`),
	"blobs unseen":  statusFault(400, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}`),
	"half an error": statusFault(503, "", "Content-Length", "10"),
}

// applies tells which steps a fault can happen at.
func applies(fault, step string) bool {
	switch fault {
	case "upload lost", "wrong offset":
		return step == "PATCH upload" || step == "PUT upload"
	case "blobs unseen":
		return step == "PUT manifest"
	}
	return true
}

// Each fault at each step, two times: the push succeeds all the same, and no more
// is sent again than the blob that it hit.
func TestPushFaults(t *testing.T) {
	const size = 150_000
	for what, fault := range faults {
		for _, step := range steps {
			if !applies(what, step) {
				continue
			}
			t.Run(what+" at "+step, func(t *testing.T) {
				t.Parallel()
				d := newDepot(t)
				artifact, total := layered(t, size, size, size)
				d.spoil(func(n int, w http.ResponseWriter, r *http.Request) bool {
					if kind(r) != step || n > 2 {
						return false
					}
					fault(w, r)
					return true
				})
				digest, err := d.client().Push(t.Context(), d.host+"/acme/web", artifact, "1.0")
				if err != nil {
					t.Fatal(err)
				}
				_, sent := d.seen()
				again := int64(0)
				if step == "PATCH upload" || step == "PUT upload" {
					again = 2 * size
				}
				manifest := int64(len(must(artifact.RawManifest())))
				if sent > total+again+4*manifest {
					t.Errorf("sent %d, where %d and at most %d again are due", sent, total, again)
				}
				d.spoil(nil)
				d.pulled(t, digest)
			})
		}
	}
}

// A fault that stays ends the push after a bounded number of attempts, and the
// next push goes on from there.
func TestPushGivesUp(t *testing.T) {
	const tail = ": run this again later, what has arrived is not sent again"
	says := map[string]string{
		"408": "it answered 408", "429": "it is throttling (429)", "500": "it answered 500 UNKNOWN", "502": "it answered 502", "503": "it answered 503", "504": "it answered 504",
		"reset": "connection reset", "upload lost": "it answered 404 BLOB_UPLOAD_UNKNOWN", "wrong offset": "it answered 416 BLOB_UPLOAD_INVALID",
		"blobs unseen": "it answered 400 MANIFEST_BLOB_UNKNOWN", "half an error": "the connection ended before the answer did",
	}
	for what, fault := range faults {
		for _, step := range steps {
			if !applies(what, step) {
				continue
			}
			t.Run(what+" at "+step, func(t *testing.T) {
				t.Parallel()
				d := newDepot(t)
				artifact, total := layered(t, 30_000, 30_000)
				d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
					if kind(r) != step {
						return false
					}
					fault(w, r)
					return true
				})
				_, err := d.client().Push(t.Context(), d.host+"/acme/web", artifact)
				want := d.host + "/acme/web@" + digestOf(t, artifact) + " can't be pushed: " + says[what] + tail
				switch {
				case !strings.HasPrefix(step, "HEAD"): // whose answers have no body
				case what == "half an error":
					want = strings.Replace(want, says[what], "it answered 503", 1)
				case what == "500":
					want = strings.Replace(want, " UNKNOWN", "", 1)
				}
				if ended := "the connection ended before the answer did"; what == "reset" && err != nil && strings.Contains(err.Error(), ended) {
					want = strings.Replace(want, says[what], ended, 1) // who notices it first is chance
				}
				if err == nil || err.Error() != want || !errors.Is(err, ErrUndecided) {
					t.Errorf("got  %v\nwant %s", err, want)
				}
				requests, _ := d.seen()
				tries := 0
				for _, k := range requests {
					if k == step {
						tries++
					}
				}
				// Three blobs are under way at once; when one of them gives up, so do all.
				// net/http repeats by itself what met a reset on a connection in use.
				if tries < pushAttempts || tries > 3*pushAttempts && what != "reset" || tries > 12*pushAttempts {
					t.Errorf("%d attempts at the step: %s", tries, counted(requests))
				}
				d.spoil(nil)
				if _, err := d.client().Push(t.Context(), d.host+"/acme/web", artifact); err != nil {
					t.Fatal(err)
				}
				if _, sent := d.seen(); step == "PUT manifest" && sent != int64(len(must(artifact.RawManifest()))) {
					t.Errorf("the second push sent %d of %d", sent, total)
				}
			})
		}
	}
}

// What no attempt makes better is tried once.
func TestPushRefused(t *testing.T) {
	for _, c := range []struct {
		name, step string
		fault      func(http.ResponseWriter, *http.Request)
		says       string
	}{
		{"denied", "POST upload", statusFault(403, `{"errors":[{"code":"DENIED","message":"secret"}]}`), "the registry denies it (403): log in, or check the spelling"},
		{"denied at the end", "PUT manifest", statusFault(401, ""), "the registry denies it (401): log in, or check the spelling"},
		{"quota", "PUT manifest", statusFault(412, `{"errors":[{"code":"PRECONDITION","message":"secret"}]}`), "the registry answered 412 PRECONDITION"},
		{"strange code", "PUT manifest", statusFault(400, `{"errors":[{"code":"secret token"}]}`), "the registry answered 400"},
		{"lies about the manifest", "PUT manifest", statusFault(201, "", "Docker-Content-Digest", someDigest), "the registry gave what was pushed another digest than it has, so nothing can be pinned by it"},
		{"lies about a blob", "PUT upload", statusFault(201, "", "Docker-Content-Digest", someDigest), "the registry gave what was pushed another digest than it has, so nothing can be pinned by it"},
		{"asks for more patience than there is", "HEAD blob", statusFault(429, "", "Retry-After", "3600"), "it is throttling (429): run this again later, what has arrived is not sent again"},
		{"the same by date", "PATCH upload", statusFault(503, "", "Retry-After", "Fri, 31 Dec 2199 23:59:59 GMT"), "it answered 503: run this again later, what has arrived is not sent again"},
		{"no location", "POST upload", statusFault(202, ""), "missing Location header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDepot(t)
			artifact, _ := layered(t, 30_000)
			d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
				if kind(r) != c.step {
					return false
				}
				_, _ = io.Copy(io.Discard, r.Body)
				c.fault(w, r)
				return true
			})
			_, err := d.client().Push(t.Context(), d.host+"/acme/web", artifact)
			want := d.host + "/acme/web@" + digestOf(t, artifact) + " can't be pushed: " + c.says
			if err == nil || err.Error() != want || errors.Is(err, ErrUndecided) != strings.Contains(c.says, "run this again later") {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			requests, _ := d.seen()
			tries := 0
			for _, k := range requests {
				if k == c.step {
					tries++
				}
			}
			if tries > 2 { // of a layer and of the configuration
				t.Errorf("%d attempts", tries)
			}
		})
	}
}

// Retry-After is waited for, by all requests to the registry.
func TestPushWaits(t *testing.T) {
	d := newDepot(t)
	artifact, _ := layered(t, 10_000, 10_000)
	var mu sync.Mutex
	var told time.Time
	d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if kind(r) == "POST upload" && told.IsZero() {
			told = time.Now()
			statusFault(429, "", "Retry-After", "1")(w, r)
			return true
		}
		if kind(r) == "PUT manifest" && time.Since(told) < time.Second {
			t.Errorf("it went on after %s", time.Since(told))
		}
		return false
	})
	if _, err := d.client().Push(t.Context(), d.host+"/acme/web", artifact); err != nil {
		t.Fatal(err)
	}
}

// A registry whose HEAD says too little, or that has none, is pushed to all the same.
func TestPushWithoutHead(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented} {
		d := newDepot(t)
		artifact, _ := layered(t, 10_000)
		d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodHead || status == http.StatusOK && kind(r) != "HEAD manifest" {
				return false
			}
			w.WriteHeader(status)
			return true
		})
		for range 2 {
			if _, err := d.client().Push(t.Context(), d.host+"/acme/web", artifact, "1.0"); err != nil {
				t.Errorf("%d: %v", status, err)
			}
		}
	}
}

// settled waits until no more goroutines run than before.
func settled(t *testing.T, before int) {
	t.Helper()
	for runtime.NumGoroutine() > before {
		if t.Context().Err() != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// The end of the context ends a push at once, wherever it is, and nothing stays
// behind. A wait of an hour that is not cut short would hang this test.
func TestPushCancelled(t *testing.T) {
	for _, c := range []struct {
		name, step string
		fault      func(ctx context.Context, w http.ResponseWriter, r *http.Request)
	}{
		{"between attempts", "PATCH upload", func(_ context.Context, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}},
		{"between attempts of a question", "HEAD blob", func(_ context.Context, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}},
		{"waiting as it was asked to", "POST upload", func(_ context.Context, w http.ResponseWriter, r *http.Request) {
			statusFault(429, "", "Retry-After", "50")(w, r)
		}},
		{"while it sends", "PATCH upload", func(ctx context.Context, _ http.ResponseWriter, _ *http.Request) { <-ctx.Done() }},
		{"while the registry thinks", "PUT manifest", func(ctx context.Context, _ http.ResponseWriter, _ *http.Request) { <-ctx.Done() }},
		{"at the ping", "GET ping", func(ctx context.Context, _ http.ResponseWriter, _ *http.Request) { <-ctx.Done() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			func() {
				d := newDepot(t)
				artifact, _ := layered(t, 3_000_000, 3_000_000, 3_000_000)
				ctx, cancel := context.WithCancelCause(t.Context())
				stop := errors.New("ctrl-c")
				released, release := context.WithCancel(context.Background())
				reached := make(chan struct{}, 100)
				d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
					if kind(r) != c.step {
						return false
					}
					reached <- struct{}{}
					c.fault(released, w, r)
					return true
				})
				go func() { <-reached; cancel(stop) }()
				r := d.client()
				r.pause = time.Hour
				_, err := r.Push(ctx, d.host+"/acme/web", artifact)
				if !errors.Is(err, stop) || errors.Is(err, ErrUndecided) {
					t.Errorf("%v", err)
				}
				release()
				r.Transport.(*http.Transport).CloseIdleConnections()
				d.CloseClientConnections()
				d.Close()
			}()
			settled(t, before)
		})
	}
}

// A push in which nothing moves is given up, after another attempt; one that is
// slow but moves is not.
func TestPushIdle(t *testing.T) {
	t.Run("nothing moves", func(t *testing.T) {
		d := newDepot(t)
		artifact, _ := layered(t, 8_000_000)
		released, release := context.WithCancel(context.Background())
		defer release()
		d.spoil(func(_ int, _ http.ResponseWriter, r *http.Request) bool {
			if kind(r) != "PATCH upload" {
				return false
			}
			<-released.Done()
			return true
		})
		r := d.client()
		r.Timeout = 200 * time.Millisecond
		_, err := r.Push(t.Context(), d.host+"/acme/web", artifact)
		if !errors.Is(err, ErrUndecided) || !strings.HasSuffix(err.Error(), " can't be pushed: no answer in time: run this again later, what has arrived is not sent again") {
			t.Errorf("%v", err)
		}
		release()
		requests, _ := d.seen()
		if n := strings.Count(strings.Join(requests, "\n"), "PATCH"); n < 2 || n > 6 {
			t.Errorf("%d attempts", n)
		}
	})
	t.Run("slow", func(t *testing.T) {
		d := newDepot(t)
		artifact := static.NewLayer(make([]byte, 40_000_000), types.OCILayer)
		d.spoil(func(_ int, _ http.ResponseWriter, r *http.Request) bool {
			if kind(r) == "PATCH upload" && r.ContentLength > 1_000_000 {
				var all bytes.Buffer
				for range 40 { // longer than the timeout, in all
					_, _ = io.CopyN(&all, r.Body, 1_000_000)
					time.Sleep(150 * time.Millisecond)
				}
				_, _ = io.Copy(&all, r.Body)
				r.Body = io.NopCloser(&all)
			}
			return false
		})
		r := d.client()
		r.Timeout = 5 * time.Second // what a busy machine may take between two of them is less
		i, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), artifact)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Push(t.Context(), d.host+"/acme/web", i); err != nil {
			t.Error(err)
		}
	})
}

// The progress ends at the total, and never tells more, whatever was sent again.
func TestPushProgress(t *testing.T) {
	d := newDepot(t)
	one, _ := layered(t, 100_000, 200_000)
	two, _ := layered(t, 50_000)
	index := indexOf(t, map[string]v1.Image{"linux/amd64": one, "linux/arm64": two})
	d.spoil(func(n int, w http.ResponseWriter, r *http.Request) bool {
		if k := kind(r); n > 2 || k != "PATCH upload" && k != "PUT upload" {
			return false
		}
		resetFault(w, r)
		return true
	})
	for _, what := range []string{"new", "again"} {
		r := d.client()
		var last, calls int64
		total := weight(t, index)
		r.Progress = func(repository string, sent, of int64) {
			if repository != d.host+"/acme/web" || sent < 0 || sent > of || of != total {
				t.Errorf("%s: %d of %d for %s", what, sent, of, repository)
			}
			last = sent
			calls++
		}
		if _, err := r.Push(t.Context(), d.host+"/acme/web", index); err != nil {
			t.Fatal(err)
		}
		if last != total || calls == 0 {
			t.Errorf("%s: it ended at %d of %d", what, last, total)
		}
	}
}

// What net/http sends again by itself, because the connection was dead, is counted
// once, and what fails in the end goes back.
func TestPushProgressGoesBack(t *testing.T) {
	d := newDepot(t)
	artifact, total := layered(t, 200_000)
	d.spoil(func(n int, w http.ResponseWriter, r *http.Request) bool {
		if kind(r) != "PUT upload" || n > 2 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	r := d.client()
	r.Transport = replaying{r.Transport}
	var before, back, last int64
	r.Progress = func(_ string, sent, of int64) {
		if sent > of || of != total {
			t.Errorf("%d of %d", sent, of)
		}
		back += max(0, before-sent)
		before, last = sent, sent
	}
	if _, err := r.Push(t.Context(), d.host+"/acme/web", artifact); err != nil {
		t.Fatal(err)
	}
	_, sent := d.seen()
	// 1000 bytes of each body were sent in vain, and the commits that failed.
	if wasted := sent - total; back < wasted || last != total {
		t.Errorf("went back by %d, ended at %d of %d, sent %d", back, last, total, sent)
	}
}

// replaying sends each body again after its first 1000 bytes.
type replaying struct{ inner http.RoundTripper }

func (p replaying) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPatch {
		_, _ = io.CopyN(io.Discard, r.Body, 1000)
		_ = r.Body.Close()
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = body
	}
	return p.inner.RoundTrip(r)
}

// brokenLayer can't be read to its end.
type brokenLayer struct{ v1.Layer }

func (l brokenLayer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("abc"), errReader{})), nil
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("layer.tar: input/output error") }

// What is wrong on our side is not blamed on the registry, and not tried again.
func TestPushUnreadable(t *testing.T) {
	d := newDepot(t)
	i, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), brokenLayer{static.NewLayer(make([]byte, 100_000), types.OCILayer)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.client().Push(t.Context(), d.host+"/acme/web", i)
	if err == nil || errors.Is(err, ErrUndecided) || !strings.HasSuffix(err.Error(), " can't be pushed: what is to be sent can't be read: layer.tar: input/output error") {
		t.Errorf("%v", err)
	}
	requests, _ := d.seen()
	if n := strings.Count(counted(requests), "PATCH upload ×3"); n > 0 {
		t.Errorf("tried again: %s", counted(requests))
	}
}

// tokens makes a depot want bearer tokens, which name what they are for.
type tokens struct {
	mu     sync.Mutex
	scopes []string
	logins []string
}

func (tk *tokens) fault(d *depot, more func(n int, w http.ResponseWriter, r *http.Request) bool) func(n int, w http.ResponseWriter, r *http.Request) bool {
	return func(n int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			user, password, _ := r.BasicAuth()
			scopes := r.URL.Query()["scope"]
			tk.mu.Lock()
			tk.scopes = append(tk.scopes, scopes...)
			tk.logins = append(tk.logins, user+":"+password)
			tk.mu.Unlock()
			_ = json.NewEncoder(w).Encode(map[string]string{"token": strings.Join(scopes, " ")})
			return true
		}
		challenge := func(scope string) bool {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, d.host)+scope)
			statusFault(401, `{"errors":[{"code":"UNAUTHORIZED"}]}`)(w, r)
			return true
		}
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return challenge("")
		}
		needs := "pull"
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			needs = "push"
		}
		repository, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/")
		repository, _, _ = strings.Cut(repository, "/manifests/")
		if !allows(token, repository, needs) || r.URL.Query().Get("from") != "" && !allows(token, r.URL.Query().Get("from"), "pull") {
			return challenge("")
		}
		return more != nil && more(n, w, r)
	}
}

func allows(token, repository, action string) bool {
	for _, scope := range strings.Fields(token) {
		parts := strings.Split(scope, ":")
		if len(parts) == 3 && parts[0] == "repository" && parts[1] == repository && slices.Contains(strings.Split(parts[2], ","), action) {
			return true
		}
	}
	return false
}

// keys is a keychain of one login, which counts how often it is asked.
type keys struct {
	authn.Authenticator
	mu    sync.Mutex
	asked int
}

func (k *keys) Resolve(authn.Resource) (authn.Authenticator, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	return k.Authenticator, nil
}

func login() *keys { return &keys{Authenticator: &authn.Basic{Username: "robot", Password: "hunter2"}} }

// A token is asked for pull and push, and for pull of where layers are mounted
// from; one that expires in the middle of an upload is asked for again, and the
// upload goes through.
func TestPushToken(t *testing.T) {
	d := newDepot(t)
	tk := &tokens{}
	base, _ := layered(t, 300_000)
	d.spoil(tk.fault(d, nil))
	r := d.client()
	r.Keychain = login()
	if _, err := r.Push(t.Context(), d.host+"/acme/base", base, "1"); err != nil {
		t.Fatal(err)
	}
	if got := slices.Compact(tk.scopes); !slices.Equal(got, []string{"repository:acme/base:push,pull"}) || tk.logins[0] != "robot:hunter2" {
		t.Errorf("scopes %q, logins %q", got, tk.logins)
	}
	ref, err := name.ParseReference(d.host+"/acme/base:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	from, err := remote.Image(ref, remote.WithAuthFromKeychain(r.Keychain))
	if err != nil {
		t.Fatal(err)
	}
	mine, err := mutate.AppendLayers(from, static.NewLayer(make([]byte, 200_000), types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	d.seen()
	tk.scopes = nil
	d.spoil(tk.fault(d, func(n int, w http.ResponseWriter, r *http.Request) bool {
		if kind(r) != "PATCH upload" || n > 1 {
			return false
		}
		_, _ = io.CopyN(io.Discard, r.Body, 20_000)
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test",error="invalid_token"`, d.host))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}))
	digest, err := r.Push(t.Context(), d.host+"/acme/web", mine)
	if err != nil {
		t.Fatal(err)
	}
	requests, sent := d.seen()
	if sent > weight(t, mine) || !slices.Contains(tk.scopes, "repository:acme/base:pull") { // the base is not sent, mine may be twice
		t.Errorf("sent %d, scopes %q, %s", sent, tk.scopes, counted(requests))
	}
	if has, err := r.Platforms(t.Context(), d.host+"/acme/web", digest); err != nil {
		t.Errorf("%q, %v", has, err)
	}
}

// Where a registry has uploads sent elsewhere, our credentials don't go there.
func TestPushElsewhere(t *testing.T) {
	for _, how := range []string{"basic", "bearer"} {
		t.Run(how, func(t *testing.T) {
			d := newDepot(t)
			var mu sync.Mutex
			var leaked []string
			elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				leaked = append(leaked, r.Header.Get("Authorization"))
				mu.Unlock()
				d.ServeHTTP(&relocating{w, "http://" + r.Host}, r)
			}))
			t.Cleanup(elsewhere.Close)
			tk := &tokens{}
			send := func(_ int, w http.ResponseWriter, r *http.Request) bool {
				if kind(r) != "POST upload" {
					return false
				}
				recorder := httptest.NewRecorder()
				d.inner.ServeHTTP(recorder, r)
				w.Header().Set("Location", elsewhere.URL+recorder.Header().Get("Location"))
				w.WriteHeader(http.StatusAccepted)
				return true
			}
			d.spoil(func(n int, w http.ResponseWriter, r *http.Request) bool {
				if "http://"+r.Host == elsewhere.URL {
					return false
				}
				if how == "bearer" {
					return tk.fault(d, send)(n, w, r)
				}
				if user, password, _ := r.BasicAuth(); user != "robot" || password != "hunter2" {
					w.Header().Set("WWW-Authenticate", "Basic realm=test")
					w.WriteHeader(http.StatusUnauthorized)
					return true
				}
				return send(n, w, r)
			})
			r := d.client()
			r.Keychain = login()
			artifact, _ := layered(t, 30_000)
			digest, err := r.Push(t.Context(), d.host+"/acme/web", artifact)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.MayPush(t.Context(), d.host+"/acme/web"); err != nil {
				t.Error(err)
			}
			if len(leaked) < 4 || strings.Join(leaked, "") != "" {
				t.Errorf("elsewhere got %q", leaked)
			}
			d.spoil(nil)
			d.pulled(t, digest)
		})
	}
}

// relocating keeps relative locations where they are.
type relocating struct {
	http.ResponseWriter
	base string
}

func (r *relocating) WriteHeader(status int) {
	if l := r.Header().Get("Location"); strings.HasPrefix(l, "/") {
		r.Header().Set("Location", r.base+l)
	}
	r.ResponseWriter.WriteHeader(status)
}

// A registry that is spoken to over TLS can't have blobs sent without, nor send us
// round in circles.
func TestPushAstray(t *testing.T) {
	d := newDepot(t)
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if kind(r) == "POST upload" {
			w.Header().Set("Location", d.URL+r.URL.Path+"1")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		if kind(r) == "HEAD manifest" && strings.Contains(r.URL.Path, "/acme/circle/") {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		d.ServeHTTP(w, r)
	}))
	secure.Config.ErrorLog = stdlog.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	host := strings.TrimPrefix(secure.URL, "https://")
	r := &Registry{Transport: secure.Client().Transport, pause: time.Millisecond}
	artifact, _ := layered(t, 30_000)
	for repository, says := range map[string]string{
		"/acme/web": "the registry redirects from https to http", "/acme/circle": "the registry redirects without end",
	} {
		_, err := r.Push(t.Context(), host+repository, artifact)
		if err == nil || !strings.HasSuffix(err.Error(), "can't be pushed: "+says) || errors.Is(err, ErrUndecided) {
			t.Errorf("%v", err)
		}
	}
	if requests, sent := d.seen(); sent > 0 || strings.Contains(counted(requests), "PATCH") {
		t.Errorf("sent %d: %s", sent, counted(requests))
	}
}

// Many pushes at once, of images that share layers, do not disturb each other.
func TestPushTogether(t *testing.T) {
	d := newDepot(t)
	base, _ := layered(t, 50_000)
	r := d.client()
	d.spoil(func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n%7 != 0 || r.URL.Path == "/v2/" {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	var group sync.WaitGroup
	for i := range 12 {
		group.Go(func() {
			mine, err := mutate.AppendLayers(base, static.NewLayer(fmt.Appendf(nil, "layer %d", i), types.OCILayer))
			if err == nil {
				_, err = r.Push(t.Context(), fmt.Sprintf("%s/acme/web%d", d.host, i%6), mine, fmt.Sprint(i))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	requests, _ := d.seen()
	if n := strings.Count(strings.Join(requests, "\n"), "GET ping"); n != 1 {
		t.Errorf("%d pings", n)
	}
	if _, err := r.Push(t.Context(), d.host+"/acme/web", brokenArtifact{base}); err == nil {
		t.Error("what is no image was pushed")
	}
	if _, err := r.Push(t.Context(), d.host+"/acme/web:1", base); err == nil || !strings.Contains(err.Error(), "is not a repository") {
		t.Errorf("%v", err)
	}
}

// brokenArtifact is neither an image nor an index.
type brokenArtifact struct{ Artifact }

func TestMayPush(t *testing.T) {
	const log = "log in, or ask for push rights"
	for _, c := range []struct {
		name      string
		fault     func(http.ResponseWriter, *http.Request)
		says      string
		undecided bool
	}{
		{"yes", nil, "", false},
		{"yes, without a location", statusFault(202, ""), "", false},
		{"not logged in", statusFault(401, ""), "H/acme/web: H denies the push (401): " + log, false},
		{"no rights", statusFault(403, `{"errors":[{"code":"DENIED"}]}`), "H/acme/web: H denies the push (403): " + log, false},
		{"no repository", statusFault(404, `{"errors":[{"code":"NAME_UNKNOWN"}]}`), "H/acme/web: H has no such repository, and a push does not create it (404 NAME_UNKNOWN): create it there first", false},
		{"read-only", statusFault(405, ""), "H/acme/web: H takes no push (405): it is read-only, or a mirror", false},
		{"a mirror", statusFault(400, `{"errors":[{"code":"UNSUPPORTED"}]}`), "H/acme/web: H takes no push (400 UNSUPPORTED): it is read-only, or a mirror", false},
		{"something else", statusFault(200, "<html>log in to the wifi"), "H/acme/web: H takes no push: it answered 200", false},
		{"down", statusFault(503, ""), "H/acme/web: may we push there: the registry could not say: it answered 503: run this again later", true},
		{"throttling", statusFault(429, "", "Retry-After", "100"), "H/acme/web: may we push there: the registry could not say: it is throttling (429): run this again later", true},
		{"reset", resetFault, "H/acme/web: may we push there: the registry could not say: connection reset", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDepot(t)
			d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
				if kind(r) != "POST upload" || c.fault == nil {
					return false
				}
				c.fault(w, r)
				return true
			})
			r := d.client()
			var group sync.WaitGroup
			for range 8 {
				group.Go(func() {
					err := r.MayPush(t.Context(), d.host+"/acme/web")
					if c.says == "" {
						if err != nil {
							t.Error(err)
						}
						return
					}
					if err == nil || err.Error() != strings.ReplaceAll(c.says, "H", d.host) || errors.Is(err, ErrUndecided) != c.undecided {
						t.Errorf("got %v, want %s", err, c.says)
					}
				})
			}
			group.Wait()
			requests, _ := d.seen()
			want := "GET ping ×1, POST upload ×1"
			if c.name == "yes" {
				want = "DELETE upload ×1, " + want
			}
			if got := counted(requests); !c.undecided && got != want {
				t.Errorf("asked %s", got)
			}
			if c.undecided { // no answer, so it is asked again
				d.spoil(nil)
				if c.name == "throttling" {
					return
				}
				if err := r.MayPush(t.Context(), d.host+"/acme/web"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// The upload that was started is the one that is cancelled, and a failure to
// cancel, or an address that only we can reach, is nobody's business.
func TestMayPushCancels(t *testing.T) {
	d := newDepot(t)
	var cancelled []string
	for _, location := range []string{"/v2/acme/web/blobs/uploads/17?_state=s", d.URL + "/v2/acme/web/blobs/uploads/18", "uploads/19", "http://10.0.0.1/20", "http://[::1]:1/21", "https://169.254.169.254/22", "://"} {
		d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
			switch r.Method {
			case http.MethodPost:
				w.Header().Set("Location", location)
				w.WriteHeader(http.StatusAccepted)
			case http.MethodDelete:
				cancelled = append(cancelled, r.URL.String())
				w.WriteHeader(http.StatusInternalServerError)
			default:
				return false
			}
			return true
		})
		r := d.client()
		r.Transport = only{d.host, r.Transport}
		if err := r.MayPush(t.Context(), d.host+"/acme/web"); err != nil {
			t.Errorf("%s: %v", location, err)
		}
	}
	want := []string{"/v2/acme/web/blobs/uploads/17?_state=s", "/v2/acme/web/blobs/uploads/18", "/v2/acme/web/blobs/uploads/uploads/19"}
	if !slices.Equal(cancelled, want) {
		t.Errorf("cancelled %q", cancelled)
	}
}

// only lets no request go elsewhere.
type only struct {
	host  string
	inner http.RoundTripper
}

func (o only) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != o.host {
		panic("a request to " + r.URL.Host)
	}
	return o.inner.RoundTrip(r)
}

// The token is asked for pull and push; a token server's denial is the registry's.
func TestMayPushToken(t *testing.T) {
	d := newDepot(t)
	tk := &tokens{}
	d.spoil(tk.fault(d, nil))
	r := d.client()
	r.Keychain = login()
	if err := r.MayPush(t.Context(), d.host+"/acme/web"); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(tk.scopes, []string{"repository:acme/web:push,pull"}) {
		t.Errorf("scopes %q", tk.scopes)
	}
	d.spoil(func(n int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			statusFault(403, `{"errors":[{"code":"DENIED"}]}`)(w, r)
			return true
		}
		return tk.fault(d, nil)(n, w, r)
	})
	if err := r.MayPush(t.Context(), d.host+"/acme/api"); err == nil || err.Error() != d.host+"/acme/api: "+d.host+" denies the push (403): log in, or ask for push rights" {
		t.Errorf("%v", err)
	}
	d.spoil(func(n int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			_, _ = io.WriteString(w, `{"not a token":"secret"}`)
			return true
		}
		return tk.fault(d, nil)(n, w, r)
	})
	if err := r.MayPush(t.Context(), d.host+"/acme/job"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

// ECR ends the connection where the repository does not exist.
func TestMayPushECR(t *testing.T) {
	const host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
	r := &Registry{pause: time.Millisecond, Transport: roundTrip(func(in *http.Request) (*http.Response, error) {
		if in.Method == http.MethodPost {
			return nil, io.EOF
		}
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: in}, nil
	})}
	err := r.MayPush(t.Context(), host+"/acme/web")
	if !errors.Is(err, ErrUndecided) || !strings.HasSuffix(err.Error(), "ECR does that where the repository does not exist: aws ecr create-repository --repository-name acme/web") {
		t.Errorf("%v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Nothing that a registry or the network says in its own words gets into ours.
func TestWords(t *testing.T) {
	secret := &url.Error{Op: "Patch", URL: "https://ghcr.io/upload?_state=secret", Err: errors.New("odd")}
	for _, c := range []struct {
		err       error
		says      string
		undecided bool
	}{
		{secret, "odd", false},
		{fmt.Errorf("no token in bearer response:\n%s", "secret"), "the registry's token server gave no token", false},
		{&fault{err: errors.New("malformed HTTP response secret")}, "the registry could not say: the answer is not what the protocol allows", true},
		{&fault{err: errTooLarge}, "the registry's answer is larger than 8 MiB", false},
	} {
		if got := explain(t.Context(), c.err); got.Error() != c.says || errors.Is(got, ErrUndecided) != c.undecided {
			t.Errorf("%v", got)
		}
	}
}
