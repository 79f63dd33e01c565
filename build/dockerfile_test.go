package build

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

// componentWith returns the component of app/pin.yaml that a text declares.
func componentWith(text string) (Component, error) {
	components, err := ParseComponents("app/pin.yaml", []byte("apiVersion: pin-cmp/v1\nkind: Component\nimage: ghcr.io/acme/web\n"+text))
	if err != nil {
		return Component{}, err
	}
	return components[0], nil
}

// Every field is one of the file, and every mistake has its line and its field.
func TestRecipeMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"build: {docker: {contxt: .}}", `app/pin.yaml:4: unknown field "contxt"; the fields are context, file, target, args, secrets, ssh, cacheFrom, cacheTo, builder, provenance, sbom, options`},
		{"build: {docker: {context: ../..}}", `app/pin.yaml:1: build.docker.context "../.." is outside the repository`},
		{"build: {docker: {context: /srv}}", `build.docker.context "/srv" is outside the repository`},
		{"build: {docker: {context: 'https://github.com/acme/web.git'}}", "build.docker.context is an address; it is a path in this repository"},
		{"build: {podman: {context: 'git@github.com:acme/web'}}", "build.podman.context is an address"},
		{"build: {buildah: {file: ../../Dockerfile}}", `build.buildah.file "../../Dockerfile" is outside the repository`},
		{"inputs: [src]\nbuild: {docker: {context: ../other}}", "build.docker.context: none of the inputs of web is in other; add it to them"},
		{"build: {docker: {target: --push}}", `build.docker.target "--push" is no name of a stage`},
		{"build: {docker: {args: {--load: x}}}", `build.docker.args: "--load" is no name of an argument`},
		{"build: {docker: {args: {'A=B': x}}}", `build.docker.args: "A=B" is no name of an argument`},
		{"build:\n  docker:\n    args:\n      A:", `app/pin.yaml:7: the argument A has no value; an empty one is written ""`},
		{"build: {docker: {args: [A=1]}}", "app/pin.yaml:4: "},
		{"build: {docker: {options: [--push]}}", "build.docker.options: --push is not to be set here; it has a field of its own, or is set by pin-cmp"},
		{"build: {docker: {options: [--build-arg=A=1]}}", "build.docker.options: --build-arg is not to be set here"},
		{"build: {docker: {options: ['-tx']}}", "build.docker.options: -t is not to be set here"},
		{"build: {podman: {options: [--timestamp, '0']}}", "build.podman.options: --timestamp is not to be set here"},
		{"build: {ko: {import: ./...}}", `build.ko.import "./..." is not one package, as in ./cmd/web`},
		{"build: {ko: {import: -o=x}}", "is not one package"},
		{"build: {ko: {import: ../../cmd}}", `build.ko.import "../../cmd" is outside the repository`},
		{"build: {ko: {base: a b}}", `build.ko.base "a b" is no image`},
		{"build: {ko: {options: [--local]}}", "build.ko.options: --local is not to be set here"},
		{"build: {bazel: {}}", `build.bazel.target "" is no label of a target that pushes, as in //web:push`},
		{"build: {bazel: {target: '--x'}}", `build.bazel.target "--x" is no label`},
		{"build: {bazel: {target: '//x y'}}", "is no label"},
		{"build: {bazel: {target: '//x', options: [--]}}", "build.bazel.options: -- is not to be set here"},
		{"build: {nix: {}}", "build.nix has one of attribute, as in .#image, and copyTo, as in .#image.copyTo"},
		{"build: {nix: {attribute: .#a, copyTo: .#b}}", "build.nix has one of"},
		{"build: {nix: {attribute: --impure}}", `build.nix: "--impure" is no attribute`},
		{"build: {pack: {runImage: x}}", "build.pack.builder is missing: the image that builds"},
		{"build: {pack: {builder: x}}", "build.pack.runImage is missing: the image that the result is put on; pack would take the one that the builder names by a tag"},
		{"build: {pack: {builder: --x, runImage: y}}", `build.pack.builder "--x" is no image`},
		{"platforms: [linux/amd64, linux/arm64]\nbuild: {pack: {builder: x, runImage: y}}", "build.pack builds for one platform, not for linux/amd64, linux/arm64"},
		{"build: {pack: {builder: x, runImage: y, buildpacks: ['https://x/y.tgz']}}", "may be something else tomorrow"},
		{"build: {pack: {builder: x, runImage: y, buildpacks: ['a,b']}}", `"a,b" is no buildpack`},
		{"build: {pack: {builder: x, runImage: y, buildpacks: [../packs/a]}}", "build.pack.buildpacks: packs/a is not among the inputs of web; add it"},
		{"build: {pack: {builder: x, runImage: y, path: ../..}}", `build.pack.path "../.." is outside the repository`},
		{"build: {pack: {builder: x, runImage: y, env: {'-A': x}}}", `build.pack.env: "-A" is no name of an argument`},
	} {
		_, err := componentWith(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "app/pin.yaml:") {
			t.Errorf("%s: %v\nwant %s", c.text, err, c.want)
		}
	}
}

// What people write is right.
func TestRecipesAccepted(t *testing.T) {
	for _, text := range []string{
		"build: {docker: {}}", "build: {docker: }", "build: {docker: {context: .., file: Dockerfile, args: {N: 3, E: ''}, provenance: true, options: [--network, host]}}\ninputs: [., ../lib]",
		"build: {buildah: {context: ../lib}}\ninputs: [../lib/a.txt]",
		"build: {podman: {target: build, secrets: ['id=a,src=b']}}",
		"build: {ko: {}}", "build: {ko: {import: ko://example.com/a/cmd/b, sbom: spdx}}",
		"build: {bazel: {target: ':push'}}", "build: {bazel: {target: '@repo//a/b:push-image', options: [--config=ci]}}",
		"build: {nix: {attribute: '.#packages.x86_64-linux.image', options: [--impure]}}",
		"build: {pack: {builder: a, runImage: b, buildpacks: [paketo-buildpacks/go@4.1, 'docker://c']}}\nplatforms: [linux/amd64]",
	} {
		c, err := componentWith(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if c.Recipe.Program().Name != c.Kind || c.Recipe.Program().Get == "" {
			t.Errorf("%s: %+v", text, c.Recipe.Program())
		}
	}
}

// What an image starts from, by its recipe and its files.
func TestBases(t *testing.T) {
	for _, c := range []struct {
		name, text string
		files      map[string]string
		want       string // or the error
	}{
		{"docker", "build: {docker: {args: {BASE: 'a@b'}}}", map[string]string{"app/Dockerfile": "# syntax=f\nARG BASE\nFROM $BASE\nCOPY --from=c / /"}, "app/Dockerfile:1 f, app/Dockerfile:3 a@b, app/Dockerfile:4 c"},
		{"no frontend", "build: {podman: {}}", map[string]string{"app/Dockerfile": "# syntax=f\nFROM a"}, "app/Dockerfile:2 a"},
		{"Containerfile comes first", "build: {buildah: {}}", map[string]string{"app/Containerfile": "FROM a", "app/Dockerfile": "FROM b"}, "app/Containerfile:1 a"},
		{"docker has no Containerfile", "build: {docker: {}}", map[string]string{"app/Containerfile": "FROM a"}, "build.docker.file: app/Dockerfile is not among the inputs of web; add it, or say which file it is"},
		{"in the context", "inputs: [., ../src]\nbuild: {docker: {context: ../src}}", map[string]string{"src/Dockerfile": "FROM a", "app/Dockerfile": "FROM b"}, "src/Dockerfile:1 a"},
		{"beside the context", "inputs: [., ../src]\nbuild: {docker: {context: ../src, file: Dockerfile}}", map[string]string{"src/Dockerfile": "FROM a", "app/Dockerfile": "FROM b"}, "app/Dockerfile:1 b"},
		{"no input", "build: {docker: {file: ../deploy/Dockerfile}}", nil, "build.docker.file: deploy/Dockerfile is not among the inputs of web; add it"},
		{"neither of two", "build: {podman: {}}", nil, "build.podman.file: app/Containerfile or app/Dockerfile is not among the inputs of web; add it, or say which file it is"},
		{"no value", "build: {docker: {}}", map[string]string{"app/Dockerfile": "\nFROM $BASE"}, "app/Dockerfile:2: FROM $BASE: BASE has no value; give it one under args, or a default with ARG before the first FROM"},
		{"platforms", "platforms: [linux/arm64]\nbuild: {docker: {}}", map[string]string{"app/Dockerfile": "FROM a-$TARGETARCH"}, "app/Dockerfile:1 a-arm64"},
		{"ko's own", "build: {ko: {}}", nil, ":0 cgr.dev/chainguard/static:latest"},
		{"ko", "build: {ko: {base: a}}", map[string]string{"app/.ko.yaml": "defaultBaseImage: b\n"}, ":0 a"},
		{"ko's file", "build: {ko: {}}", map[string]string{"app/.ko.yaml": "# x\nDefaultBaseImage: b\n"}, "app/.ko.yaml:2 b"},
		{"ko's override", "build: {ko: {import: ./cmd/x}}", map[string]string{"app/.ko.yaml": "baseImageOverrides:\n  e.com/m/App/cmd/x: c\n", "go.mod": "// m\nmodule e.com/M\n"}, "app/.ko.yaml:2 c"},
		{"ko's override needs the module", "build: {ko: {import: ./cmd/x}}", map[string]string{"app/.ko.yaml": "baseImageOverrides: {x: c}\n"}, "build.ko.import: no go.mod above app/cmd/x is among the inputs of web; add it, since .ko.yaml has bases by import path"},
		{"ko's empty override", "build: {ko: {base: a, import: x}}", map[string]string{"app/.ko.yaml": "baseImageOverrides: {x: ''}\n"}, ":0 a"},
		{"ko's file is no map", "build: {ko: {}}", map[string]string{"app/.ko.yaml": "- a\n"}, "app/.ko.yaml:1: is not a map"},
		{"ko's file with a merge", "build: {ko: {}}", map[string]string{"app/.ko.yaml": "a: &a {x: y}\n<<: *a\n"}, "app/.ko.yaml:2: << is not understood here"},
		{"ko's file is broken", "build: {ko: {}}", map[string]string{"app/.ko.yaml": "a: [\n"}, "app/.ko.yaml:"},
		{"ko's file in JSON", "build: {ko: {}}", map[string]string{"app/.ko.json": "{}"}, "app/.ko.json: is not read here; write it as .ko.yaml"},
		{"pack", "build: {pack: {builder: a, runImage: b, buildpacks: ['docker://c', d@1]}}", nil, ":0 a, :0 b, :0 c"},
		{"bazel", "build: {bazel: {target: //a}}", nil, ""},
		{"nix", "build: {nix: {attribute: .#a}}", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			component, err := componentWith(c.text)
			if err != nil {
				t.Fatal(err)
			}
			bases, err := component.Recipe.Bases(component, func(name string) ([]byte, error) {
				if content, ok := c.files[name]; ok {
					return []byte(content), nil
				}
				return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
			})
			var got []string
			for _, base := range bases {
				got = append(got, fmt.Sprintf("%s:%d %s", base.File, base.Line, base.Reference))
			}
			if err != nil {
				got = []string{err.Error()}
			}
			if all := strings.Join(got, ", "); all != c.want && (err == nil || !strings.HasPrefix(all, c.want)) {
				t.Errorf("%s\nwant %s", all, c.want)
			}
		})
	}
	// What can't be read is not what is not there.
	component, err := componentWith("build: {podman: {}}")
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk")
	if _, err := component.Recipe.Bases(component, func(string) ([]byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}
