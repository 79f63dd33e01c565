package presence

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/singleflight"
)

// userAgent is what registries see in their logs, before
// go-containerregistry's own.
const userAgent = "pin-cmp"

// RemoteOptions says how registries are asked. The zero value asks anonymously
// over https.
type RemoteOptions struct {
	// Keychain finds credentials; nil is anonymous. See [DefaultKeychain], and
	// [Identifier] for what a keychain may do beyond the interface.
	Keychain authn.Keychain
	// PlainHTTP lists the registries, host[:port], that are asked over http.
	// Every other one is asked over https, loopback addresses included.
	PlainHTTP []string
	// Platforms that must be there where an image is an index: "linux/amd64",
	// "linux/arm/v7". None: an index is present when its own manifest is.
	Platforms []string
	// PerHost is how many requests may be under way to one registry at once.
	// 0 is 16.
	PerHost int
	// Timeout bounds one check whose context has no deadline. 0 is 40 s, which
	// ends before the 60 s after which Argo CD gives up on a plugin.
	Timeout time.Duration
	// Transport carries the requests; nil is [NewTransport] with CABundle. It
	// must not retry.
	Transport http.RoundTripper
	// CABundle is a PEM file of certificates to trust beside the system's. It
	// counts only where Transport is nil.
	CABundle string
}

// Remote asks the registries themselves. It is safe for concurrent use, and
// meant to be shared: it keeps connections, sign-ins and what it knows about
// each registry's health.
type Remote struct {
	keychain  authn.Keychain
	plain     map[string]bool
	platforms []platform
	asked     string // the platforms, for Scope
	perHost   int
	timeout   time.Duration
	attempt   time.Duration
	inner     http.RoundTripper
	clock     clock

	signins singleflight.Group
	mu      sync.Mutex
	hosts   map[string]*host
	pullers map[string]*puller  // by registry and credential
	signed  map[string]*session // by what the credential is for
}

var _ Scoped = (*Remote)(nil)

// NewRemote returns a Checker that asks registries. It asks nothing yet. The
// error is about an option: a platform or a CA bundle that can't be read.
func NewRemote(o RemoteOptions) (*Remote, error) {
	r := &Remote{
		keychain: o.Keychain,
		plain:    map[string]bool{},
		perHost:  o.PerHost,
		timeout:  o.Timeout,
		attempt:  10 * time.Second,
		inner:    o.Transport,
		clock:    wallClock(),
		hosts:    map[string]*host{},
		pullers:  map[string]*puller{},
		signed:   map[string]*session{},
	}
	if r.perHost <= 0 {
		r.perHost = 16
	}
	if r.timeout <= 0 {
		r.timeout = 40 * time.Second
	}
	for _, h := range o.PlainHTTP {
		r.plain[h] = true
	}
	for _, s := range o.Platforms {
		p, err := parsePlatform(s)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(r.platforms, p) {
			r.platforms = append(r.platforms, p)
		}
	}
	r.asked = scopeOf(r.platforms)
	if r.inner == nil {
		t, err := NewTransport(r.perHost, o.CABundle)
		if err != nil {
			return nil, err
		}
		r.inner = t
	}
	return r, nil
}

// Check asks image's registry. See [Checker]; beside a [*ConfigError] and the
// context's error there is one for an image that isn't one.
func (r *Remote) Check(ctx context.Context, image Image) (Result, error) {
	repo, err := r.repository(image)
	if err != nil {
		return Result{}, err
	}
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return Result{}, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, r.clock.now().Add(r.timeout))
		defer cancel()
	}
	began := r.clock.now()
	s, err := r.session(ctx, repo)
	if err != nil {
		return failed(ctx, err)
	}
	result, err := r.ask(ctx, s, repo, image.Digest)
	if err == nil && result.Verdict == Denied && began.Sub(s.signed) >= secondLook {
		// A token that was rotated under a long-lived process: read it again.
		r.forget(s)
		if s, err = r.session(ctx, repo); err != nil {
			return failed(ctx, err)
		}
		result, err = r.ask(ctx, s, repo, image.Digest)
	}
	if err != nil {
		return failed(ctx, err)
	}
	if result.Verdict == Denied && s.lost != "" {
		// It was not the image's credential that was denied, but its absence.
		result = Result{Verdict: Unreachable, Reason: s.lost}
	}
	return result, nil
}

// failed turns an error of the way to the registry into a verdict, unless it is
// one that the caller has to see.
func failed(ctx context.Context, err error) (Result, error) {
	var config *ConfigError
	if errors.As(err, &config) {
		return Result{}, config
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return Result{}, ctx.Err()
	}
	var o *outage
	if errors.As(err, &o) {
		return Result{Verdict: o.verdict, Reason: o.reason}, nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Result{Verdict: Unreachable, Reason: reasonNoAnswer}, nil
	}
	return Result{}, err
}

// Scope returns what a verdict on image depends on beside the image: the
// platforms asked for and the credential. It holds no secret that could be
// guessed from it. The error is a [*ConfigError] or about reaching the
// credential.
func (r *Remote) Scope(ctx context.Context, image Image) (string, error) {
	repo, err := r.repository(image)
	if err != nil {
		return "", err
	}
	id, err := r.identity(ctx, repo)
	if err != nil {
		return "", err
	}
	return id + r.asked, nil
}

// scopeOf names a set of platforms, whatever their order.
func scopeOf(platforms []platform) string {
	var names []string
	for _, p := range platforms {
		names = append(names, p.String())
	}
	slices.Sort(names)
	return " for " + strings.Join(names, " ")
}

// repository parses the name with the parser that the kubelet uses;
// go-containerregistry's refuses repositories of one letter.
func (r *Remote) repository(image Image) (name.Repository, error) {
	named, err := reference.ParseNormalizedNamed(image.Repository)
	if err != nil || named.Name() != image.Repository || !reference.IsNameOnly(named) {
		return name.Repository{}, fmt.Errorf("%q is not a normalised repository name", image.Repository)
	}
	if !isDigest(image.Digest) {
		return name.Repository{}, fmt.Errorf("%q is not sha256: and 64 lower-case hexadecimal digits", image.Digest)
	}
	var options []name.Option
	domain := reference.Domain(named)
	if r.plain[domain] {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(domain, options...)
	if err != nil {
		return name.Repository{}, fmt.Errorf("%q is not a registry: %w", domain, err)
	}
	return registry.Repo(reference.Path(named)), nil
}

func isDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

// host returns what is known about a registry's health.
func (r *Remote) host(authority string) *host {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.hosts[authority]
	if h == nil {
		h = &host{
			name: authority, inner: r.inner, clock: r.clock,
			attempt: r.attempt, slots: make(chan struct{}, r.perHost),
		}
		r.hosts[authority] = h
	}
	return h
}

// puller is go-containerregistry's, with its own retries off: they know no
// Retry-After, and would multiply ours.
type puller struct {
	*remote.Puller
	transport *registryTransport
}

func (r *Remote) newPuller(registry name.Registry, auth authn.Authenticator) (*puller, error) {
	t := &registryTransport{
		host:      r.host(registry.RegistryStr()),
		authority: registry.RegistryStr(),
		plain:     r.plain[registry.RegistryStr()],
	}
	p, err := remote.NewPuller(
		remote.WithTransport(t),
		remote.WithAuth(auth),
		remote.WithUserAgent(userAgent),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
		remote.WithRetryPredicate(func(error) bool { return false }),
		remote.WithRetryStatusCodes(),
	)
	return &puller{Puller: p, transport: t}, err
}
