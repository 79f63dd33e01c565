package verify

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/imageref"
)

// Tier is how an image reference was found, and so how sure it is that the
// text is one.
type Tier int

// The tiers. All but Sweep decide; Sweep warns, unless the policy says
// otherwise.
const (
	// Typed: the field is known to hold an image (a PodSpec, a well-known
	// custom resource).
	Typed Tier = iota + 1
	// Generic: the field's name says so (image, baseImage, {repository, tag}).
	Generic
	// Nested: one of the above in YAML or JSON inside a string.
	Nested
	// Sweep: only the text's shape says so.
	Sweep
	// Configured: a rule of the policy says so.
	Configured
)

var tierNames = [...]string{Typed: "typed", Generic: "generic", Nested: "nested", Sweep: "sweep", Configured: "configured"}

// String returns the tier's name in lower case.
func (t Tier) String() string { return tierNames[t] }

// Image is a reference that an object holds.
type Image struct {
	// Path is the field that decides what runs: of a reference in parts, the
	// digest, else the tag.
	Path Path
	// Value is that field's own text, and Reference the whole reference.
	Value     string
	Reference imageref.Reference
	Tier      Tier
}

// Finder finds the images of objects.
type Finder struct {
	rules []compiledRule
}

// NewFinder returns a Finder with the built-in rules and those given, which
// win over them.
func NewFinder(rules ...Rule) (*Finder, error) {
	f := &Finder{}
	for i, rule := range rules {
		compiled, err := rule.compile(Configured)
		if err != nil {
			return nil, fmt.Errorf("images[%d]: %w", i, err)
		}
		f.rules = append(f.rules, compiled)
	}
	return f, nil
}

// Find returns every image that object names, and warnings about what could
// not be read. The order is that of the tiers, then of the fields' names.
//
// What it cannot see is what no manifest says: an image that an operator puts
// together from a version number, or that a mutating webhook injects.
func (f *Finder) Find(object map[string]any) ([]Image, []Warning) {
	s := search{finder: f, claimed: map[string]bool{}, ignored: map[string]bool{}}
	s.object(nil, object, 0)
	return s.images, s.warnings
}

// maxNesting bounds manifests in ConfigMaps in manifests in ConfigMaps.
const maxNesting = 4

// identity is what a rule matches on.
type identity struct{ group, kind, name, namespace string }

func identify(object map[string]any) identity {
	text := func(m map[string]any, key string) string {
		s, _ := m[key].(string)
		return s
	}
	o := identity{kind: text(object, "kind")}
	if group, _, ok := strings.Cut(text(object, "apiVersion"), "/"); ok {
		o.group = group
	}
	metadata, _ := object["metadata"].(map[string]any)
	o.name, o.namespace = text(metadata, "name"), text(metadata, "namespace")
	if o.name == "" && text(metadata, "generateName") != "" {
		o.name = text(metadata, "generateName") + "*"
	}
	return o
}

// String returns Kind/namespace/name.
func (o identity) String() string {
	parts := []string{o.kind, o.namespace, o.name}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
}

// search is one object's search.
type search struct {
	finder   *Finder
	images   []Image
	warnings []Warning
	claimed  map[string]bool // paths that are settled
	ignored  map[string]bool // paths that a rule of the user's says hold none
	owner    identity
	nesting  int
}

// object searches an object that stands at path.
func (s *search) object(at Path, object map[string]any, nesting int) {
	outer, outerNesting := s.owner, s.nesting
	s.owner, s.nesting = identify(object), nesting
	defer func() { s.owner, s.nesting = outer, outerNesting }()

	for _, rule := range s.finder.rules {
		s.apply(rule, at, object)
	}
	data := isData(s.owner)
	if data {
		s.injected(at, object)
	} else {
		s.builtin(at, object)
	}
	// What has items is taken apart by Argo CD and by kubectl, whatever else it
	// says it is.
	items, _ := object["items"].([]any)
	for i, item := range items {
		if child, ok := item.(map[string]any); ok && isObject(child) {
			s.object(at.child("items", i), child, nesting)
			s.claim(at.child("items", i))
		}
	}
	for _, key := range sortedKeys(object) {
		if key == "status" {
			continue // what ran, not what will
		}
		s.walk(place{path: at.child(key), key: key, data: data}, object[key])
	}
}

// builtin runs the rules for the kind of the owner.
func (s *search) builtin(at Path, object map[string]any) {
	for _, kind := range []string{s.owner.kind, "*"} {
		for _, rule := range builtin()[kind] {
			s.apply(rule, at, object)
		}
	}
}

// isObject tells whether a map is a Kubernetes object, or the template of one.
func isObject(m map[string]any) bool {
	version, _ := m["apiVersion"].(string)
	kind, _ := m["kind"].(string)
	return version != "" && kind != ""
}

// embedded runs the built-in rules on an object inside another one: a manifest
// that an operator is to apply. They only ever add to what the walk finds, so
// nothing is gained by dressing a map up as an object of a harmless kind.
func (s *search) embedded(at Path, object map[string]any) {
	outer := s.owner
	s.owner = identify(object)
	defer func() { s.owner = outer }()
	if !isData(s.owner) {
		s.builtin(at, object)
	}
}

// apply runs one rule on an object.
func (s *search) apply(rule compiledRule, at Path, object map[string]any) {
	if !rule.match.matches(s.owner) {
		return
	}
	rule.path.each(at, object, func(path Path, value any) {
		if s.isClaimed(path) || s.isIgnored(path) {
			return
		}
		switch {
		case rule.action == ActionIgnore:
			s.ignored[path.id()] = true
		case rule.action == ActionYAML:
			if text, ok := value.(string); ok {
				s.nested(path, text, true)
			}
		case rule.repository != nil:
			s.parts(rule, path, value)
		default:
			s.field(rule, path, value)
		}
	})
}

// claim settles a field; it is not looked at again.
func (s *search) claim(path Path) { s.claimed[path.id()] = true }

func (s *search) isClaimed(path Path) bool { return len(s.claimed) > 0 && s.claimed[path.id()] }

// isIgnored tells whether path or anything above it is ignored.
func (s *search) isIgnored(path Path) bool {
	if len(s.ignored) == 0 {
		return false
	}
	for i := range path {
		if s.ignored[path[:i+1].id()] {
			return true
		}
	}
	return false
}

// field takes the value of a field that a rule names.
func (s *search) field(rule compiledRule, path Path, value any) {
	text, ok := value.(string)
	if !ok {
		if value == nil {
			return
		}
		text = fmt.Sprint(value)
	}
	reference := text
	if rule.regexp != nil {
		match := rule.regexp.FindStringSubmatch(text)
		switch {
		case match == nil:
			return
		case len(match) > 1:
			reference = match[1]
		default:
			reference = match[0]
		}
	}
	s.add(path, text, reference, rule.tier)
}

// parts takes a reference that a rule finds in pieces.
func (s *search) parts(rule compiledRule, path Path, value any) {
	pick := func(p pattern) part {
		if p == nil {
			return part{}
		}
		at, v := p.lookup(path, value)
		return newPart(at, v)
	}
	s.assembled(pick(rule.registry), pick(rule.repository), pick(rule.tag), pick(rule.digest), rule.tier)
}

// part is one piece of a reference.
type part struct {
	path Path
	text string
}

func newPart(path Path, value any) part {
	switch v := value.(type) {
	case nil, map[string]any, []any:
		return part{}
	case string:
		return part{path, v}
	default:
		return part{path, fmt.Sprint(v)}
	}
}

var bareHex = regexp.MustCompile(`^[0-9a-f]{64}$`)

// assembled adds the reference that the pieces make, the way charts do.
func (s *search) assembled(registry, repository, tag, digest part, tier Tier) {
	if repository.text == "" {
		return
	}
	decides := repository
	text := repository.text
	for _, scheme := range []string{"oci://", "docker://"} {
		text = strings.TrimPrefix(text, scheme)
	}
	if registry.text != "" {
		text = strings.TrimSuffix(registry.text, "/") + "/" + text
	}
	if tag.text != "" {
		decides = tag
		text += ":" + tag.text
	}
	if digest.text != "" {
		decides = digest
		if bareHex.MatchString(digest.text) {
			digest.text = "sha256:" + digest.text
		}
		text += "@" + digest.text
	}
	for _, p := range []part{registry, repository, tag, digest} {
		if p.path != nil {
			s.claim(p.path)
		}
	}
	s.add(decides.path, decides.text, text, tier)
}

// add records a reference.
func (s *search) add(path Path, value, reference string, tier Tier) {
	s.claim(path)
	if s.nesting > 0 && tier < Nested {
		tier = Nested
	}
	s.images = append(s.images, Image{Path: path, Value: value, Reference: imageref.Parse(reference), Tier: tier})
}

// place is where a walk stands.
type place struct {
	path   Path
	key    string // the nearest map key
	parent string // the map key above that
	data   bool   // nothing here runs: look for symbolic references only
	weak   bool   // keys are the user's own words, as in a ConfigMap's data
}

func (p place) into(key string) place {
	return place{path: p.path.child(key), key: key, parent: p.key, data: p.data, weak: p.weak}
}

func (p place) item(i int) place {
	p.path = p.path.child(i)
	return p
}

// maxDepth bounds the levels of an object. The deepest of the public manifests
// we know, schemas of custom resources, have 60.
const maxDepth = 256

const reasonDeep = "is nested more than 256 levels deep, where nothing looks for images"

// walk looks at everything below a place that no rule has settled.
func (s *search) walk(p place, node any) {
	if len(p.path) > maxDepth {
		s.unseen(p.path[:8], reasonDeep)
		return
	}
	if len(s.ignored) > 0 && s.ignored[p.path.id()] {
		p.data = true
	}
	switch n := node.(type) {
	case map[string]any:
		if s.isClaimed(p.path) {
			return
		}
		if !p.data {
			if isObject(n) {
				s.embedded(p.path, n)
			}
			s.imageMap(p, n)
			s.environment(p, n)
		}
		for _, key := range sortedKeys(n) {
			if p.key == "metadata" && key == "managedFields" ||
				p.key == "annotations" && key == "kubectl.kubernetes.io/last-applied-configuration" {
				continue // copies
			}
			child := p.into(key)
			child.weak = p.weak || s.userWords(p.key)
			s.walk(child, n[key])
		}
	case []any:
		if !p.data && (p.key == "args" || p.key == "command") {
			s.arguments(p, n)
		}
		for i, item := range n {
			s.walk(p.item(i), item)
		}
	case string:
		s.text(p, n)
	}
}

// userWords tells whether the keys of the map at key are the user's own words
// and not a schema's.
func (s *search) userWords(key string) bool {
	switch key {
	case "annotations", "labels", "matchLabels":
		return true
	case "data", "stringData":
		return s.owner.group == "" && (s.owner.kind == "ConfigMap" || s.owner.kind == "Secret")
	}
	return false
}

// unseen records what could not be looked at, and so can't pass.
func (s *search) unseen(path Path, reason string) {
	if s.isClaimed(path) {
		return // said already
	}
	s.claim(path)
	s.images = append(s.images, Image{Path: path, Reference: imageref.Reference{Text: "a value", State: imageref.Invalid, Reason: reason}, Tier: Generic})
}

func (s *search) warn(path Path, message string) {
	s.warnings = append(s.warnings, Warning{Object: s.owner.String(), Field: path.String(), Message: message})
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
