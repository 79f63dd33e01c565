package forge

import (
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Our part of a description stands between these lines. They are HTML comments,
// which no forge shows.
const (
	beginMark = "<!-- pin-cmp -->"
	endMark   = "<!-- /pin-cmp -->"
)

// longestBody is how long a forge lets a description be: GitHub 65,536 characters,
// GitLab 1,048,576 (docs.gitlab.com, "Limits: maximum size of descriptions").
// Gitea has no limit of its own; GitLab's is taken.
var longestBody = map[string]int{GitHub: 65536, GitLab: 1 << 20, Gitea: 1 << 20}

var (
	// A mark has a line of its own. GitHub makes line ends CRLF when a person edits
	// a description.
	anyMark = regexp.MustCompile(`(?m)^[ \t]*(<!-- /?pin-cmp -->)[ \t]*\r?$`)
	inText  = regexp.MustCompile(`<!--(\s*/?pin-cmp\s*)-->`)
	// quickAction is a line that GitLab takes for an order when it is sent.
	quickAction = regexp.MustCompile(`(?m)^/[A-Za-z]`)
)

// ourPart makes of what the caller gave what stands between the marks, without
// them: valid text without marks of its own, nor lines that are GitLab's quick
// actions, which a commit's subject can be made to be.
func ourPart(kind, body string) string {
	body = strings.ToValidUTF8(strings.ReplaceAll(body, "\r\n", "\n"), "\uFFFD")
	body = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, body)
	body = inText.ReplaceAllString(body, "&lt;!--$1--&gt;")
	if kind == GitLab {
		body = quickAction.ReplaceAllStringFunc(body, func(s string) string { return `\` + s })
	}
	return strings.TrimSpace(body)
}

// mergeBody puts our part into a description: in the place of the one that is
// there, else at its end. What others wrote stays byte for byte. changed is false
// if the description says the same already. Our part is cut if the forge would not
// take all of it; ok is false if there is not even room for that.
func mergeBody(kind, description, part string) (merged string, changed, ok bool) {
	before, old, after, found := splitBody(description)
	if !found {
		before, after = description, ""
		if trimmed := strings.TrimRight(before, "\r\n"); trimmed == "" {
			before = ""
		} else {
			before += strings.Repeat("\n", 2-min(2, strings.Count(before[len(trimmed):], "\n")))
		}
	}
	room := longestBody[kind] - characters(before) - characters(after) - characters(beginMark+"\n\n"+endMark)
	part, ok = cut(kind, part, room)
	if !ok {
		return description, false, false
	}
	if found && sameText(old, part) {
		return description, false, true
	}
	return before + beginMark + "\n" + part + "\n" + endMark + after, true, true
}

// splitBody finds our part: the first end mark, and the begin mark next before
// it. A mark that somebody left alone is nothing, so no text of theirs is ever
// between the two.
func splitBody(description string) (before, part, after string, found bool) {
	var begin []int // of the mark alone: where it stands in its line is not ours
	for _, m := range anyMark.FindAllStringSubmatchIndex(description, -1) {
		mark := m[2:4]
		if description[mark[0]:mark[1]] == beginMark {
			begin = mark
			continue
		}
		if begin != nil {
			return description[:begin[0]], description[begin[1]:mark[0]], description[mark[1]:], true
		}
	}
	return "", "", "", false
}

// sameText compares what forges and their editors leave as it is: everything but
// line ends and the blank around it.
func sameText(a, b string) bool {
	plain := func(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n")) }
	return plain(a) == plain(b)
}

// characters counts as the strictest forge might: UTF-16 units.
func characters(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// cut shortens our part to room characters at the end of a line, and says so.
func cut(kind, part string, room int) (string, bool) {
	if characters(part) <= room {
		return part, true
	}
	note := "\n\n**The rest is left out: " + kindName[kind] + " takes no longer description.**"
	fence := "\n```"
	if room -= characters(note) + len(fence); room < 0 {
		return "", false
	}
	end := 0
	for i, r := range part {
		if room -= utf16.RuneLen(r); room < 0 {
			break
		}
		end = i + utf8.RuneLen(r)
	}
	part = part[:end]
	if line := strings.LastIndexByte(part, '\n'); line > 0 {
		part = part[:line]
	}
	if strings.Count("\n"+part, fence)%2 == 1 {
		part += fence
	}
	return part + note, true
}

// longestTitle is what GitLab and Gitea take; GitHub takes one more.
const longestTitle = 255

// oneTitle makes a title of one line.
func oneTitle(title string) string {
	title = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(title, "\uFFFD"))), " ")
	if characters(title) <= longestTitle {
		return title
	}
	var b strings.Builder
	room := longestTitle - 1
	for _, r := range title {
		if room -= utf16.RuneLen(r); room < 0 {
			break
		}
		b.WriteRune(r)
	}
	return b.String() + "…"
}
