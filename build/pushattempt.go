package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// How often something is tried. The waits between double from 500 ms to 8 s: 3.5 s
// in all for a question, which somebody waits for, and about half a minute for a
// push, which has a build to lose, and outlives a registry's restart so. go-containerregistry's own
// attempts know no Retry-After, sleep on when the context has ended, and give up
// on an upload session that is lost.
const (
	questionAttempts = 4
	pushAttempts     = 7
	firstPause       = 500 * time.Millisecond
	// longestWait is the longest Retry-After that is waited for. A registry that
	// asks for more gets the question again in another run.
	longestWait = time.Minute
	// maxAnswer bounds an answer held in memory. The distribution specification
	// asks registries to take manifests up to 4 MiB.
	maxAnswer = 8 << 20
	// maxRedirects is a little less than net/http's own limit, which
	// go-containerregistry takes away by replacing the function that enforces it
	// (pkg/v1/remote/fetcher.go, checkRedirectSSRF).
	maxRedirects = 8
	// storing is how many bytes a second a registry is trusted to put away before
	// it answers the end of an upload: it may read the blob again, or have its
	// storage copy it.
	storing = 8 << 20
)

// fault is an attempt that brought no usable answer.
type fault struct {
	status int                    // 0: there was no answer
	codes  []transport.Diagnostic // the registry's own words for the status
	err    error                  // why there was none, or what is wrong with it
	wait   time.Duration          // Retry-After
	again  bool                   // another attempt may do better
}

// Error says it in words that are the same every time.
func (f *fault) Error() string {
	switch {
	case f.status == http.StatusTooManyRequests:
		return "it is throttling (429): run this again later"
	case f.status != 0:
		return fmt.Sprintf("it answered %s: run this again later", answered(f.status, f.codes))
	}
	if reason := noAnswer(f.err); reason != "" {
		return reason
	}
	var own *complaint
	if errors.As(f.err, &own) {
		return own.text
	}
	return "the answer is not what the protocol allows"
}

// Unwrap returns why there was no answer.
func (f *fault) Unwrap() error { return f.err }

// complaint is our own finding about an answer.
type complaint struct{ text string }

func (c *complaint) Error() string { return c.text }

var (
	errTooLarge  = &complaint{"the registry's answer is larger than 8 MiB"}
	errRedirects = &complaint{"the registry redirects without end"}
	errDowngrade = &complaint{"the registry redirects from https to http"}
)

// idle is the end of an attempt in which nothing happened for too long.
type idle struct{}

func (idle) Error() string   { return "nothing happened" }
func (idle) Timeout() bool   { return true }
func (idle) Temporary() bool { return true }

// wire carries the requests to one registry, and to where that sends them: its
// token server, its storage. It is below the sign-in, so that a token is asked
// for as patiently as anything else.
//
// What can be asked again is, until an answer comes that says something; only a
// blob's upload is left to start over to who sends it, because the registry has
// to be asked first what it has got. A fault that outlived its attempts travels
// through go-containerregistry as an error, so that no layer on the way takes it
// for an answer.
type wire struct {
	registry *Registry
	inner    http.RoundTripper
	host     string // host[:port] as in URLs
	plain    bool
	upload   *upload // nil but for a push
}

func (r *Registry) wire(registry name.Registry) *wire {
	inner := r.Transport
	if inner == nil {
		inner = remote.DefaultTransport
	}
	host := registry.RegistryStr()
	plain := r.PlainHTTP[host]
	return &wire{registry: r, inner: scheme{inner: inner, host: host, plain: plain}, host: host, plain: plain}
}

// RoundTrip implements [http.RoundTripper]. The answer's body is in memory.
func (w *wire) RoundTrip(in *http.Request) (*http.Response, error) {
	if in.Body != nil {
		defer func() { _ = in.Body.Close() }()
	}
	first, redirects := origin(in)
	switch {
	case redirects > maxRedirects:
		return nil, &fault{err: errRedirects}
	case in.URL.Host != w.host && in.URL.Scheme != "https" && !w.plain:
		return nil, &fault{err: errDowngrade}
	case redirects == 0 && first.URL.Path == "/v2/" && in.URL.Host == w.host:
		answer, err := w.registry.pings.get(in.Context(), w.host, forever, func() (*recording, error) {
			resp, err := w.send(in)
			if err != nil {
				return nil, err
			}
			defer func() { _ = resp.Body.Close() }()
			return record(resp)
		})
		if err != nil {
			return nil, err
		}
		return answer.play(in), nil
	}
	return w.send(in)
}

// send makes attempts.
func (w *wire) send(in *http.Request) (*http.Response, error) {
	ctx := in.Context()
	pace, err := w.registry.hosts.get(ctx, in.URL.Host, forever, func() (*pacer, error) { return &pacer{}, nil })
	if err != nil {
		return nil, err
	}
	attempts := questionAttempts
	if w.upload != nil {
		attempts = pushAttempts
	}
	var last *fault
	for tries := 1; ; tries++ {
		if f := w.upload.lost(); f != nil {
			return nil, f
		}
		if err := wait(ctx, later(pace.opens(), w.upload.resumes()), last); err != nil {
			return nil, w.upload.give(err)
		}
		resp, f := w.once(in)
		switch {
		case f == nil:
			return resp, nil
		case errors.Is(ctx.Err(), context.Canceled):
			return nil, ctx.Err()
		case ctx.Err() != nil && last != nil:
			return nil, w.upload.give(last) // what the registry said, rather than that time was up
		case in.Method == http.MethodDelete:
			return nil, f // a courtesy
		}
		last = f
		if f.wait > longestWait || w.upload.stalled(f, w.registry.timeout()) {
			f.again = false
		}
		if !f.again {
			return nil, w.upload.give(f)
		}
		pace.hold(time.Now().Add(f.wait))
		if startsOver(in) {
			w.upload.failed(f, w.registry.backoff)
			return nil, f
		}
		if tries == attempts {
			return nil, w.upload.give(f)
		}
		if f.wait == 0 {
			if err := wait(ctx, time.Now().Add(w.registry.backoff(tries)), f); err != nil {
				return nil, w.upload.give(err)
			}
		}
	}
}

// startsOver tells whether a request is the part of an upload that can't be sent
// again by itself.
func startsOver(in *http.Request) bool {
	return in.Method == http.MethodPatch || in.Method == http.MethodPut && !isManifest(in)
}

// backoff is the wait after a number of attempts, spread by a quarter to either
// side so that many clients don't return together.
func (r *Registry) backoff(tries int) time.Duration {
	pause := r.pause
	if pause <= 0 {
		pause = firstPause
	}
	pause <<= min(tries-1, 4)
	return time.Duration(float64(pause) * (0.75 + rand.Float64()/2))
}

// wait waits, unless the context ends before: then its error, or at once the
// fault that was to be waited for.
func wait(ctx context.Context, until time.Time, last *fault) error {
	left := time.Until(until)
	if left <= 0 {
		return ctx.Err()
	}
	if deadline, ok := ctx.Deadline(); ok && until.After(deadline) {
		if last == nil { // it was another request that was asked to wait
			last = &fault{status: http.StatusTooManyRequests}
		}
		return last
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// once makes one attempt and reads the whole answer, so that one that stops
// half-way is a fault like any other.
func (w *wire) once(in *http.Request) (*http.Response, *fault) {
	ctx, cancel := context.WithCancelCause(in.Context())
	defer cancel(nil)
	patience := w.registry.timeout()
	if in.Method == http.MethodDelete {
		patience = min(patience, 5*time.Second)
	} else if w.upload == nil {
		patience /= questionAttempts // a connection that hangs leaves time for another
	}
	closing := patience
	if in.ContentLength > 0 || startsOver(in) {
		// What was taken from us may be on its way still: a few MiB in buffers.
		closing = 2*patience + time.Duration(w.upload.size(in)/storing)*time.Second
	}
	clock := time.AfterFunc(patience, func() { cancel(idle{}) })
	defer clock.Stop()
	progress := func(done bool) {
		if done {
			clock.Reset(closing)
		} else {
			clock.Reset(patience)
		}
	}
	progress(in.Body == nil || in.Body == http.NoBody)

	out := in.Clone(ctx)
	var sent *sentBody
	if in.Body != nil && in.Body != http.NoBody {
		body := in.Body
		if in.GetBody != nil && !w.upload.opens(in) {
			var err error
			if body, err = in.GetBody(); err != nil {
				return nil, unreadable(err)
			}
		}
		watch := func(body io.ReadCloser) *sentBody {
			b := &sentBody{ReadCloser: body, progress: progress}
			if in.Method == http.MethodPatch {
				b.upload = w.upload
			}
			return b
		}
		sent = watch(body)
		out.Body = sent
		if in.GetBody != nil {
			// net/http sends again by itself what met a connection that was idle
			// for too long.
			out.GetBody = func() (io.ReadCloser, error) {
				body, err := in.GetBody()
				if err != nil {
					return nil, err
				}
				sent.forget()
				sent = watch(body)
				return sent, nil
			}
		}
	}
	resp, f := w.exchange(ctx, in, out)
	if err := sent.failure(); f != nil && err != nil && in.Context().Err() == nil {
		f = unreadable(err)
	}
	if f != nil || resp.StatusCode >= http.StatusMultipleChoices {
		sent.forget()
	}
	w.upload.note(in, resp, f)
	return resp, f
}

func (w *wire) exchange(ctx context.Context, in, out *http.Request) (*http.Response, *fault) {
	resp, err := w.inner.RoundTrip(out)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		var body []byte
		if out.Method != http.MethodHead {
			body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
		}
		if err == nil && len(body) > maxAnswer {
			return nil, &fault{err: errTooLarge}
		}
		if err == nil {
			resp.Body = io.NopCloser(bytes.NewReader(body))
			return resp, w.check(in, resp, body)
		}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = cause // the transport's own words for it may be a closed connection
	}
	return nil, &fault{err: err, again: !permanent(err)}
}

// unreadable is a failure on our side.
func unreadable(err error) *fault {
	reason := noAnswer(err)
	if reason == "" {
		reason = err.Error()
	}
	return &fault{err: &complaint{"what is to be sent can't be read: " + reason}}
}

// permanent tells whether another attempt fails likewise.
func permanent(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch)
}

// check finds fault with an answer. The statuses are those that
// go-containerregistry retries (pkg/v1/remote/options.go): 499 is nginx's "client
// closed request", 522 Cloudflare's "connection timed out".
func (w *wire) check(in *http.Request, resp *http.Response, body []byte) *fault {
	var words transport.Error
	if resp.StatusCode >= http.StatusBadRequest {
		_ = json.Unmarshal(body, &words)
	}
	f := &fault{status: resp.StatusCode, codes: words.Errors, again: true, wait: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout, 499, 522:
		return f
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil
	}
	if in.Method == http.MethodPut && resp.StatusCode < http.StatusMultipleChoices {
		return otherDigest(in, resp)
	}
	for _, d := range words.Errors {
		if w.upload != nil && passingCodes[d.Code] {
			return f
		}
	}
	return nil
}

// passingCodes are what a registry says of an upload that is to start over: its
// session is gone (another replica has it, or it was purged), or is not where we
// think; and of a manifest whose blobs have arrived but are not seen yet.
var passingCodes = map[transport.ErrorCode]bool{
	transport.BlobUploadUnknownErrorCode:   true,
	transport.BlobUploadInvalidErrorCode:   true,
	transport.ManifestBlobUnknownErrorCode: true,
	transport.TooManyRequestsErrorCode:     true,
	transport.UnavailableErrorCode:         true,
}

// otherDigest finds out whether the registry took something else than what was
// sent.
func otherDigest(in *http.Request, resp *http.Response) *fault {
	theirs := resp.Header.Get("Docker-Content-Digest")
	ours := in.URL.Query().Get("digest")
	if isManifest(in) {
		ours = ""
		if body, err := in.GetBody(); err == nil {
			hash := sha256.New()
			if _, err := io.Copy(hash, body); err == nil {
				ours = "sha256:" + hex.EncodeToString(hash.Sum(nil))
			}
		}
	}
	if theirs == "" || theirs == ours {
		return nil
	}
	return &fault{err: &complaint{"the registry gave what was pushed another digest than it has, so nothing can be pinned by it"}}
}

// retryAfter reads both forms of the header: seconds and an HTTP date. What it
// can't read is 0.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if seconds, err := strconv.ParseUint(header, 10, 63); err == nil {
		return time.Duration(min(seconds, 1<<30)) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pacer holds requests back for a while.
type pacer struct{ until atomic.Pointer[time.Time] }

func (p *pacer) hold(until time.Time) {
	for {
		known := p.until.Load()
		if known != nil && known.After(until) || p.until.CompareAndSwap(known, &until) {
			return
		}
	}
}

func (p *pacer) opens() time.Time {
	if until := p.until.Load(); until != nil {
		return *until
	}
	return time.Time{}
}

// sentBody is a body on its way. It counts what is taken from it for the upload,
// if there is one.
type sentBody struct {
	io.ReadCloser
	progress func(done bool)
	upload   *upload

	mu    sync.Mutex
	count int64
	gone  bool // the attempt is over; a late read doesn't count
	err   error
}

// Read implements io.Reader.
func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 || err == io.EOF {
		b.progress(err == io.EOF)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return n, err
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	if b.upload != nil {
		b.count += int64(n)
		b.upload.add(int64(n))
	}
	return n, err
}

// Close implements io.Closer. What was counted stays.
func (b *sentBody) Close() error {
	b.mu.Lock()
	b.gone = true
	b.mu.Unlock()
	return b.ReadCloser.Close()
}

// failure returns why it could not be read to its end.
func (b *sentBody) failure() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// forget takes back what was counted: it was sent in vain.
func (b *sentBody) forget() {
	if b == nil || b.upload == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = true
	b.upload.add(-b.count)
	b.count = 0
}

// recording is an answer that can be given again.
type recording struct {
	status int
	header http.Header
	body   []byte
	final  *http.Request
}

func record(resp *http.Response) (*recording, error) {
	body, err := io.ReadAll(resp.Body)
	return &recording{resp.StatusCode, resp.Header, body, resp.Request}, err
}

func (r *recording) play(in *http.Request) *http.Response {
	request := r.final
	if request == nil {
		request = in
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", r.status, http.StatusText(r.status)), StatusCode: r.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.header.Clone(), Body: io.NopCloser(bytes.NewReader(r.body)), ContentLength: int64(len(r.body)),
		Request: request,
	}
}

// origin returns the request that one was redirected from, and in how many steps.
func origin(request *http.Request) (first *http.Request, redirects int) {
	for request.Response != nil && request.Response.Request != nil {
		request = request.Response.Request
		redirects++
	}
	return request, redirects
}

func isManifest(request *http.Request) bool {
	return strings.HasPrefix(request.URL.Path, "/v2/") && strings.Contains(request.URL.Path, "/manifests/")
}
