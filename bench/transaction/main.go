// Command transaction measures one commit of many files by package transaction
// against the same git commands in a shell script, which checks nothing, writes
// the files in place and waits for no disk. Both run in turn on the same
// repository, so that the noise of the machine meets both; the result is the
// ratio of the medians.
//
//	go run ./bench/transaction
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/internal/transaction"
)

func main() {
	files := flag.Int("files", 20000, "files in the repository")
	changed := flag.Int("changed", 400, "files in the commit")
	runs := flag.Int("runs", 15, "commits on each side")
	dir := flag.String("dir", "", "where to make the repository (default: the directory for temporary files)")
	flag.Parse()
	if err := measure(context.Background(), *dir, *files, *changed, *runs); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// plumbing commits the files listed in $1, whose new contents are in the
// directory $2. It is the shortest sequence that leaves branch, index and
// working tree in agreement without taking the user's staged work along.
const plumbing = `set -e
old=$(git rev-parse HEAD)
cp -R "$2/." .
export GIT_INDEX_FILE=.git/bench.index
git read-tree "$old"
git update-index -z --stdin <"$1"
tree=$(git write-tree)
unset GIT_INDEX_FILE
new=$(git commit-tree -p "$old" -m pin "$tree")
git update-ref -m pin refs/heads/main "$new" "$old"
git update-index -z --stdin <"$1"
`

func measure(ctx context.Context, dir string, files, changed, runs int) error {
	dir, err := os.MkdirTemp(dir, "bench-transaction-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	top := filepath.Join(dir, "repo")
	b := bench{top: top, list: filepath.Join(dir, "list"), next: filepath.Join(dir, "next")}
	if err := b.create(files, changed); err != nil {
		return err
	}
	repo, err := gitrepo.Open(ctx, top)
	if err != nil {
		return err
	}
	var script, ours []time.Duration
	for n := range 2 * runs {
		changes, err := b.changes(n)
		if err != nil {
			return err
		}
		began := time.Now()
		if n%2 == 0 {
			cmd := exec.Command("sh", "-c", plumbing, "sh", b.list, b.next)
			cmd.Dir = top
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			script = append(script, time.Since(began))
		} else {
			if _, err := transaction.Commit(ctx, repo, changes, transaction.CommitOptions{Message: "pin"}); err != nil {
				return err
			}
			ours = append(ours, time.Since(began))
		}
		if out, err := git(top, "status", "--porcelain"); err != nil || out != "" {
			return fmt.Errorf("run %d left the checkout dirty: %w: %s", n, err, out)
		}
	}
	s, o := median(script), median(ours)
	fmt.Printf("%d of %d files, median of %d: plumbing %v, transaction %v, ratio %.2f (target: at most 2)\n",
		changed, files, runs, s.Round(time.Millisecond), o.Round(time.Millisecond), float64(o)/float64(s))
	return nil
}

type bench struct {
	top, list, next string
	paths           []string
}

// create makes a repository of manifests of about 1 KB, 50 to a directory.
func (b *bench) create(files, changed int) error {
	if err := os.MkdirAll(b.top, 0o755); err != nil {
		return err
	}
	for i := range files {
		path := fmt.Sprintf("apps/team-%03d/deployment-%02d.yaml", i/50, i%50)
		if err := write(filepath.Join(b.top, path), manifest(i, "0")); err != nil {
			return err
		}
		if len(b.paths) < changed && i%max(files/changed, 1) == 0 {
			b.paths = append(b.paths, path)
		}
	}
	if err := os.WriteFile(b.list, []byte(strings.Join(b.paths, "\x00")+"\x00"), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"},
		{"config", "user.name", "Bench"},
		{"config", "user.email", "bench@example.com"},
		{"config", "gc.auto", "0"},
		{"add", "."},
		{"commit", "-qm", "first"},
		{"gc", "-q"},
	} {
		if out, err := git(b.top, args...); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

// changes prepares the contents of run n.
func (b *bench) changes(n int) ([]transaction.Change, error) {
	changes := make([]transaction.Change, 0, len(b.paths))
	for i, path := range b.paths {
		old, err := os.ReadFile(filepath.Join(b.top, path))
		if err != nil {
			return nil, err
		}
		next := manifest(i, fmt.Sprintf("%d-%d", n, i))
		if err := write(filepath.Join(b.next, path), next); err != nil {
			return nil, err
		}
		changes = append(changes, transaction.Change{Path: path, Old: old, New: []byte(next)})
	}
	return changes, nil
}

func manifest(i int, tag string) string {
	return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app-%d\nspec:\n  template:\n    spec:\n      containers:\n      - name: app\n        image: ghcr.io/acme/app:%s\n%s",
		i, tag, strings.Repeat("        # a line of a manifest that nobody reads\n", 17))
}

func write(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

func git(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}
