package rewrite

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/yamledit"
)

// What the prefilter keeps from the parser holds no mark, and none gone wrong.
func FuzzPrefilter(f *testing.F) {
	for _, seed := range []string{
		"image: ghcr.io/acme/web@build", "image: x:1@resolve+minor", "- image: nginx@Biuld", "{repository: a/b, tag: 1.0@build}",
		"images:\n- name: a\n  digest: build\n", "name: a\ndigest: biuld", "{image: a/b, sha: \"build\"}", "{\"name\":\"a\",\"digest\":\"build\"}",
		"x: {image: a/b, digest: &d build}\ny: {image: a/b, digest: *d}", "image: a/b@sha256:" + zeroHex, "{image: a/b, sha: '" + zeroHex + "'}",
		"parameters:\n- {name: image.tag, value: build}\n- {name: image.repository, value: a/b}", "digest:\n  resolve\nname: x", "{name: a, ? digest : !!str build}",
		"digest: !!str\n  build+minor\nname: x\ntag: 1.2.3", "digest: >-\n  build\nname: x", "targetRevision: main@build", "newName: a@build", "a: \"@build\"",
		"{name: a, digest: \"bui\\x6cd\"}", "d: {x: &k digest, name: a, *k : build}",
	} {
		f.Add([]byte(seed))
	}
	components, err := build.NewComponents([]build.Component{{Name: "web", Image: "ghcr.io/acme/web"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		file := &markedFile{path: "a.yaml", content: content, components: components}
		file.find()
		if maybeSymbolic(file.path, content) {
			return
		}
		for _, m := range file.marks {
			if m.scalar.Style != yamledit.DoubleQuoted || !bytes.Contains(content, []byte(`\`)) { // nobody escapes letters
				t.Errorf("%q has %v", content, m)
			}
		}
		for _, p := range file.problems {
			// Help with spelling is for what people write.
			if !strings.Contains(p.Message, "did you mean") && !strings.Contains(p.Message, "+patch, +minor") && !bytes.Contains(content, []byte(`\`)) {
				t.Errorf("%q has %v", content, p)
			}
		}
	})
}
