package yamledit

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// generator writes random YAML in every style there is, and remembers which
// scalars it wrote.
type generator struct {
	r       *rand.Rand
	b       strings.Builder
	eol     string
	want    []written
	anchors []string // names of anchored scalars, with their values
	values  map[string]string
	depth   int
	keys    int
}

type written struct {
	value  string
	reason Reason
}

func generate(seed uint64) (string, []written) {
	r := rand.New(rand.NewPCG(seed, 1))
	g := &generator{r: r, values: map[string]string{}, eol: []string{"\n", "\n", "\n", "\r\n", "\r", "\u0085"}[r.IntN(6)]}
	text := g.file()
	if r.IntN(4) == 0 {
		text = byteOrderMark + text
	}
	return text, g.want
}

// file writes one to three documents.
func (g *generator) file() string {
	for i := range 1 + g.r.IntN(3) {
		if i > 0 || g.r.IntN(3) == 0 {
			g.b.WriteString("---")
			if g.r.IntN(4) == 0 {
				g.b.WriteString(" # document")
			}
		} else if g.r.IntN(3) == 0 {
			g.b.WriteString("# é file")
		}
		if g.r.IntN(5) == 0 {
			g.sequence(0)
		} else {
			g.mapping(0)
		}
		g.b.WriteString(g.eol)
		if g.r.IntN(6) == 0 {
			g.b.WriteString("..." + g.eol)
		}
	}
	text := g.b.String()
	// A break at the very start is what a mapping begins its line with.
	text = strings.TrimPrefix(text, g.eol)
	if g.r.IntN(3) == 0 && !strings.HasSuffix(text, "..."+g.eol) {
		text = strings.TrimSuffix(text, g.eol)
	}
	return text
}

func (g *generator) newline(indent int) {
	switch g.r.IntN(12) {
	case 0:
		g.b.WriteString(g.eol)
	case 1:
		g.b.WriteString(g.eol + strings.Repeat(" ", indent) + "#comment é: x")
	}
	g.b.WriteString(g.eol + strings.Repeat(" ", indent))
}

func (g *generator) mapping(indent int) {
	g.depth++
	defer func() { g.depth-- }()
	for range 1 + g.r.IntN(4) {
		g.newline(indent)
		isComplex := g.key()
		g.value(indent, false, isComplex)
	}
}

func (g *generator) sequence(indent int) {
	g.depth++
	defer func() { g.depth-- }()
	for range 1 + g.r.IntN(4) {
		g.newline(indent)
		g.b.WriteString("-")
		g.value(indent, true, true)
	}
}

// key writes a key that is there once. It reports true if its colon begins a
// line, after which YAML takes no tab.
func (g *generator) key() bool {
	g.keys++
	form := []string{"k%d:", "'k%d':", "\"k %d\":", "é%d:", "? k%d\x00:", "http://x/%d:", "k%d :"}[g.r.IntN(7)]
	before, after, isComplex := strings.Cut(fmt.Sprintf(form, g.keys), "\x00")
	if isComplex {
		// The long form has its value on a line of its own.
		column := g.b.String()
		column = column[strings.LastIndex(column, g.eol)+len(g.eol):]
		before += g.eol + column
	}
	g.b.WriteString(before + after)
	return isComplex
}

// value writes what follows a colon or dash in a collection with the given
// indent.
func (g *generator) value(indent int, item, noTab bool) {
	n := g.r.IntN(23)
	if g.depth > 4 && n >= 14 {
		n = g.r.IntN(10)
	}
	inner := indent + 1 + g.r.IntN(3)
	pad := strings.Repeat(" ", inner)
	space := []string{" ", " ", " ", "  ", " \t"}[g.r.IntN(5)]
	if noTab {
		space = " "
	}
	switch n {
	default:
		g.b.WriteString(space)
		g.scalar(false)
		g.trail()
	case 10:
		g.want = append(g.want, written{"", ReasonEmpty})
		if null := []string{"~", "null", "", "NULL"}[g.r.IntN(4)]; null != "" {
			g.b.WriteString(space + null)
			g.trail()
		}
	case 11:
		if len(g.anchors) == 0 {
			g.b.WriteString(space)
			g.scalar(false)
			return
		}
		name := g.anchors[g.r.IntN(len(g.anchors))]
		g.b.WriteString(space + "*" + name)
		g.want = append(g.want, written{g.values[name], ReasonAlias})
		g.trail()
	case 12:
		g.b.WriteString(space + "!Ref thing")
		g.want = append(g.want, written{"thing", ReasonTag})
		g.trail()
	case 13:
		words := []string{"a b" + g.eol + pad + "c", "'a b" + g.eol + pad + "c'", "\"a b" + g.eol + pad + "c\""}
		g.b.WriteString(space + words[g.r.IntN(3)])
		g.want = append(g.want, written{"a b c", ReasonMultiLine})
		g.trail()
	case 14, 15:
		g.mapping(inner)
	case 16:
		if item || g.r.IntN(2) == 0 {
			g.sequence(inner)
		} else {
			g.sequence(indent)
		}
	case 17:
		g.b.WriteString(space)
		g.flow()
		g.trail()
	case 18:
		g.b.WriteString(space + ">-" + g.eol + pad + "folded" + g.eol + pad + "text")
		g.want = append(g.want, written{"folded text", ReasonFolded})
	case 19:
		g.b.WriteString(space + "|" + g.eol + pad + "#!/bin/sh" + g.eol + g.eol + pad + "  exit 1")
		g.want = append(g.want, written{"#!/bin/sh\n\n  exit 1\n", ReasonBlock})
	case 20:
		g.b.WriteString(space + "|-" + g.eol + pad + "one/line:1 # é")
		g.want = append(g.want, written{"one/line:1 # é", ""})
	case 22:
		g.b.WriteString(space + ">-" + g.eol + pad + "one/folded:1 # é")
		g.want = append(g.want, written{"one/folded:1 # é", ""})
	case 21:
		g.block(inner, indent, space)
	}
}

// block writes YAML inside of a literal block.
func (g *generator) block(inner, indent int, space string) {
	in := &generator{r: g.r, values: map[string]string{}, eol: "\n", depth: g.depth + 1}
	in.mapping(0)
	text := strings.TrimLeft(in.b.String(), "\n")
	text = strings.ReplaceAll(text, "\n\n", "\n")
	header := "|-"
	if g.r.IntN(3) == 0 {
		header = fmt.Sprintf("|%d-", inner-indent)
	}
	if strings.HasSuffix(text, "\n") || strings.HasPrefix(text, " ") {
		text = strings.TrimSpace(text)
	}
	g.want = append(g.want, written{text, ReasonBlock})
	if !strings.Contains(text, "\n") {
		g.want[len(g.want)-1].reason = ""
	}
	g.want = append(g.want, in.want...)
	g.b.WriteString(space + header)
	if g.r.IntN(4) == 0 {
		g.b.WriteString(" # values")
	}
	for line := range strings.SplitSeq(text, "\n") {
		g.b.WriteString(g.eol)
		if line != "" {
			g.b.WriteString(strings.Repeat(" ", inner) + line)
		}
	}
}

// trail writes what may stand behind a value on its line.
func (g *generator) trail() {
	g.b.WriteString([]string{"", "", "", " ", "\t", " # c", "\t# é c #", "  #c: d"}[g.r.IntN(8)])
}

// scalar writes a scalar on one line that can be replaced.
func (g *generator) scalar(flow bool) {
	n := g.r.IntN(20)
	if n < 2 {
		name := fmt.Sprintf("a%d", len(g.anchors))
		g.b.WriteString("&" + name + " ")
		defer func() {
			g.anchors = append(g.anchors, name)
			g.values[name] = g.want[len(g.want)-1].value
		}()
	}
	if n == 2 {
		g.b.WriteString("!!str ")
	}
	if n == 3 {
		name := fmt.Sprintf("b%d", len(g.anchors))
		g.b.WriteString("!!str &" + name + "  ")
	}
	forms := []written{
		{value: `reg.io/a/b:1.2@build`},
		{value: `1.10`},
		{value: `x`},
		{value: `é日本`},
		{value: `a#b`},
		{value: `a:b`},
		{value: `-1`},
		{value: `-a`},
		{value: `true`},
		{value: `2026-01-02`},
		{value: `a  b`},
		{value: `it's`},
		{value: `a"b`},
		{value: `"x"`, reason: `x`},
		{value: `""`, reason: ``},
		{value: `"a\"\\b"`, reason: `a"\b`},
		{value: `"é\u00e9 # 日"`, reason: `éé # 日`},
		{value: `"\x41\tb"`, reason: "A\tb"},
		{value: `"'"`, reason: `'`},
		{value: `'x'`, reason: `x`},
		{value: `''`, reason: ``},
		{value: `'it''s'`, reason: `it's`},
		{value: `'é: "日"'`, reason: `é: "日"`},
		{value: `''''`, reason: `'`},
	}
	if !flow {
		forms = append(forms, written{value: `:a`}, written{value: `a,b]`}, written{value: `a{b}`}, written{value: `a?`})
	}
	form := forms[g.r.IntN(len(forms))]
	g.b.WriteString(form.value)
	value := form.value
	if c := value[0]; c == '"' || c == '\'' {
		value = string(form.reason)
	}
	g.want = append(g.want, written{value: value})
}

// flow writes [] or {}, over several lines at times.
func (g *generator) flow() {
	g.depth++
	defer func() { g.depth-- }()
	space := []string{"", " ", " "}[g.r.IntN(3)]
	if g.r.IntN(2) == 0 {
		g.b.WriteString("[" + space)
		for i := range g.r.IntN(4) {
			if i > 0 {
				g.b.WriteString(", ")
			}
			g.flowValue()
		}
		g.b.WriteString(space + "]")
		return
	}
	g.b.WriteString("{" + space)
	for i := range g.r.IntN(4) {
		if i > 0 {
			g.b.WriteString("," + space)
		}
		g.keys++
		if g.r.IntN(2) == 0 {
			fmt.Fprintf(&g.b, "\"k%d\":", g.keys)
		} else {
			fmt.Fprintf(&g.b, "k%d: ", g.keys)
		}
		g.flowValue()
	}
	g.b.WriteString(space + "}")
}

func (g *generator) flowValue() {
	if g.depth < 5 && g.r.IntN(4) == 0 {
		g.flow()
		return
	}
	g.scalar(true)
}

// TestGenerated holds for every generated file: the scalars are found as they
// were written, those that can be replaced are exactly those that should be,
// and replacing them, alone and together, changes nothing else.
func TestGenerated(t *testing.T) {
	files := uint64(3000)
	if testing.Short() {
		files = 300
	}
	c := newTally()
	for seed := range files {
		text, want := generate(seed)
		f, err := Parse("generated.yaml", []byte(text))
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		i := 0
		var all []Edit
		for s := range f.Scalars() {
			if i == len(want) {
				t.Fatalf("seed %d: line %d: %q was not written\n%s", seed, s.Line, s.Value, text)
			}
			value := s.Value
			if s.Reason == ReasonEmpty || s.Reason == ReasonBlock {
				value = want[i].value // spelled in several ways, and nested text with its own line breaks
			}
			if value != want[i].value || s.Reason != want[i].reason {
				t.Fatalf("seed %d: line %d: got %q (%s), wrote %q (%s)\n%s", seed, s.Line, s.Value, s.Reason, want[i].value, want[i].reason, text)
			}
			i++
			if s.Reason != "" || s.Parsed {
				continue
			}
			e := Edit{s, newValue(s, int(seed)+i)}
			all = append(all, e)
			c.alone(t, f, "generated", e)
		}
		if i != len(want) {
			t.Fatalf("seed %d: %d scalars of %d found\n%s", seed, i, len(want), text)
		}
		c.apply(t, f, "generated", all)
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, text)
		}
	}
	t.Logf("\n%s", c.String())
	if c.count["generated: edits refused"] > 0 {
		t.Errorf("an edit of an editable scalar was refused")
	}
}
