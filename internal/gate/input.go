package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/gobwas/glob"

	"github.com/pin-cmp/pin-cmp/render"
	"github.com/pin-cmp/pin-cmp/verify"
)

// Input is one thing to verify that a person named: a directory, a file or
// standard input.
type Input struct {
	// Name is as a person would write it.
	Name string
	app  render.Application
	// prefix turns a path in the checkout into one that the person can open.
	prefix string
}

// Selection says how the paths of a command line are to be taken.
type Selection struct {
	// Root bounds what is read; "" is the git work tree around each path.
	Root string
	// Recursive takes every application at and below a directory.
	Recursive bool
	// DirectoryRecurse is spec.source.directory.recurse.
	DirectoryRecurse bool
	Stdin            io.Reader
}

// maxStdin bounds standard input, as render bounds a directory.
const maxStdin = 100 << 20

// Inputs returns the inputs that the paths name. Checkouts stay open for as
// long as the process lives.
func (s Selection) Inputs(paths []string) ([]Input, error) {
	var inputs []Input
	for _, name := range paths {
		if name == "-" {
			input, err := s.stdin()
			if err != nil {
				return nil, err
			}
			inputs = append(inputs, input)
			continue
		}
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, errors.Unwrap(err))
		case info.IsDir():
			found, err := s.directory(name)
			if err != nil {
				return nil, err
			}
			inputs = append(inputs, found...)
		default:
			input, err := s.file(name)
			if err != nil {
				return nil, err
			}
			inputs = append(inputs, input)
		}
	}
	return inputs, nil
}

func (s Selection) stdin() (Input, error) {
	const name = "stdin.yaml"
	content, err := io.ReadAll(io.LimitReader(s.Stdin, maxStdin+1))
	if err != nil {
		return Input{}, fmt.Errorf("standard input: %w", err)
	}
	if len(content) > maxStdin {
		return Input{}, fmt.Errorf("standard input is larger than %d MiB", maxStdin>>20)
	}
	checkout, err := render.NewMemory(map[string]render.MemoryFile{name: {Data: content, Mode: 0o644}})
	if err != nil {
		return Input{}, fmt.Errorf("standard input: %w", err)
	}
	return Input{Name: "-", app: render.Application{Checkout: checkout, Path: ".", Options: render.Options{Type: render.Directory}}}, nil
}

func (s Selection) file(name string) (Input, error) {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
	default:
		return Input{}, fmt.Errorf("%s: not a .yaml, .yml or .json file; feed other names through standard input", name)
	}
	place, err := Find(filepath.Dir(name), s.Root)
	if err != nil {
		return Input{}, err
	}
	checkout, err := place.Open()
	if err != nil {
		return Input{}, err
	}
	return Input{
		Name: name,
		app: render.Application{Checkout: checkout, Path: place.Path, Options: render.Options{
			Type:      render.Directory,
			Directory: &render.DirectoryOptions{Include: glob.QuoteMeta(filepath.Base(name))},
		}},
		prefix: place.prefix(),
	}, nil
}

func (s Selection) directory(name string) ([]Input, error) {
	place, err := Find(name, s.Root)
	if err != nil {
		return nil, err
	}
	checkout, err := place.Open()
	if err != nil {
		return nil, err
	}
	apps := []string{place.Path}
	if s.Recursive {
		if apps, err = Applications(checkout, place.Path); err != nil {
			return nil, err
		}
		if len(apps) == 0 {
			return nil, fmt.Errorf("%s: no application here or below: no kustomization and no manifests", name)
		}
	}
	var inputs []Input
	for _, app := range apps {
		input := Input{Name: path.Join(place.prefix(), app), prefix: place.prefix()}
		input.app = render.Application{Checkout: checkout, Path: app}
		if s.DirectoryRecurse {
			input.app.Options.Directory = &render.DirectoryOptions{Recurse: true}
		}
		inputs = append(inputs, input)
	}
	return inputs, nil
}

// prefix returns the way from the working directory to the checkout's root, if
// it is a short one; else the root itself.
func (p Place) prefix() string {
	working, err := os.Getwd()
	if err != nil {
		return p.Root
	}
	if working, err = filepath.EvalSymlinks(working); err != nil {
		return p.Root
	}
	relative, err := filepath.Rel(working, p.Root)
	if err != nil || strings.Count(relative, "..") > 4 {
		return p.Root
	}
	return filepath.ToSlash(relative)
}

// Check renders and verifies the input.
func (i Input) Check(ctx context.Context, g *Gate, progress func(done, total int)) (*verify.Report, error) {
	outcome, err := g.Check(ctx, i.app, progress)
	if err != nil {
		return nil, err
	}
	report := outcome.Report
	for n := range report.Images {
		report.Images[n].File = i.openable(report.Images[n].File)
	}
	for n := range report.Warnings {
		report.Warnings[n].File = i.openable(report.Warnings[n].File)
	}
	return report, nil
}

// openable turns a path in the checkout into one that the person can open.
func (i Input) openable(file string) string {
	if file == "" || i.prefix == "" {
		return file
	}
	return path.Join(i.prefix, file)
}

// Failure is the input in a report, when it could not be checked.
func (i Input) Failure(err error) verify.Failure {
	f := verify.Failure{Path: i.Name, Message: err.Error(), Undecided: Undecided(err)}
	var known *render.Error
	if errors.As(err, &known) {
		f.File, f.Line = i.openable(known.File), known.Line
	}
	return f
}
