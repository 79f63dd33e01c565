package verify

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pin-cmp/pin-cmp/internal/imageref"
)

func policy(t *testing.T, body string) *Policy {
	t.Helper()
	p, err := ParsePolicy("policy.yaml", []byte("apiVersion: pin-cmp/v1\nkind: Policy\n"+body))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPolicyDefaults(t *testing.T) {
	p := policy(t, "")
	if !p.CheckPresence() || p.Sweep != SweepWarn || p.Presence.PerRegistry != DefaultPerRegistry ||
		time.Duration(p.Presence.FreshFor) != DefaultFreshFor || time.Duration(*p.Presence.StaleIfError) != DefaultStaleIfError {
		t.Errorf("defaults are %+v", p.Presence)
	}
	// Turned off is not the same as not said.
	p = policy(t, "presence: {check: false, staleIfError: 0s}")
	if p.CheckPresence() || *p.Presence.StaleIfError != 0 {
		t.Errorf("off is %v, %v", p.CheckPresence(), *p.Presence.StaleIfError)
	}
}

func TestPolicyMistakes(t *testing.T) {
	const head = "apiVersion: pin-cmp/v1\nkind: Policy\n"
	for name, tt := range map[string]struct {
		content, want string
		line          int
	}{
		"unknown field":       {head + "registries:\n  alowed: [a]\n", `unknown field "alowed"`, 4},
		"wrong type":          {head + "registries:\n  allowed: ghcr.io\n", "cannot unmarshal", 4},
		"bare number":         {head + "presence:\n  freshFor: 30\n", "no duration", 4},
		"negative":            {head + "presence:\n  freshFor: -1h\n", "no duration", 4},
		"malformed":           {head + "sweep: [\n", "did not find", 0},
		"empty":               {"", "is empty", 0},
		"two documents":       {head + "---\n" + head, "more than one document", 0},
		"other version":       {"apiVersion: pin-cmp/v9\nkind: Policy\n", "starts with apiVersion: pin-cmp/v1", 0},
		"another kind":        {"apiVersion: v1\nkind: ConfigMap\n", "starts with apiVersion", 0},
		"sweep":               {head + "sweep: shout\n", "none of warn, refuse, off", 0},
		"platform":            {head + "presence: {platforms: [amd64]}\n", "os/arch", 0},
		"host with a path":    {head + "registries: {plainHTTP: [localhost:5000/x]}\n", "no host", 0},
		"exemption, all":      {head + "exemptions: [{reason: x}]\n", "matches everything", 0},
		"exemption, silent":   {head + "exemptions: [{image: a}]\n", "reason is required", 0},
		"rule path":           {head + "images: [{path: 'a[0]'}]\n", "images[0]", 0},
		"rule regexp":         {head + "images: [{path: a, regexp: '('}]\n", "regexp", 0},
		"rule action":         {head + "images: [{path: a, action: eat}]\n", "none of image, yaml, ignore", 0},
		"rule without a repo": {head + "images: [{path: a, parts: {tag: b}}]\n", "repository is required", 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParsePolicy("policy.yaml", []byte(tt.content))
			var mistake *PolicyError
			if !errors.As(err, &mistake) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want a PolicyError with %q", err, tt.want)
			}
			if tt.line > 0 && mistake.Line != tt.line {
				t.Errorf("line %d, want %d", mistake.Line, tt.line)
			}
		})
	}
	if _, err := LoadPolicy(t.TempDir() + "/none.yaml"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing file: %v", err)
	}
}

func TestPolicyAllows(t *testing.T) {
	p := policy(t, "registries: {allowed: [ghcr.io/acme, docker.io/library/nginx, 'quay.io/*/tools', localhost:5000, busybox]}")
	for repository, want := range map[string]bool{
		"ghcr.io/acme":              true,
		"ghcr.io/acme/web":          true,
		"ghcr.io/acme/team/web":     true,
		"ghcr.io/acme-evil/web":     false,
		"ghcr.io/other/acme":        false,
		"evil.io/ghcr.io/acme":      false,
		"docker.io/library/nginx":   true,
		"docker.io/library/nginx2":  false,
		"docker.io/library/busybox": true,
		"quay.io/a/tools":           true,
		"quay.io/a/b/tools":         false,
		"localhost:5000/x":          true,
		"localhost:50001/x":         false,
	} {
		if got := p.allows(repository); got != want {
			t.Errorf("%s: %v, want %v", repository, got, want)
		}
	}
}

func TestPolicyExempts(t *testing.T) {
	p := policy(t, `exemptions:
- {image: auto, reason: injected by istio}
- {image: "ghcr.io/acme/**", namespace: dev-*, kind: Job, reason: scratch}
- {image: "docker.io/library/busybox:1.*", reason: old}
- {image: "$(params.*)", reason: filled in by tekton}
`)
	for _, tt := range []struct {
		owner identity
		ref   string
		want  bool
	}{
		{identity{kind: "Pod"}, "auto", true},
		{identity{kind: "Pod"}, "auto:1", true}, // whatever its tag
		{identity{kind: "Pod"}, "ghcr.io/x/auto", false},
		{identity{kind: "Job", namespace: "dev-a"}, "ghcr.io/acme/a/b:1", true},
		{identity{kind: "Job", namespace: "prod"}, "ghcr.io/acme/a/b:1", false},
		{identity{kind: "Pod", namespace: "dev-a"}, "ghcr.io/acme/a/b:1", false},
		{identity{kind: "Pod"}, "busybox:1.36", true},
		{identity{kind: "Pod"}, "busybox:2", false},
		{identity{kind: "Task"}, "$(params.image)", true},
		{identity{kind: "Job", namespace: "dev-a"}, "ghcr.io/acme/a@build", false}, // never a placeholder
	} {
		if _, got := p.exempt(tt.owner, imageref.Parse(tt.ref)); got != tt.want {
			t.Errorf("%v %s: %v, want %v", tt.owner, tt.ref, got, tt.want)
		}
	}
}

// A pattern that can match nothing is a policy that refuses everything, and the
// administrator should hear why.
func TestAllowedPatterns(t *testing.T) {
	for _, bad := range []string{`""`, "https://ghcr.io/acme", "ghcr.io/acme/", "ghcr.io/a@sha256:0", "index.docker.io", "index.docker.io/acme"} {
		if _, err := ParsePolicy("p", []byte("apiVersion: pin-cmp/v1\nkind: Policy\nregistries: {allowed: ["+bad+"]}\n")); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	policy, err := ParsePolicy("p", []byte("apiVersion: pin-cmp/v1\nkind: Policy\nregistries: {allowed: [ghcr.io/acme, docker.io/library, \"r.io:5000\"]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"ghcr.io/acme": true, "ghcr.io/acme/web": true, "ghcr.io/acme-evil/web": false, "ghcr.io/acmeevil": false,
		"ghcr.io.evil.com/acme/web": false, "evil.com/ghcr.io/acme/web": false, "GHCR.IO/acme/web": false, "ghcr.io:443/acme/web": false,
		"nginx": true, "library/nginx": true, "index.docker.io/library/nginx": true, "registry-1.docker.io/library/nginx": false,
		"acme/web": false, "localhost/library/nginx": false, "r.io:5000/a": true, "r.io/a": false, "r.io:50000/a": false,
	} {
		if got := policy.allows(imageref.Parse(text).Repository); got != want {
			t.Errorf("%s: allowed %t, want %t", text, got, want)
		}
	}
}

func TestPolicySecondDocument(t *testing.T) {
	for _, more := range []string{"sweep: refuse", "{broken"} {
		if _, err := ParsePolicy("p", []byte("apiVersion: pin-cmp/v1\nkind: Policy\n---\n"+more+"\n")); err == nil {
			t.Errorf("a second document %q is passed over", more)
		}
	}
}
