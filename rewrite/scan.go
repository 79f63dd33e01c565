package rewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/internal/yamledit"
)

// MaxFile is the size in bytes of the largest file that is searched for marks.
// YAML takes some 30 times its size in memory.
const MaxFile = 16 << 20

// Problem is something in the repository that stands in the way of a rewrite.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line"`
	// Message says what is wrong and what to do.
	Message string `json:"message"`
}

// String returns file:line: message.
func (p Problem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Message)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
}

// markedFile is a file that holds marks, or may.
type markedFile struct {
	path       string
	content    []byte
	template   bool // of a Helm chart: no YAML, even where it parses as YAML by luck
	parsed     *yamledit.File
	components *build.Components
	// parameters are the values of lists of {name, value}: "list name" to value.
	parameters map[string]*yamledit.Scalar

	marks    []mark
	others   []mark // of components that were not asked for
	problems []Problem
	warnings []Problem
}

func (f *markedFile) problem(s yamledit.Scalar, format string, args ...any) *Problem {
	return &Problem{File: f.path, Line: s.Line, Message: fmt.Sprintf(format, args...)}
}

// selection is which files of the work tree are searched.
type selection struct {
	untracked bool
	excluded  func(path string) bool
}

// manifestFile tells whether a file can hold pins: by its name, since reading
// every file of a repository would cost more than all the rest.
func manifestFile(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return path.Base(name) == "Kustomization"
}

// scan reads the files of the work tree and calls want with the content of each
// that may matter; it keeps those for which want is true. The order is git's.
func scan(ctx context.Context, repo *gitrepo.Repo, s selection, want func(name string, content []byte) bool) ([]*markedFile, []Problem, error) {
	listing, err := repo.ListFiles(ctx, gitrepo.ListOptions{Untracked: s.untracked})
	if err != nil {
		return nil, nil, err
	}
	return read(ctx, repo, listing, s.excluded, want)
}

// read reads the files of a listing, as scan does.
func read(ctx context.Context, repo *gitrepo.Repo, listing *gitrepo.Listing, excluded func(path string) bool, want func(name string, content []byte) bool) ([]*markedFile, []Problem, error) {
	var names []string
	for _, file := range listing.Files {
		if manifestFile(file.Path) && !file.SkipWorktree && (excluded == nil || !excluded(file.Path)) {
			names = append(names, file.Path)
		}
	}
	charts := chartDirs(listing.Files)
	var problems []Problem
	for _, unmerged := range listing.Unmerged {
		if manifestFile(unmerged) {
			problems = append(problems, Problem{File: unmerged, Message: "has an unresolved conflict; resolve it first"})
		}
	}
	found := make([]*markedFile, len(names))
	var mu sync.Mutex
	root, err := openRoot(repo.Top())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", repo.Top(), err)
	}
	defer root.close()
	workers := runtime.GOMAXPROCS(0)
	group, ctx := errgroup.WithContext(ctx)
	for worker := range workers {
		group.Go(func() error {
			var buffer []byte
			for i := worker; i < len(names); i += workers {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				content, err := root.readInto(names[i], &buffer)
				if err != nil {
					if !errors.Is(err, errGone) {
						return fmt.Errorf("%s: %w", names[i], err)
					}
					continue // deleted in the work tree: nothing is pinned there
				}
				if !want(names[i], content) {
					continue
				}
				if len(content) > MaxFile {
					mu.Lock()
					problems = append(problems, Problem{File: names[i], Message: fmt.Sprintf("is larger than %d MiB and may hold placeholders; split it, or exclude it", MaxFile>>20)})
					mu.Unlock()
					continue
				}
				found[i] = &markedFile{path: names[i], content: bytes.Clone(content), template: inTemplates(names[i], charts)}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	found = slices.DeleteFunc(found, func(f *markedFile) bool { return f == nil })
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.File, b.File) })
	return found, problems, nil
}

// find reads the marks of a file.
func (f *markedFile) find() {
	if f.template {
		f.inTemplate()
		return
	}
	if err := f.parse(); err != nil {
		f.unparsable(err)
		return
	}
	f.settle(f.readAll(asItStands), "placeholder")
	f.leftOver()
}

// parse parses the file, once.
func (f *markedFile) parse() error {
	if f.parsed != nil {
		return nil
	}
	parsed, err := yamledit.Parse(f.path, f.content)
	if err != nil {
		return err
	}
	f.parsed = parsed
	f.parameters = map[string]*yamledit.Scalar{}
	for s := range parsed.Scalars() {
		if list, ok := parameterList(s); ok {
			if name, ok := s.Sibling("name"); ok {
				value := s
				f.parameters[list+" "+name.Value] = &value
			}
		}
	}
	return nil
}

// editable returns why the mark can't be replaced.
func (f *markedFile) editable(m *mark) error {
	if err := m.scalar.Editable(); err != nil {
		return reasonOf(err)
	}
	if m.tag != nil && m.ref.Bump != "" {
		if err := m.tag.Editable(); err != nil {
			return fmt.Errorf("the tag beside it: %w", reasonOf(err))
		}
		if m.tag.Aliases > 0 && m.scalar.Aliases != m.tag.Aliases {
			return errors.New("the tag beside it is repeated elsewhere by an alias, and would change there too: write it out")
		}
	}
	return nil
}

func reasonOf(err error) error {
	var refused *yamledit.RefusedError
	if errors.As(err, &refused) {
		return errors.New(refused.Problem)
	}
	return err
}

// wordInText finds a placeholder in text: a name with a slash, or what a template
// will make of one, and a verb that no host name goes on from.
var wordInText = regexp.MustCompile(`((?:[A-Za-z0-9][A-Za-z0-9._:/-]*/[A-Za-z0-9._:/-]+|\}\})@(?:build|resolve)(?:\+[a-z]+)?)(?:[^A-Za-z0-9_.@/+-]|\.?(?:\s|$))`)

// leftOver warns of placeholders that no scalar is: in a comment, a key, or a
// longer text. They never render, or render as they are.
func (f *markedFile) leftOver() {
	if !bytes.Contains(f.content, []byte("@build")) && !bytes.Contains(f.content, []byte("@resolve")) {
		return
	}
	places := wordInText.FindAllSubmatchIndex(f.content, -1)
	if len(places) == 0 {
		return
	}
	said := map[int]bool{} // lines
	for _, list := range [][]Problem{f.problems, f.warnings} {
		for _, p := range list {
			said[p.Line] = true
		}
	}
	taken := map[int]bool{} // starts of scalars
	for _, m := range f.marks {
		start, _ := m.scalar.Span()
		taken[start] = true
	}
	for s := range f.parsed.Scalars() {
		if s.Key() == "uses" {
			start, _ := s.Span()
			taken[start] = true
		}
	}
	for _, place := range places {
		at, line := place[2], lineOf(f.content, place[2])
		for at > 0 && !taken[at] && f.content[at-1] > ' ' && f.content[at-1] != '{' && f.content[at-1] != ',' {
			at-- // quotes, web=
		}
		if !taken[at] && !said[line] {
			f.leave(line, "%s stands in a comment or in a longer text, and stays as it is", f.content[place[2]:place[3]])
		}
	}
}

// inTemplate handles a chart's template: its image belongs into values.yaml.
func (f *markedFile) inTemplate() {
	for _, place := range wordInText.FindAllSubmatchIndex(f.content, -1) {
		at, word := place[2], f.content[place[2]:place[3]]
		if inComment(f.content, at) {
			f.leave(lineOf(f.content, at), "%s stands in a comment or in a longer text, and stays as it is", word)
			continue
		}
		f.problems = append(f.problems, Problem{f.path, lineOf(f.content, at), fmt.Sprintf(
			"%s stands in a Helm template; put the reference into values.yaml, and the placeholder there", word)})
	}
}

// inComment tells whether a line of YAML is a comment up to an offset.
func inComment(content []byte, at int) bool {
	line := content[bytes.LastIndexByte(content[:at], '\n')+1 : at]
	return bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("#")) || bytes.Contains(line, []byte(" #"))
}

// placeholderLine finds the lines of a file that can't be parsed which are
// placeholders beyond doubt.
var placeholderLine = regexp.MustCompile(`(?m)(?:^|[{,\s-])["']?(?:(?:digest|sha|sha256)["']?\s*:\s*["']?(?:build|resolve)|(?:image|tag|newTag)["']?\s*:\s*["']?[^\s"'@]+@(?:build|resolve))(?:\+[a-z]+)?["']?\s*(?:[,}#]|\r?$)`)

// unparsable handles a file that holds a word of ours and is no YAML: only a
// placeholder in it matters.
func (f *markedFile) unparsable(err error) {
	at, what := -1, "a placeholder"
	if place := wordInText.FindSubmatchIndex(f.content); place != nil && !inComment(f.content, place[2]) {
		at, what = place[2], string(f.content[place[2]:place[3]])
	} else if place := placeholderLine.FindIndex(f.content); place != nil {
		at = place[0] + len(f.content[place[0]:place[1]]) - len(bytes.TrimLeft(f.content[place[0]:place[1]], " \t\r\n"))
	}
	if at < 0 {
		return
	}
	f.problems = append(f.problems, Problem{f.path, lineOf(f.content, at), fmt.Sprintf(
		"%s can't be replaced, because the file does not parse: %v", what, strings.TrimPrefix(err.Error(), f.path+":"))})
}

// chartDirs returns the directories of Helm charts.
func chartDirs(files []gitrepo.File) map[string]bool {
	dirs := map[string]bool{}
	for _, file := range files {
		if path.Base(file.Path) == "Chart.yaml" {
			dirs[path.Dir(file.Path)] = true
		}
	}
	return dirs
}

// inTemplates tells whether a file is a template of one of the charts.
func inTemplates(name string, charts map[string]bool) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if path.Base(dir) == "templates" && charts[path.Dir(dir)] {
			return true
		}
	}
	return false
}

// lineOf returns the 1-based line of an offset.
func lineOf(content []byte, at int) int { return 1 + bytes.Count(content[:at], []byte("\n")) }
