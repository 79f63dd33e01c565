package render

import (
	"errors"
	"strconv"
	"strings"
)

// The kinds of failure that a caller may want to tell apart. Test for them with
// errors.Is; they survive the pipe between an [Isolated] render and its child.
var (
	// ErrUnsupported is an application that Argo CD renders and this version
	// does not.
	ErrUnsupported = errors.New("not supported yet")
	// ErrNoObjects is an application that renders to nothing. Argo CD would
	// delete everything the application owns.
	ErrNoObjects = errors.New("no objects")
	// ErrRemote is a file or base that would have to be fetched. What is not in
	// the commit is not part of what the commit says.
	ErrRemote = errors.New("remote source")
	// ErrLimit is an input or a result larger than the bounds of a render.
	ErrLimit = errors.New("limit exceeded")
	// ErrOutside is a path or a symbolic link that leaves the checkout.
	ErrOutside = errors.New("outside the checkout")
	// ErrCrashed is a render that ended without an answer. It says nothing
	// about the application.
	ErrCrashed = errors.New("the render crashed")
)

// sentinels are the errors above by the name they have on the pipe.
func sentinels() map[string]error {
	return map[string]error{
		"unsupported": ErrUnsupported,
		"no-objects":  ErrNoObjects,
		"remote":      ErrRemote,
		"limit":       ErrLimit,
		"outside":     ErrOutside,
		"crashed":     ErrCrashed,
	}
}

// Error is a failure that the author of the repository can act on.
type Error struct {
	// File is the slash-separated path in the checkout, "" if no single file is
	// at fault.
	File string
	// Line is 1-based, 0 if unknown.
	Line int
	// Message says what is wrong, Fix what to do about it.
	Message string
	Fix     string
	// Err is one of the package's sentinels, or nil.
	Err error
}

// Error returns "file:line: message; fix".
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			b.WriteString(":" + strconv.Itoa(e.Line))
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Message)
	if e.Fix != "" {
		b.WriteString("; " + e.Fix)
	}
	return b.String()
}

// Unwrap returns the sentinel.
func (e *Error) Unwrap() error { return e.Err }
