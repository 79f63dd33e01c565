//go:build !linux

package serve

import (
	"context"
	"time"
)

// adopts is for the first process of a container, which runs Linux.
func adopts() bool { return false }

func reap(context.Context, time.Duration) {}
