package presence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// proxy is a registry that can be made to misbehave: go-containerregistry's,
// behind a handler that may answer in its place.
type proxy struct {
	*httptest.Server
	registry http.Handler

	mu       sync.Mutex
	fault    func(http.ResponseWriter, *http.Request, http.Handler)
	requests []string
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{registry: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	p.Server = httptest.NewUnstartedServer(p)
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.Start()
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests = append(p.requests, r.Method+" "+r.URL.Path)
	fault := p.fault
	p.mu.Unlock()
	if fault == nil {
		p.registry.ServeHTTP(w, r)
		return
	}
	fault(w, r, p.registry)
}

// misbehave installs a fault; nil takes it away.
func (p *proxy) misbehave(fault func(http.ResponseWriter, *http.Request, http.Handler)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// seen returns and forgets the requests so far.
func (p *proxy) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.requests
	p.requests = nil
	return r
}

func (p *proxy) host() string {
	u, _ := url.Parse(p.URL)
	return u.Host
}

// push puts an image there, unharmed by faults.
func (p *proxy) push(t *testing.T, repository string) Image {
	t.Helper()
	img, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	return p.put(t, repository, img)
}

func (p *proxy) put(t *testing.T, repository string, what remote.Taggable) Image {
	t.Helper()
	raw, err := what.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	image := Image{Repository: p.host() + "/" + repository, Digest: "sha256:" + hex.EncodeToString(sum[:])}
	ref, err := name.NewDigest(image.String(), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	options := []remote.Option{remote.WithTransport(handlerTransport{p.registry})}
	switch what := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what, options...)
	case v1.Image:
		err = remote.Write(ref, what, options...)
	default:
		err = remote.Put(ref, what, options...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// handlerTransport calls a handler without a network between.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// missing is an image that no registry holds.
func (p *proxy) missing(repository string) Image {
	return Image{Repository: p.host() + "/" + repository, Digest: "sha256:" + strings.Repeat("0", 63) + "1"}
}

// testClock is a clock on which waiting takes no time.
type testClock struct {
	mu    sync.Mutex
	at    time.Time
	slept []time.Duration
}

func newTestClock() *testClock { return &testClock{at: time.Now()} }

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func (c *testClock) sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	c.slept = append(c.slept, d)
	return nil
}

// naps returns and forgets what was slept.
func (c *testClock) naps() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slept
	c.slept = nil
	return s
}

// newTestRemote returns a Remote for p that waits on a testClock.
func newTestRemote(t *testing.T, p *proxy, o RemoteOptions) (*Remote, *testClock) {
	t.Helper()
	if p != nil {
		o.PlainHTTP = append(o.PlainHTTP, p.host())
	}
	r, err := NewRemote(o)
	if err != nil {
		t.Fatal(err)
	}
	c := newTestClock()
	r.clock = clock{now: c.now, sleep: c.sleep}
	r.attempt = time.Minute // nothing here is slow but what is meant to be
	return r, c
}

func check(t *testing.T, c Checker, image Image) Result {
	t.Helper()
	result, err := c.Check(context.Background(), image)
	if err != nil {
		t.Fatalf("Check(%s): %v", image, err)
	}
	return result
}

// The faults.

type faultFunc = func(http.ResponseWriter, *http.Request, http.Handler)

// onManifest limits a fault to manifests; method "" is any.
func onManifest(method string, fault faultFunc) faultFunc {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/manifests/") && (method == "" || r.Method == method) {
			fault(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

func status(code int, body string, headers ...string) faultFunc {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// rewritten changes the registry's own answer.
func rewritten(change func(r *http.Request, h http.Header, body []byte) []byte) faultFunc {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		// HEAD gets the headers of the GET.
		asked := r.Clone(r.Context())
		asked.Method = http.MethodGet
		record := httptest.NewRecorder()
		next.ServeHTTP(record, asked)
		record.Header().Del("Content-Length")
		body := change(r, record.Header(), record.Body.Bytes())
		for k, v := range record.Header() {
			w.Header()[k] = v
		}
		if w.Header().Get("Content-Length") == "" {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		}
		w.WriteHeader(record.Code)
		if r.Method != http.MethodHead {
			_, _ = w.Write(body)
		}
	}
}

// noDigest makes HEAD answers say too little, so that the body decides.
func noDigest(change func(r *http.Request, h http.Header, body []byte) []byte) faultFunc {
	return onManifest("", rewritten(func(r *http.Request, h http.Header, body []byte) []byte {
		h.Del("Docker-Content-Digest")
		if r.Method == http.MethodGet && change != nil {
			return change(r, h, body)
		}
		return body
	}))
}

func reset(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// impatient makes attempts end soon where the fault is that nothing comes.
func impatient(r *Remote, name string) {
	if strings.Contains(name, "slow") {
		r.attempt = 30 * time.Millisecond
	}
}

func slowHeaders(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	<-r.Context().Done()
}

func slowBody(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK) // too little; the GET follows
		return
	}
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"schemaVersion":`)
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func redirectLoop(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
}

// bearer makes a registry want a token; token answers for the token server.
func bearer(token faultFunc) faultFunc {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		switch {
		case r.URL.Path == "/token":
			token(w, r, next)
		case r.Header.Get("Authorization") != "Bearer good":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host))
			status(http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED"}]}`)(w, r, next)
		default:
			next.ServeHTTP(w, r)
		}
	}
}
