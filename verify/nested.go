package verify

import (
	"fmt"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// manifestText tells whether a string holds a manifest.
func manifestText(text string) bool {
	return strings.Contains(text, "apiVersion") && strings.Contains(text, "kind") && strings.ContainsAny(text, "\n{")
}

var documentSeparator = regexp.MustCompile(`(?m)^---(?:[ \t].*)?\r?$`)

// nested searches YAML or JSON inside a string. A fragment need not be a
// manifest (Helm values in an Application).
func (s *search) nested(at Path, text string, fragment bool) {
	s.claim(at)
	if s.nesting >= maxNesting {
		s.warn(at, fmt.Sprintf("manifests are nested more than %d deep; what is below was not looked at", maxNesting))
		return
	}
	for i, document := range documentSeparator.Split(text, -1) {
		var content any
		err := yaml.Unmarshal([]byte(document), &content)
		if list, ok := content.([]any); ok {
			content = map[string]any{"kind": "List", "items": list} // as kubectl takes a JSON array
		}
		object, ok := content.(map[string]any)
		if err != nil || !ok && content != nil {
			if fragment || strings.Contains(document, "image") {
				s.warn(at, "holds text that looks like a manifest and is not readable as YAML; images in it were not found")
			}
			continue
		}
		inside := at.child(Inside(i))
		if fragment {
			s.nesting++
			s.walk(place{path: inside}, object)
			s.nesting--
		} else if object["kind"] != nil {
			s.object(inside, object, s.nesting+1)
		}
	}
}
