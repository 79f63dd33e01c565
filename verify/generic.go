package verify

import (
	"encoding/base64"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/imageref"
)

// imageKey matches the names of fields that hold an image in custom resources.
// Lists of CRDs name images so in 93 of 100 cases.
var imageKey = regexp.MustCompile(`^(?:image|dockerImage|docker_image|imageName|containerImage|baseImage|[a-z][A-Za-z0-9]*Image)$`)

// text takes a string that no rule has settled.
func (s *search) text(p place, text string) {
	if s.isClaimed(p.path) {
		return
	}
	if symbolicAnywhere(text) {
		s.add(p.path, text, text, Generic)
		return
	}
	if p.data || p.parent == "rbd" && p.key == "image" { // a block device of Ceph
		return
	}
	if p.namesImage(text) {
		s.add(p.path, text, text, Generic)
		return
	}
	secret := s.owner.group == "" && s.owner.kind == "Secret"
	if manifestText(text) {
		s.nested(p.path, text, false)
		return
	}
	if secret {
		if decoded, err := base64.StdEncoding.DecodeString(text); err == nil && manifestText(string(decoded)) {
			s.nested(p.path, string(decoded), false)
		}
		return // never sweep, and so never print, what a Secret holds
	}
	if _, value, ok := strings.Cut(text, "="); ok && strings.HasPrefix(text, "-") {
		text = value
	}
	if imageref.Shaped(text) || imageKey.MatchString(p.key) && hasHost(text) && isPicture(text) {
		s.add(p.path, text, text, Sweep)
	} else if (strings.Contains(text, "@build") || strings.Contains(text, "@resolve")) && strings.ContainsAny(text, "\n") {
		s.warn(p.path, "a longer text holds the word @build or @resolve, where no rewrite reaches it")
	}
}

// imageAnnotation matches the annotations that name an image for whoever
// injects a container: dapr.io/sidecar-image, example.com/proxyImage.
var imageAnnotation = regexp.MustCompile(`(?:[-._/]image|Image)$`)

// namesImage tells whether the name of the field says that text is an image.
func (p place) namesImage(text string) bool {
	switch {
	case text == "":
		return false
	case p.weak:
		return imageref.Shaped(text) &&
			(imageKey.MatchString(p.key) && maybeImage(text) || p.parent == "annotations" && imageAnnotation.MatchString(p.key))
	case p.key == "image" && containerLists[p.parent]:
		return true // a container, whatever object it stands in
	case p.key == "reference" && p.parent == "image":
		return maybeImage(text) // an image volume
	}
	return imageKey.MatchString(p.key) && maybeImage(text)
}

// containerLists are the keys of the lists of containers.
var containerLists = map[string]bool{
	"containers": true, "initContainers": true, "ephemeralContainers": true, "sidecars": true, "steps": true,
}

// symbolicAnywhere tells whether text is symbolic wherever it stands. Outside a
// field for images the name needs a slash: deploy@build is an ssh target, too.
func symbolicAnywhere(text string) bool {
	return imageref.Shaped(text) && imageref.Parse(text).State == imageref.Symbolic
}

// maybeImage tells whether the value of a field with an image's name can be
// one at all. What a registry could never serve is a picture, a path, a URL or
// a wildcard; what holds a variable may become an image and is judged.
func maybeImage(text string) bool {
	if text == "" || len(text) > 1024 || strings.ContainsAny(text, " \t\n*") ||
		strings.HasPrefix(text, "/") || strings.HasPrefix(text, ".") || strings.HasPrefix(text, "data:") {
		return false
	}
	if u, err := url.Parse(text); err == nil && u.Scheme != "" && u.Host != "" {
		return u.Scheme == "docker" || u.Scheme == "oci"
	}
	return !isPicture(text)
}

// isPicture tells whether the text is the name of a picture, or of a disk. A
// repository may end so too, but who writes a tag or a digest means an image.
func isPicture(text string) bool {
	if imageref.Shaped(text) {
		return false
	}
	switch strings.ToLower(path.Ext(text)) {
	case ".png", ".jpg", ".jpeg", ".svg", ".gif", ".ico", ".webp", ".qcow2", ".img", ".iso", ".raw", ".vmdk":
		return true
	}
	return false
}

// hasHost tells whether the text starts with what can be a registry.
func hasHost(text string) bool {
	host, _, ok := strings.Cut(text, "/")
	return ok && host != "" && !strings.HasPrefix(host, ".") && strings.ContainsAny(host, ".:") && imageref.Parse(text).State == imageref.Floating
}

// placeholder is a symbolic verb alone, as the value of a key "digest".
var placeholder = regexp.MustCompile(`^(?:build|resolve)(?:\+(?:patch|minor|major))?$`)

// imageMap takes a map that is a reference in pieces: {registry, repository,
// tag, digest} as Helm values have it, {name, newName, newTag, digest} as
// kustomize does.
func (s *search) imageMap(p place, n map[string]any) {
	get := func(keys ...string) part {
		for _, key := range keys {
			if found := newPart(p.path.child(key), n[key]); found.text != "" {
				return found
			}
		}
		return part{}
	}
	tag, digest := get("newTag", "tag"), get("digest", "sha")
	named := imageKey.MatchString(p.key)
	// OpenShift's builds and image streams; "to" is where a build pushes.
	if name := get("name"); n["kind"] == "DockerImage" && name.text != "" && p.key != "to" && !s.isClaimed(name.path) {
		s.add(name.path, name.text, name.text, Generic)
	}
	// {repository, image, version} of NVIDIA's operators. Elsewhere the image
	// may be all that counts.
	if base, image, version := get("repository"), get("image"), get("version"); s.owner.group == "nvidia.com" &&
		base.text != "" && image.text != "" && version.text != "" && tag.text == "" && digest.text == "" {
		if strings.HasPrefix(version.text, "sha256:") {
			s.assembled(base, image, part{}, version, Generic)
		} else {
			s.assembled(base, image, version, part{}, Generic)
		}
		return
	}
	repository := get("newName", "repository")
	if repository.text == "" && (named || p.key == "images" || n["newTag"] != nil || placeholder.MatchString(digest.text)) {
		repository = get("name")
	}
	if repository.text == "" && digest.text != "" {
		repository = get("image")
	}
	if repository.text == "" || p.parent == "rbd" || !named && tag.text == "" && digest.text == "" {
		return
	}
	// A git or Helm repository has a URL, and its tag is no image's.
	if strings.Contains(repository.text, "://") && !strings.HasPrefix(repository.text, "oci://") && !strings.HasPrefix(repository.text, "docker://") {
		return
	}
	if s.isClaimed(repository.path) {
		return
	}
	s.assembled(get("registry"), repository, tag, digest, Generic)
	// Only one of the two names is what the reader of the map goes by.
	if other := get("repository"); other.text != "" && repository.text != other.text {
		s.assembled(get("registry"), other, get("tag"), get("digest", "sha"), Generic)
	}
}

var imageEnv = regexp.MustCompile(`^RELATED_IMAGE_|_IMAGE$|^IMAGE_|^IMAGE$`)

// environment takes an item of a container's env that hands on an image.
func (s *search) environment(p place, n map[string]any) {
	name, _ := n["name"].(string)
	value, ok := n["value"].(string)
	related := strings.HasPrefix(name, "RELATED_IMAGE_") && value != "" // operators take nothing else there
	if p.key == "env" && ok && (related || imageEnv.MatchString(name) && imageref.Shaped(value)) {
		s.add(p.path.child("value"), value, value, Generic)
	}
}

var (
	imageFlag      = regexp.MustCompile(`^--?[A-Za-z0-9-]*image[A-Za-z0-9-]*$`)
	imageFlagEqual = regexp.MustCompile(`^--?[A-Za-z0-9-]*image[A-Za-z0-9-]*=(.+)$`)
)

// arguments takes flags that hand on an image: --solver-image=X, --image X.
func (s *search) arguments(p place, list []any) {
	for i, item := range list {
		text, _ := item.(string)
		if match := imageFlagEqual.FindStringSubmatch(text); match != nil && imageref.Shaped(match[1]) {
			s.add(p.path.child(i), text, match[1], Generic)
		}
		if imageFlag.MatchString(text) && i+1 < len(list) {
			if next, _ := list[i+1].(string); imageref.Shaped(next) {
				s.add(p.path.child(i+1), next, next, Generic)
			}
		}
	}
}
