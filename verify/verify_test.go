package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"sigs.k8s.io/yaml"

	"github.com/pin-cmp/pin-cmp/verify/presence"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// answers is a registry's state as the tests of the verdicts need it: the
// presence package's own tests ask real ones.
type answers map[string]presence.Result

func (a answers) Check(_ context.Context, image presence.Image) (presence.Result, error) {
	if result, ok := a[image.Repository]; ok {
		return result, nil
	}
	return presence.Result{Verdict: presence.Present}, nil
}

const digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// deployment returns a Deployment with a container for each image.
func deployment(t *testing.T, name string, images ...string) Object {
	t.Helper()
	var b strings.Builder
	b.WriteString("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + ", namespace: shop}\nspec:\n  template:\n    spec:\n      containers:\n")
	for _, image := range images {
		b.WriteString("      - image: " + quote(image) + "\n")
	}
	var content map[string]any
	if err := yaml.Unmarshal([]byte(b.String()), &content); err != nil {
		t.Fatal(err)
	}
	return Object{Content: content, Locate: func(path Path, _ string) (string, int) {
		return "base/" + name + ".yaml", 8 + path[len(path)-2].(int)
	}}
}

func quote(s string) string {
	out, _ := json.Marshal(s)
	return string(out)
}

func verifyWith(t *testing.T, p *Policy, checker presence.Checker, objects ...Object) *Report {
	t.Helper()
	report, err := Verify(t.Context(), objects, Options{Policy: p, Presence: checker})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// The text is the product: each file is what a person reads in Argo CD.
func TestMessages(t *testing.T) {
	checker := answers{
		"ghcr.io/acme/gone":   {Verdict: presence.Absent, Reason: "the registry answered 404 MANIFEST_UNKNOWN"},
		"ghcr.io/acme/secret": {Verdict: presence.Denied, Reason: "the registry answered 401"},
		"ghcr.io/acme/slow":   {Verdict: presence.Throttled, Reason: "the registry answered 429"},
		"down.example.com/a":  {Verdict: presence.Unreachable, Reason: "connection refused"},
		"ghcr.io/acme/stale":  {Verdict: presence.Present, Stale: true, Reason: "connection refused"},
	}
	for name, objects := range map[string][]Object{
		"floating":  {deployment(t, "web", "nginx:1.25", "ghcr.io/acme/web@"+digestA)},
		"symbolic":  {deployment(t, "web", "ghcr.io/acme/web:1.4.0@build")},
		"absent":    {deployment(t, "web", "ghcr.io/acme/gone:2@"+digestA)},
		"undecided": {deployment(t, "web", "ghcr.io/acme/slow@"+digestA, "down.example.com/a@"+digestA)},
		"mixed": {
			deployment(t, "web", "ghcr.io/acme/secret@"+digestA, "down.example.com/a@"+digestA, "ghcr.io/acme/web@"+digestA),
			deployment(t, "api", "ghcr.io/acme/api", "ghcr.io/acme/api@sha256:12", "evil\x1b[31m\nimage:1"),
		},
		"passed": {deployment(t, "web", "ghcr.io/acme/web@"+digestA, "ghcr.io/acme/stale@"+digestA)},
	} {
		t.Run(name, func(t *testing.T) {
			report := verifyWith(t, DefaultPolicy(), checker, objects...)
			var text bytes.Buffer
			text.WriteString("exit " + string(rune('0'+report.ExitCode())) + "\n--- message\n" + report.Message() + "\n--- text\n")
			if err := report.WriteText(&text); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", text.Bytes())
		})
	}
	t.Run("json", func(t *testing.T) {
		report := verifyWith(t, DefaultPolicy(), checker, deployment(t, "web", "nginx:1.25", "down.example.com/a@"+digestA, "ghcr.io/acme/stale@"+digestA))
		var out bytes.Buffer
		if err := report.WriteJSON(&out); err != nil {
			t.Fatal(err)
		}
		golden(t, "report.json", out.Bytes())
		out.Reset()
		if err := report.WriteSARIF(&out, "v1.2.3"); err != nil {
			t.Fatal(err)
		}
		golden(t, "report.sarif", out.Bytes())
	})
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestExitCodes(t *testing.T) {
	down := answers{"ghcr.io/acme/web": {Verdict: presence.Unreachable, Reason: "connection refused"}}
	for name, tt := range map[string]struct {
		policy string
		object Object
		want   int
	}{
		"passed":                 {"", deployment(t, "a", "ghcr.io/acme/api@"+digestA), ExitPassed},
		"refused":                {"", deployment(t, "a", "nginx"), ExitRefused},
		"undecided":              {"", deployment(t, "a", "ghcr.io/acme/web@"+digestA), ExitUndecided},
		"refused and undecided":  {"", deployment(t, "a", "ghcr.io/acme/web@"+digestA, "nginx"), ExitRefused},
		"not asked":              {"presence: {check: false}", deployment(t, "a", "ghcr.io/acme/web@"+digestA), ExitPassed},
		"not allowed":            {"registries: {allowed: [quay.io]}", deployment(t, "a", "ghcr.io/acme/api@"+digestA), ExitRefused},
		"exempt":                 {"exemptions: [{image: nginx, reason: x}]", deployment(t, "a", "nginx"), ExitPassed},
		"exempt, but symbolic":   {"exemptions: [{image: '**', reason: x}]", deployment(t, "a", "nginx@build"), ExitRefused},
		"exempt and not allowed": {"registries: {allowed: [quay.io]}\nexemptions: [{image: nginx, reason: x}]", deployment(t, "a", "nginx"), ExitPassed},
	} {
		t.Run(name, func(t *testing.T) {
			if got := verifyWith(t, policy(t, tt.policy), down, tt.object).ExitCode(); got != tt.want {
				t.Errorf("exit %d, want %d", got, tt.want)
			}
		})
	}
	// Nobody to ask is not a pass.
	if got := verifyWith(t, DefaultPolicy(), nil, deployment(t, "a", "nginx@"+digestA)).ExitCode(); got != ExitUndecided {
		t.Errorf("without a registry: exit %d, want %d", got, ExitUndecided)
	}
}

func TestSweepPolicy(t *testing.T) {
	object := func() Object {
		var content map[string]any
		if err := yaml.Unmarshal([]byte(`{apiVersion: example.com/v1, kind: Thing, metadata: {name: x}, spec: {runs: "ghcr.io/a/b:1", pinned: "ghcr.io/a/b@`+digestA+`"}}`), &content); err != nil {
			t.Fatal(err)
		}
		return Object{Content: content}
	}
	for sweep, want := range map[string]struct{ exit, warnings int }{
		"warn": {ExitPassed, 1}, "refuse": {ExitRefused, 0}, "off": {ExitPassed, 0},
	} {
		report := verifyWith(t, policy(t, "sweep: \""+sweep+"\""), answers{}, object())
		if report.ExitCode() != want.exit || len(report.Warnings) != want.warnings {
			t.Errorf("sweep %s: exit %d and %v", sweep, report.ExitCode(), report.Warnings)
		}
	}
}

// Argo CD stores the message; the same report must give the same bytes, and
// never more than the bound, whatever the objects' order and their text.
func TestMessageIsStableAndBounded(t *testing.T) {
	var objects, reversed []Object
	for i := range 200 {
		name := "app-" + strings.Repeat("x", i%40) + string(rune('a'+i%26))
		objects = append(objects, deployment(t, name, "ghcr.io/"+strings.Repeat("a/", i%90)+"b:1", strings.Repeat("é\n", 5000)))
	}
	for i := range objects {
		reversed = append(reversed, objects[len(objects)-1-i])
	}
	first := verifyWith(t, DefaultPolicy(), answers{}, objects...).Message()
	if len(first) > MaxMessage {
		t.Errorf("%d bytes, more than %d", len(first), MaxMessage)
	}
	if again := verifyWith(t, DefaultPolicy(), answers{}, reversed...).Message(); again != first {
		t.Error("the order of the objects changes the message")
	}
	if !strings.Contains(first, "(1/400)") || !strings.Contains(first, " more; ") {
		t.Errorf("the items are not counted:\n%s", first)
	}
}

func TestCompareNatural(t *testing.T) {
	for _, tt := range [][2]string{{"a[2]", "a[10]"}, {"a", "b"}, {"a", "aa"}, {"a[1].b", "a[1].c"}} {
		if compareNatural(tt[0], tt[1]) >= 0 || compareNatural(tt[1], tt[0]) <= 0 || compareNatural(tt[0], tt[0]) != 0 {
			t.Errorf("%q and %q are in the wrong order", tt[0], tt[1])
		}
	}
}

// Whatever a repository calls its things, the message fits its bound, keeps to
// its lines and steers no terminal.
func TestMessageHostile(t *testing.T) {
	long := strings.Repeat("x", 20_000)
	for _, text := range []string{long, "a\x1b[2J", "a\nb", "\u202egnp", "nginx@" + long, "nginx@\x1b[2J"} {
		object := Object{
			Content: map[string]any{"apiVersion": "v1", "kind": "Pod" + text, "metadata": map[string]any{"name": text}, "spec": map[string]any{
				text: map[string]any{"image": "nginx"}, "containers": []any{map[string]any{"image": text}},
			}},
			Locate: func(Path, string) (string, int) { return text, 1 },
		}
		check := false
		policy := DefaultPolicy()
		policy.Presence.Check = &check
		report, err := Verify(t.Context(), []Object{object}, Options{Policy: policy})
		if err != nil {
			t.Fatal(err)
		}
		message := report.Message()
		if len(message) > MaxMessage || strings.Count(message, "\n") != 2 {
			t.Errorf("%.20q: %d bytes, %d lines", text, len(message), strings.Count(message, "\n"))
		}
		report.Failures = []Failure{{Path: text, Message: text}}
		var out strings.Builder
		if err := report.WriteText(&out); err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{message, out.String()} {
			if i := strings.IndexFunc(s, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%.20q: %q is printed", text, s[i:i+1])
			}
		}
	}
}

// A render that died says nothing about the application.
func TestExitCodeOfFailures(t *testing.T) {
	for _, tt := range []struct {
		failures []Failure
		want     int
	}{
		{nil, ExitPassed},
		{[]Failure{{Undecided: true}}, ExitUndecided},
		{[]Failure{{Undecided: true}, {}}, ExitRefused},
	} {
		if got := (&Report{Failures: tt.failures}).ExitCode(); got != tt.want {
			t.Errorf("%+v: %d, want %d", tt.failures, got, tt.want)
		}
	}
}
