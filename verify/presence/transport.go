package presence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// maxRedirects is a little less than net/http's own limit, which
// go-containerregistry takes away for manifests by replacing the function that
// enforces it (pkg/v1/remote/fetcher.go, checkRedirectSSRF): a loop would go on
// for ever.
const maxRedirects = 8

// NewTransport returns the transport that [RemoteOptions] uses by default, with
// room for perHost connections to one host. It honours the proxies of the
// environment. roots is a PEM file of certificates to trust beside the
// system's, or ""; a [*ConfigError] says what is wrong with it.
func NewTransport(perHost int, roots string) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if roots != "" {
		pem, err := os.ReadFile(roots)
		if err != nil {
			return nil, &ConfigError{
				File: roots, Problem: "the file with the certificates to trust can't be read",
				Fix: "make it readable for the user that runs pin-cmp", Err: err,
			}
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("reading the system's certificates: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, &ConfigError{
				File: roots, Problem: "the file holds no certificate",
				Fix: "give the CA's certificate as PEM, with its BEGIN CERTIFICATE line",
			}
		}
		config.RootCAs = pool
	}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   5 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   perHost,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}, nil
}

// registryTransport is what go-containerregistry sends its requests to one
// registry through, sign-ins included.
//
//   - The scheme is the policy's, whatever the library thinks of loopback and
//     private addresses (pkg/name/registry.go, Scheme).
//   - The answer to /v2/, which tells how to sign in, is remembered: the library
//     asks for it once per repository.
//   - A sign-in is shared by every image of a repository, so the caller that
//     happens to be first can't cancel it for the others (pkg/v1/remote/puller.go,
//     reader.init).
//   - A manifest asked for by digest is hashed as it arrives.
type registryTransport struct {
	host      *host
	authority string // host[:port] as in URLs
	plain     bool

	flights singleflight.Group
	mu      sync.Mutex
	pinged  *recording
}

// recording is an answer that can be given again.
type recording struct {
	status int
	header http.Header
	body   []byte
}

func (r *recording) play(req *http.Request) *http.Response {
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", r.status, http.StatusText(r.status)),
		StatusCode:    r.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        r.header.Clone(),
		Body:          io.NopCloser(bytes.NewReader(r.body)),
		ContentLength: int64(len(r.body)),
		Request:       req,
	}
}

func (t *registryTransport) RoundTrip(in *http.Request) (*http.Response, error) {
	first, redirects := origin(in)
	req := in.Clone(in.Context())
	switch {
	case redirects > maxRedirects:
		return nil, t.refuse(in, errRedirects)
	case req.URL.Host == t.authority:
		req.URL.Scheme = "https"
		if t.plain {
			req.URL.Scheme = "http"
		}
	case req.URL.Scheme != "https" && !t.plain:
		return nil, t.refuse(in, errDowngrade)
	}
	switch {
	case first.URL.Host == t.authority && isManifest(first):
		return t.host.do(req, checkDigest)
	case redirects == 0 && isPing(first) && req.URL.Host == t.authority:
		return t.ping(req)
	}
	ctx, cancel := uncancelled(req.Context())
	defer cancel()
	return t.host.do(req.WithContext(ctx), nil)
}

func (t *registryTransport) refuse(req *http.Request, err error) error {
	deadline, _ := req.Context().Deadline()
	return &outage{fault: networkFault(err), deadline: deadline}
}

// ping answers from memory where it can, and asks once for all who want to
// know at the same time.
func (t *registryTransport) ping(req *http.Request) (*http.Response, error) {
	for {
		t.mu.Lock()
		known := t.pinged
		t.mu.Unlock()
		if known != nil {
			return known.play(req), nil
		}
		answer, err, _ := t.flights.Do("", func() (any, error) { return t.askPing(req) })
		var o *outage
		if errors.As(err, &o) && hasLonger(req.Context(), o) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return answer.(*recording).play(req), nil
	}
}

// askPing asks, and remembers the two answers that tell how to sign in.
func (t *registryTransport) askPing(req *http.Request) (*recording, error) {
	ctx, cancel := uncancelled(req.Context())
	defer cancel()
	resp, err := t.host.do(req.WithContext(ctx), nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	answer := &recording{status: resp.StatusCode, header: resp.Header, body: body}
	if answer.status == http.StatusOK || answer.status == http.StatusUnauthorized {
		t.mu.Lock()
		t.pinged = answer
		t.mu.Unlock()
	}
	return answer, nil
}

// hasLonger tells whether ctx allows to wait longer than whoever suffered o.
func hasLonger(ctx context.Context, o *outage) bool {
	deadline, ok := ctx.Deadline()
	return ok && deadline.After(o.deadline)
}

// uncancelled returns ctx with its values and deadline, but deaf to its
// cancellation.
func uncancelled(ctx context.Context) (context.Context, context.CancelFunc) {
	free := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(free, deadline)
	}
	return context.WithCancel(free)
}

// origin returns the request that req was redirected from, and in how many
// steps.
func origin(req *http.Request) (first *http.Request, redirects int) {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
		redirects++
	}
	return req, redirects
}

func isPing(req *http.Request) bool { return req.URL.Path == "/v2/" }

func isManifest(req *http.Request) bool {
	return strings.HasPrefix(req.URL.Path, "/v2/") && strings.Contains(req.URL.Path, "/manifests/")
}

// checkDigest finds fault with a manifest that isn't the one that was asked
// for. The body alone counts: headers are the registry's claim about itself,
// and go-containerregistry believes one for schema 1 (pkg/v1/remote/fetcher.go,
// fetchManifest).
func checkDigest(resp *http.Response, body []byte) *fault {
	if resp.Request.Method != http.MethodGet || resp.StatusCode != http.StatusOK {
		return nil
	}
	first, _ := origin(resp.Request)
	_, asked, _ := strings.Cut(first.URL.Path, "/manifests/")
	sum := sha256.Sum256(body)
	if asked == "sha256:"+hex.EncodeToString(sum[:]) {
		return nil
	}
	return &fault{verdict: Unreachable, reason: reasonWrongBody, tries: 3, answered: true}
}
