package verify

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/pin-cmp/pin-cmp/internal/imageref"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// MaxMessage is the largest Message in bytes. Argo CD stores the text in the
// Application, which etcd bounds at 1.5 MiB, and sends it in an HTTP/2 trailer;
// and nobody reads more.
const MaxMessage = 8 << 10

// Message returns the text that Argo CD shows, after "pin-cmp: ", when the
// report is no pass; "" when it is. The first line stands alone, since the user interface folds line
// breaks; below it is an item for each image, "(1/N)". The same report gives
// the same bytes: Argo CD rewrites the Application whenever they change.
func (r *Report) Message() string {
	refused, undecided := r.count(Refused), r.count(Undecided)
	if refused+undecided == 0 {
		return ""
	}
	var items []string
	for _, f := range r.Images {
		if f.Verdict != Passed {
			items = append(items, f.item())
		}
	}
	first := r.Images[0]
	var head string
	if refused > 0 {
		head = fmt.Sprintf("refused %d of %s: %s uses %s, which %s", refused, plural(len(r.Images), "image"), printable(first.Object), first.short(), first.sentence())
		if undecided > 0 {
			head += fmt.Sprintf("; for %d more the registry can't say", undecided)
		}
	} else {
		head = fmt.Sprintf("could not decide about %d of %s, and refused none: %s uses %s, which %s; refresh the application when the registry answers",
			undecided, plural(len(r.Images), "image"), printable(first.Object), first.short(), first.sentence())
	}
	return joinItems(head, items)
}

// joinItems numbers the items and leaves out, with a count, those that do not
// fit.
func joinItems(head string, items []string) string {
	const reserve = 80 // for the line that counts the rest
	var b strings.Builder
	b.WriteString(head)
	for i, item := range items {
		line := fmt.Sprintf("\n(%d/%d) %s", i+1, len(items), item)
		if b.Len()+len(line) > MaxMessage-reserve {
			fmt.Fprintf(&b, "\nand %d more; pin-cmp verify lists them all", len(items)-i)
			break
		}
		b.WriteString(line)
	}
	return b.String()
}

// item is everything about one image that did not pass.
func (f Finding) item() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s %s", printable(f.Object), printable(f.Field), f.short(), f.sentence())
	if f.File != "" {
		fmt.Fprintf(&b, "; at %s", f.at())
	}
	if fix := f.Fix(); fix != "" {
		b.WriteString("; fix: " + fix)
	}
	return b.String()
}

// sentence says what is wrong, to follow the reference.
func (f Finding) sentence() string {
	if f.Verdict == Undecided && f.Presence != presence.Unchecked {
		return fmt.Sprintf("can't be looked up, its registry is %s: %s", f.Presence, f.Reason)
	}
	if f.Presence == presence.Absent || f.Presence == presence.Denied {
		return fmt.Sprintf("is %s: %s", f.Presence, f.Reason)
	}
	return f.Reason
}

// at returns file:line, or the file alone.
func (f Finding) at() string {
	if f.Line > 0 {
		return printable(f.File) + ":" + strconv.Itoa(f.Line)
	}
	return printable(f.File)
}

// Fix returns what to do about the finding, in one clause; "" if it passed.
func (f Finding) Fix() string {
	repository := "repository"
	if f.ref.Repository != "" {
		repository = shorten(printable(strings.TrimSuffix(f.ref.Text, "@"+f.ref.Digest)))
	}
	switch {
	case f.Verdict == Passed:
		return ""
	case f.Verdict == Undecided:
		return "refresh when the registry answers; nothing in the repository is wrong"
	case f.State == imageref.Symbolic:
		return "pin-cmp rewrite, on the branch, before it is merged"
	case f.State == imageref.Floating:
		return fmt.Sprintf("write %s@sha256:<the digest that it means now>", repository)
	case f.State == imageref.Invalid:
		return "write repository[:tag]@sha256:<64 hexadecimal digits>"
	case f.Presence == presence.Absent:
		return "push that very manifest, or write a digest that the registry holds"
	case f.Presence == presence.Denied:
		return "check the spelling, and that the gate's credential may pull it"
	default: // a repository that the policy does not allow
		return "use an allowed repository, or have the policy's registries.allowed name this one"
	}
}

// short returns the reference for a line of text.
func (f Finding) short() string { return shorten(printable(f.Reference)) }

// shorten bounds a text from outside.
func shorten(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// printable quotes a text that would disturb a terminal or break the line.
func printable(s string) string {
	if s == "" {
		return `""`
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return strconv.Quote(s)
		}
	}
	return s
}

// plural returns "1 image" or "2 images".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// WriteText writes the report for people: a line for each input that could not
// be read, each image that did not pass and each warning, file and line first,
// and a line that counts. The error is the writer's.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "%s: error: %s\n", printable(f.Path), f.Message)
	}
	for _, f := range r.Images {
		if f.Verdict == Passed {
			continue
		}
		if f.File != "" {
			fmt.Fprintf(&b, "%s: ", f.at())
		}
		word := "refused"
		if f.Verdict == Undecided {
			word = "undecided"
		}
		fmt.Fprintf(&b, "%s: %s %s: %s %s; fix: %s\n", word, printable(f.Object), printable(f.Field), f.short(), f.sentence(), f.Fix())
	}
	for _, warning := range r.Warnings {
		if warning.File != "" {
			fmt.Fprintf(&b, "%s: ", Finding{File: warning.File, Line: warning.Line}.at())
		}
		fmt.Fprintf(&b, "warning: %s\n", warning)
	}
	fmt.Fprintf(&b, "%s\n", r.Summary())
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// String returns the warning in one line, without its place in the files.
func (w Warning) String() string {
	message := shorten(printable(w.Message))
	if w.Object == "" {
		return message
	}
	return fmt.Sprintf("%s %s: %s", printable(w.Object), printable(w.Field), message)
}

// Summary returns the counts in one line.
func (r *Report) Summary() string {
	counts := []string{plural(r.count(Passed), "image") + " passed"}
	if n := r.count(Refused); n > 0 {
		counts = append(counts, fmt.Sprintf("%d refused", n))
	}
	if n := r.count(Undecided); n > 0 {
		counts = append(counts, fmt.Sprintf("%d undecided", n))
	}
	if n := len(r.Failures); n > 0 {
		counts = append(counts, plural(n, "input")+" not readable")
	}
	if n := len(r.Warnings); n > 0 {
		counts = append(counts, plural(n, "warning"))
	}
	return strings.Join(counts, ", ")
}
