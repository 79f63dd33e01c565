package registry

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// faulty is a reverse proxy in front of the registry that may answer in its
// place, or change its answers.
type faulty struct {
	*httptest.Server
	answer atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	change atomic.Pointer[func(*http.Response)]
}

func (f *faulty) set(answer func(http.ResponseWriter, *http.Request) bool, change func(*http.Response)) {
	f.answer.Store(&answer)
	f.change.Store(&change)
}

func newFaulty(t *testing.T, r *dockerRegistry) *faulty {
	t.Helper()
	f := &faulty{}
	f.set(nil, nil)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(&url.URL{Scheme: "https", Host: r.host})
			pr.Out.Host = pr.In.Host
		},
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.pool, MinVersion: tls.VersionTLS12}},
		ModifyResponse: func(resp *http.Response) error {
			if change := *f.change.Load(); change != nil { //nolint:bodyclose // the proxy closes it
				change(resp)
			}
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if answer := *f.answer.Load(); answer != nil && answer(w, req) {
			return
		}
		proxy.ServeHTTP(w, req)
	}))
	f.TLS = &tls.Config{Certificates: []tls.Certificate{r.cert}, MinVersion: tls.VersionTLS12}
	f.Config.ErrorLog = proxy.ErrorLog
	f.StartTLS()
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

func atManifest(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }

// status answers for manifests.
func status(code int, body string, headers ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !atManifest(r) {
			return false
		}
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
		return true
	}
}

func reset(w http.ResponseWriter, r *http.Request) bool {
	if !atManifest(r) {
		return false
	}
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	if t, ok := conn.(*tls.Conn); ok {
		_ = t.NetConn().(*net.TCPConn).SetLinger(0)
		_ = t.NetConn().Close()
	}
	return true
}

func slowBody(w http.ResponseWriter, r *http.Request) bool {
	if !atManifest(r) || r.Method == http.MethodHead {
		return false
	}
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, "{")
	w.(http.Flusher).Flush()
	<-r.Context().Done()
	return true
}

// noDigest takes away what the HEAD would be believed by.
func noDigest(resp *http.Response) {
	if atManifest(resp.Request) {
		resp.Header.Del("Docker-Content-Digest")
	}
}

// truncate ends the body half-way, under a length that says so.
func truncate(honest bool) func(*http.Response) {
	return func(resp *http.Response) {
		noDigest(resp)
		if !atManifest(resp.Request) || resp.Request.Method == http.MethodHead {
			return
		}
		half := resp.ContentLength / 2
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, half), resp.Body}
		if honest {
			resp.ContentLength = half
			resp.Header.Del("Content-Length")
		}
	}
}

func TestFaults(t *testing.T) {
	r := start(t)
	pushed := r.push(t, "team/web")
	absent := "sha256:" + strings.Repeat("0", 64)
	options := presence.RemoteOptions{
		Keychain: keychain{&authn.Basic{Username: user, Password: password}},
		CABundle: r.ca,
	}
	const html = "<html>404</html>"
	for _, tt := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request) bool
		change func(*http.Response)
		want   presence.Verdict
		reason string
	}{
		{"none", nil, nil, presence.Present, ""},
		{"no digest header", nil, noDigest, presence.Present, ""},
		{"wrong digest header", nil, func(resp *http.Response) {
			if atManifest(resp.Request) {
				resp.Header.Set("Docker-Content-Digest", absent)
			}
		}, presence.Present, ""},
		{"401", status(401, ""), nil, presence.Denied, "the registry answered 401 unauthorized, asked with its credentials"},
		{"403", status(403, ""), nil, presence.Denied, "the registry answered 403 forbidden, asked with its credentials"},
		{"404", status(404, `{"errors":[{"code":"NAME_UNKNOWN"}]}`), nil, presence.Absent, "the registry answered 404 not found (NAME_UNKNOWN)"},
		{"404 HTML", status(404, html), nil, presence.Absent, "the registry answered 404 not found"},
		{"429 with Retry-After", status(429, "", "Retry-After", "60"), nil, presence.Throttled, "the registry answered 429 too many requests"},
		{"429 without", status(429, ""), nil, presence.Throttled, "the registry answered 429 too many requests"},
		{"500", status(500, ""), nil, presence.Unreachable, "server error 500"},
		{"503 with Retry-After", status(503, "", "Retry-After", "60"), nil, presence.Unreachable, "server error 503"},
		{"reset", reset, nil, presence.Unreachable, ""},
		{"slow body", slowBody, noDigest, presence.Unreachable, "no answer in time"},
		{"truncated", nil, truncate(true), presence.Unreachable, "the registry sent a manifest that doesn't match its digest"}, //nolint:bodyclose // the same
		{"truncated in transit", nil, truncate(false), presence.Unreachable, "the connection ended before the answer did"},     //nolint:bodyclose // the same
		{"another manifest", func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodGet && status(200, "{}", "Content-Type", "application/vnd.oci.image.manifest.v1+json")(w, r)
		}, noDigest, presence.Unreachable, "the registry sent a manifest that doesn't match its digest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t, r)
			there := presence.Image{Repository: strings.TrimPrefix(f.URL, "https://") + "/team/web", Digest: pushed.Digest}
			missing := presence.Image{Repository: there.Repository, Digest: absent}
			now := time.Now()
			cache := presence.NewCache(newRemote(t, options), presence.CacheOptions{
				StaleIfError: time.Hour, Now: func() time.Time { return now },
			})
			if got := check(t, cache, there, presence.Present); got != (presence.Result{Verdict: presence.Present}) {
				t.Fatalf("without the fault: %+v", got)
			}
			f.set(tt.answer, tt.change)
			got := check(t, newRemote(t, options), there, tt.want)
			if got.Verdict != tt.want || tt.reason != "" && got.Reason != tt.reason {
				t.Errorf("got %+v, want %s (%s)", got, tt.want, tt.reason)
			}
			if got := check(t, newRemote(t, options), missing, tt.want); got.Verdict == presence.Present {
				t.Errorf("what isn't there passes: %+v", got)
			}
			now = now.Add(time.Hour - time.Minute)
			excused := !tt.want.Decided()
			if got := check(t, cache, there, tt.want); got.Stale != excused || excused != (got.Verdict == presence.Present) && tt.want != presence.Present {
				t.Errorf("inside the window: %+v", got)
			}
			now = now.Add(2 * time.Hour)
			if got := check(t, cache, there, tt.want); got.Stale || got.Verdict == presence.Present != (tt.want == presence.Present) {
				t.Errorf("after the window: %+v", got)
			}
		})
	}
}
