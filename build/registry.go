package build

import (
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
	"net/url"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// Registry is what a build needs of registries: whether it may push, what a tag
// means, that a digest is there, a tag for it, and to push.
//
// It is safe for concurrent use, and meant to be shared within a run: it keeps
// sign-ins, and what it found out about push rights. It is not to be copied.
type Registry struct {
	// Presence says whether a digest, and its platforms, can be pulled.
	Presence presence.Checker
	// Keychain and Transport are for everything else; PlainHTTP are the hosts
	// that are asked over HTTP, and no others are.
	Keychain  authn.Keychain
	Transport http.RoundTripper
	PlainHTTP map[string]bool
	// Timeout bounds each question, and how long a push may go without a byte
	// being accepted; 0 is 40 s. A push as a whole has no limit but its context.
	Timeout time.Duration
	// Progress, if not nil, is told what a push to a repository has got done, in
	// bytes; what the registry had already counts as sent. Of one push it is
	// called by one goroutine at a time, and must not block. sent goes back
	// where something has to be sent again.
	Progress func(repository string, sent, total int64)

	pause time.Duration // the first wait between attempts; 0 is 500 ms, tests wait less

	hosts       memo[*pacer]              // by host[:port]
	pings       memo[*recording]          // by host[:port]
	credentials memo[authn.Authenticator] // by what they are for
	signIns     memo[http.RoundTripper]   // by repository and actions
	permissions memo[error]               // to push, by repository
}

var (
	// ErrTagTaken is a tag that names another digest already.
	ErrTagTaken = errors.New("the tag is taken")
	// ErrTagFixed is a tag that names another digest, in a registry that lets no
	// tag move.
	ErrTagFixed = errors.New("the registry lets no tag move")
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
	return r.setTag(ctx, repository, tag, digest)
}

// tagged returns the digest of a tag, "" if there is no such tag. It takes one
// request where the registry knows HEAD.
func (r *Registry) tagged(ctx context.Context, repository, tag string) (string, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	repo, options, err := r.connected(ctx, repository, transport.PullScope)
	if err != nil {
		return "", err
	}
	descriptor, err := remote.Head(repo.Tag(tag), options...)
	switch {
	case err == nil:
		return descriptor.Digest.String(), nil
	case absent(err):
		return "", nil
	case !wantsGet(err):
		return "", err
	}
	_, digest, err := readManifest(repo.Tag(tag), options)
	if absent(err) {
		return "", nil
	}
	return digest, err
}

// setTag gives the digest a tag, whatever the tag named before.
func (r *Registry) setTag(ctx context.Context, repository, tag, digest string) error {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	repo, options, err := r.connected(ctx, repository, transport.PushScope)
	if err != nil {
		return fmt.Errorf("%s:%s can't be pushed: %w", repository, tag, explain(ctx, err))
	}
	descriptor, err := remote.Get(repo.Digest(digest), options...)
	if err != nil {
		return fmt.Errorf("%s@%s: %w", repository, digest, explain(ctx, err))
	}
	if err := remote.Tag(repo.Tag(tag), descriptor, options...); err != nil {
		reason := explain(ctx, err)
		var answer *transport.Error
		if errors.As(err, &answer) {
			return &refusedTagError{repository: repository, tag: tag, cause: answer, reason: reason}
		}
		return fmt.Errorf("%s:%s can't be pushed: %w", repository, tag, reason)
	}
	return nil
}

// readManifest returns a manifest and the digest of its bytes, whatever the
// registry's headers call it.
func readManifest(ref name.Reference, options []remote.Option) (body []byte, digest string, err error) {
	got, err := remote.Get(ref, options...)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(got.Manifest)
	digest = "sha256:" + hex.EncodeToString(sum[:])
	if asked, ok := ref.(name.Digest); ok && asked.DigestStr() != digest {
		return nil, "", errors.New("the registry sent a manifest that doesn't match its digest")
	}
	return got.Manifest, digest, nil
}

// absent tells whether the registry said that it has no such manifest. A 404 of
// anything else, the ping or the token server, says nothing about it.
func absent(err error) bool {
	var answer *transport.Error
	if !errors.As(err, &answer) || answer.StatusCode != http.StatusNotFound || answer.Request == nil {
		return false
	}
	first, _ := origin(answer.Request)
	return isManifest(first)
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

func (r *Registry) timeout() time.Duration {
	if r.Timeout <= 0 {
		return 40 * time.Second
	}
	return r.Timeout
}

func (r *Registry) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, r.timeout())
}

// parse reads a repository's name with the parser that nodes use;
// go-containerregistry's refuses names of one letter.
func (r *Registry) parse(repository string) (name.Repository, error) {
	named, err := reference.ParseNormalizedNamed(repository)
	if err != nil || !reference.IsNameOnly(named) {
		return name.Repository{}, fmt.Errorf("%q is not a repository; it has no tag and no digest, as in ghcr.io/acme/web", repository)
	}
	registry, err := name.NewRegistry(reference.Domain(named))
	if err == nil && r.PlainHTTP[registry.RegistryStr()] {
		registry, err = name.NewRegistry(reference.Domain(named), name.Insecure)
	}
	if err != nil {
		return name.Repository{}, fmt.Errorf("%q is not a registry: %w", reference.Domain(named), err)
	}
	return registry.Repo(reference.Path(named)), nil
}

// connected returns what go-containerregistry needs to ask about a repository,
// signed in already. actions are transport.PullScope or transport.PushScope.
// The library does not retry: the [wire] does, which knows how long it may.
func (r *Registry) connected(ctx context.Context, repository, actions string) (name.Repository, []remote.Option, error) {
	repo, err := r.parse(repository)
	if err != nil {
		return name.Repository{}, nil, err
	}
	connection, err := r.connect(ctx, repo, actions)
	if err != nil {
		return name.Repository{}, nil, err
	}
	return repo, []remote.Option{
		remote.WithContext(ctx),
		remote.WithTransport(connection),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
		remote.WithRetryPredicate(func(error) bool { return false }),
	}, nil
}

// connect signs in for the actions on a repository, once. That takes a ping once
// for each registry, and, where the registry wants tokens, one for each
// repository.
func (r *Registry) connect(ctx context.Context, repo name.Repository, actions string) (http.RoundTripper, error) {
	return r.signIns.get(ctx, repo.Name()+" "+actions, keepCredential, func() (http.RoundTripper, error) {
		credential, err := r.credential(ctx, repo)
		if err != nil {
			return nil, err
		}
		w := r.wire(repo.Registry)
		return transport.NewWithContext(ctx, repo.Registry, credential, transport.NewUserAgent(w, userAgent), []string{repo.Scope(actions)})
	})
}

// keepCredential is how long a sign-in is used before the credential is read again.
// Some last for minutes, and between the look-up and the push there is a build.
const keepCredential = 10 * time.Minute

// userAgent is what registries see in their logs, before go-containerregistry's
// own.
const userAgent = "pin-cmp"

// credential resolves a repository's credential, once for all that it is for: a
// credential helper may take a second.
func (r *Registry) credential(ctx context.Context, repo name.Repository) (authn.Authenticator, error) {
	if r.Keychain == nil {
		return authn.Anonymous, nil
	}
	covers := repo.Name()
	if k, ok := r.Keychain.(presence.Identifier); ok {
		var err error
		if covers, err = k.Covers(repo); err != nil {
			return nil, err
		}
	}
	return r.credentials.get(ctx, covers, keepCredential, func() (authn.Authenticator, error) {
		return authn.Resolve(ctx, r.Keychain, repo)
	})
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

// memo finds something out once for each key. Who asks meanwhile waits for it; a
// failure is shared by those who waited, and not kept. The zero memo is ready.
type memo[T any] struct {
	mu      sync.Mutex
	flights map[string]*flight[T]
}

type flight[T any] struct {
	done  chan struct{}
	began time.Time
	value T
	err   error
}

// forever keeps what was found out as long as the memo.
const forever = 0

func (m *memo[T]) get(ctx context.Context, key string, keep time.Duration, find func() (T, error)) (T, error) {
	for {
		m.mu.Lock()
		f := m.flights[key]
		if f == nil || keep != forever && time.Since(f.began) > keep {
			if m.flights == nil {
				m.flights = map[string]*flight[T]{}
			}
			f = &flight[T]{done: make(chan struct{}), began: time.Now()}
			m.flights[key] = f
			m.mu.Unlock()
			f.value, f.err = find()
			if f.err != nil {
				m.mu.Lock()
				if m.flights[key] == f {
					delete(m.flights, key)
				}
				m.mu.Unlock()
			}
			close(f.done)
			return f.value, f.err
		}
		m.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
		if errors.Is(f.err, context.Canceled) || errors.Is(f.err, context.DeadlineExceeded) {
			if ctx.Err() == nil {
				continue // it was the other's time that ended
			}
		}
		return f.value, f.err
	}
}

// explain puts a failed exchange into words that are the same every time: Go's
// own hold ports and addresses. What may be otherwise the next time is
// [ErrUndecided].
func explain(ctx context.Context, err error) error {
	reason, undecided := judge(ctx, err)
	switch {
	case reason == "" && errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	case reason == "":
		return err
	case undecided:
		return fmt.Errorf("%w: %s", ErrUndecided, reason)
	}
	return errors.New(reason)
}

// judge returns what went wrong, and whether it may be otherwise the next time.
// The reason is "" where the error is not of an exchange with a registry.
func judge(ctx context.Context, err error) (reason string, undecided bool) {
	var config *presence.ConfigError
	var answer *transport.Error
	var f *fault
	switch {
	case errors.As(err, &config):
		return "", false
	case errors.As(err, &answer):
		if isDenied(answer.StatusCode) {
			return fmt.Sprintf("the registry denies it (%d): log in, or check the spelling", answer.StatusCode), false
		}
		if answer.Request != nil && answer.Request.URL.Path == "/v2/" {
			return fmt.Sprintf("the host doesn't answer as a registry: %d for /v2/", answer.StatusCode), false
		}
		return "the registry answered " + answered(answer.StatusCode, answer.Errors), false
	case errors.Is(ctx.Err(), context.Canceled):
		return "", false
	case errors.As(err, &f):
		var ours *complaint
		return f.Error(), !errors.As(f.err, &ours)
	}
	if reason := noAnswer(err); reason != "" {
		return reason, true
	}
	var exchange *url.Error
	if errors.As(err, &exchange) {
		return exchange.Err.Error(), false // without the URL, which may hold a secret
	}
	if strings.Contains(err.Error(), "no token in bearer response") {
		return "the registry's token server gave no token", false // the library quotes what it gave
	}
	return "", false
}

// answered is a status, and the registry's code for it where it gave one.
func answered(status int, details []transport.Diagnostic) string {
	for _, d := range details {
		if errorCode.MatchString(string(d.Code)) {
			return fmt.Sprintf("%d %s", status, d.Code)
		}
	}
	return fmt.Sprint(status)
}

// errorCode is what the distribution specification calls an error code; anything
// else stays out of our messages.
var errorCode = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,39}$`)

func isDenied(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden
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
