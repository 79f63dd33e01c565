package forge

import (
	"strings"
	"testing"
)

func TestMergeBody(t *testing.T) {
	ours := func(part string) string { return "<!-- pin-cmp -->\n" + part + "\n<!-- /pin-cmp -->" }
	for _, tt := range []struct{ name, description, want string }{
		{"empty", "", ours("new")},
		{"blank", "\n\n", ours("new")},
		{"a person's", "Hello.", "Hello.\n\n" + ours("new")},
		{"a person's line", "Hello.\n", "Hello.\n\n" + ours("new")},
		{"a person's, with space", "Hello.\r\n\r\n\r\n", "Hello.\r\n\r\n\r\n" + ours("new")},
		{"ours", ours("old"), ours("new")},
		{"ours, emptied", "<!-- pin-cmp -->\n<!-- /pin-cmp -->", ours("new")},
		{"around", "  before\n\n" + ours("old\nlines") + " \n\nafter\n", "  before\n\n" + ours("new") + " \n\nafter\n"},
		{"indented marks", "- x\n  <!-- pin-cmp -->\n  old\n  <!-- /pin-cmp -->  \nafter", "- x\n  <!-- pin-cmp -->\nnew\n<!-- /pin-cmp -->  \nafter"},
		{"CRLF", "a\r\n<!-- pin-cmp -->\r\nold\r\n<!-- /pin-cmp -->\r\nb\r\n", "a\r\n" + ours("new") + "\r\nb\r\n"},
		{"no end", "mine\n<!-- pin-cmp -->\nalso mine", "mine\n<!-- pin-cmp -->\nalso mine\n\n" + ours("new")},
		{"no end, then ours", "mine\n<!-- pin-cmp -->\nalso mine\n\n" + ours("old"), "mine\n<!-- pin-cmp -->\nalso mine\n\n" + ours("new")},
		{"no begin", "mine\n<!-- /pin-cmp -->\nalso mine", "mine\n<!-- /pin-cmp -->\nalso mine\n\n" + ours("new")},
		{"no begin, then ours", "mine\n<!-- /pin-cmp -->\nalso\n" + ours("old"), "mine\n<!-- /pin-cmp -->\nalso\n" + ours("new")},
		{"marks in a sentence", "see <!-- pin-cmp --> and\nthen <!-- /pin-cmp -->.", "see <!-- pin-cmp --> and\nthen <!-- /pin-cmp -->.\n\n" + ours("new")},
		{"twice", ours("old") + "\n" + ours("copied"), ours("new") + "\n" + ours("copied")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, changed, ok := mergeBody(GitHub, tt.description, "new")
			if got != tt.want || !changed || !ok {
				t.Errorf("got  %q, %v, %v\nwant %q", got, changed, ok, tt.want)
			}
			again, changed, ok := mergeBody(GitHub, got, "new")
			if again != got || changed || !ok {
				t.Errorf("again: %q, %v, %v", again, changed, ok)
			}
		})
	}
}

func TestOurPart(t *testing.T) {
	for _, tt := range []struct{ name, kind, in, want string }{
		{"plain", GitHub, "\r\n| a |\r\n| b |\r\n\r\n", "| a |\n| b |"},
		{"marks", GitHub, "<!-- /pin-cmp -->\nx <!--pin-cmp--> <!-- other -->", "&lt;!-- /pin-cmp --&gt;\nx &lt;!--pin-cmp--&gt; <!-- other -->"},
		{"marks built of pieces", GitHub, "<!-- <!-- /pin-cmp --> pin-cmp -->", "<!-- &lt;!-- /pin-cmp --&gt; pin-cmp -->"},
		{"control", GitHub, "a\x00b\x1b[2Jc\td\xffe", "ab[2Jc\td\uFFFDe"},
		{"quick actions", GitLab, "/merge\ntext\n/approve now\n//x\n/1", "\\/merge\ntext\n\\/approve now\n//x\n/1"},
		{"not GitLab's", Gitea, "/merge", "/merge"},
	} {
		if got := ourPart(tt.kind, tt.in); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestCutBody(t *testing.T) {
	row := "| ghcr.io/acme/web | 1.4.0 | 🚀 |\n"
	long := "```\n" + strings.Repeat(row, 4000)
	for _, around := range []string{"", strings.Repeat("x", 60000) + "\n"} {
		got, changed, ok := mergeBody(GitHub, around, ourPart(GitHub, long))
		if !ok || !changed || characters(got) > 65536 || characters(got) < 65536-2*len(row)-len(beginMark+endMark)-20 {
			t.Fatalf("%d characters, %v, %v", characters(got), changed, ok)
		}
		if !strings.HasPrefix(got, around) || !strings.HasSuffix(got, "| 🚀 |\n```\n\n**The rest is left out: GitHub takes no longer description.**\n<!-- /pin-cmp -->") {
			t.Errorf("ends in %q", got[len(got)-200:])
		}
		if _, changed, ok := mergeBody(GitHub, got, ourPart(GitHub, long)); changed || !ok {
			t.Error("cut again, it is another text")
		}
	}
	if _, _, ok := mergeBody(GitHub, strings.Repeat("x", 65530), "new"); ok {
		t.Error("there is no room, and it fits")
	}
	if got, _, _ := mergeBody(GitLab, "", ourPart(GitLab, long)); !strings.Contains(got, strings.TrimSpace(long)) {
		t.Error("GitLab's limit is another")
	}
}

func TestTitle(t *testing.T) {
	if got := oneTitle("  Pin\tweb\n/close\x1b[2J\r\n "); got != "Pin web /close [2J" {
		t.Errorf("got %q", got)
	}
	if got := oneTitle(strings.Repeat("🚀", 200)); characters(got) > 255 || !strings.HasSuffix(got, "🚀…") {
		t.Errorf("%d characters: %q", characters(got), got)
	}
	if got := oneTitle(strings.Repeat("x", 255)); got != strings.Repeat("x", 255) {
		t.Errorf("got %q", got)
	}
}

// Whatever a person wrote around our part is there afterwards, byte for byte, and
// a second update changes nothing.
func FuzzMergeBody(f *testing.F) {
	for _, s := range []string{"", "a\r\nb", beginMark, endMark, beginMark + "\n" + endMark, endMark + "\n" + beginMark, "x\n" + beginMark + "\r\n" + beginMark + "\ny\n" + endMark} {
		f.Add(s, "new\n"+s)
	}
	f.Fuzz(func(t *testing.T, description, body string) {
		part := ourPart(GitLab, body)
		before, _, after, found := splitBody(description)
		got, _, ok := mergeBody(GitLab, description, part)
		if !ok {
			t.Skip("too long")
		}
		if found && (!strings.HasPrefix(got, before) || !strings.HasSuffix(got, after)) {
			t.Errorf("%q became %q", description, got)
		}
		if !found && strings.TrimRight(description, "\r\n") != "" && !strings.HasPrefix(got, description) {
			t.Errorf("%q became %q", description, got)
		}
		again, changed, ok := mergeBody(GitLab, got, part)
		if changed || !ok || again != got {
			t.Errorf("not settled: %q, then %q", got, again)
		}
	})
}
