package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pin-cmp/pin-cmp/build/dockerfile"
)

// Args are build arguments.
type Args map[string]string

// UnmarshalYAML refuses an argument without a value. Compose takes such a one from
// the environment, and an image may not depend on that.
func (a *Args) UnmarshalYAML(node *yaml.Node) error {
	type plain map[string]*string
	var read plain
	if err := node.Decode(&read); err != nil {
		return err
	}
	*a = Args{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if key := node.Content[i]; read[key.Value] == nil {
			return lineError(key.Line, "the argument %s has no value; an empty one is written \"\"", key.Value)
		}
	}
	for key, value := range read {
		if value != nil {
			(*a)[key] = *value
		}
	}
	return nil
}

// recipeFile is what the recipes with a Dockerfile share.
type recipeFile struct {
	kind          string
	context, file string // as in the pin.yaml
	target        string
	args          Args
	options       []string
	own           []string          // options that are not the user's to set
	fields        map[string]string // what the recipe calls context and args
	names         []string          // of the file, where none is given
	frontend      bool              // the builder runs the image of a syntax directive
}

// contextDir returns the context's directory from the repository's root.
func (f recipeFile) contextDir(c Component) string { return path.Join(c.Dir, f.context) }

// fileNames returns where the Dockerfile may be, from the repository's root.
func (f recipeFile) fileNames(c Component) []string {
	if f.file != "" {
		return []string{path.Join(c.Dir, f.file)}
	}
	var names []string
	for _, name := range f.names {
		names = append(names, path.Join(f.contextDir(c), name))
	}
	return names
}

var (
	argName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	targetName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
)

// check finds mistakes in what the recipes share.
func (f recipeFile) check(c Component) error {
	field := "build." + f.kind
	context, args := field+"."+cmp.Or(f.fields["context"], "context"), field+"."+cmp.Or(f.fields["args"], "args")
	if err := inRepository(c, context, f.context); err != nil {
		return err
	}
	if err := inRepository(c, field+".file", f.file); err != nil {
		return err
	}
	dir := f.contextDir(c)
	if !c.Holds(dir) && !slices.ContainsFunc(c.Inputs, func(input string) bool {
		_, below := below(dir, input)
		return below
	}) {
		return fmt.Errorf("%s: none of the inputs of %s is in %s; add it to them", context, c.Name, dir)
	}
	if f.target != "" && !targetName.MatchString(f.target) {
		return fmt.Errorf("%s.target %q is no name of a stage", field, f.target)
	}
	for _, name := range sortedKeys(f.args) {
		if !argName.MatchString(name) {
			return fmt.Errorf("%s: %q is no name of an argument", args, name)
		}
		if strings.ContainsRune(f.args[name], 0) {
			return fmt.Errorf("%s: %s has a NUL", args, name)
		}
	}
	return checkOptions(field, f.options, f.own)
}

// inRepository refuses a path that leaves the repository, or is none.
func inRepository(c Component, field, name string) error {
	full := path.Join(c.Dir, name)
	switch {
	case strings.Contains(name, "://") || strings.HasPrefix(name, "git@"):
		return fmt.Errorf("%s is an address; it is a path in this repository", field)
	case path.IsAbs(name) || full == ".." || strings.HasPrefix(full, "../"):
		return fmt.Errorf("%s %q is outside the repository", field, name)
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("%s has a NUL", field)
	}
	return nil
}

// checkOptions refuses options that set what we set, or that decide what the image
// is made from without being seen.
func checkOptions(field string, options, own []string) error {
	for _, option := range options {
		name, _, _ := strings.Cut(option, "=")
		// -tNAME is -t NAME.
		short := len(option) > 2 && option[0] == '-' && option[1] != '-' && slices.Contains(own, option[:2])
		if short {
			name = option[:2]
		}
		if short || slices.Contains(own, name) {
			return fmt.Errorf("%s.options: %s is not to be set here; it has a field of its own, or is set by pin-cmp", field, name)
		}
		if strings.ContainsRune(option, 0) {
			return fmt.Errorf("%s.options: %q has a NUL", field, option)
		}
	}
	return nil
}

// notInputs is a file that is needed and that the key does not know.
func (f recipeFile) notInputs(c Component) error {
	field := "build." + f.kind + ".file"
	names := f.fileNames(c)
	if f.file != "" {
		return fmt.Errorf("%s: %s is not among the inputs of %s; add it", field, names[0], c.Name)
	}
	return fmt.Errorf("%s: %s is not among the inputs of %s; add it, or say which file it is", field, strings.Join(names, " or "), c.Name)
}

// find returns the Dockerfile's path from the root and its content.
func (f recipeFile) find(c Component, read func(string) ([]byte, error)) (string, []byte, error) {
	for _, name := range f.fileNames(c) {
		content, err := read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return name, content, err
	}
	return "", nil, f.notInputs(c)
}

// bases implements [Recipe.Bases].
func (f recipeFile) bases(c Component, read func(string) ([]byte, error)) ([]Base, error) {
	name, content, err := f.find(c, read)
	if err != nil {
		return nil, err
	}
	images, err := dockerfile.Images(content, dockerfile.Options{
		Args: f.args, Platforms: c.targets(), Target: f.target, Frontend: f.frontend,
	})
	var mistake *dockerfile.Error
	if errors.As(err, &mistake) {
		return nil, &DeclarationError{name, mistake.Line, mistake.Err}
	}
	bases := make([]Base, 0, len(images))
	for _, image := range images {
		bases = append(bases, Base{Reference: image.Reference, File: name, Line: image.Line})
	}
	return bases, err
}

// staged is a context on disk, and the file in it or beside it.
type staged struct {
	context, file string
	bases         []Base
}

// stage puts the context and the Dockerfile into a directory.
func (f recipeFile) stage(ctx context.Context, r Request, into string) (staged, error) {
	s := staged{context: filepath.Join(into, "context")}
	if err := os.Mkdir(s.context, 0o755); err != nil {
		return s, fmt.Errorf("make the context of the build: %w", err)
	}
	name, _, err := f.find(r.Component, r.read)
	if err != nil {
		return s, r.mistake("%w", err)
	}
	if s.bases, err = f.bases(r.Component, r.read); err != nil {
		return s, err
	}
	if err := r.stage(ctx, f.contextDir(r.Component), s.context); err != nil {
		return s, err
	}
	if inside, ok := below(f.contextDir(r.Component), name); ok {
		s.file = filepath.Join(s.context, filepath.FromSlash(inside))
		return s, nil
	}
	// What is ignored for this file alone stands beside it, under its name.
	beside := filepath.Join(into, "file")
	if err := os.Mkdir(beside, 0o755); err != nil {
		return s, fmt.Errorf("make the context of the build: %w", err)
	}
	s.file = filepath.Join(beside, path.Base(name))
	r.Inputs = slices.DeleteFunc(slices.Clone(r.Inputs), func(input Input) bool {
		return input.Path != name && input.Path != name+".dockerignore" && input.Path != name+".containerignore"
	})
	return s, r.stage(ctx, path.Dir(name), beside)
}

// read returns a file that is among the inputs. Its error matches fs.ErrNotExist
// where it is not.
func (r Request) read(name string) ([]byte, error) {
	i := slices.IndexFunc(r.Inputs, func(input Input) bool { return input.Path == name && strings.HasPrefix(input.Mode, "100") })
	if i < 0 {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	root, err := os.OpenRoot(r.Top)
	if err != nil {
		return nil, fmt.Errorf("open the work tree: %w", err)
	}
	defer func() { _ = root.Close() }()
	content, err := root.ReadFile(filepath.FromSlash(name))
	if err != nil {
		return nil, r.mistake("read %q, an input of %s: %w", name, r.Component.Name, err)
	}
	return content, nil
}

// arguments returns the flags for --build-arg, --target and labels.
func (f recipeFile) arguments(r Request) []string {
	var flags []string
	if f.target != "" {
		flags = append(flags, "--target="+f.target)
	}
	for _, name := range sortedKeys(f.args) {
		flags = append(flags, "--build-arg="+name+"="+f.args[name])
	}
	for _, label := range r.labels() {
		flags = append(flags, "--label="+label)
	}
	return flags
}

// labels are those of https://specs.opencontainers.org/image-spec/annotations/
// that say where an image comes from.
func (r Request) labels() []string {
	var labels []string
	if r.Component.Source != "" {
		labels = append(labels, "org.opencontainers.image.source="+r.Component.Source)
	}
	if r.Revision != "" {
		labels = append(labels, "org.opencontainers.image.revision="+r.Revision)
	}
	return append(labels, "org.opencontainers.image.created="+r.when().UTC().Format(time.RFC3339))
}

// repeated returns one flag for each value.
func repeated(flag string, values []string) []string {
	var flags []string
	for _, value := range values {
		flags = append(flags, flag+"="+value)
	}
	return flags
}

// tagged is what is pushed.
func (r Request) tagged() string { return r.Component.Image + ":" + r.Tag }

// plainHTTP tells whether the registry that is pushed to is asked over HTTP.
func (r Request) plainHTTP() bool { return r.overHTTP(r.Component.Image) }

// overHTTP tells whether a reference's registry is asked over HTTP.
func (r Request) overHTTP(reference string) bool {
	host, _, ok := strings.Cut(reference, "/")
	return ok && r.Registry != nil && r.Registry.PlainHTTP[host]
}

// onlyInputs adds to the failure of a build with a staged context what is easily
// overlooked then.
func (r Request) onlyInputs(ctx context.Context, err error) error {
	var missing *exec.ExitError
	if ctx.Err() != nil || !errors.As(err, &missing) {
		return err
	}
	return fmt.Errorf("%w; if it misses a file: it sees the inputs of %s and nothing else", err, r.Component.Name)
}

// digestIn returns the digest that a tool wrote into a file; where says which, for
// the error.
func (r Request) digestIn(file, program, where string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: read the digest: %w", r.Component.Name, err)
	}
	return r.reported(strings.TrimSpace(string(content)), program, where)
}

var plainDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// reported checks a digest that a tool has written.
func (r Request) reported(digest, program, where string) (string, error) {
	if plainDigest.MatchString(digest) {
		return digest, nil
	}
	if len(digest) > 80 {
		digest = strings.ToValidUTF8(digest[:80], "") + "…"
	}
	return "", r.mistake("the build of %s ended well but reported no digest; %s writes sha256:<64 hex> %s, not %q", r.Component.Name, program, where, digest)
}
