package forge

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Why there is no pull request; an [*Error] wraps one of them.
var (
	// ErrMisuse: an option, a branch or a remote URL that can't be right.
	ErrMisuse = errors.New("misuse")
	// ErrUnknownForge: nothing says what kind of forge the remote is on.
	ErrUnknownForge = errors.New("unknown forge")
	// ErrDenied: the credential is wrong, or may not do this.
	ErrDenied = errors.New("denied")
	// ErrThrottled: the forge takes no more requests for longer than is worth
	// waiting. Later is fine.
	ErrThrottled = errors.New("throttled")
	// ErrUnreachable: the forge does not answer, or not with its API. Later may be
	// fine.
	ErrUnreachable = errors.New("unreachable")
	// ErrNothingToOpen: the branch holds nothing that its base has not.
	ErrNothingToOpen = errors.New("nothing to open")
	// ErrRefused: the forge understood and said no, or a command failed.
	ErrRefused = errors.New("refused")
)

// Error is a pull request that is not there.
type Error struct {
	// Reason is one of the variables above.
	Reason error
	// Message is a sentence: printable, on one line, without secrets.
	Message string
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Reason }

func failure(reason error, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// longestQuote bounds what of somebody else's words stands in a message.
const longestQuote = 300

// printable makes one line of what a server, a tool or a repository says: without
// what steers a terminal or turns the reading order round, and not without end.
func printable(s string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "?") {
		switch {
		case b.Len() >= longestQuote:
			return strings.TrimSpace(b.String()) + "…"
		case unicode.IsSpace(r):
			if b.Len() > 0 && !strings.HasSuffix(b.String(), " ") {
				b.WriteByte(' ')
			}
		case unicode.IsPrint(r):
			b.WriteRune(r)
		}
	}
	return strings.TrimSpace(b.String())
}

// isPlain reports whether s can be printed as it is, in one word.
func isPlain(s string) bool {
	return s != "" && strings.ToValidUTF8(s, "") == s && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
}
