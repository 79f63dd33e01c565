package build

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// Registry is what a build needs of registries: what a tag means, that a digest
// is there, and a tag for it.
type Registry struct {
	// Presence says whether a digest, and its platforms, can be pulled.
	Presence presence.Checker
	// Keychain and Transport are for tags; PlainHTTP are the hosts that are
	// asked over HTTP, and no others are.
	Keychain  authn.Keychain
	Transport http.RoundTripper
	PlainHTTP map[string]bool
	// Timeout bounds each question about a tag; 0 is 40 s.
	Timeout time.Duration

	backoff *remote.Backoff // between attempts; nil is the library's, tests wait less
}

var (
	// ErrTagTaken is a tag that names another digest already.
	ErrTagTaken = errors.New("the tag is taken")
	// ErrUndecided means: the registry gave no answer, or none that says anything about
	// the image. The same run may succeed later.
	ErrUndecided = errors.New("the registry could not say")
)

// Resolve returns the digest that a tag means now, of the index where the image
// has one.
func (r *Registry) Resolve(ctx context.Context, repository, tag string) (string, error) {
	digest, err := r.tagged(ctx, repository, tag)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s:%s: %w", repository, tag, explain(ctx, err))
	case digest == "":
		return "", fmt.Errorf("%s:%s: the registry has no such tag", repository, tag)
	}
	if err := r.Confirm(ctx, repository, digest); err != nil {
		return "", err
	}
	return digest, nil
}

// Confirm returns nil if the registry holds the digest.
func (r *Registry) Confirm(ctx context.Context, repository, digest string) error {
	image := presence.Image{Repository: repository, Digest: digest}
	result, err := r.Presence.Check(ctx, image)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", image, err)
	case result.Stale, result.Verdict == presence.Throttled, result.Verdict == presence.Unreachable:
		return fmt.Errorf("%s: %w: %s", image, ErrUndecided, result.Reason)
	case result.Verdict != presence.Present:
		return fmt.Errorf("%s is %s: %s", image, result.Verdict, result.Reason)
	}
	return nil
}

// Keep gives the digest a tag. A tag that names another digest is ErrTagTaken:
// somebody released that version already.
func (r *Registry) Keep(ctx context.Context, repository, tag, digest string) error {
	held, err := r.tagged(ctx, repository, tag)
	if err != nil {
		return fmt.Errorf("%s:%s: %w", repository, tag, explain(ctx, err))
	}
	if held == digest {
		return nil
	}
	if held != "" {
		return fmt.Errorf("%s:%s names %s: %w; choose the next version", repository, tag, held, ErrTagTaken)
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	ref, options, err := r.reference(ctx, repository)
	if err != nil {
		return err
	}
	descriptor, err := remote.Get(ref.Digest(digest), options...)
	if err != nil {
		return fmt.Errorf("%s@%s: %w", repository, digest, explain(ctx, err))
	}
	if err := remote.Tag(ref.Tag(tag), descriptor, options...); err != nil {
		return fmt.Errorf("%s:%s can't be pushed: %w", repository, tag, explain(ctx, err))
	}
	return nil
}

// tagged returns the digest of a tag, "" if there is no such tag.
func (r *Registry) tagged(ctx context.Context, repository, tag string) (string, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	ref, options, err := r.reference(ctx, repository)
	if err != nil {
		return "", err
	}
	descriptor, err := remote.Head(ref.Tag(tag), options...)
	if err == nil {
		return descriptor.Digest.String(), nil
	}
	if absent(err) {
		return "", nil
	}
	if !wantsGet(err) {
		return "", err
	}
	got, err := remote.Get(ref.Tag(tag), options...)
	if absent(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return got.Digest.String(), nil
}

// absent tells whether the registry said that it has no such thing.
func absent(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

// wantsGet tells whether a registry that has answered HEAD like this may know
// more when it is asked with GET: it does not have HEAD, or leaves the headers
// out.
func wantsGet(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.StatusCode == http.StatusMethodNotAllowed || answer.StatusCode == http.StatusNotImplemented || answer.StatusCode == http.StatusBadRequest
	}
	var exchange net.Error
	return !errors.As(err, &exchange) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

func (r *Registry) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = 40 * time.Second
	}
	return context.WithTimeout(ctx, timeout)
}

func (r *Registry) reference(ctx context.Context, repository string) (name.Repository, []remote.Option, error) {
	var options []name.Option
	ref, err := name.NewRepository(repository)
	if err != nil {
		return name.Repository{}, nil, fmt.Errorf("%s: %w", repository, err)
	}
	plain := r.PlainHTTP[ref.RegistryStr()]
	if plain {
		options = append(options, name.Insecure)
	}
	if ref, err = name.NewRepository(repository, options...); err != nil {
		return name.Repository{}, nil, fmt.Errorf("%s: %w", repository, err)
	}
	inner := r.Transport
	if inner == nil {
		inner = remote.DefaultTransport
	}
	remoteOptions := []remote.Option{
		remote.WithContext(ctx),
		remote.WithTransport(scheme{inner: inner, host: ref.RegistryStr(), plain: plain}),
	}
	if r.backoff != nil {
		remoteOptions = append(remoteOptions, remote.WithRetryBackoff(*r.backoff))
	}
	if r.Keychain != nil {
		remoteOptions = append(remoteOptions, remote.WithAuthFromKeychain(r.Keychain))
	}
	return ref, remoteOptions, nil
}

// scheme asks the registry as the policy says, whatever the library thinks of
// loopback and private addresses (pkg/name/registry.go, Scheme) and tries first
// (pkg/v1/remote/transport/ping.go).
type scheme struct {
	inner http.RoundTripper
	host  string
	plain bool
}

// RoundTrip implements [http.RoundTripper].
func (s scheme) RoundTrip(request *http.Request) (*http.Response, error) {
	want := "https"
	if s.plain {
		want = "http"
	}
	if request.URL.Host == s.host && request.URL.Scheme != want {
		request = request.Clone(request.Context())
		request.URL.Scheme = want
	}
	return s.inner.RoundTrip(request)
}

// explain puts a failed exchange into words that are the same every time: Go's
// own hold ports and addresses. What may be otherwise the next time is
// [ErrUndecided].
func explain(ctx context.Context, err error) error {
	var answer *transport.Error
	if errors.As(err, &answer) {
		switch status := answer.StatusCode; {
		case status == http.StatusUnauthorized || status == http.StatusForbidden:
			return fmt.Errorf("the registry denies it (%d): log in, or check the spelling", status)
		case status == http.StatusTooManyRequests:
			return fmt.Errorf("%w: it is throttling (429): run this again later", ErrUndecided)
		case status >= http.StatusInternalServerError || status == http.StatusRequestTimeout:
			return fmt.Errorf("%w: it answered %d: run this again later", ErrUndecided, status)
		default:
			return fmt.Errorf("the registry answered %d", status)
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	if reason := noAnswer(err); reason != "" {
		return fmt.Errorf("%w: %s", ErrUndecided, reason)
	}
	return err
}

// noAnswer returns why there was no answer, "" if there was one.
func noAnswer(err error) string {
	var dns *net.DNSError
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host; check the spelling"
	case errors.As(err, &dns):
		return "the name lookup failed"
	case errors.As(err, &authority), errors.As(err, &verification):
		return "its certificate is not trusted; name the CA in the policy, presence.caBundle"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return "it speaks plain HTTP; name it in --plain-http or in the policy, if it should"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to the host"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "the connection ended before the answer did"
	}
	return ""
}
