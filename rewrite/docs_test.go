package rewrite

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// blocks returns the code blocks of the documentation in one language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/rewrite.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, match := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllSubmatch(text, -1) {
		found = append(found, string(match[1]))
	}
	if len(found) == 0 {
		t.Fatalf("no block of %s", language)
	}
	return found
}

// Every command line of the documentation is one that the program takes.
func TestDocumentedCommands(t *testing.T) {
	c := checkout{t, t.TempDir()}
	lines := 0
	for _, block := range blocks(t, "sh") {
		for line := range strings.Lines(block) {
			line, _, _ = strings.Cut(line, "#")
			words := strings.Fields(strings.ReplaceAll(line, "'", ""))
			if len(words) == 0 {
				continue
			}
			lines++
			if words[0] != "pin-cmp" {
				t.Errorf("%q is no command of ours", line)
				continue
			}
			status, stdout, stderr := c.pinCmp(append(words[1:], "--help")...)
			if status != 0 || !strings.Contains(stdout, "pin-cmp "+words[1]) {
				t.Errorf("%s: %d %s", line, status, stderr)
			}
		}
	}
	if lines < 5 {
		t.Errorf("%d command lines", lines)
	}
}

// Every example of the notation is rewritten, and nothing of it is left.
func TestDocumentedNotation(t *testing.T) {
	for _, block := range blocks(t, "yaml") {
		if strings.Contains(block, "pin-cmp/v1") {
			continue
		}
		got, problems, warnings := rewritten(t, "a.yaml", block)
		if len(problems) > 0 || len(warnings) > 0 {
			t.Errorf("%v %v", problems, warnings)
		}
		for line := range strings.Lines(got) {
			value, _, _ := strings.Cut(line, " #")
			if regexp.MustCompile(`\b(build|resolve)\b`).MatchString(value) {
				t.Errorf("left: %s", line)
			}
		}
	}
}

// What the documentation says is refused is.
func TestDocumentedRefusals(t *testing.T) {
	for _, from := range []string{
		"image: ghcr.io/acme/web@biuld", "image: ghcr.io/acme/web:1.0.0@build+fix", "newName: web@build", "repository: acme/web@build",
		"{repository: ghcr.io/acme/web, tag: 1.4.0@build, digest: sha256:" + webHex + "}", "tag: 1.4.0@build", "digest: build", "targetRevision: web/v1.3.9@build",
	} {
		if _, problems, _ := rewritten(t, "a.yaml", from); len(problems) == 0 {
			t.Errorf("%s is taken", from)
		}
	}
}
