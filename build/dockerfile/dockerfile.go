// Package dockerfile reads from a Dockerfile which images a build of it starts
// from: [Images]. It knows the file as BuildKit's frontend does (continuations,
// comments in them, here-documents, escape and syntax directives, variables), and
// where it can't tell which image is meant, it says so instead of guessing.
//
// The rules are those of https://docs.docker.com/reference/dockerfile/ and of
// BuildKit's packages frontend/dockerfile/parser, instructions and shell. A nested
// module of this repository compares the two on the same files.
package dockerfile

import (
	"encoding/csv"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Options are what a build is given beside the file.
type Options struct {
	// Args are the build arguments.
	Args map[string]string
	// Platforms are those that are built, "linux/arm64". A FROM that depends on
	// the platform can't be read without.
	Platforms []string
	// Target is the stage that is built, "" for the last one. The images of all
	// stages count, whichever it is.
	Target string
	// Frontend is set where the builder runs the image that a syntax directive
	// names: BuildKit does, Buildah and Podman don't.
	Frontend bool
}

// Image is an image that a build starts from or copies from.
type Image struct {
	// Reference is what is written, with variables put in.
	Reference string
	// Line is where, 1-based.
	Line int
}

// Error is a mistake in a Dockerfile, or something that can't be read from it.
type Error struct {
	Line int // 1-based
	Err  error
}

// Error returns the mistake with its line.
func (e *Error) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func mistake(line int, format string, args ...any) error {
	return &Error{line, fmt.Errorf(format, args...)}
}

// Images returns the images that a Dockerfile names, each once, in the order they
// are named: those of FROM, of COPY --from and of RUN --mount=from, for each
// platform; not stages and not scratch. What ONBUILD has is run by other builds.
// The error is an *[Error].
func Images(content []byte, options Options) ([]Image, error) {
	file, err := parse(string(content))
	if err != nil {
		return nil, err
	}
	var images []Image
	seen := map[string]bool{}
	add := func(reference string, line int) {
		if !seen[reference] {
			seen[reference] = true
			images = append(images, Image{reference, line})
		}
	}
	if options.Frontend {
		if given, ok := options.Args["BUILDKIT_SYNTAX"]; ok && given != "" {
			add(firstWord(given), 1)
		} else if file.syntax.Reference != "" {
			add(file.syntax.Reference, file.syntax.Line)
		}
	}
	platforms := options.Platforms
	if len(platforms) == 0 {
		platforms = []string{""}
	}
	for _, platform := range platforms {
		if err := file.images(options, platform, add); err != nil {
			return nil, err
		}
	}
	return images, nil
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// stageName is what BuildKit accepts behind AS, in lower case.
var stageName = regexp.MustCompile(`^[a-z][a-z0-9-_.]*$`)

// images adds the images that are needed for one platform; "" is an unknown one.
func (f *file) images(options Options, platform string, add func(string, int)) error {
	vars := newVariables(options, platform, f.lastStage())
	stages := 0
	before, all := map[string]bool{}, f.stageNames() // in lower case
	for _, in := range f.instructions {
		switch in.keyword {
		case "ARG":
			if stages > 0 {
				continue // a stage's own: FROM and --from do not see it
			}
			if err := vars.declare(in, options.Args, f.escape); err != nil {
				return err
			}
		case "FROM":
			words := whitespace.Split(in.rest, -1)
			if in.rest == "" || len(words) != 1 && (len(words) != 3 || !strings.EqualFold(words[1], "as")) {
				return mistake(in.line, "FROM has an image and nothing else but AS and a name")
			}
			name := ""
			if len(words) == 3 {
				if name = strings.ToLower(words[2]); !stageName.MatchString(name) {
					return mistake(in.line, "%q is no name for a stage", words[2])
				}
			}
			image, err := vars.expand(words[0], f.escape)
			switch {
			case err != nil:
				return mistake(in.line, "FROM %s: %w", words[0], err)
			case image == "":
				return mistake(in.line, "FROM %s names no image: it is empty", words[0])
			case image != "scratch" && !before[strings.ToLower(image)]:
				add(image, in.line)
			}
			stages++
			before[name] = true
		case "COPY", "RUN":
			if stages == 0 {
				return mistake(in.line, "%s stands before the first FROM", in.keyword)
			}
			sources, err := in.sources()
			if err != nil {
				return err
			}
			for _, source := range sources {
				if source == "" || source == "scratch" || all[strings.ToLower(source)] {
					continue
				}
				if strings.Contains(source, "$") {
					return mistake(in.line, "%s from %s: no variable can stand there; name a stage that starts FROM it", in.keyword, source)
				}
				if index, err := strconv.Atoi(source); err == nil {
					if in.keyword == "RUN" || index < 0 || index >= stages {
						return mistake(in.line, "%s from %s is no stage before this one; give the stage a name", in.keyword, source)
					}
					continue
				}
				add(source, in.line)
			}
		}
	}
	if stages == 0 {
		return mistake(f.lines, "has no FROM")
	}
	return nil
}

func (f *file) stageNames() map[string]bool {
	names := map[string]bool{}
	for _, in := range f.instructions {
		if words := whitespace.Split(in.rest, -1); in.keyword == "FROM" && len(words) == 3 {
			names[strings.ToLower(words[2])] = true
		}
	}
	return names
}

// lastStage returns the name of the stage that is built by default.
func (f *file) lastStage() string {
	last := ""
	for _, in := range f.instructions {
		if in.keyword == "FROM" {
			last = ""
			if words := whitespace.Split(in.rest, -1); len(words) == 3 {
				last = strings.ToLower(words[2])
			}
		}
	}
	return last
}

// sources returns what an instruction copies or mounts from.
func (in instruction) sources() ([]string, error) {
	var sources []string
	for _, flag := range in.flags {
		name, value, _ := strings.Cut(flag, "=")
		switch {
		case in.keyword == "COPY" && name == "--from":
			sources = append(sources, value)
		case in.keyword == "RUN" && name == "--mount":
			record, err := csv.NewReader(strings.NewReader(value)).Read()
			if err != nil {
				return nil, mistake(in.line, "RUN --mount=%s is not written key=value,key=value", value)
			}
			for _, field := range record {
				if key, from, ok := strings.Cut(field, "="); ok && strings.EqualFold(key, "from") {
					sources = append(sources, from)
				}
			}
		}
	}
	return sources, nil
}
