package serve

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// adopts tells whether processes whose parent has ended become this one's: it
// is the first of its container, or has asked for them.
func adopts() bool {
	var subreaper int32
	return os.Getpid() == 1 || unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&subreaper)), 0, 0, 0) == nil && subreaper != 0
}

// reap waits for the processes that nobody else here waits for, so that they
// don't fill the container's table of processes. It looks every interval: a
// child of this program's own is waited for at once, one that has been dead at
// two looks in a row is an orphan.
func reap(ctx context.Context, interval time.Duration) {
	seen := map[int]bool{}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		dead := map[int]bool{}
		for _, pid := range deadChildren() {
			if seen[pid] {
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			} else {
				dead[pid] = true
			}
		}
		seen = dead
	}
}

// deadChildren returns the children of this process that have ended and were
// not waited for.
func deadChildren() []int {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil
	}
	var dead []int
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, child := range strings.Fields(string(children)) {
			stat, err := os.ReadFile("/proc/" + child + "/stat")
			if err != nil {
				continue
			}
			// The name, in parentheses, may hold anything.
			_, state, _ := strings.Cut(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):]), " ")
			if pid, err := strconv.Atoi(child); err == nil && strings.HasPrefix(state, "Z") {
				dead = append(dead, pid)
			}
		}
	}
	return dead
}
