package transaction

import "strings"

// cleanMessage does what "git commit -m" does to a message (its cleanup mode
// "whitespace"): no white space at line ends, no two empty lines together, none
// at the start and the end.
func cleanMessage(message string) string {
	var lines []string
	blank := false
	for line := range strings.SplitSeq(message, "\n") {
		line = strings.TrimRight(line, " \t\r\v\f")
		if line == "" {
			blank = len(lines) > 0
			continue
		}
		if blank {
			lines = append(lines, "")
			blank = false
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// subject is the first paragraph on one line, as git has it in the reflog.
func subject(message string) string {
	paragraph, _, _ := strings.Cut(message, "\n\n")
	return strings.Join(strings.Fields(paragraph), " ")
}
