package main

import (
	"errors"
	"os"

	"github.com/spf13/pflag"

	"github.com/pin-cmp/pin-cmp/verify"
)

// policyFile is where the sidecar's policy is mounted.
const policyFile = "/etc/pin-cmp/policy.yaml"

// policyFlags are the flags that choose the policy.
type policyFlags struct{ file string }

func (p *policyFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&p.file, "policy", "", "policy file (default $PIN_CMP_POLICY, else "+policyFile+" if it is there)")
}

// load reads the policy, or returns the default one where there is no file.
func (p *policyFlags) load() (*verify.Policy, error) {
	file := p.file
	if file == "" {
		file = os.Getenv("PIN_CMP_POLICY")
	}
	if file == "" {
		if _, err := os.Stat(policyFile); errors.Is(err, os.ErrNotExist) {
			return verify.DefaultPolicy(), nil
		}
		file = policyFile
	}
	policy, err := verify.LoadPolicy(file)
	if err != nil {
		return nil, misuse(err, "docs/policy.md describes every field")
	}
	return policy, nil
}
