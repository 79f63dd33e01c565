package serve

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReap: an orphan is waited for, and a child of the program's own is left to
// whoever started it. It runs in a process of its own that adopts orphans as the
// first process of a container does.
func TestReap(t *testing.T) {
	const variable = "PIN_CMP_TEST_REAP"
	again := func(role string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^TestReap$")
		cmd.Env = append(os.Environ(), variable+"="+role)
		return cmd
	}
	switch os.Getenv(variable) {
	case "":
		out, err := again("adopts").CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
	case "adopts":
		if adopts() {
			t.Fatal("an ordinary process adopts nobody")
		}
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		if !adopts() {
			t.Fatal("the process adopts orphans and does not know")
		}
		var out bytes.Buffer
		parent := again("leaves an orphan")
		parent.Stdout = &out
		if err := parent.Run(); err != nil {
			t.Fatal(err)
		}
		var orphan int
		if _, err := fmt.Sscan(out.String(), &orphan); err != nil {
			t.Fatal(err)
		}
		for len(deadChildren()) == 0 { // until it has ended
			time.Sleep(time.Millisecond)
		}
		go reap(t.Context(), 10*time.Millisecond)
		// One that is waited for in the usual way, over and over.
		for unix.Kill(orphan, 0) == nil {
			if err := again("ends").Run(); err != nil {
				t.Fatalf("a child of our own: %v", err)
			}
		}
		if dead := deadChildren(); len(dead) > 0 {
			t.Errorf("left: %v", dead)
		}
	case "leaves an orphan":
		orphan := again("ends")
		if err := orphan.Start(); err != nil {
			t.Fatal(err)
		}
		fmt.Println(orphan.Process.Pid)
		os.Exit(0)
	case "ends":
		os.Exit(0)
	}
}
