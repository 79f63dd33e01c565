package gate

import (
	"fmt"
	"time"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/verify"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// BuildRegistry returns what a rewrite needs of registries, asked as the policy
// says. It remembers nothing between runs: a rewrite is about what is there now.
func BuildRegistry(policy *verify.Policy) (*build.Registry, error) {
	p := policy.Presence
	transport, err := presence.NewTransport(p.PerRegistry, p.CABundle)
	if err != nil {
		return nil, fmt.Errorf("policy presence: %w", err)
	}
	keychain := presence.DefaultKeychain()
	remote, err := presence.NewRemote(presence.RemoteOptions{
		Keychain:  keychain,
		PlainHTTP: policy.Registries.PlainHTTP,
		Platforms: p.Platforms,
		PerHost:   p.PerRegistry,
		Timeout:   time.Duration(p.Timeout),
		Transport: transport,
	})
	if err != nil {
		return nil, fmt.Errorf("policy presence: %w", err)
	}
	plain := map[string]bool{}
	for _, host := range policy.Registries.PlainHTTP {
		plain[host] = true
	}
	return &build.Registry{Presence: remote, Keychain: keychain, Transport: transport, PlainHTTP: plain}, nil
}
