package verify

import (
	"maps"
	"regexp"
)

// assignsImage matches the location of a mutation that ends at an image, or at
// the reference of an image volume.
var assignsImage = regexp.MustCompile(`image(?:\.reference)?"?$`)

// injected finds what the objects of policy engines put into the cluster by
// their own hand: Kyverno's generated objects and Gatekeeper's assigned images.
// The rest of such objects only talks about images.
//
// Sources: Kyverno, api/kyverno/v1/common_types.go (Generation); Gatekeeper,
// apis/mutations (Assign, ModifySet and AssignImage).
func (s *search) injected(at Path, object map[string]any) {
	spec, _ := object["spec"].(map[string]any)
	switch s.owner.group {
	case "kyverno.io":
		rules, _ := spec["rules"].([]any)
		for i, rule := range rules {
			if rule, ok := rule.(map[string]any); ok {
				s.generated(at.child("spec", "rules", i, "generate"), rule["generate"])
			}
		}
	case "mutations.gatekeeper.sh":
		parameters, _ := spec["parameters"].(map[string]any)
		at = at.child("spec", "parameters")
		s.assignedImage(at, parameters)
		if location, _ := spec["location"].(string); assignsImage.MatchString(location) {
			assign, _ := parameters["assign"].(map[string]any)
			if value := newPart(at.child("assign", "value"), assign["value"]); value.text != "" {
				s.add(value.path, value.text, value.text, Typed)
			}
		}
	}
}

// generated searches the objects of a Kyverno rule's generate, alone or in a
// foreach.
func (s *search) generated(at Path, node any) {
	generate, _ := node.(map[string]any)
	if data, ok := generate["data"].(map[string]any); ok {
		object := maps.Clone(data)
		object["apiVersion"], object["kind"] = generate["apiVersion"], generate["kind"]
		s.object(at.child("data"), object, s.nesting)
		s.claim(at.child("data"))
	}
	each, _ := generate["foreach"].([]any)
	for i, item := range each {
		s.generated(at.child("foreach", i), item)
	}
}

// assignedImage takes the image of an AssignImage, whose tag starts with ":" or
// "@". Without a tag it leaves the image's own.
func (s *search) assignedImage(at Path, parameters map[string]any) {
	tag := newPart(at.child("assignTag"), parameters["assignTag"])
	if tag.text == "" {
		return
	}
	path := newPart(nil, parameters["assignPath"]).text
	if path == "" {
		if tag.text[0] == '@' {
			return // a digest, of whatever repository the image names
		}
		path = "any"
	}
	if domain := newPart(nil, parameters["assignDomain"]).text; domain != "" {
		path = domain + "/" + path
	}
	s.add(tag.path, tag.text, path+tag.text, Typed)
}
