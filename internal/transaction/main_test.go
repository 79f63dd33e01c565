//go:build unix

package transaction

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// childEnv holds an order for this test binary, run as a process of its own: it
// can then be killed at any point, and have limits of its own.
const childEnv = "TRANSACTION_TEST_CHILD"

// order is what a child process does.
type order struct {
	Do      string // commit, write, recover
	Dir     string
	Outside bool // Dir is no checkout
	Changes []Change
	// At is the step at which Then happens: "kill", or "nospace", which lets no
	// file grow beyond a few bytes from there on.
	At, Then string
}

// stepName tells which step the child has reached, with its number in front.
const stepName = "step %d: %s\n"

func TestMain(m *testing.M) {
	if data, ok := os.LookupEnv(childEnv); ok {
		os.Exit(child(data))
	}
	home, err := os.MkdirTemp("", "transaction-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	isolate(home)
	code := m.Run()
	_ = os.RemoveAll(home)
	os.Exit(code)
}

// isolate keeps this machine's git configuration out, and makes commits the
// same each time, so that two runs can be compared by hash.
func isolate(home string) {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "GIT_") {
			_ = os.Unsetenv(name)
		}
	}
	config := filepath.Join(home, "gitconfig")
	_ = os.WriteFile(config, []byte("[user]\n\tname = Ada\n\temail = ada@example.com\n[init]\n\tdefaultBranch = main\n[protocol \"file\"]\n\tallow = always\n[gc]\n\tauto = 0\n"), 0o644)
	for name, value := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": home, "GIT_CONFIG_GLOBAL": config, "GIT_CONFIG_NOSYSTEM": "1",
		"GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000",
	} {
		_ = os.Setenv(name, value)
	}
}

func child(data string) int {
	var o order
	if err := json.Unmarshal([]byte(data), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	n := 0
	step := func(name string) {
		fmt.Printf(stepName, n, name)
		if o.At == fmt.Sprint(n) || o.At == name {
			switch o.Then {
			case "kill":
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			case "nospace":
				noSpace()
			}
		}
		n++
	}
	if err := o.run(step); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (o order) run(step func(string)) error {
	ctx := context.Background()
	place := InDir(o.Dir)
	var repo *gitrepo.Repo
	if !o.Outside {
		var err error
		if repo, err = gitrepo.Open(ctx, o.Dir); err != nil {
			return err
		}
		place = InRepo(repo)
	}
	switch o.Do {
	case "commit":
		hash, err := Commit(ctx, repo, o.Changes, CommitOptions{Message: commitMessage, AllowDirty: onlyMarks, step: step})
		fmt.Println("commit", hash)
		return err
	case "write":
		return writeFiles(ctx, place, o.Changes, step)
	case "recover":
		r, err := recoverSteps(ctx, place, func(r *Recovery) { fmt.Println(r) }, step)
		if r == nil {
			fmt.Println("nothing to recover")
		}
		return err
	}
	return errors.New("unknown order " + o.Do)
}

const commitMessage = "pin web to 1.4.0\n\nPinned: ghcr.io/acme/web@" + digest + "\n"

const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// onlyMarks admits a file that differs from HEAD in marks alone.
func onlyMarks(_ string, head, content []byte) error {
	if unmarked(head) != unmarked(content) {
		return errors.New("more than marks")
	}
	return nil
}

func unmarked(content []byte) string {
	return strings.ReplaceAll(strings.ReplaceAll(string(content), "@build", ""), "@"+oldDigest, "")
}

const oldDigest = "sha256:0123456789012345678901234567890123456789012345678901234567890123"

// noSpace stands in for a full disk: from here on no file of this process and
// its children can grow beyond a few bytes. It fails as a write does, where a
// full disk fails with another errno; the real thing is in test/git.
func noSpace() {
	limit := syscall.Rlimit{Cur: 16, Max: 16}
	_ = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
}
