//go:build linux

package gate

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pin-cmp/pin-cmp/test/argocd/stack"
)

var update = flag.Bool("update", false, "write the golden files")

// golden is a file of what Argo CD said, a section each.
type golden struct {
	path     string
	sections map[string]string
}

func openGolden(t *testing.T, front string) *golden {
	t.Helper()
	return &golden{path: filepath.Join("testdata", "conditions-"+front+".txt"), sections: map[string]string{}}
}

// record keeps what an application's condition says, under a name. What was kept
// before under that name must be the same.
func (g *golden) record(t *testing.T, name string, a *stack.Application, condition string) {
	t.Helper()
	text := strings.ReplaceAll(condition, `"`+a.Name+`"`, `"shop"`)
	if before, ok := g.sections[name]; ok && before != text {
		t.Errorf("%s: Argo CD says of one application\n%s\nand of another\n%s", name, before, text)
	}
	g.sections[name] = text
}

// check compares the file with what was kept, or writes that into it. What -run
// left out stays as it is.
func (g *golden) check(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(g.path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, section := range strings.Split("\n"+string(text), "\n== ")[1:] {
		name, text, _ := strings.Cut(section, "\n")
		want[name] = strings.TrimSuffix(text, "\n")
	}
	if !*update {
		for _, name := range slices.Sorted(maps.Keys(g.sections)) {
			if g.sections[name] != want[name] {
				t.Errorf("%s, %s: Argo CD says\n%s\nwant\n%s", g.path, name, g.sections[name], want[name])
			}
		}
		return
	}
	maps.Copy(want, g.sections)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(want)) {
		b.WriteString("== " + name + "\n" + want[name] + "\n")
	}
	if err := os.MkdirAll(filepath.Dir(g.path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
