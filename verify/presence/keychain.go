package presence

import (
	"context"
	"errors"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// DefaultKeychain finds credentials the way the tools around it do: in the
// docker or podman configuration file and the credential helpers that it names,
// then, for their own hosts alone, from Google Cloud, AWS and Azure.
//
// A mistake in the file, or a helper that is missing or fails, is a
// [*ConfigError], never anonymous access. Where a cloud's credential exists but
// can't be had, a registry's denial counts as [Unreachable].
func DefaultKeychain() authn.Keychain {
	return &defaultKeychain{clouds: []cloud{&googleCloud{}, aws{}, azure{}}}
}

type defaultKeychain struct {
	docker dockerConfig
	clouds []cloud
}

var (
	_ authn.ContextKeychain = (*defaultKeychain)(nil)
	_ Identifier            = (*defaultKeychain)(nil)
)

// cloud is a provider's own credentials, found in the process's surroundings.
type cloud interface {
	name() string
	// owns tells whether host is a registry of the provider. For any other,
	// nothing is looked at, run or asked.
	owns(host string) bool
	// credential returns nil where there is none to be had, and an error where
	// there is one that can't be had.
	credential(ctx context.Context, host string) (authn.Authenticator, error)
	// identity tells one source of credentials from another.
	identity(host string) string
}

// cloudPatience bounds the search for a cloud's credential. On a machine that
// is not in that cloud, its metadata address may swallow packets.
const cloudPatience = 8 * time.Second

func (k *defaultKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

func (k *defaultKeychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	config, err := k.docker.credential(ctx, target)
	if err != nil {
		return nil, err
	}
	if config != nil {
		return authn.FromConfig(*config), nil
	}
	for _, c := range k.clouds {
		if !c.owns(target.RegistryStr()) {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, cloudPatience)
		defer cancel()
		auth, err := beside(ctx, func() (authn.Authenticator, error) {
			return c.credential(ctx, target.RegistryStr())
		})
		var mistake *ConfigError
		if errors.As(err, &mistake) {
			return nil, mistake
		}
		if err != nil {
			return &unavailable{"no credential could be had from " + c.name()}, nil
		}
		if auth != nil {
			return auth, nil
		}
	}
	return authn.Anonymous, nil
}

// Covers implements [Identifier].
func (k *defaultKeychain) Covers(target authn.Resource) (string, error) {
	return k.docker.covers(target)
}

// Identity implements [Identifier]: a cloud's credential is told by where it
// comes from, because the token itself changes by the hour, and with some
// helpers at every call.
func (k *defaultKeychain) Identity(target authn.Resource) (string, bool, error) {
	f, err := k.docker.load()
	if err != nil {
		return "", false, err
	}
	host := target.RegistryStr()
	if f != nil {
		if helper, line := f.helper(target); helper != "" {
			if _, err := f.findHelper(helper, line, host); err != nil {
				return "", false, err
			}
			for _, c := range k.clouds {
				if c.owns(host) && helperOf[helper] == c.name() {
					return "helper " + c.identity(host), true, nil
				}
			}
			return "", false, nil // only its answer tells
		}
		if key, a, ok := f.entry(target); ok {
			config, err := f.decode(key, a, host)
			if err != nil {
				return "", false, err
			}
			if config != nil {
				return fingerprint(*config), true, nil
			}
		}
	}
	for _, c := range k.clouds {
		if c.owns(host) {
			return c.identity(host), true, nil
		}
	}
	return "anonymous", true, nil
}

// helperOf names the credential helpers that hand out a cloud's tokens.
var helperOf = map[string]string{
	"gcr": googleName, "gcloud": googleName, "ecr-login": awsName, "acr-env": azureName,
}
