package yamledit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestCorpus replaces scalars in real files and looks at every byte beside
// them. PIN_CMP_CORPUS names the directories to walk, separated as in PATH;
// without it the files in testdata are the corpus.
//
// Each distinct file is taken as it is, with CRLF line endings, and with a
// byte order mark. In each of these every scalar that is said to be editable
// is replaced at once, every image reference alone, and some others alone.
func TestCorpus(t *testing.T) {
	dirs := filepath.SplitList(os.Getenv("PIN_CMP_CORPUS"))
	if len(dirs) == 0 {
		dirs = []string{"testdata"}
	}
	paths := make(chan string)
	var mu sync.Mutex
	var workers sync.WaitGroup
	seen := map[[32]byte]bool{}
	total := newTally()
	for range runtime.GOMAXPROCS(0) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for path := range paths {
				data, err := os.ReadFile(path)
				if err != nil || len(data) > 4<<20 {
					mu.Lock()
					total.unreadable["not read, or over 4 MB"]++
					mu.Unlock()
					continue
				}
				sum := sha256.Sum256(data)
				mu.Lock()
				known := seen[sum]
				seen[sum] = true
				mu.Unlock()
				if known {
					continue
				}
				mu.Lock()
				total.count["distinct files: "+strings.ToLower(filepath.Ext(path))]++
				mu.Unlock()
				one := newTally()
				for _, v := range variants(data) {
					one.file(t, path, v.name, v.data)
				}
				mu.Lock()
				total.add(one)
				mu.Unlock()
			}
		}()
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == ".git" {
				return filepath.SkipDir
			}
			switch strings.ToLower(filepath.Ext(path)) {
			case ".yaml", ".yml", ".json":
				if d.Type().IsRegular() {
					paths <- path
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	close(paths)
	workers.Wait()
	if len(seen) == 0 {
		t.Fatalf("no YAML file in %v", dirs)
	}
	t.Logf("%d distinct files\n%s", len(seen), total.String())
}

type variant struct {
	name string
	data []byte
}

// variants returns a file as it is, with CRLF and with a byte order mark,
// each if it is not so already.
func variants(data []byte) []variant {
	all := []variant{{"as is", data}}
	crlf := bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	if !bytes.Equal(crlf, data) {
		all = append(all, variant{"CRLF", crlf})
	}
	if !bytes.HasPrefix(data, []byte(byteOrderMark)) && !bytes.HasPrefix(data, []byte("\xFF\xFE")) && !bytes.HasPrefix(data, []byte("\xFE\xFF")) {
		all = append(all, variant{"BOM", append([]byte(byteOrderMark), data...)})
	}
	return all
}

// tally is what was seen, by variant.
type tally struct {
	count      map[string]int
	refused    map[string]map[Reason]int
	unreadable map[string]int
}

func newTally() tally {
	return tally{refused: map[string]map[Reason]int{}, unreadable: map[string]int{}, count: map[string]int{}}
}

func (c *tally) add(o tally) {
	for k, n := range o.count {
		c.count[k] += n
	}
	for k, n := range o.unreadable {
		c.unreadable[k] += n
	}
	for v, m := range o.refused {
		if c.refused[v] == nil {
			c.refused[v] = map[Reason]int{}
		}
		for r, n := range m {
			c.refused[v][r] += n
		}
	}
}

func (c *tally) String() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(c.count)) {
		fmt.Fprintf(&b, "%-40s %9d\n", k, c.count[k])
	}
	for _, v := range slices.Sorted(maps.Keys(c.refused)) {
		for _, r := range slices.Sorted(maps.Keys(c.refused[v])) {
			fmt.Fprintf(&b, "%-40s %9d\n", v+": refused: "+string(r), c.refused[v][r])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.unreadable)) {
		fmt.Fprintf(&b, "%-40s %9d\n", k, c.unreadable[k])
	}
	return b.String()
}

var imageRE = regexp.MustCompile(`^([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9._/-]*[a-z0-9](:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@sha256:[0-9a-f]{64})?$`)

// imageShaped is a generous guess.
func imageShaped(s Scalar) bool {
	if len(s.Value) > 300 || !imageRE.MatchString(s.Value) {
		return false
	}
	key := strings.ToLower(s.Key())
	return strings.HasSuffix(key, "image") || strings.Contains(s.Value, "@sha256:") ||
		strings.Contains(s.Value, "/") && strings.Contains(s.Value, ":")
}

const someDigest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

// awkward are values that need care somewhere.
var awkward = []string{
	"ghcr.io/acme/web:1.4.0@" + someDigest,
	"1.10",
	"it's \"so\" # far: {a, b} \\ [c]?",
	"yes",
	"é 日本 🚀",
	"-",
	"0123",
	"2026-11-05",
	"a",
	"",
}

// newValue picks a value that is none of the scalar's own.
func newValue(s Scalar, i int) string {
	v, tail := awkward[i%len(awkward)], ""
	if s.Style == Literal || s.Style == Folded {
		tail = s.Value[len(strings.TrimRight(s.Value, "\n")):]
		if v == "" || v == "-" { // not a line of text, and the start of a list
			v = awkward[0]
		}
	}
	if v+tail == s.Value {
		v += "x"
	}
	return v + tail
}

// file runs one variant of a file.
func (c *tally) file(t *testing.T, path, variant string, data []byte) {
	f, err := Parse(path, data)
	if err != nil {
		if !errors.Is(err, ErrNotYAML) {
			t.Errorf("%s (%s): %v is no ErrNotYAML", path, variant, err)
		}
		c.unreadable[variant+": not YAML"]++
		var e *ParseError
		if errors.As(err, &e) && e.Template {
			c.unreadable[variant+": not YAML, and holds {{"]++
		}
		return
	}
	c.count[variant+": files"]++
	c.count[variant+": bytes"] += len(data)
	if c.refused[variant] == nil {
		c.refused[variant] = map[Reason]int{}
	}

	var every []Edit
	texts := 0
	for s := range f.Scalars() {
		c.count[variant+": scalars"]++
		if slices.ContainsFunc(s.Path(), func(e any) bool { _, ok := e.(Block); return ok }) {
			c.count[variant+": scalars in blocks"]++
			if s.Reason == "" {
				c.count[variant+": located in blocks"]++
			}
		}
		if s.Reason != "" {
			c.refused[variant][s.Reason]++
			if s.Reason == ReasonNotLocated {
				t.Logf("%s (%s):%d: %s not located: %.60q", path, variant, s.Line, s.Path(), s.Value)
			}
			if imageShaped(s) && s.Reason != ReasonAlias {
				c.count[variant+": images refused"]++
				t.Logf("%s (%s):%d: image refused, %s: %q", path, variant, s.Line, s.Reason, s.Value)
			}
			continue
		}
		c.count[variant+": located"]++
		if s.Duplicate {
			c.count[variant+": duplicates"]++
			if slices.ContainsFunc(s.Duplicates(), func(o Scalar) bool { return o.Reason != "" }) {
				continue
			}
		}
		if s.Parsed {
			continue // a block of one line, whose value is listed too
		}
		every = append(every, Edit{s, newValue(s, len(every))})
		switch {
		case imageShaped(s):
			c.count[variant+": images"]++
			repo, _, _ := strings.Cut(s.Value, "@")
			e := Edit{s, repo + "@" + someDigest}
			if e.New == s.Value {
				e.New = repo + "@" + strings.Replace(someDigest, "9", "8", 1)
			}
			if s.Style != Literal && s.Style != Folded {
				c.alone(t, f, variant, e)
			}
		case s.Tag == "!!str":
			if texts++; texts == 1 || texts == 10 || texts == 100 || texts == 1000 {
				c.alone(t, f, variant, Edit{s, newValue(s, texts+len(data))})
			}
		}
	}
	c.apply(t, f, variant, every)
	c.count[variant+": edits, all of a file at once"] += len(every)
}

// alone makes one edit, with those of its duplicates.
func (c *tally) alone(t *testing.T, f *File, variant string, e Edit) {
	edits := []Edit{e}
	for _, other := range e.Scalar.Duplicates() {
		edits = append(edits, Edit{other, e.New})
	}
	c.apply(t, f, variant, edits)
	c.count[variant+": edits, alone"]++
}

// apply makes some edits and fails the test on any byte changed beside them,
// any value that is not the new one, and any other that is not the old one.
func (c *tally) apply(t *testing.T, f *File, variant string, edits []Edit) {
	out, err := f.Apply(edits...)
	if err != nil {
		var refused *RefusedError
		if errors.As(err, &refused) {
			c.count[variant+": edits refused"]++
			t.Logf("(%s) %v", variant, err)
			return
		}
		t.Errorf("(%s) %v", variant, err)
		return
	}
	if problem := outside(f, out, edits); problem != "" {
		c.count[variant+": edits that changed other bytes"]++
		t.Errorf("%s (%s): %s", f.Name(), variant, problem)
	}
}

// besides says whether the bytes left and right of a single edit are as they
// were. That needs no parser at all.
func besides(f *File, out []byte, e Edit) bool {
	if e.New == e.Scalar.Value {
		return bytes.Equal(out, f.data)
	}
	start, end := e.Scalar.Span()
	return bytes.HasPrefix(out, f.data[:start]) && bytes.HasSuffix(out[start:], f.data[end:])
}

// outside compares, without trusting anything that Apply did but its result:
// the bytes beside the edited spans, and every value. It returns what is
// wrong.
func outside(f *File, out []byte, edits []Edit) string {
	edits = slices.Clone(edits)
	slices.SortFunc(edits, func(a, b Edit) int { return a.Scalar.Index - b.Scalar.Index })
	if len(edits) == 1 && !besides(f, out, edits[0]) {
		return fmt.Sprintf("bytes beside the value on line %d changed", edits[0].Scalar.Line)
	}
	after, err := Parse(f.Name(), out)
	if err != nil {
		return err.Error()
	}
	if after.Len() != f.Len() {
		return fmt.Sprintf("%d scalars became %d", f.Len(), after.Len())
	}
	want := map[int]string{}
	shift, prev := 0, 0
	aliased := false // an alias may be a key
	for _, e := range edits {
		want[e.Scalar.Index] = e.New
		aliased = aliased || e.Scalar.Aliases > 0
		start, end := e.Scalar.Span()
		if start == end {
			continue // edits of what cannot be edited are no edits if nothing changes
		}
		newStart, newEnd := after.Scalar(e.Scalar.Index).Span()
		if newStart != start+shift || !bytes.Equal(f.data[prev:start], out[prev+shift:newStart]) {
			return fmt.Sprintf("bytes before the value on line %d changed", e.Scalar.Line)
		}
		shift += (newEnd - newStart) - (end - start)
		prev = end
	}
	if !bytes.Equal(f.data[prev:], out[prev+shift:]) {
		return "bytes behind the last value changed"
	}
	for s := range after.Scalars() {
		old := f.Scalar(s.Index)
		target := old
		if anchored, ok := f.of(f.records[old.Index].node.Alias); ok { // not if it is a key
			target = anchored
		}
		value, edited := want[target.Index]
		edited = edited && value != target.Value
		switch {
		case edited && (s.Value != value || s.Tag != "!!str"):
			return fmt.Sprintf("line %d reads %s %q, not %q", s.Line, s.Tag, s.Value, value)
		case !edited && !target.Parsed && (s.Value != old.Value || s.Tag != old.Tag):
			return fmt.Sprintf("line %d: %q became %q", s.Line, old.Value, s.Value)
		case s.Line != old.Line || !aliased && s.Path().String() != old.Path().String():
			return fmt.Sprintf("line %d: %s moved", s.Line, old.Path())
		}
	}
	return ""
}
