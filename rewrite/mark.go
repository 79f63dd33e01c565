package rewrite

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/editdistance"
	"github.com/pin-cmp/pin-cmp/internal/imageref"
	"github.com/pin-cmp/pin-cmp/internal/yamledit"
)

// A mark is a symbolic reference: a place that waits for a digest.
type mark struct {
	file string
	// scalar is the one to replace; prefix stays in front of its new value
	// ("web=" of an Application's kustomize.images, "--image=" of a flag).
	scalar yamledit.Scalar
	prefix string
	form   form
	// repository is as the author wrote it, for the whole form.
	repository string
	// ref is the whole reference, put together where it is in parts.
	ref imageref.Reference
	// tag is the sibling that holds the tag, where the digest has a field of its
	// own and the bump changes the tag beside it.
	tag *yamledit.Scalar
	// was is the digest that stands there, where the mark is a static pin whose
	// component is built anew.
	was string
	// floating: the author wrote a tag, or nothing, and asked for all of them to
	// be pinned.
	floating bool
}

// form is what the scalar holds.
type form int

const (
	whole    form = iota // repository[:tag]@build
	tagOnly              // tag: 1.4.0@build, the repository beside it
	digestOf             // digest: build, the repository beside it
	hexOf                // sha: build, the same without "sha256:"
)

// at returns file:line.
func (m mark) at() string { return fmt.Sprintf("%s:%d", m.file, m.scalar.Line) }

// edits returns the edits that pin the mark.
func (m mark) edits(digest, tag string) []yamledit.Edit {
	var value string
	switch m.form {
	case whole:
		value = m.prefix + m.repository
		if tag != "" {
			value += ":" + tag
		}
		value += "@" + digest
	case tagOnly:
		value = tag + "@" + digest
	case digestOf:
		value = digest
	case hexOf:
		value = strings.TrimPrefix(digest, "sha256:")
	}
	edits := []yamledit.Edit{{Scalar: m.scalar, New: value}}
	if m.tag != nil && tag != m.tag.Value {
		edits = append(edits, yamledit.Edit{Scalar: *m.tag, New: tag})
	}
	return edits
}

const (
	verbs = `(build|resolve)((?:\+(?:patch|minor|major))?)`
	tag   = `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`
)

var (
	symbolicRE = regexp.MustCompile(`^(?:[^=@\s]*=)?[^@\s=]+@` + verbs + `$`)
	verbRE     = regexp.MustCompile(`^` + verbs + `$`)
	tagRE      = regexp.MustCompile(`^(` + tag + `)@(?:` + verbs + `|` + imageref.ZeroDigest + `)$`)
	releaseRE  = regexp.MustCompile(`^v?[0-9]+\.[0-9]`)
	imageKeyRE = regexp.MustCompile(`^(?:image|docker_image|imageName|[a-z][A-Za-z0-9]*Image)$`)
	flagRE     = regexp.MustCompile(`^--?[A-Za-z0-9-]*image[A-Za-z0-9-]*=`)
	nearlyRE   = regexp.MustCompile(`^[^\s@=]+/[^\s@=]+@[A-Za-z]+(?:\+[a-z]+)?$`)
	slipRE     = regexp.MustCompile(`^(?:(` + tag + `)@)?([A-Za-z]{3,9})(\+[A-Za-z]*)?$`)
)

// zeroHex is the all-zero digest without its algorithm.
var zeroHex = strings.TrimPrefix(imageref.ZeroDigest, "sha256:")

// orphan is said of a placeholder that has no repository.
const orphan = "nothing beside it says which image this is; a repository, name or image in the same map does"

// mayBeMark tells whether a value can be a mark or one gone wrong, so that all
// others cost nothing.
func mayBeMark(value string) bool {
	switch {
	case strings.IndexByte(value, '@') >= 0:
		return true
	case len(value) == len(zeroHex) || len(value) == len(imageref.ZeroDigest):
		return strings.HasSuffix(value, zeroHex)
	}
	return len(value) <= len("resolve+minor")+2 && slipRE.MatchString(value)
}

// read decides whether a scalar is a mark, by the map that beside is a value of:
// the scalar's own, or one that takes the scalar over. A problem is a scalar that
// was meant as a mark and can't be taken as one.
func (f *markedFile) read(s, beside yamledit.Scalar) (*mark, *Problem) {
	key, value := s.Key(), s.Value
	switch {
	case value == "@build" || value == "@resolve":
		return nil, f.problem(beside, "%s alone names nothing; write the tag before it, as in 1.4.0%s, or digest: %s", value, value, value[1:])
	case key == "uses": // an action or a workflow on GitHub, at a branch of that name
		return nil, nil
	case key == "digest" && (verbRE.MatchString(value) || value == imageref.ZeroDigest):
		return f.split(s, beside, digestOf)
	case (key == "sha" || key == "sha256") && (verbRE.MatchString(value) || value == zeroHex):
		return f.split(s, beside, hexOf)
	case key == "newName" && symbolicRE.MatchString(value):
		return nil, f.problem(beside, "kustomize puts a tag behind newName, so the placeholder can't stand here; write digest: %s beside it", symbolicRE.FindStringSubmatch(value)[1])
	case key == "targetRevision" && (strings.Contains(value, "@build") || strings.Contains(value, "@resolve")):
		return nil, f.problem(beside, "a git reference is not rewritten yet; write the revision itself")
	case isTagKey(key) && tagRE.MatchString(value):
		return f.split(s, beside, tagOnly)
	case key == "value" && (tagRE.MatchString(value) || verbRE.MatchString(value) || value == imageref.ZeroDigest):
		if m, p, ok := f.parameter(s); ok {
			return m, p
		}
	case isTagKey(key) || key == "digest" || key == "sha" || key == "sha256":
		if p := f.slip(s, beside); p != nil {
			return nil, p
		}
	}
	if m, p := f.whole(s, beside); m != nil || p != nil {
		return m, p
	}
	// 1.4.0@build is nothing else, wherever it stands.
	if match := tagRE.FindStringSubmatch(value); match != nil && (match[3] != "" || releaseRE.MatchString(match[1])) {
		return nil, f.problem(beside, "%s", orphan)
	}
	return nil, nil
}

func isTagKey(key string) bool { return key == "tag" || key == "newTag" || key == "imageTag" }

// slip finds a misspelt verb where a reference stands in parts.
func (f *markedFile) slip(s, beside yamledit.Scalar) *Problem {
	match := slipRE.FindStringSubmatch(s.Value)
	if match == nil || match[1] == "" && isTagKey(s.Key()) || f.repositoryBeside(beside) == nil {
		return nil
	}
	for _, verb := range []imageref.Verb{imageref.Build, imageref.Resolve} {
		switch {
		case match[2] == string(verb):
			return f.problem(beside, "%s: what is raised is +patch, +minor or +major", s.Value)
		case editdistance.Between(strings.ToLower(match[2]), string(verb)) <= 2:
			return f.problem(beside, "%s is no digest; did you mean %s?", s.Value, verb)
		}
	}
	return nil
}

// whole reads repository[:tag]@build.
func (f *markedFile) whole(s, beside yamledit.Scalar) (*mark, *Problem) {
	text, prefix := s.Value, ""
	if strings.IndexByte(text, '@') < 0 {
		return nil, nil
	}
	if i := strings.IndexByte(text, '='); i >= 0 && strings.Contains(s.Path().String(), "images[") {
		prefix, text = text[:i+1], text[i+1:]
	} else if flag := flagRE.FindString(text); flag != "" {
		prefix, text = flag, text[len(flag):]
	}
	ref := imageref.Parse(text)
	known := f.knownField(s)
	if ref.State != imageref.Symbolic {
		if ref.State == imageref.Invalid && strings.Contains(ref.Reason, "did you mean") {
			reason := ref.Reason
			if name, _, raised := strings.Cut(text, "+"); raised && symbolicRE.MatchString(name) {
				reason = "raises what is no part of a version; it is +patch, +minor or +major"
			}
			if known {
				return nil, f.problem(beside, "%s %s", text, reason)
			}
			if nearlyRE.MatchString(text) {
				f.leave(s.Line, "%s stays as it is: it %s", text, reason)
			}
		}
		return nil, nil
	}
	// deploy@build is how people write an ssh target, too.
	if !known && !strings.Contains(text, "/") {
		if _, ok := f.components.ByImage(ref.Repository); !ok {
			return nil, nil
		}
	}
	if p := f.misplaced(s, beside, ref); p != nil {
		return nil, p
	}
	repository := text[:strings.LastIndexByte(text, '@')]
	if ref.Tag != "" {
		repository = strings.TrimSuffix(repository, ":"+ref.Tag)
	}
	return &mark{file: f.path, scalar: s, prefix: prefix, form: whole, repository: repository, ref: ref}, nil
}

// misplaced returns the problem of a whole reference that stands where a part is
// expected: what it is put together with would come behind the digest.
func (f *markedFile) misplaced(s, beside yamledit.Scalar, ref imageref.Reference) *Problem {
	key := s.Key()
	if key == "repository" || key == "registry" || key == "name" && inImages(s) {
		return f.problem(beside, "a tag is put behind %s, so the placeholder can't stand here; write digest: %s beside it, or the tag as in 1.4.0@%s", key, ref.Verb, ref.Verb)
	}
	if key != "image" {
		return nil
	}
	if other := sibling(beside, "tag", "imageTag", "digest"); other != nil {
		return f.problem(beside, "the %s beside it would come behind the digest; write the placeholder there, or take the %s away", other.Key(), other.Key())
	}
	return nil
}

// inImages tells whether the scalar is a value of an item of kustomize's images.
func inImages(s yamledit.Scalar) bool {
	p := s.Path()
	if len(p) < 3 || p[len(p)-3] != "images" {
		return false
	}
	_, item := p[len(p)-2].(int)
	return item
}

// knownField tells whether the scalar stands where images stand.
func (f *markedFile) knownField(s yamledit.Scalar) bool {
	if imageKeyRE.MatchString(s.Key()) {
		return true
	}
	p := s.Path()
	if len(p) < 2 {
		return false
	}
	_, item := p[len(p)-1].(int)
	return item && p[len(p)-2] == "images"
}

// sibling returns the first of keys that has text in the same map.
func sibling(s yamledit.Scalar, keys ...string) *yamledit.Scalar {
	for _, key := range keys {
		if found, ok := s.Sibling(key); ok && found.Value != "" && found.Tag != "!!null" {
			return &found
		}
	}
	return nil
}

func (f *markedFile) repositoryBeside(s yamledit.Scalar) *yamledit.Scalar {
	return sibling(s, "repository", "newName", "image", "name")
}

// split reads a placeholder whose repository stands beside it: kustomize images,
// Helm values.
func (f *markedFile) split(s, beside yamledit.Scalar, form form) (*mark, *Problem) {
	repository := f.repositoryBeside(beside)
	if repository == nil {
		return nil, f.problem(beside, "%s", orphan)
	}
	name := strings.TrimPrefix(strings.TrimPrefix(repository.Value, "oci://"), "docker://")
	if registry := sibling(beside, "registry"); registry != nil && !strings.HasPrefix(name, registry.Value+"/") {
		name = strings.TrimSuffix(registry.Value, "/") + "/" + name
	}
	m := &mark{file: f.path, scalar: s, form: form, repository: name}
	text := name
	if form == tagOnly {
		if digest := sibling(beside, "digest", "sha", "sha256"); digest != nil {
			return nil, f.problem(beside, "the %s beside it says which image it is, whatever the tag; write the placeholder there: %s: build", digest.Key(), digest.Key())
		}
		text += ":" + s.Value
	} else {
		if m.tag = sibling(beside, "newTag", "tag", "imageTag"); m.tag != nil {
			if strings.Contains(m.tag.Value, "@") {
				return nil, f.problem(beside, "the tag beside it has a digest or a placeholder of its own, %q; write one of the two", m.tag.Value)
			}
			text += ":" + m.tag.Value
		}
		text += "@" + verbOf(s.Value)
	}
	if m.ref = imageref.Parse(text); m.ref.State != imageref.Symbolic {
		return nil, f.problem(beside, "with the repository beside it this is %q, which %s", text, m.ref.Reason)
	}
	return m, nil
}

// verbOf returns what stands in a digest's place, the zero digest as the verb
// that it means.
func verbOf(value string) string {
	if strings.HasSuffix(value, zeroHex) {
		return string(imageref.Build)
	}
	return value
}

// parameterList returns the path of the list of Helm parameters whose item
// {name, value} the scalar is the value of.
func parameterList(s yamledit.Scalar) (string, bool) {
	if s.Key() != "value" {
		return "", false
	}
	p := s.Path()
	if len(p) < 3 || p[len(p)-3] != "parameters" {
		return "", false
	}
	if _, item := p[len(p)-2].(int); !item {
		return "", false
	}
	return fmt.Sprintf("%d %s", s.Document, p[:len(p)-2]), true
}

// parameter reads a Helm parameter of an Application: {name: image.tag, value:
// 1.4.0@build}, whose repository is another parameter of the list.
func (f *markedFile) parameter(s yamledit.Scalar) (*mark, *Problem, bool) {
	list, ok := parameterList(s)
	if !ok {
		return nil, nil, false
	}
	name, ok := s.Sibling("name")
	if !ok {
		return nil, nil, false
	}
	prefix, last := "", name.Value
	if i := strings.LastIndexByte(name.Value, '.'); i >= 0 {
		prefix, last = name.Value[:i+1], name.Value[i+1:]
	}
	beside := func(fields ...string) *yamledit.Scalar {
		for _, field := range fields {
			if found := f.parameters[list+" "+prefix+field]; found != nil && found.Value != "" {
				return found
			}
		}
		return nil
	}
	m := &mark{file: f.path, scalar: s}
	switch last {
	case "tag":
		m.form = tagOnly
	case "digest":
		m.form = digestOf
	case "sha", "sha256":
		m.form = hexOf
	default:
		return nil, nil, false
	}
	repository := beside("repository", "name")
	if repository == nil {
		return nil, f.problem(s, "no parameter %srepository beside it says which image this is; add it to the list", prefix), true
	}
	m.repository = repository.Value
	if registry := beside("registry"); registry != nil && !strings.HasPrefix(m.repository, registry.Value+"/") {
		m.repository = strings.TrimSuffix(registry.Value, "/") + "/" + m.repository
	}
	text := m.repository
	if m.form == tagOnly {
		if !tagRE.MatchString(s.Value) {
			return nil, f.problem(s, "%s is no tag; write the version before it, as in 1.4.0@%s", s.Value, verbOf(s.Value)), true
		}
		if digest := beside("digest", "sha", "sha256"); digest != nil {
			return nil, f.problem(s, "the parameter for the digest on line %d says which image it is, whatever the tag; write the placeholder there", digest.Line), true
		}
		text += ":" + s.Value
	} else {
		if strings.Contains(s.Value, "@") {
			return nil, f.problem(s, "%s has a tag, and this parameter is the digest alone; write %s", s.Value, s.Value[strings.IndexByte(s.Value, '@')+1:]), true
		}
		if m.tag = beside("tag"); m.tag != nil {
			if strings.Contains(m.tag.Value, "@") {
				return nil, f.problem(s, "the tag beside it has a digest or a placeholder of its own, %q; write one of the two", m.tag.Value), true
			}
			text += ":" + m.tag.Value
		}
		text += "@" + verbOf(s.Value)
	}
	if m.ref = imageref.Parse(text); m.ref.State != imageref.Symbolic {
		return nil, f.problem(s, "with its repository this is %q, which %s", text, m.ref.Reason), true
	}
	return m, nil, true
}
