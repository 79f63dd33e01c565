package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pin-cmp/pin-cmp/render"
	"github.com/pin-cmp/pin-cmp/verify"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// What a failed render says about the application decides the exit code: a
// mistake in it is a refusal, the end of the time or of the child is not.
func TestGateError(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{&render.Error{File: "a.yaml", Line: 3, Message: "invalid YAML"}, verify.ExitRefused},
		{&render.Error{Message: "the application renders to too much", Err: render.ErrLimit}, verify.ExitRefused},
		{&render.Error{Message: "the render was killed", Err: render.ErrCrashed}, verify.ExitUndecided},
		{fmt.Errorf("the render did not end in time: %w", context.DeadlineExceeded), verify.ExitUndecided},
		{fmt.Errorf("the render was stopped: %w", context.Canceled), verify.ExitUndecided},
		{&presence.ConfigError{Err: errors.New("no such helper")}, verify.ExitMisuse},
		{&render.Error{Message: strings.Repeat("\x1b", 7_000)}, verify.ExitRefused},
		{&render.Error{File: "a\x1b[2J\n.yaml", Message: strings.Repeat("x", 20_000)}, verify.ExitRefused},
	} {
		var exit *exitError
		if err := gateError(tt.err); !errors.As(err, &exit) || exit.code != tt.want {
			t.Errorf("%.80q: %v, want code %d", tt.err, exit, tt.want)
		}
		if text := exit.Error(); len(text) > verify.MaxMessage || strings.ContainsAny(text, "\x1b\n") {
			t.Errorf("%.80q: %d bytes, not one printable line", tt.err, len(text))
		}
	}
}
