package build

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Ko builds a Go program with ko, https://ko.build, which reads .ko.yaml beside the
// pin.yaml for itself. The variables KO_… that would change the image are not taken
// from the environment, and Go does not write the commit into the program: it would
// be another image after every commit.
type Ko struct {
	// Import is the main package, ./cmd/web or an import path; the directory of
	// the pin.yaml if empty.
	Import string `yaml:"import"`
	// Base is what it is put on, before defaultBaseImage of .ko.yaml.
	Base string `yaml:"base"`
	// SBOM is as ko has it: spdx; none if empty.
	SBOM string `yaml:"sbom"`
	// Options are more flags of ko build.
	Options []string `yaml:"options"`
}

var _ Recipe = (*Ko)(nil)

// koDefaultBase is what ko takes if nobody says anything
// (pkg/commands/options/build.go of ko).
const koDefaultBase = "cgr.dev/chainguard/static:latest"

var koOptions = []string{
	"--bare", "--base-import-paths", "-B", "--image-label", "--image-refs", "--insecure-registry", "--local", "-L", "--oci-layout-path",
	"--platform", "--preserve-import-paths", "-P", "--push", "--sbom", "--tag-only", "--tags", "-t", "--tarball",
}

func (k *Ko) pkg() string {
	if k.Import == "" {
		return "."
	}
	return strings.TrimPrefix(k.Import, "ko://")
}

// local tells whether Import is a directory.
func (k *Ko) local() bool {
	p := k.pkg()
	return p == "." || p == ".." || strings.HasPrefix(p, "./") || strings.HasPrefix(p, "../")
}

// Check implements [Recipe].
func (k *Ko) Check(c Component) error {
	p := k.pkg()
	if strings.HasPrefix(p, "-") || strings.ContainsAny(p, " \t\r\n\x00") || strings.Contains(p, "...") {
		return fmt.Errorf("build.ko.import %q is not one package, as in ./cmd/web", k.Import)
	}
	if k.local() {
		if err := inRepository(c, "build.ko.import", p); err != nil {
			return err
		}
	}
	if strings.ContainsAny(k.Base, " \t\r\n\x00") {
		return fmt.Errorf("build.ko.base %q is no image", k.Base)
	}
	return checkOptions("build.ko", k.Options, koOptions)
}

// Program implements [Recipe].
func (k *Ko) Program() Program {
	return Program{Name: "ko", Get: "go install github.com/google/ko@latest"}
}

// koConfig is what counts of a .ko.yaml; its keys are not case-sensitive.
type koConfig struct {
	base      Base
	overrides map[string]Base // by import path in lower case
}

// Bases implements [Recipe]: the one image that ko would take.
func (k *Ko) Bases(c Component, read func(string) ([]byte, error)) ([]Base, error) {
	config, err := k.config(c, read)
	if err != nil {
		return nil, err
	}
	if len(config.overrides) > 0 {
		importPath, err := k.importPath(c, read)
		if err != nil {
			return nil, err
		}
		if base, ok := config.overrides[strings.ToLower(importPath)]; ok && base.Reference != "" {
			return []Base{base}, nil
		}
	}
	switch {
	case k.Base != "":
		return []Base{{Reference: k.Base}}, nil
	case config.base.Reference != "":
		return []Base{config.base}, nil
	}
	return []Base{{Reference: koDefaultBase}}, nil
}

// koFiles are what ko looks for, in its order; that it writes the others differently
// than we read is a reason to refuse them.
var koFiles = []string{".ko.json", ".ko.toml", ".ko.yaml", ".ko.yml"}

func (k *Ko) config(c Component, read func(string) ([]byte, error)) (koConfig, error) {
	for _, file := range koFiles {
		name := path.Join(c.Dir, file)
		content, err := read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return koConfig{}, err
		}
		if !strings.HasPrefix(path.Ext(name), ".y") {
			return koConfig{}, &DeclarationError{File: name, Err: errors.New("is not read here; write it as .ko.yaml")}
		}
		return readKoConfig(name, content)
	}
	return koConfig{}, nil
}

func readKoConfig(name string, content []byte) (koConfig, error) {
	config := koConfig{overrides: map[string]Base{}}
	var root yaml.Node
	if err := yaml.Unmarshal(content, &root); err != nil {
		return config, mistake(name, err)
	}
	if len(root.Content) == 0 {
		return config, nil
	}
	if root.Content[0].Kind != yaml.MappingNode {
		return config, &DeclarationError{name, root.Content[0].Line, errors.New("is not a map")}
	}
	wrong := func(node *yaml.Node, what string) error {
		return &DeclarationError{name, node.Line, fmt.Errorf("%s is not understood here; write it without anchors, as %s", node.Value, what)}
	}
	top := root.Content[0].Content
	for i := 0; i+1 < len(top); i += 2 {
		key, value := top[i], top[i+1]
		switch strings.ToLower(key.Value) {
		case "<<":
			return config, wrong(key, "plain keys")
		case "defaultbaseimage":
			if value.Kind != yaml.ScalarNode {
				return config, wrong(key, "an image")
			}
			config.base = Base{value.Value, name, value.Line}
		case "baseimageoverrides":
			if value.Kind == yaml.ScalarNode && value.Tag == "!!null" {
				continue
			}
			if value.Kind != yaml.MappingNode {
				return config, wrong(key, "a map of images")
			}
			for j := 0; j+1 < len(value.Content); j += 2 {
				importPath, image := value.Content[j], value.Content[j+1]
				if image.Kind != yaml.ScalarNode || importPath.Value == "<<" {
					return config, wrong(importPath, "an image")
				}
				config.overrides[strings.ToLower(importPath.Value)] = Base{image.Value, name, image.Line}
			}
		}
	}
	return config, nil
}

var moduleLine = regexp.MustCompile(`(?m)^[ \t]*module[ \t]+"?([^\s"]+)`)

// importPath returns the import path of the package, from the go.mod above it.
func (k *Ko) importPath(c Component, read func(string) ([]byte, error)) (string, error) {
	if !k.local() {
		return k.pkg(), nil
	}
	dir := path.Join(c.Dir, k.pkg())
	for at := dir; ; at = path.Dir(at) {
		content, err := read(path.Join(at, "go.mod"))
		switch {
		case err == nil:
			match := moduleLine.FindSubmatch(content)
			if match == nil {
				return "", &DeclarationError{File: path.Join(at, "go.mod"), Err: errors.New("names no module")}
			}
			rest, _ := below(at, dir)
			if dir == at {
				rest = ""
			}
			return path.Join(string(match[1]), rest), nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		case at == "." || at == "/":
			return "", fmt.Errorf("build.ko.import: no go.mod above %s is among the inputs of %s; add it, since .ko.yaml has bases by import path", dir, c.Name)
		}
	}
}

// Build implements [Builder].
func (k *Ko) Build(ctx context.Context, request Request) (string, error) {
	c := request.Component
	for _, file := range koFiles {
		name := path.Join(c.Dir, file)
		if _, err := request.read(name); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if _, err := os.Lstat(filepath.Join(request.dir(), file)); err == nil {
			return "", request.mistake("%s decides what ko builds, and is not among the inputs of %s; add it", name, c.Name)
		}
	}
	tree, remove, err := request.tree(ctx)
	if err != nil {
		return "", err
	}
	defer remove()
	request.Top = tree
	args := []string{"build", "--bare", "--tags=" + request.Tag, "--sbom=none"}
	if k.SBOM != "" {
		args[len(args)-1] = "--sbom=" + k.SBOM
	}
	args = append(args, "--platform="+strings.Join(c.targets(), ","))
	for _, label := range request.labels() {
		args = append(args, "--image-label="+csvField(label))
	}
	if request.plainHTTP() {
		args = append(args, "--insecure-registry")
	}
	env := []string{
		"KO_DOCKER_REPO=" + c.Image, "KO_DEFAULTBASEIMAGE=" + k.Base,
		"KO_CONFIG_PATH=", "KO_BASEIMAGEOVERRIDES=", "KO_BUILDS=", "KO_DEFAULTPLATFORMS=", "KO_DEFAULTENV=", "KO_DEFAULTFLAGS=", "KO_DEFAULTLDFLAGS=",
		"GOOS", "GOARCH", "GOARM", // ko takes none beside --platform
		"SOURCE_DATE_EPOCH=" + request.epoch(), "KO_DATA_DATE_EPOCH=" + request.epoch(),
		"GOFLAGS=" + strings.TrimSpace(os.Getenv("GOFLAGS")+" -buildvcs=false"),
	}
	pushed := &pushedLine{image: c.Image}
	if err := request.run(ctx, pushed, env, "ko", append(append(args, k.Options...), k.pkg())...); err != nil {
		return "", request.onlyInputs(ctx, err)
	}
	return request.reported(pushed.last(), "ko", "behind "+c.Image+"@ on its last line")
}

// csvField writes a value that is one field where commas separate them.
func csvField(value string) string {
	var text strings.Builder
	writer := csv.NewWriter(&text)
	_ = writer.Write([]string{value}) // a strings.Builder takes everything
	writer.Flush()
	return strings.TrimSuffix(text.String(), "\n")
}
