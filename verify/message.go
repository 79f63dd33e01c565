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
		head = fmt.Sprintf("refused %d of %s: %s uses %s, which %s", refused, plural(len(r.Images), "image"), first.object(), first.short(), first.sentence())
		if undecided > 0 {
			head += fmt.Sprintf("; for %d more the registry can't say", undecided)
		}
	} else {
		head = fmt.Sprintf("could not decide about %d of %s, and refused none: %s uses %s, which %s; hard-refresh the application when the registry answers",
			undecided, plural(len(r.Images), "image"), first.object(), first.short(), first.sentence())
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
	fmt.Fprintf(&b, "%s %s: %s %s", f.object(), f.field(), f.short(), f.sentence())
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
	f.Reason = shorten(Printable(f.Reason))
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
	file := shorten(printable(f.File))
	if f.Line > 0 {
		return file + ":" + strconv.Itoa(f.Line)
	}
	return file
}

// object and field return the names for a line of text.
func (f Finding) object() string { return shorten(printable(f.Object)) }
func (f Finding) field() string  { return shorten(printable(f.Field)) }

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
		return "try again when the registry answers (Argo CD: hard refresh); nothing in the repository is wrong"
	case f.State == imageref.Symbolic:
		return "pin-cmp rewrite, on the branch, before it is merged"
	case f.State == imageref.Floating:
		if f.ref.Tag == "" {
			repository += ":<tag>"
		}
		return fmt.Sprintf("write %s@resolve, or @build if it is built here, and run pin-cmp rewrite", repository)
	case f.Reason == reasonDeep:
		return "take the values out of each other"
	case f.State == imageref.Invalid:
		return "write repository[:tag]@sha256:<64 hexadecimal digits>"
	case f.Presence == presence.Absent:
		return "push that very manifest, or write @build in place of the digest and run pin-cmp rewrite"
	case f.Presence == presence.Denied:
		return "check the spelling, and that the gate's credential may pull it"
	default: // a repository that the policy does not allow
		return "use an allowed repository, or have the policy's registries.allowed name this one"
	}
}

// short returns the reference for a line of text.
func (f Finding) short() string { return shorten(printable(f.Reference)) }

// shorten bounds a text from outside: no name of Kubernetes is longer than 253
// bytes, and ten such texts still leave most of a Message to the other items.
func shorten(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// Printable returns a sentence that may quote a repository or a registry, for a
// line of output: what would break the line or steer a terminal is escaped, and
// what is beyond MaxMessage left out.
func Printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() > MaxMessage-256 {
			b.WriteString("…")
			break
		}
		switch {
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
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
		word := "error"
		if f.Undecided {
			word = "undecided"
		}
		fmt.Fprintf(&b, "%s: %s: %s\n", printable(f.Path), word, Printable(f.Message))
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
		fmt.Fprintf(&b, "%s: %s %s: %s %s; fix: %s\n", word, f.object(), f.field(), f.short(), f.sentence(), f.Fix())
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
	return fmt.Sprintf("%s %s: %s", shorten(printable(w.Object)), shorten(printable(w.Field)), message)
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
