package rewrite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// Release is what a branch pins anew, against the commit that it started from.
// It is read from git, so that it is the same whenever it is asked for.
type Release struct{ Images []Repinned }

// Repinned is an image that the branch pins to another digest.
type Repinned struct {
	// Name is the component's; for a third party's image, its repository.
	Name  string
	Image string
	// Before and After are where it was and is pinned to; Before is empty for one
	// that was not pinned by digest before.
	Before, After Version
	// Size is what a node pulls, in bytes; 0 if the registry didn't say.
	Size int64
	// Commits changed what it is made from since it was pinned, the newest first,
	// at most 20.
	Commits []gitrepo.Subject
}

// Version is a digest, and the tag beside it, which may be empty.
type Version struct{ Tag, Digest string }

// Describe returns what the branch pins anew.
func Describe(ctx context.Context, repo *gitrepo.Repo, o Options) (*Release, error) {
	base, err := mergeBase(ctx, repo, o)
	if err != nil {
		return nil, err
	}
	names, err := repo.Changed(ctx, base, "HEAD")
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !manifestFile(name) })
	components, err := o.declared(ctx, repo)
	if err != nil {
		return nil, err
	}
	before, _, err := pinsAt(ctx, repo, base, names, components)
	if err != nil {
		return nil, err
	}
	after, order, err := pinsAt(ctx, repo, "HEAD", names, components)
	if err != nil {
		return nil, err
	}
	r := &Release{}
	s := &sources{repo: repo, components: components}
	for _, image := range order {
		was := before[image]
		for _, version := range after[image] {
			if slices.ContainsFunc(was, func(v Version) bool { return v.Digest == version.Digest }) {
				continue
			}
			one := Repinned{Name: image, Image: image, After: version}
			if len(was) > 0 {
				one.Before = was[0]
			}
			if c, ok := components.ByImage(image); ok {
				one.Name = c.Name
				since := base
				if pinned, err := s.lastPin(ctx, repo, image, base, names); err != nil {
					return nil, err
				} else if pinned.commit != "" {
					since = pinned.commit
				}
				if one.Commits, err = repo.Subjects(ctx, since, "HEAD", c.Inputs, 20); err != nil {
					return nil, err
				}
			}
			if o.Registry != nil {
				// For people to read: that it is not known stops nothing.
				one.Size, _ = o.Registry.Size(ctx, image, version.Digest)
			}
			r.Images = append(r.Images, one)
		}
	}
	return r, nil
}

// declared returns the components of the work tree.
func (o Options) declared(ctx context.Context, repo *gitrepo.Repo) (*build.Components, error) {
	excluded, err := o.excluded()
	if err != nil {
		return nil, err
	}
	files, _, err := scan(ctx, repo, selection{excluded: excluded}, func(name string, _ []byte) bool { return isComponentFile(name) })
	if err != nil {
		return nil, err
	}
	return loadComponents(files)
}

// pinsAt returns the versions that files of a commit pin, by image, and the
// images in the order they come.
func pinsAt(ctx context.Context, repo *gitrepo.Repo, rev string, names []string, components *build.Components) (map[string][]Version, []string, error) {
	contents, err := repo.FilesAt(ctx, rev, names)
	if err != nil {
		return nil, nil, err
	}
	pins := map[string][]Version{}
	var order []string
	for _, name := range names {
		f := &markedFile{path: name, content: contents[name], components: components}
		found, _ := f.pins(func(mark) bool { return true })
		for _, pin := range found {
			image := pin.ref.Repository
			version := Version{pin.ref.Tag, pin.was}
			if pins[image] == nil {
				order = append(order, image)
			}
			if !slices.Contains(pins[image], version) {
				pins[image] = append(pins[image], version)
			}
		}
	}
	return pins, order, nil
}

// Empty tells whether the branch pins nothing anew.
func (r *Release) Empty() bool { return len(r.Images) == 0 }

// Title is one line for a pull request.
func (r *Release) Title() string {
	var names []string
	for _, image := range r.Images {
		name := image.Name
		if image.After.Tag != "" {
			name += " " + image.After.Tag
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return pinTitle(names)
}

// pinTitle is the subject for what was pinned.
func pinTitle(names []string) string {
	title := "Pin " + strings.Join(names, ", ")
	if len(title) > 72 {
		title = fmt.Sprintf("Pin %d images", len(names))
	}
	return title
}

// Body is Markdown: a table of what was pinned, and the commits behind each.
func (r *Release) Body() string {
	var b strings.Builder
	b.WriteString("| component | version | image before | image now | size |\n|---|---|---|---|---|\n")
	for _, i := range r.Images {
		version := i.After.Tag
		if i.Before.Tag != "" && i.Before.Tag != i.After.Tag {
			version = i.Before.Tag + " → " + i.After.Tag
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", i.Name, version, short(i.Before.Digest), short(i.After.Digest), size(i.Size))
	}
	for _, i := range r.Images {
		fmt.Fprintf(&b, "\n**%s** `%s@%s`\n", i.Name, i.Image, i.After.Digest)
		for _, commit := range i.Commits {
			fmt.Fprintf(&b, "- %s %s\n", commit.Hash, codeSpan(visible(commit.Text)))
		}
	}
	return b.String()
}

// short is the start of a digest, enough to tell two apart.
func short(digest string) string {
	if digest == "" {
		return "–"
	}
	return fmt.Sprintf("`%.19s…`", digest)
}

// size writes bytes as people read them.
func size(n int64) string {
	switch {
	case n <= 0:
		return ""
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// visible takes out of a text what would not be seen as it is: control characters,
// and those that turn the direction of writing round.
func visible(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if strings.TrimSpace(text) == "" {
		return "(no subject)"
	}
	return text
}

// codeSpan shows a text as it is: a subject may hold anything, and must neither
// call people nor draw.
func codeSpan(text string) string {
	fence := "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if fence == "`" {
		return fence + text + fence
	}
	return fence + " " + text + " " + fence
}
