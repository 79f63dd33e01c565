package gate

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/render"
)

// checkStream refuses manifests of which Argo CD would make other objects than
// those that are verified. Its repo-server splits what a plugin prints at lines
// of ---, and takes apart what has items (reposerver/repository/repository.go,
// GenerateManifests): a List that was inside another one would be taken apart
// there, after its items were verified as a part of something else.
func checkStream(result *render.Result) error {
	for _, manifest := range result.Manifests {
		if bytes.HasPrefix(manifest.YAML, []byte("---")) || bytes.Contains(manifest.YAML, []byte("\n---")) {
			return &render.Error{
				File:    manifest.Source.File,
				Message: fmt.Sprintf("a line of %s starts with ---, where Argo CD ends a manifest", name(manifest)),
				Fix:     "write the text in quotes, on one line",
			}
		}
		if key, found := unstable(manifest.Object); found {
			return &render.Error{
				File:    manifest.Source.File,
				Message: fmt.Sprintf("%s holds a control character at %q, which Argo CD's plugin protocol does not carry unchanged", name(manifest), key),
				Fix:     "take it out, or put the bytes into binaryData",
			}
		}
		items, has := manifest.Object["items"]
		if !has {
			continue
		}
		_, list := items.([]any)
		_, spec := manifest.Object["spec"]
		_, status := manifest.Object["status"]
		if list || items == nil && !spec && !status {
			return &render.Error{
				File:    manifest.Source.File,
				Message: fmt.Sprintf("%s has items and stands in a List; Argo CD takes the outer one apart only", name(manifest)),
				Fix:     "move its items to the outer List, or into documents of their own",
			}
		}
	}
	return nil
}

// name returns the kind and name of a manifest.
func name(manifest render.Manifest) string {
	kind, _ := manifest.Object["kind"].(string)
	metadata, _ := manifest.Object["metadata"].(map[string]any)
	if name, _ := metadata["name"].(string); name != "" {
		return kind + "/" + name
	}
	return "a " + kind
}

// unstable returns the key at which a value holds a character that does not
// survive the way through JSON that is read as YAML: the repo-server reads the
// plugin's JSON so (gitops-engine, SplitYAML), which takes NEL for a line break
// and folds it into a space, and fails on the other control characters.
func unstable(value any) (key string, found bool) {
	switch v := value.(type) {
	case string:
		return "", strings.ContainsFunc(v, func(r rune) bool {
			return r >= 0x7f && r <= 0x9f || r == 0xfffe || r == 0xffff
		})
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if _, found := unstable(key); found {
				return key, true
			}
			if inner, found := unstable(v[key]); found {
				return cmp.Or(inner, key), true
			}
		}
	case []any:
		for _, item := range v {
			if key, found := unstable(item); found {
				return key, true
			}
		}
	}
	return "", false
}
