package verify

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/gobwas/glob"
	"go.yaml.in/yaml/v3"

	"github.com/pin-cmp/pin-cmp/internal/imageref"
)

// PolicyVersion is the apiVersion of a policy file.
const PolicyVersion = "pin-cmp/v1"

// Policy is what a cluster's administrator demands. It is read from a file in
// the sidecar; nothing that a repository can write loosens it. The zero value
// is the default policy: any registry, over HTTPS, every digest present.
type Policy struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	// Registries says where images may come from.
	Registries Registries `yaml:"registries,omitempty"`
	// Presence says how to ask whether they are there.
	Presence PresencePolicy `yaml:"presence,omitempty"`
	// Exemptions are images that pass whatever they are, unasked for in their
	// registry. Only a symbolic reference is never exempt.
	Exemptions []Exemption `yaml:"exemptions,omitempty"`
	// Images are further places that hold images, or that do not.
	Images []Rule `yaml:"images,omitempty"`
	// Sweep says what becomes of a text that has the shape of a floating
	// reference in a field that is not known to hold one: "warn" (default),
	// "refuse" or "off".
	Sweep Sweeping `yaml:"sweep,omitempty"`
	// FloatingBases says what becomes of a base image that a component names by
	// its tag: "refuse" (default), or "resolve": it is looked up, and what the tag
	// means at that moment counts in the component's inputs key. The gate does not
	// ask.
	FloatingBases FloatingBases `yaml:"floatingBases,omitempty"`

	file       string
	finder     *Finder
	allowed    []glob.Glob
	exemptions []compiledExemption
}

// FloatingBases is what becomes of a base image that is named by its tag.
type FloatingBases string

// The values of Policy.FloatingBases.
const (
	BasesRefuse  FloatingBases = "refuse"
	BasesResolve FloatingBases = "resolve"
)

// Sweeping is what becomes of a reference that only its shape gives away.
type Sweeping string

// The values of Policy.Sweep.
const (
	SweepWarn   Sweeping = "warn"
	SweepRefuse Sweeping = "refuse"
	SweepOff    Sweeping = "off"
)

// Registries says where images may come from.
type Registries struct {
	// Allowed are patterns of repositories: "ghcr.io/acme" is that repository
	// and all below it, "ghcr.io" a whole registry; * stands for any run of
	// characters without a slash, ** for any. Empty allows all.
	Allowed []string `yaml:"allowed,omitempty"`
	// PlainHTTP are the hosts (with port) that are asked over HTTP. Every other
	// host is asked over HTTPS, also on localhost.
	PlainHTTP []string `yaml:"plainHTTP,omitempty"`
}

// PresencePolicy says how to ask registries.
type PresencePolicy struct {
	// Check turns the question off if false; digests are then judged by their
	// form alone.
	Check *bool `yaml:"check,omitempty"`
	// Platforms are those of the cluster's nodes, "linux/amd64". An index must
	// hold a manifest for each of them, and the registry each of those
	// manifests. Empty asks for the index alone.
	Platforms []string `yaml:"platforms,omitempty"`
	// FreshFor is how long a positive answer is good without asking again.
	// Default 1h.
	FreshFor Duration `yaml:"freshFor,omitempty"`
	// StaleIfError is how old a positive answer may be to pass, with a warning,
	// while the registry can't answer. Default 24h; 0s turns it off.
	StaleIfError *Duration `yaml:"staleIfError,omitempty"`
	// PerRegistry bounds the requests under way at once to one registry.
	// Default 16.
	PerRegistry int `yaml:"perRegistry,omitempty"`
	// Timeout bounds the questions about one application where the caller has
	// set no deadline. Default 40s: Argo CD gives a render 60s in all.
	Timeout Duration `yaml:"timeout,omitempty"`
	// CacheDir holds the positive answers between runs. Default: a directory of
	// the user's, see the command line's help.
	CacheDir string `yaml:"cacheDir,omitempty"`
	// CABundle is a PEM file of certificates to trust beside the system's.
	CABundle string `yaml:"caBundle,omitempty"`
}

// Exemption lets images pass. Fields that are empty match anything, but not
// all of them may be.
type Exemption struct {
	// Image is a pattern for the reference, as written or normalised: a
	// repository, or repository:tag; * and ** as in Registries.Allowed.
	Image string `yaml:"image,omitempty"`
	// Kind, Namespace and Name are globs for the object.
	Kind      string `yaml:"kind,omitempty"`
	Namespace string `yaml:"namespace,omitempty"`
	Name      string `yaml:"name,omitempty"`
	// Reason is for the next reader, and is part of the output. Required.
	Reason string `yaml:"reason"`
}

type compiledExemption struct {
	image  []glob.Glob
	object compiledMatch
	reason string
}

// Duration is a time span as Go writes it: 90s, 24h.
type Duration time.Duration

// UnmarshalYAML reads a duration; a bare number is refused, since nobody can
// tell its unit.
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	value, err := time.ParseDuration(node.Value)
	if err != nil || value < 0 {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %q is no duration; write 90s, 15m or 24h", node.Line, node.Value)}}
	}
	*d = Duration(value)
	return nil
}

// Defaults of PresencePolicy.
const (
	DefaultFreshFor     = time.Hour
	DefaultStaleIfError = 24 * time.Hour
	DefaultPerRegistry  = 16
	DefaultTimeout      = 40 * time.Second
)

// DefaultPolicy returns the policy of a cluster that has no policy file.
func DefaultPolicy() *Policy {
	p := &Policy{APIVersion: PolicyVersion, Kind: "Policy"}
	if err := p.compile(); err != nil {
		panic("verify: the default policy does not compile: " + err.Error())
	}
	return p
}

// PolicyError is a mistake in a policy file.
type PolicyError struct {
	File string
	Line int // 1-based, 0 if unknown
	Err  error
}

// Error returns file:line and the mistake.
func (e *PolicyError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("policy %s:%d: %v", e.File, e.Line, e.Err)
	}
	return fmt.Sprintf("policy %s: %v", e.File, e.Err)
}

// Unwrap returns the cause.
func (e *PolicyError) Unwrap() error { return e.Err }

// LoadPolicy reads a policy file. Every mistake in it is a *[PolicyError]: an
// unknown field, a pattern that does not parse, a duration without a unit.
func LoadPolicy(file string) (*Policy, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, &PolicyError{File: file, Err: errors.Unwrap(err)}
	}
	return ParsePolicy(file, content)
}

// ParsePolicy reads the content of a policy file; file is its name for errors.
func ParsePolicy(file string, content []byte) (*Policy, error) {
	p := &Policy{file: file}
	decoder := yaml.NewDecoder(strings.NewReader(string(content)))
	decoder.KnownFields(true)
	if err := decoder.Decode(p); err != nil {
		return nil, policyMistake(file, err)
	}
	var more any
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &PolicyError{File: file, Err: errors.New("holds more than one document; a policy is one")}
	}
	if p.APIVersion != PolicyVersion || p.Kind != "Policy" {
		return nil, &PolicyError{File: file, Err: fmt.Errorf("starts with apiVersion: %s and kind: Policy, not %q and %q", PolicyVersion, p.APIVersion, p.Kind)}
	}
	if err := p.compile(); err != nil {
		return nil, &PolicyError{File: file, Err: err}
	}
	return p, nil
}

var (
	yamlLine     = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	unknownField = regexp.MustCompile(`^field (\S+) not found in type \S+$`)
)

// policyMistake turns the decoder's error into one with a line and plain words.
func policyMistake(file string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var types *yaml.TypeError
	if errors.As(err, &types) && len(types.Errors) > 0 {
		text = types.Errors[0]
	}
	if text == "EOF" {
		text = "is empty"
	}
	out := &PolicyError{File: file}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		_, _ = fmt.Sscan(m[1], &out.Line)
		text = m[2]
	}
	if m := unknownField.FindStringSubmatch(text); m != nil {
		text = fmt.Sprintf("unknown field %q; docs/policy.md lists the fields", m[1])
	}
	out.Err = errors.New(text)
	return out
}

// compile checks the policy and prepares it for use.
func (p *Policy) compile() error {
	var err error
	if p.finder, err = NewFinder(p.Images...); err != nil {
		return err
	}
	p.allowed, p.exemptions = nil, nil
	for i, allowed := range p.Registries.Allowed {
		if err := checkAllowed(allowed); err != nil {
			return fmt.Errorf("registries.allowed[%d]: %w", i, err)
		}
		globs, err := repositoryGlobs(allowed, true)
		if err != nil {
			return fmt.Errorf("registries.allowed[%d]: %w", i, err)
		}
		p.allowed = append(p.allowed, globs...)
	}
	for i, host := range p.Registries.PlainHTTP {
		if host == "" || strings.ContainsAny(host, "/*@ ") {
			return fmt.Errorf("registries.plainHTTP[%d]: %q is no host[:port]", i, host)
		}
	}
	for i, e := range p.Exemptions {
		compiled, err := e.compile()
		if err != nil {
			return fmt.Errorf("exemptions[%d]: %w", i, err)
		}
		p.exemptions = append(p.exemptions, compiled)
	}
	for i, platform := range p.Presence.Platforms {
		if parts := strings.Split(platform, "/"); len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
			return fmt.Errorf("presence.platforms[%d]: %q is not os/arch or os/arch/variant", i, platform)
		}
	}
	if p.Presence.PerRegistry < 0 {
		return fmt.Errorf("presence.perRegistry: %d is negative", p.Presence.PerRegistry)
	}
	switch p.Sweep {
	case "":
		p.Sweep = SweepWarn
	case SweepWarn, SweepRefuse, SweepOff:
	default:
		return fmt.Errorf("sweep: %q is none of warn, refuse, off", p.Sweep)
	}
	switch p.FloatingBases {
	case "":
		p.FloatingBases = BasesRefuse
	case BasesRefuse, BasesResolve:
	default:
		return fmt.Errorf("floatingBases: %q is none of refuse, resolve", p.FloatingBases)
	}
	if p.Presence.FreshFor == 0 {
		p.Presence.FreshFor = Duration(DefaultFreshFor)
	}
	if p.Presence.StaleIfError == nil {
		stale := Duration(DefaultStaleIfError)
		p.Presence.StaleIfError = &stale
	}
	if p.Presence.PerRegistry == 0 {
		p.Presence.PerRegistry = DefaultPerRegistry
	}
	if p.Presence.Timeout == 0 {
		p.Presence.Timeout = Duration(DefaultTimeout)
	}
	return nil
}

// CheckPresence tells whether registries are asked at all.
func (p *Policy) CheckPresence() bool { return p.Presence.Check == nil || *p.Presence.Check }

// checkAllowed refuses patterns that no repository could ever match, and so
// would only show as a refusal of everything.
func checkAllowed(pattern string) error {
	switch {
	case pattern == "":
		return errors.New("is empty; leave the list empty to allow all")
	case strings.Contains(pattern, "://"):
		return fmt.Errorf("%q is a URL; a repository has no scheme", pattern)
	case strings.HasSuffix(pattern, "/"):
		return fmt.Errorf("%q ends in a slash; without it, it is that repository and all below", pattern)
	case strings.Contains(pattern, "@"):
		return fmt.Errorf("%q names a digest; name the repository", pattern)
	case pattern == "index.docker.io" || strings.HasPrefix(pattern, "index.docker.io/"):
		return fmt.Errorf("%q: the name of that registry in references is docker.io", pattern)
	}
	return nil
}

// repositoryGlobs compiles a pattern for repositories. With below it also
// matches everything below the repository.
func repositoryGlobs(s string, below bool) ([]glob.Glob, error) {
	s = normalise(s, below)
	patterns := []string{s}
	if below {
		patterns = append(patterns, s+"/**")
	}
	var globs []glob.Glob
	for _, pattern := range patterns {
		g, err := glob.Compile(pattern, '/')
		if err != nil {
			return nil, fmt.Errorf("%q is no pattern: %w", s, err)
		}
		globs = append(globs, g)
	}
	return globs, nil
}

// normalise turns nginx:1 into docker.io/library/nginx:1, and leaves alone what
// names a registry or is a pattern from its first part on. A lone host is one
// only where hosts are expected: registry:5000 is an image elsewhere.
func normalise(s string, host bool) string {
	first, _, slash := strings.Cut(s, "/")
	if (slash || host) && (strings.ContainsAny(first, ".:*") || first == "localhost") || strings.HasPrefix(first, "*") {
		return s
	}
	if named, err := reference.ParseNormalizedNamed(s); err == nil {
		return named.String()
	}
	return s
}

func (e Exemption) compile() (compiledExemption, error) {
	c := compiledExemption{reason: e.Reason}
	if strings.TrimSpace(e.Reason) == "" {
		return c, errors.New("reason is required: the next reader will ask")
	}
	if e.Image == "" && e.Kind == "" && e.Namespace == "" && e.Name == "" {
		return c, errors.New("matches everything; name an image, a kind, a namespace or a name")
	}
	var err error
	if c.object, err = (Match{Kind: e.Kind, Namespace: e.Namespace, Name: e.Name}).compile(); err != nil {
		return c, err
	}
	if e.Image != "" {
		if c.image, err = repositoryGlobs(e.Image, false); err != nil {
			return c, err
		}
		literal, err := glob.Compile(e.Image, '/')
		if err != nil {
			return c, fmt.Errorf("%q is no pattern: %w", e.Image, err)
		}
		c.image = append(c.image, literal)
	}
	return c, nil
}

// Finder returns the finder that knows the policy's own places.
func (p *Policy) Finder() *Finder { return p.finder }

// Exempts returns the reason for which an image of an object passes whatever it
// is, if the policy has one.
func (p *Policy) Exempts(object map[string]any, image Image) (reason string, ok bool) {
	return p.exempt(identify(object), image.Reference)
}

// exempt returns the reason for which ref passes in the object, if any.
func (p *Policy) exempt(owner identity, ref imageref.Reference) (string, bool) {
	if ref.State == imageref.Symbolic {
		return "", false
	}
	names := []string{ref.Text}
	if ref.Repository != "" {
		names = append(names, ref.Repository)
		if ref.Tag != "" {
			names = append(names, ref.Repository+":"+ref.Tag)
		}
	}
	for _, e := range p.exemptions {
		if !e.object.matches(owner) {
			continue
		}
		if e.image == nil {
			return e.reason, true
		}
		for _, g := range e.image {
			for _, name := range names {
				if g.Match(name) {
					return e.reason, true
				}
			}
		}
	}
	return "", false
}

// allows tells whether images may come from repository.
func (p *Policy) allows(repository string) bool {
	if len(p.allowed) == 0 {
		return true
	}
	for _, g := range p.allowed {
		if g.Match(repository) {
			return true
		}
	}
	return false
}
