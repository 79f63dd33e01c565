package presence

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const html = "<html><body>default backend - 404</body></html>"

// faults is every way of going wrong that the proxy knows, and what is said
// about an image that is there.
var faults = []struct {
	name    string
	fault   faultFunc
	verdict Verdict
	reason  string
}{
	// Answers of the registry.
	{"401", onManifest("", status(401, `{"errors":[{"code":"UNAUTHORIZED"}]}`)), Denied, "the registry answered 401 unauthorized, asked without credentials"},
	{"401 everywhere", status(401, "", "WWW-Authenticate", `Basic realm="x"`), Denied, "the registry answered 401 unauthorized, asked without credentials"},
	{"403", onManifest("", status(403, `{"errors":[{"code":"DENIED"}]}`)), Denied, "the registry answered 403 forbidden, asked without credentials"},
	{"403 at the ping", status(403, ""), Denied, "the registry answered 403 forbidden, asked without credentials"},
	{"404 manifest unknown", onManifest("", status(404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"x"}]}`)), Absent, "the registry answered 404 not found (MANIFEST_UNKNOWN)"},
	{"404 name unknown", onManifest("", status(404, `{"errors":[{"code":"NAME_UNKNOWN"}]}`)), Absent, "the registry answered 404 not found (NAME_UNKNOWN)"},
	{"404 as Harbor says it", onManifest("", status(404, `{"errors":[{"code":"NOT_FOUND"}]}`)), Absent, "the registry answered 404 not found (NOT_FOUND)"},
	{"404 with a denial", onManifest("", status(404, `{"errors":[{"code":"DENIED"}]}`)), Denied, "the registry answered 404 not found, asked without credentials"},
	{"404 without words, registry there", onManifest("", status(404, "")), Absent, "the registry answered 404 not found"},
	{"404 with HTML, registry there", onManifest("", status(404, html)), Absent, "the registry answered 404 not found"},
	{"404 with an error without a code", onManifest("", status(404, `{"errors":[{"status":404}]}`)), Absent, "the registry answered 404 not found"},

	// Answers of something else.
	{"404 HTML everywhere", afterPing(status(404, html)), Unreachable, "404 from something that doesn't answer as a registry"},
	{"404 for manifests, 200 HTML for the rest", afterPing(onManifestElse(status(404, html), status(200, html))), Unreachable, "404 from something that doesn't answer as a registry"},
	{"404 at the ping", status(404, html), Unreachable, "the host doesn't answer as a registry: 404 not found for /v2/"},
	{"200 HTML everywhere", status(200, html, "Content-Type", "text/html"), Unreachable, reasonWrongBody},
	{"400", onManifest("", status(400, "")), Unreachable, "the registry answered 400 bad request for the manifest"},
	{"204", onManifest("", status(204, "")), Unreachable, "the registry answered 204 no content for the manifest"},
	{"302 to nowhere", onManifest("", status(302, "")), Unreachable, ""},

	// Too much.
	{"429 with seconds", onManifest("", status(429, "", "Retry-After", "7")), Throttled, reasonThrottled},
	{"429 with a date", onManifest("", status(429, "", "Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT")), Throttled, reasonThrottled},
	{"429 with a far date", onManifest("", status(429, "", "Retry-After", "Fri, 31 Dec 2999 23:59:59 GMT")), Throttled, reasonThrottled},
	{"429 with nothing", onManifest("", status(429, "")), Throttled, reasonThrottled},
	{"429 with nonsense", onManifest("", status(429, "", "Retry-After", "soon")), Throttled, reasonThrottled},
	{"429 huge", onManifest("", status(429, "", "Retry-After", "99999999999999999999")), Throttled, reasonThrottled},
	{"429 at the ping", status(429, "", "Retry-After", "3600"), Throttled, reasonThrottled},
	{"too many requests with another status", onManifest("", status(400, `{"errors":[{"code":"TOOMANYREQUESTS"}]}`)), Throttled, reasonThrottled},

	// Broken.
	{"408", onManifest("", status(408, "")), Unreachable, "server error 408"},
	{"500", onManifest("", status(500, "")), Unreachable, "server error 500"},
	{"500 that looks absent", onManifest("", status(500, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`)), Unreachable, "server error 500"},
	{"502", onManifest("", status(502, html)), Unreachable, "server error 502"},
	{"503", onManifest("", status(503, "")), Unreachable, "server error 503"},
	{"503 with Retry-After", onManifest("", status(503, "", "Retry-After", "3")), Unreachable, "server error 503"},
	{"503 with a long Retry-After", onManifest("", status(503, "", "Retry-After", "3600")), Unreachable, "server error 503"},
	{"504", onManifest("", status(504, "")), Unreachable, "server error 504"},
	{"500 at the ping", status(500, ""), Unreachable, "server error 500"},
	{"reset", onManifest("", reset), Unreachable, ""},
	{"reset at the ping", reset, Unreachable, ""},
	{"slow headers", onManifest("", slowHeaders), Unreachable, reasonNoAnswer},
	{"slow body", onManifest("", slowBody), Unreachable, reasonNoAnswer},
	{"redirect loop", onManifest("", redirectLoop), Unreachable, "redirected without end"},
	{"redirect loop at the ping", redirectLoop, Unreachable, "redirected without end"},

	// Lies and accidents: the body has to match the digest.
	{"wrong content", noDigest(func(*http.Request, http.Header, []byte) []byte { return []byte(`{"schemaVersion":2}`) }), Unreachable, reasonWrongBody},
	{"wrong content under the right header", onManifest("", rewritten(func(r *http.Request, h http.Header, _ []byte) []byte {
		if r.Method == http.MethodHead {
			h.Del("Docker-Content-Digest")
		}
		return []byte("{}")
	})), Unreachable, reasonWrongBody},
	{"signed schema 1 under the right header", onManifest("", rewritten(func(r *http.Request, h http.Header, _ []byte) []byte {
		h.Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
		if r.Method == http.MethodHead {
			h.Del("Docker-Content-Digest")
		}
		return []byte(`{"schemaVersion":1}`)
	})), Unreachable, reasonWrongBody},
	{"truncated manifest", noDigest(func(_ *http.Request, _ http.Header, b []byte) []byte { return b[:len(b)/2] }), Unreachable, reasonWrongBody},
	{"truncated in transit", noDigest(func(_ *http.Request, h http.Header, b []byte) []byte {
		h.Set("Content-Length", fmt.Sprint(len(b)))
		return b[:len(b)/2]
	}), Unreachable, "the connection ended before the answer did"},
	{"endless manifest", noDigest(func(*http.Request, http.Header, []byte) []byte { return make([]byte, maxBody+1) }), Unreachable, "answer larger than 8 MiB"},
	{"empty manifest", noDigest(func(*http.Request, http.Header, []byte) []byte { return nil }), Unreachable, reasonWrongBody},

	// The way to sign in.
	{"token 401", bearer(status(401, "")), Denied, "the registry's token server answered 401 unauthorized, asked without credentials"},
	{"token 403", bearer(status(403, "")), Denied, "the registry's token server answered 403 forbidden, asked without credentials"},
	{"token 404", bearer(status(404, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`)), Unreachable, "the registry's token server answered 404 not found"},
	{"token 429", bearer(status(429, "")), Throttled, reasonThrottled},
	{"token 500", bearer(status(500, "")), Unreachable, "server error 500"},
	{"token slow", bearer(slowHeaders), Unreachable, reasonNoAnswer},
	{"token empty", bearer(status(200, "{}")), Unreachable, "the registry's way to sign in can't be followed"},
	{"token HTML", bearer(status(200, html)), Unreachable, "the registry's way to sign in can't be followed"},
	{"token that opens nothing", bearer(status(200, `{"token":"bad"}`)), Denied, "the registry answered 401 unauthorized, asked without credentials"},
	{"realm elsewhere", status(401, "", "WWW-Authenticate", `Bearer realm="http://169.254.169.254/token"`), Unreachable, "the registry's way to sign in can't be followed"},
	{"no realm", status(401, "", "WWW-Authenticate", `Bearer service="x"`), Unreachable, "the registry's way to sign in can't be followed"},
}

// afterPing lets the first request for /v2/ through: a registry that is
// replaced by something else while its sign-in is remembered.
func afterPing(fault faultFunc) faultFunc {
	pinged := make(chan struct{}, 1)
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Path == "/v2/" {
			select {
			case pinged <- struct{}{}:
				next.ServeHTTP(w, r)
				return
			default:
			}
		}
		fault(w, r, next)
	}
}

func onManifestElse(manifest, other faultFunc) faultFunc {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/manifests/") {
			manifest(w, r, next)
			return
		}
		other(w, r, next)
	}
}

// TestFault is the table of faults and verdicts.
func TestFault(t *testing.T) {
	for i, tt := range faults {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t)
			image := p.push(t, "app/web")
			r, _ := newTestRemote(t, p, RemoteOptions{})
			impatient(r, tt.name)
			p.misbehave(faultsAnew(i))
			got := check(t, r, image)
			if got.Verdict != tt.verdict || tt.reason != "" && got.Reason != tt.reason {
				t.Errorf("got %s (%s), want %s (%s)", got.Verdict, got.Reason, tt.verdict, tt.reason)
			}
			if strings.Contains(got.Reason, "127.0.0.1") || strings.Contains(got.Reason, "/token") {
				t.Errorf("reason %q names an address", got.Reason)
			}
		})
	}
}

// faultsAnew returns a fault for one server: afterPing's memory is its own.
func faultsAnew(i int) faultFunc {
	switch faults[i].name {
	case "404 HTML everywhere":
		return afterPing(status(404, html))
	case "404 for manifests, 200 HTML for the rest":
		return afterPing(onManifestElse(status(404, html), status(200, html)))
	}
	return faults[i].fault
}

// oddities are answers that look wrong while the body is right.
var oddities = []struct {
	name  string
	fault faultFunc
}{
	{"no digest header", noDigest(nil)},
	{"wrong digest header", onManifest("", rewritten(func(_ *http.Request, h http.Header, b []byte) []byte {
		h.Set("Docker-Content-Digest", "sha256:"+strings.Repeat("a", 64))
		return b
	}))},
	{"digest header that is none", onManifest("", rewritten(func(_ *http.Request, h http.Header, b []byte) []byte {
		h.Set("Docker-Content-Digest", "yes")
		return b
	}))},
	{"no content type", onManifest("HEAD", rewritten(func(_ *http.Request, h http.Header, b []byte) []byte {
		h["Content-Type"] = nil
		return b
	}))},
	{"strange content type", onManifest("", rewritten(func(_ *http.Request, h http.Header, b []byte) []byte {
		h.Set("Content-Type", "text/plain")
		return b
	}))},
	{"content type with a parameter", onManifest("", rewritten(func(_ *http.Request, h http.Header, b []byte) []byte {
		h.Set("Content-Type", h.Get("Content-Type")+"; charset=utf-8")
		return b
	}))},
	{"HEAD not allowed", onManifest("HEAD", status(405, ""))},
	{"HEAD not found", onManifest("HEAD", status(404, ""))},
	{"good token", bearer(status(200, `{"token":"good"}`))},
	{"good access token", bearer(status(200, `{"access_token":"good"}`))},
	{"unauthorised ping without a challenge", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Path == "/v2/" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	}},
	{"one redirect", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/manifests/") && r.URL.RawQuery == "" {
			http.Redirect(w, r, r.URL.Path+"?again", http.StatusTemporaryRedirect)
			return
		}
		next.ServeHTTP(w, r)
	}},
}

// TestOddity shows that the body decides: an image that is there is found in
// spite of strange headers, one that isn't, isn't.
func TestOddity(t *testing.T) {
	for _, tt := range oddities {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t)
			image := p.push(t, "app/web")
			r, _ := newTestRemote(t, p, RemoteOptions{})
			p.misbehave(tt.fault)
			if got := check(t, r, image); got.Verdict != Present || got.Stale {
				t.Errorf("there: got %s (%s)", got.Verdict, got.Reason)
			}
			if got := check(t, r, p.missing("app/web")); got.Verdict != Absent {
				t.Errorf("missing: got %s (%s)", got.Verdict, got.Reason)
			}
		})
	}
}

// passes shows whether a result opens the gate.
func passes(r Result) bool { return r.Verdict == Present }

// TestNoFaultPasses walks all faults. For an image that is not there, none
// opens the gate. For one that is, and that was seen a while ago, those that
// say nothing about the image do, marked as stale, until the window ends; those
// that say something never do, and what was remembered is gone.
func TestNoFaultPasses(t *testing.T) {
	const window = time.Hour
	for i, tt := range faults {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t)
			image := p.push(t, "app/web")
			r, tick := newTestRemote(t, p, RemoteOptions{})
			c := NewCache(r, CacheOptions{Dir: t.TempDir() + "/cache", StaleIfError: window, Now: tick.now})
			if got := check(t, c, image); !passes(got) || got.Stale {
				t.Fatalf("before the fault: %+v", got)
			}
			seen := tick.now()
			p.misbehave(faultsAnew(i))
			for _, h := range r.hosts {
				if strings.Contains(tt.name, "slow") {
					h.attempt = 30 * time.Millisecond
				}
			}
			r.pullers, r.signed = map[string]*puller{}, map[string]*session{} // sign in anew

			if got := check(t, r, p.missing("app/web")); passes(got) {
				t.Errorf("an image that isn't there passes: %+v", got)
			}
			if got := check(t, c, p.missing("app/web")); passes(got) {
				t.Errorf("an image that was never there passes through the cache: %+v", got)
			}
			tick.advance(seen.Add(window - time.Minute).Sub(tick.now()))
			got := check(t, c, image)
			if want := !tt.verdict.Decided(); passes(got) != want || got.Stale != want {
				t.Errorf("inside the window: %+v", got)
			}
			if got.Stale && got.Reason == "" {
				t.Error("stale without a reason")
			}
			tick.advance(seen.Add(window).Sub(tick.now()))
			if got := check(t, c, image); passes(got) {
				t.Errorf("after the window: %+v", got)
			}
		})
	}
}
