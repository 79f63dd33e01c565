//go:build unix

package transaction

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// outcomes are the two states a transaction may leave.
type outcomes struct {
	start         checkout
	before, after snapshot
	index         string // before
	steps         []string
	took          time.Duration
}

// rehearse runs the order to its end once, to learn its steps and outcome.
func rehearse(t *testing.T, start checkout, o order) outcomes {
	t.Helper()
	return rehearseAt(t, start, start.copyOf(t), o)
}

func rehearseAt(t *testing.T, start, c checkout, o order) outcomes {
	t.Helper()
	o.Dir = c.dir
	result := outcomes{start: start, before: c.snapshot(), index: c.index()}
	cmd, out := spawn(t, o)
	began := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	result.took = time.Since(began)
	for line := range strings.Lines(out.String()) {
		var n int
		if _, err := fmt.Sscanf(line, "step %d: ", &n); err == nil {
			_, name, _ := strings.Cut(strings.TrimSpace(line), ": ")
			result.steps = append(result.steps, name)
		}
	}
	result.after = c.snapshot()
	if result.before.difference(result.after) == "" {
		t.Fatal("the rehearsal changed nothing")
	}
	if err := c.tidy(); err != nil {
		t.Fatal(err)
	}
	return result
}

// verify recovers and compares: all or nothing. It reports whether it was all.
func (o outcomes) verify(t *testing.T, c checkout) bool {
	t.Helper()
	cmd, out := spawn(t, order{Do: "recover", Dir: c.dir})
	if err := cmd.Run(); err != nil {
		t.Errorf("recovery: %v\n%s", err, out)
		return false
	}
	if err := c.tidy(); err != nil {
		t.Errorf("%v\nrecovery said: %s", err, out)
	}
	now := c.snapshot()
	nothing, all := o.before.difference(now), o.after.difference(now)
	if nothing != "" && all != "" {
		t.Errorf("neither all nor nothing\nrecovery said: %s\nagainst nothing:\n%s\nagainst all:\n%s", out, nothing, all)
	}
	if nothing == "" && c.index() != o.index {
		t.Errorf("the index has other bytes than before\nrecovery said: %s", out)
	}
	return all == ""
}

func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// The commit point is known, so at each step it is known which outcome it must
// be: a test that accepts either would accept one that always undoes.
func TestCrashAtEveryStep(t *testing.T) {
	same := func(c checkout) checkout { return c }
	for _, kind := range []struct {
		name, do string
		commit   string // the last step that is undone
		place    func(checkout) checkout
	}{
		{"commit", "commit", "journal with commit", same},
		{"write", "write", "files", same},
		{"commit across devices", "commit", "journal with commit", acrossDevices},
		{"write across devices", "write", "files", acrossDevices},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			o := order{Do: kind.do, Changes: busyChanges(), Then: "kill"}
			start := busy(t)
			run := rehearseAt(t, start, kind.place(start.copyOf(t)), o)
			t.Logf("steps: %s", strings.Join(run.steps, ", "))
			done := false
			for n, name := range run.steps {
				t.Run(fmt.Sprintf("%02d %s", n, name), func(t *testing.T) {
					c := kind.place(run.start.copyOf(t))
					o.Dir, o.At = c.dir, strconv.Itoa(n)
					cmd, out := spawn(t, o)
					if err := cmd.Run(); !killed(err) {
						t.Fatalf("the process ended otherwise: %v\n%s", err, out)
					}
					if all := run.verify(t, c); all != done {
						t.Errorf("all done: %v, want %v", all, done)
					}
				})
				if name == kind.commit {
					done = true
				}
			}
		})
	}
}

// A recovery that is itself killed is recovered by the next one.
func TestCrashDuringRecovery(t *testing.T) {
	t.Parallel()
	o := order{Do: "commit", Changes: busyChanges(), Then: "kill"}
	run := rehearse(t, busy(t), o)
	for _, at := range []string{"files", "update-ref"} {
		for n := range 5 {
			c := run.start.copyOf(t)
			o.Dir, o.At = c.dir, at
			cmd, _ := spawn(t, o)
			_ = cmd.Run()
			cmd, out := spawn(t, order{Do: "recover", Dir: c.dir, At: strconv.Itoa(n), Then: "kill"})
			if err := cmd.Run(); err != nil && !killed(err) {
				t.Fatalf("%v\n%s", err, out)
			}
			if all := run.verify(t, c); all != (at == "update-ref") {
				t.Errorf("killed at %q, recovery killed at its step %d: all done: %v", at, n, all)
			}
		}
	}
}

// killsEnv is how many random kills TestRandomKills makes; a process that ends
// before its time to be killed does not count.
const killsEnv = "TRANSACTION_TEST_KILLS"

// Kills at any time at all: in the middle of a write, with a git running.
func TestRandomKills(t *testing.T) {
	kills := 24
	if s, ok := os.LookupEnv(killsEnv); ok {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatalf("%s: %v", killsEnv, err)
		}
	}
	orders := []order{
		{Do: "commit", Changes: busyChanges()},
		{Do: "write", Changes: busyChanges()},
	}
	start := busy(t)
	var runs []outcomes
	for _, o := range orders {
		runs = append(runs, rehearse(t, start, o))
	}
	var dead, all, again int
	n := 0
	for ; dead < kills && !t.Failed(); n++ {
		which := n % len(orders)
		if n%4 == 3 {
			which = 0 // three of four commit
		}
		run, o := runs[which], orders[which]
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			c := start.copyOf(t)
			o.Dir = c.dir
			cmd, _ := spawn(t, o)
			dead += killWithin(t, cmd, run.took)
			if rand.IntN(3) == 0 {
				cmd, _ := spawn(t, order{Do: "recover", Dir: c.dir})
				again += killWithin(t, cmd, run.took/2)
			}
			if run.verify(t, c) {
				all++
			}
		})
	}
	t.Logf("%d kills in %d runs, %d recoveries killed too; %d ended with all, %d with nothing", dead, n, again, all, n-all)
}

// killWithin starts cmd and kills it at a random time, and returns 1 if it was
// still running.
func killWithin(t *testing.T, cmd *exec.Cmd, most time.Duration) int {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(rand.N(most))
	_ = cmd.Process.Kill()
	if killed(cmd.Wait()) {
		return 1
	}
	return 0
}
