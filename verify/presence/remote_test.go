package presence

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// counter counts what goes through a transport.
type counter struct {
	http.RoundTripper
	n atomic.Int64
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.RoundTripper.RoundTrip(r)
}

func TestHandshakeIsShared(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  faultFunc
		signIn func(repositories int) int
	}{
		{"anonymous", nil, func(int) int { return 1 }},
		// One /v2/ for all, one token for each repository.
		{"tokens", bearer(status(200, `{"token":"good"}`)), func(n int) int { return 1 + n }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProxy(t)
			var images []Image
			for i := range 60 {
				images = append(images, p.push(t, fmt.Sprintf("app/web%d", i%20)))
			}
			p.misbehave(tt.fault)
			r, _ := newTestRemote(t, p, RemoteOptions{})
			results, err := All(context.Background(), r, images, 8, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, result := range results {
				if result.Verdict != Present {
					t.Errorf("%s: %+v", images[i], result)
				}
			}
			requests := p.seen()
			if want := tt.signIn(20) + 60; len(requests) != want {
				t.Errorf("%d requests, want %d", len(requests), want)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		header string
		want   time.Duration
	}{
		{"", 0},
		{"7", 7 * time.Second},
		{" 7 ", 7 * time.Second},
		{"-7", 0},
		{"7.5", 0},
		{"99999999999999999999", 999999999 * time.Second},
		{now.Add(90 * time.Second).UTC().Format(http.TimeFormat), 90 * time.Second},
		{now.Add(-90 * time.Second).UTC().Format(http.TimeFormat), 0},
		{"tomorrow", 0},
	} {
		if got := retryAfter(tt.header, now.Truncate(time.Second)); got != tt.want {
			t.Errorf("retryAfter(%q) = %v, want %v", tt.header, got, tt.want)
		}
	}
}

// times answers with fault for the first n manifests.
func times(n int64, fault faultFunc) faultFunc {
	var count atomic.Int64
	return onManifest("", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if count.Add(1) <= n {
			fault(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func TestPassingFault(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault faultFunc
		naps  []time.Duration // the least of each
	}{
		{"one 429 with Retry-After", times(1, status(429, "", "Retry-After", "7")), []time.Duration{7 * time.Second}},
		{"two 429 without", times(2, status(429, "")), []time.Duration{firstWait * 3 / 4, firstWait * 3 / 2}},
		{"503 with Retry-After", times(1, status(503, "", "Retry-After", "3")), []time.Duration{3 * time.Second}},
		{"three 500", times(3, status(500, "")), []time.Duration{firstWait * 3 / 4, firstWait * 3 / 2, firstWait * 3}},
		// The transport itself tries once more on a connection that was in use.
		{"reset", times(2, reset), []time.Duration{firstWait * 3 / 4}},
		{"slow headers", times(1, slowHeaders), []time.Duration{firstWait * 3 / 4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t)
			image := p.push(t, "app/web")
			p.misbehave(tt.fault)
			r, tick := newTestRemote(t, p, RemoteOptions{})
			impatient(r, tt.name)
			if got := check(t, r, image); got != (Result{Verdict: Present}) {
				t.Errorf("%+v", got)
			}
			naps := tick.naps()
			if len(naps) < len(tt.naps) {
				t.Fatalf("slept %v, want at least %v", naps, tt.naps)
			}
			for i, want := range tt.naps {
				if naps[i] < want {
					t.Errorf("slept %v, want at least %v", naps, tt.naps)
				}
			}
		})
	}
}

// A wait that is longer than the time left is not begun.
func TestThrottledAtOnce(t *testing.T) {
	p := newProxy(t)
	image := p.push(t, "app/web")
	p.misbehave(onManifest("", status(429, "", "Retry-After", "50")))
	r, tick := newTestRemote(t, p, RemoteOptions{})
	if got := check(t, r, image); got.Verdict != Throttled {
		t.Errorf("%+v", got)
	}
	if got := p.seen(); len(got) != 2 || len(tick.naps()) != 0 {
		t.Errorf("requests %v, want the ping and one HEAD without a wait", got)
	}
	// Nobody else asks before the time is over, either.
	if got := check(t, r, p.missing("app/other")); got.Verdict != Throttled {
		t.Errorf("%+v", got)
	}
	if got := p.seen(); len(got) != 0 {
		t.Errorf("asked while closed: %v", got)
	}
	p.misbehave(nil)
	tick.advance(20 * time.Second)
	if got := check(t, r, image); got.Verdict != Present {
		t.Errorf("%+v", got)
	}
	if naps := tick.naps(); len(naps) != 1 || naps[0] > 30*time.Second || naps[0] < 29*time.Second {
		t.Errorf("slept %v, want the remaining 30 s", naps)
	}
}

// A registry that asks for a day's patience is asked again after a minute.
func TestGateIsBounded(t *testing.T) {
	p := newProxy(t)
	image := p.push(t, "app/web")
	p.misbehave(times(1, status(429, "", "Retry-After", "86400")))
	r, tick := newTestRemote(t, p, RemoteOptions{})
	if got := check(t, r, image); got.Verdict != Throttled {
		t.Errorf("%+v", got)
	}
	tick.advance(gateLimit)
	if got := check(t, r, image); got.Verdict != Present {
		t.Errorf("%+v", got)
	}
}

// closedPort is an address that refuses connections.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func imagesOf(registry string, n int) []Image {
	images := make([]Image, n)
	for i := range images {
		images[i] = Image{Repository: registry + "/app/web", Digest: fmt.Sprintf("sha256:%064x", i)}
	}
	return images
}

// Five hundred images on a dead registry cost what one costs, and the images of
// a registry that lives are none the worse for it.
func TestDeadRegistry(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault faultFunc // nil: nothing listens
		want  string
	}{
		{"refused", nil, "connection refused"},
		{"500 everywhere", status(500, ""), "server error 500"},
		{"429 everywhere", status(429, ""), reasonThrottled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cost := func(images, jobs int) int64 {
				c := &counter{RoundTripper: &http.Transport{}}
				alive := newProxy(t)
				dead := closedPort(t)
				if tt.fault != nil {
					p := newProxy(t)
					p.misbehave(tt.fault)
					dead = p.host()
				}
				r, _ := newTestRemote(t, alive, RemoteOptions{Transport: c, PlainHTTP: []string{dead}})
				list := append(imagesOf(dead, images), alive.push(t, "app/web"))
				results, err := All(context.Background(), r, list, jobs, nil)
				if err != nil {
					t.Fatal(err)
				}
				for i, got := range results[:images] {
					if got.Reason != tt.want {
						t.Fatalf("%d: %+v", i, got)
					}
				}
				if got := results[images]; got.Verdict != Present {
					t.Errorf("on the living registry: %+v", got)
				}
				return c.n.Load()
			}
			one := cost(1, 1)
			if many := cost(500, 1); many > one+3 {
				t.Errorf("%d requests for 500 images, %d for one", many, one)
			}
			// All that are under way share one /v2/.
			if many := cost(500, 16); many > 3*one {
				t.Errorf("%d requests for 500 images, 16 at once, %d for one", many, one)
			}
		})
	}
}

// A registry that fails for its manifests alone is given up soon, too.
func TestBrokenStorage(t *testing.T) {
	p := newProxy(t)
	p.misbehave(onManifest("", status(500, "")))
	r, _ := newTestRemote(t, p, RemoteOptions{})
	if _, err := All(context.Background(), r, imagesOf(p.host(), 1), 1, nil); err != nil {
		t.Fatal(err)
	}
	one := len(p.seen())
	if _, err := All(context.Background(), r, imagesOf(p.host(), 500), 1, nil); err != nil {
		t.Fatal(err)
	}
	if many := len(p.seen()); many > (badManifests+1)*one {
		t.Errorf("%d requests for 500 images, %d for one", many, one)
	}
}

// One image that its registry chokes on says nothing about the others.
func TestOneBrokenManifest(t *testing.T) {
	p := newProxy(t)
	bad, good := p.push(t, "app/bad"), p.push(t, "app/good")
	p.misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "app/bad/manifests") {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		next.ServeHTTP(w, r)
	})
	r, _ := newTestRemote(t, p, RemoteOptions{})
	results, err := All(context.Background(), r, []Image{bad, good}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Verdict != Unreachable || results[1].Verdict != Present {
		t.Errorf("%+v", results)
	}
}

// A later batch finds out anew whether the registry is back.
func TestDeadRegistryComesBack(t *testing.T) {
	p := newProxy(t)
	image := p.push(t, "app/web")
	p.misbehave(status(503, ""))
	r, _ := newTestRemote(t, p, RemoteOptions{})
	for _, want := range []Verdict{Unreachable, Present} {
		results, err := All(context.Background(), r, []Image{image}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if results[0].Verdict != want {
			t.Errorf("%+v, want %s", results[0], want)
		}
		p.misbehave(nil)
	}
}

// The caller that signs in for all may leave without taking the others along,
// and who waits for it can leave, too.
func TestCancelledSignIn(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   string
	}{{"ping", "/v2/"}, {"token", "/token"}} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProxy(t)
			image := p.push(t, "app/web")
			arrived, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			good := bearer(status(200, `{"token":"good"}`))
			p.misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.URL.Path == tt.at {
					once.Do(func() { close(arrived) })
					<-release
				}
				good(w, r, next)
			})
			r, _ := newTestRemote(t, p, RemoteOptions{})
			first, cancel := context.WithCancel(context.Background())
			gone := make(chan error)
			go func() {
				_, err := r.Check(first, image)
				gone <- err
			}()
			<-arrived
			second := make(chan Result)
			go func() {
				result, err := r.Check(context.Background(), image)
				if err != nil {
					t.Error(err)
				}
				second <- result
			}()
			cancel()
			if err := <-gone; !errors.Is(err, context.Canceled) {
				t.Errorf("the first caller got %v", err)
			}
			close(release)
			if got := <-second; got.Verdict != Present {
				t.Errorf("the second caller got %+v", got)
			}
			n := 0
			for _, s := range p.seen() {
				if s == "GET "+tt.at {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%d requests for %s", n, tt.at)
			}
		})
	}
}

// A deadline ends a check with a verdict; what was last known is its reason.
func TestDeadline(t *testing.T) {
	p := newProxy(t)
	image := p.push(t, "app/web")
	for _, tt := range []struct {
		name   string
		fault  faultFunc
		reason string
	}{
		{"slow", onManifest("", slowHeaders), reasonNoAnswer},
		{"slow ping", slowHeaders, reasonNoAnswer},
		{"slow after a 500", func() faultFunc {
			first := times(1, status(500, ""))
			return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				first(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					onManifest("", slowHeaders)(w, r, next)
				}))
			}
		}(), "server error 500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.misbehave(tt.fault)
			r, _ := newTestRemote(t, p, RemoteOptions{})
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			got, err := r.Check(ctx, image)
			if err != nil || got.Verdict != Unreachable || got.Reason != tt.reason {
				t.Errorf("%+v, %v, want %s", got, err, tt.reason)
			}
		})
	}
}

func TestNotAnImage(t *testing.T) {
	r, _ := newTestRemote(t, nil, RemoteOptions{})
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, image := range []Image{
		{"nginx", digest},
		{"docker.io/nginx", digest},
		{"ghcr.io/acme/web:1", digest},
		{"ghcr.io/acme/web@" + digest, digest},
		{"ghcr.io/../web", digest},
		{"ghcr.io/acme/web", "sha256:abc"},
		{"ghcr.io/acme/web", "sha512:" + strings.Repeat("a", 128)},
		{"ghcr.io/acme/web", strings.ToUpper(digest)},
		{"", ""},
	} {
		if result, err := r.Check(context.Background(), image); err == nil {
			t.Errorf("Check(%s) = %+v", image, result)
		}
		if _, err := r.Scope(context.Background(), image); err == nil {
			t.Errorf("Scope(%s) has no error", image)
		}
	}
}

// go-containerregistry refuses this name; the kubelet doesn't.
func TestRepositoryOfOneLetter(t *testing.T) {
	p := newProxy(t)
	image := p.push(t, "app/web")
	p.misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.URL.Path = strings.Replace(r.URL.Path, "/v2/a/", "/v2/app/web/", 1)
		next.ServeHTTP(w, r)
	})
	r, _ := newTestRemote(t, p, RemoteOptions{})
	if got := check(t, r, Image{p.host() + "/a", image.Digest}); got.Verdict != Present {
		t.Errorf("%+v", got)
	}
}

func TestTLS(t *testing.T) {
	p := newProxy(t)
	image := p.push(t, "app/web")
	secure := httptest.NewUnstartedServer(p)
	secure.Config.ErrorLog = p.Config.ErrorLog
	secure.StartTLS()
	defer secure.Close()
	host := strings.TrimPrefix(secure.URL, "https://")
	over := Image{host + "/app/web", image.Digest}

	t.Run("trusted, on a loopback address", func(t *testing.T) {
		r, _ := newTestRemote(t, nil, RemoteOptions{Transport: secure.Client().Transport})
		if got := check(t, r, over); got.Verdict != Present {
			t.Errorf("%+v", got)
		}
	})
	t.Run("untrusted", func(t *testing.T) {
		r, tick := newTestRemote(t, nil, RemoteOptions{})
		got := check(t, r, over)
		if got.Verdict != Unreachable || got.Reason != "TLS certificate is not trusted: x509: certificate signed by unknown authority" {
			t.Errorf("%+v", got)
		}
		if naps := tick.naps(); len(naps) != 0 {
			t.Errorf("retried what doesn't pass: %v", naps)
		}
	})
	t.Run("expired", func(t *testing.T) {
		tr := secure.Client().Transport.(*http.Transport).Clone()
		tr.TLSClientConfig.Time = func() time.Time { return time.Now().AddDate(200, 0, 0) }
		r, _ := newTestRemote(t, nil, RemoteOptions{Transport: tr})
		if got := check(t, r, over); got.Reason != "TLS certificate is not trusted: x509: certificate has expired or is not yet valid" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("another name", func(t *testing.T) {
		tr := secure.Client().Transport.(*http.Transport).Clone()
		tr.TLSClientConfig.ServerName = "other.example.org"
		r, _ := newTestRemote(t, nil, RemoteOptions{Transport: tr})
		if got := check(t, r, over); got.Verdict != Unreachable || !strings.Contains(got.Reason, "not other.example.org") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("too old", func(t *testing.T) {
		old := httptest.NewUnstartedServer(p)
		old.Config.ErrorLog = p.Config.ErrorLog
		old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
		old.StartTLS()
		defer old.Close()
		r, _ := newTestRemote(t, nil, RemoteOptions{})
		got := check(t, r, Image{strings.TrimPrefix(old.URL, "https://") + "/app/web", image.Digest})
		if got.Verdict != Unreachable || !strings.HasPrefix(got.Reason, "TLS handshake failed: ") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("plain http where https is due", func(t *testing.T) {
		p.seen()
		r, _ := newTestRemote(t, nil, RemoteOptions{})
		if got := check(t, r, image); got.Verdict != Unreachable || !strings.Contains(got.Reason, "plain http") {
			t.Errorf("%+v", got)
		}
		if got := p.seen(); len(got) != 0 {
			t.Errorf("asked over http: %v", got)
		}
	})
	t.Run("redirected to plain http", func(t *testing.T) {
		defer p.misbehave(nil)
		plain := p.URL
		p.misbehave(onManifest("", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.TLS != nil {
				http.Redirect(w, r, strings.Replace(plain, "127.0.0.1", "localhost", 1)+r.URL.Path, http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(w, r)
		}))
		r, _ := newTestRemote(t, nil, RemoteOptions{Transport: secure.Client().Transport})
		if got := check(t, r, over); got.Verdict != Unreachable || got.Reason != "redirected from https to http" {
			t.Errorf("%+v", got)
		}
	})
}

// nameServer answers every question with the same code.
func nameServer(t *testing.T, code byte) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n < 12 {
				continue
			}
			reply := slices.Clone(buf[:n])
			reply[2] |= 0x80                                  // a response
			reply[3] = 0x80 | code                            // recursion available
			copy(reply[6:12], []byte{0, 0, 0, 0, 0, 0})       // one question, no records
			_, _ = conn.WriteTo(reply[:questionEnd(n)], from) // without the query's options
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// questionEnd leaves off the OPT record, 11 bytes, that Go's resolver adds.
func questionEnd(n int) int { return n - 11 }

func TestUnknownHost(t *testing.T) {
	image := imagesOf("registry.example.com", 1)[0]
	for _, tt := range []struct {
		name  string
		code  byte
		want  string
		tries int64 // 0: until the time is over
	}{{"no such name", 3, "no such host", 3}, {"server failure", 2, "the name lookup failed", 0}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dialer := &net.Dialer{Resolver: nameServer(t, tt.code)}
			c := &counter{RoundTripper: &http.Transport{DialContext: dialer.DialContext}}
			r, _ := newTestRemote(t, nil, RemoteOptions{Transport: c})
			if got := check(t, r, image); got.Verdict != Unreachable || got.Reason != tt.want {
				t.Errorf("%+v, want %s", got, tt.want)
			}
			if n := c.n.Load(); tt.tries > 0 && n != tt.tries || n < 3 {
				t.Errorf("%d attempts, want %d", n, tt.tries)
			}
		})
	}
}

// rotating is a keychain whose password changes.
type rotating struct {
	password atomic.Value
	resolved atomic.Int64
}

func (k *rotating) Resolve(authn.Resource) (authn.Authenticator, error) {
	k.resolved.Add(1)
	return authn.FromConfig(authn.AuthConfig{Username: "robot", Password: k.password.Load().(string)}), nil
}

// basic makes a registry want a password.
func basic(password string) faultFunc {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if _, got, _ := r.BasicAuth(); got != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			status(401, `{"errors":[{"code":"UNAUTHORIZED"}]}`)(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

func TestRotatedCredential(t *testing.T) {
	p := newProxy(t)
	image := p.push(t, "app/web")
	p.misbehave(basic("one"))
	k := &rotating{}
	k.password.Store("one")
	r, tick := newTestRemote(t, p, RemoteOptions{Keychain: k})
	scope := func() string {
		s, err := r.Scope(context.Background(), image)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for range 3 {
		if got := check(t, r, image); got.Verdict != Present {
			t.Fatalf("%+v", got)
		}
	}
	first := scope()
	if strings.Contains(first, "one") || strings.Contains(first, "robot") {
		t.Errorf("scope %q gives the credential away", first)
	}
	if n := k.resolved.Load(); n != 1 {
		t.Errorf("resolved %d times", n)
	}

	// The registry has a new password, the process doesn't know.
	p.misbehave(basic("two"))
	k.password.Store("two")
	want := Result{Verdict: Denied, Reason: "the registry answered 401 unauthorized, asked with its credentials"}
	if got := check(t, r, image); got != want {
		t.Errorf("too soon for a second look: %+v", got)
	}
	tick.advance(secondLook)
	if got := check(t, r, image); got.Verdict != Present {
		t.Errorf("after a second look: %+v", got)
	}
	if second := scope(); second == first {
		t.Error("two credentials have the same scope")
	}

	// It is not looked at for each of many denials.
	p.misbehave(basic("three"))
	tick.advance(secondLook)
	before := k.resolved.Load()
	if _, err := All(context.Background(), r, imagesOf(p.host(), 100), 1, nil); err != nil {
		t.Fatal(err)
	}
	if n := k.resolved.Load() - before; n != 1 {
		t.Errorf("resolved %d times for 100 denials", n)
	}

	// And it is read again after a while even if nothing is wrong.
	p.misbehave(basic("two"))
	check(t, r, image)
	before = k.resolved.Load()
	tick.advance(keepCredential)
	check(t, r, image)
	if n := k.resolved.Load() - before; n != 1 {
		t.Errorf("resolved %d times in %v", n, keepCredential)
	}
}

type fixed struct {
	auth authn.Authenticator
	err  error
}

func (k fixed) Resolve(authn.Resource) (authn.Authenticator, error) { return k.auth, k.err }

// A denial of anonymous access in the place of a credential that can't be had
// is nobody's verdict on the image.
func TestUnavailableCredential(t *testing.T) {
	p := newProxy(t)
	image := p.push(t, "app/web")
	r, _ := newTestRemote(t, p, RemoteOptions{Keychain: fixed{auth: &unavailable{"no credential could be had from AWS"}}})
	if got := check(t, r, image); got.Verdict != Present {
		t.Errorf("public: %+v", got)
	}
	p.misbehave(basic("x"))
	if got := check(t, r, image); got != (Result{Verdict: Unreachable, Reason: "no credential could be had from AWS"}) {
		t.Errorf("private: %+v", got)
	}
}

func TestConfigErrorIsNoVerdict(t *testing.T) {
	p := newProxy(t)
	mistake := &ConfigError{File: "config.json", Line: 3, Problem: "p", Fix: "f"}
	r, _ := newTestRemote(t, p, RemoteOptions{Keychain: fixed{err: mistake}})
	for _, c := range []Checker{r, NewCache(r, CacheOptions{})} {
		result, err := c.Check(context.Background(), p.push(t, "app/web"))
		var config *ConfigError
		if !errors.As(err, &config) || result != (Result{}) {
			t.Errorf("%+v, %v", result, err)
		}
		if err != nil && err.Error() != "config.json:3: p; f" {
			t.Errorf("%v", err)
		}
	}
	p.seen()
	images := append(imagesOf(p.host(), 100), p.push(t, "app/web"))
	if results, err := All(context.Background(), r, images, 4, nil); !errors.Is(err, mistake) || results != nil {
		t.Errorf("All: %v, %v", results, err)
	}
	if got := p.seen(); len(got) != 0 {
		t.Errorf("asked without the credential: %v", got)
	}
}

func TestPerHost(t *testing.T) {
	p := newProxy(t)
	var now, most atomic.Int64
	p.misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		n := now.Add(1)
		for {
			m := most.Load()
			if n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		time.Sleep(time.Millisecond)
		next.ServeHTTP(w, r)
		now.Add(-1)
	})
	r, _ := newTestRemote(t, p, RemoteOptions{PerHost: 3})
	if _, err := All(context.Background(), r, imagesOf(p.host(), 50), 20, nil); err != nil {
		t.Fatal(err)
	}
	if got := most.Load(); got != 3 {
		t.Errorf("%d requests at once, want 3", got)
	}
}

func TestUserAgent(t *testing.T) {
	p := newProxy(t)
	p.misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if got := r.UserAgent(); !strings.HasPrefix(got, "pin-cmp") {
			t.Errorf("%s %s by %q", r.Method, r.URL.Path, got)
		}
		onManifest("", status(404, ""))(w, r, next)
	})
	r, _ := newTestRemote(t, p, RemoteOptions{})
	check(t, r, p.missing("app/web"))
}

func TestOptions(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ path, want string }{
		{dir + "/nowhere.pem", "/nowhere.pem: the file with the certificates to trust can't be read; make it readable for the user that runs pin-cmp"},
		{write(t, dir+"/empty.pem", "hello"), "/empty.pem: the file holds no certificate; give the CA's certificate as PEM, with its BEGIN CERTIFICATE line"},
	} {
		_, err := NewRemote(RemoteOptions{CABundle: tt.path})
		var config *ConfigError
		if !errors.As(err, &config) || err.Error() != dir+tt.want {
			t.Errorf("%v, want %s", err, dir+tt.want)
		}
	}
	scope := func(platforms ...string) string {
		r, err := NewRemote(RemoteOptions{Platforms: platforms})
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.Scope(context.Background(), imagesOf("ghcr.io", 1)[0])
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if scope("linux/amd64", "linux/arm64") != scope("linux/aarch64", "linux/amd64", "linux/amd64") {
		t.Error("the same platforms in another order are another scope")
	}
	if scope("linux/amd64") == scope() || scope("linux/arm/v7") == scope("linux/arm/v6") {
		t.Error("other platforms are the same scope")
	}
}
