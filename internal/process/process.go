// Package process runs a program together with everything that it starts, and
// ends them together.
package process

import (
	"context"
	"errors"
	"os/exec"
	"time"
)

// grace is how long a program may take to end when it is interrupted, and how
// long one that has ended may keep its output open, through what it left behind.
const grace = 2 * time.Second

// Command returns a program that reads no input and has no terminal to ask on:
// it is a process group of its own. When ctx ends, all of the group is
// interrupted, and killed when the program has ended or two seconds have passed.
// Start it with [Run].
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = grace
	together(cmd)
	return cmd
}

// Run runs what [Command] made. The error is that of [exec.Cmd.Run], or ctx's
// cause if ctx ended; a daemon that the program leaves behind, with its output
// open, is no error.
func Run(ctx context.Context, cmd *exec.Cmd) error {
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		killRest(cmd)
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrWaitDelay):
		return nil
	}
	return err
}
