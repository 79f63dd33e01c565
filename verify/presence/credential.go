package presence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Credentials are read again after keepCredential, and after a denial if they
// are older than secondLook: long enough that a thousand denied images don't
// run a credential helper a thousand times.
const (
	keepCredential = 10 * time.Minute
	secondLook     = 30 * time.Second
)

// Identifier is what an [authn.Keychain] may implement beside Resolve, to keep
// verdicts apart by who asks rather than by a token that changes every hour.
type Identifier interface {
	// Identity names the credential for target without fetching it. The same
	// text must mean the same rights. ok is false where only the secret itself
	// can tell; it is then resolved and hashed. The error is a [*ConfigError].
	Identity(target authn.Resource) (id string, ok bool, err error)
	// Covers names what the credential for target is for: the registry, or a
	// part of it that has one of its own. It is resolved once for all of that.
	Covers(target authn.Resource) (string, error)
}

// unavailable is anonymous access in the place of a credential that exists but
// can't be had now: a cloud's token service is down, say. A denial then says
// nothing about the image.
type unavailable struct{ reason string }

func (*unavailable) Authorization() (*authn.AuthConfig, error) { return &authn.AuthConfig{}, nil }

// session is a sign-in that worked, or that was not needed.
type session struct {
	*puller
	covers    string
	key       string // of puller in Remote.pullers
	anonymous bool
	lost      string // why a credential could not be had
	signed    time.Time
	secret    string // a hash
}

// session returns the puller for repo, resolving its credential if need be.
// One caller resolves for all; its cancellation doesn't count.
func (r *Remote) session(ctx context.Context, repo name.Repository) (*session, error) {
	covers, err := r.covers(repo)
	if err != nil {
		return nil, err
	}
	for tries := 1; ; tries++ {
		r.mu.Lock()
		s := r.signed[covers]
		r.mu.Unlock()
		if s != nil && r.clock.now().Sub(s.signed) < keepCredential {
			return s, nil
		}
		s, err := beside(ctx, func() (*session, error) {
			v, err, _ := r.signins.Do(covers, func() (any, error) {
				free, cancel := uncancelled(ctx)
				defer cancel()
				return r.signIn(free, covers, repo)
			})
			if err != nil {
				return nil, err
			}
			return v.(*session), nil
		})
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && tries < 3 {
			continue // whoever resolved it had less time
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, &outage{fault: fault{verdict: Unreachable, reason: "the credentials could not be read in time"}}
		}
		return s, err
	}
}

func (r *Remote) signIn(ctx context.Context, covers string, repo name.Repository) (*session, error) {
	s := &session{covers: covers, signed: r.clock.now()}
	auth := authn.Anonymous
	if r.keychain != nil {
		var err error
		if auth, err = authn.Resolve(ctx, r.keychain, repo); err != nil {
			return nil, err
		}
	}
	if u, ok := auth.(*unavailable); ok {
		s.lost = u.reason
		auth = authn.Anonymous
	}
	if s.anonymous = auth == authn.Anonymous; !s.anonymous {
		config, err := authn.Authorization(ctx, auth)
		if err != nil {
			return nil, err
		}
		if *config == (authn.AuthConfig{}) {
			s.anonymous, auth = true, authn.Anonymous
		} else {
			s.secret = fingerprint(*config)
			auth = authn.FromConfig(*config)
		}
	}
	s.key = repo.RegistryStr() + "\x00" + s.secret

	r.mu.Lock()
	p := r.pullers[s.key]
	r.mu.Unlock()
	if p == nil {
		var err error
		if p, err = r.newPuller(repo.Registry, auth); err != nil {
			return nil, err
		}
	}
	s.puller = p
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.pullers[s.key]; other != nil {
		s.puller = other
	}
	r.pullers[s.key] = s.puller
	if old := r.signed[covers]; old != nil && old.key != s.key {
		delete(r.pullers, old.key)
	}
	r.signed[covers] = s
	return s, nil
}

// forget makes the next check sign in anew, if nobody has done so since.
func (r *Remote) forget(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.signed[s.covers] == s {
		delete(r.signed, s.covers)
		delete(r.pullers, s.key)
	}
}

// covers returns what repo's credential is for. A keychain that can't say might
// have one for each repository.
func (r *Remote) covers(repo name.Repository) (string, error) {
	if r.keychain == nil {
		return repo.RegistryStr(), nil
	}
	if k, ok := r.keychain.(Identifier); ok {
		return k.Covers(repo)
	}
	return repo.String(), nil
}

// identity tells credentials apart without giving them away.
func (r *Remote) identity(ctx context.Context, repo name.Repository) (string, error) {
	if k, ok := r.keychain.(Identifier); ok {
		if id, ok, err := k.Identity(repo); err != nil || ok {
			return id, err
		}
	}
	if r.keychain == nil {
		return "anonymous", nil
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, r.clock.now().Add(r.timeout))
		defer cancel()
	}
	s, err := r.session(ctx, repo)
	if err != nil {
		return "", err
	}
	if s.anonymous {
		return "anonymous", nil
	}
	return s.secret, nil
}

func fingerprint(c authn.AuthConfig) string {
	b, err := json.Marshal(struct{ Kind, Username, Password, Auth, IdentityToken, RegistryToken string }{
		"pin-cmp credential", c.Username, c.Password, c.Auth, c.IdentityToken, c.RegistryToken,
	})
	if err != nil {
		panic(err) // strings always marshal
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// beside runs f next to ctx: go-containerregistry waits for the sign-in of
// others without looking at the caller's context (pkg/v1/remote/puller.go,
// reader.init). f must end by itself.
func beside[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		v, err := f()
		done <- outcome{v, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}
