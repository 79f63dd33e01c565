// Command scan measures how long pin-cmp takes to find the marks of a large
// repository, against git grep looking for the same words in the same files: with
// the pattern of all forms of a mark, and with the shortest one, which misses
// "digest: build". They run in turn, so that the noise of the machine meets all
// of them; the results are ratios of the medians, of wall time and of CPU time
// (user and system, children included).
//
//	go run ./bench/scan                     # 20,000 files
//	go run ./bench/scan -files 200000 -runs 7
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	files := flag.Int("files", 20000, "files in the repository, of about 2 KiB each")
	marks := flag.Int("marks", 20, "files with a mark")
	runs := flag.Int("runs", 21, "runs on each side")
	dir := flag.String("dir", "", "where to make the repository (default: the directory for temporary files)")
	keep := flag.Bool("keep", false, "leave the repository there, and say where")
	flag.Parse()
	if err := measure(context.Background(), *dir, *files, *marks, *runs, *keep); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// What a mark looks like to grep.
const (
	short = `@(build|resolve)`
	full  = `@(build|resolve)|(digest|sha|sha256|value)["']?:[[:space:]]*["']?(build|resolve)`
)

func measure(ctx context.Context, dir string, files, marks, runs int, keep bool) error {
	dir, err := os.MkdirTemp(dir, "bench-scan-")
	if err != nil {
		return err
	}
	if keep {
		fmt.Println(dir)
	} else {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	program, repo := filepath.Join(dir, "pin-cmp"), filepath.Join(dir, "repo")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/pin-cmp/pin-cmp/cmd/pin-cmp").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	if err := create(ctx, repo, files, marks); err != nil {
		return err
	}
	sides := []struct {
		name string
		args []string
		hits func(out []byte) (int, error)
		took []cost
	}{
		{name: "git grep, all forms", args: []string{"git", "grep", "-l", "-E", full}, hits: countLines},
		{name: "git grep, one form", args: []string{"git", "grep", "-l", "-E", short}, hits: countLines},
		{name: "pin-cmp plan", args: []string{program, "plan", "-o", "json"}, hits: countPins},
	}
	for run := range runs + 1 {
		for i := range sides {
			side := &sides[i]
			out, took, err := timed(ctx, repo, side.args)
			if err != nil {
				return fmt.Errorf("%s: %w", side.name, err)
			}
			if n, err := side.hits(out); err != nil || n != marks {
				return fmt.Errorf("%s found %d marks, not %d: %w", side.name, n, marks, err)
			}
			if run > 0 { // the first one fills the page cache
				side.took = append(side.took, took)
			}
		}
	}
	plan := medians(sides[len(sides)-1].took)
	fmt.Printf("%d files, %d marks, median of %d runs\n", files, marks, runs)
	for _, side := range sides {
		m := medians(side.took)
		fmt.Printf("  %-20s wall %7.1f ms  cpu %7.1f ms", side.name, ms(m.wall), ms(m.cpu))
		if strings.HasPrefix(side.name, "git") {
			fmt.Printf("  ratio: wall %.2f  cpu %.2f", float64(plan.wall)/float64(m.wall), float64(plan.cpu)/float64(m.cpu))
		}
		fmt.Println()
	}
	fmt.Println("  target: wall at most 1.0")
	return nil
}

// cost is what a run took.
type cost struct{ wall, cpu time.Duration }

func timed(ctx context.Context, dir string, args []string) ([]byte, cost, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	wall := time.Since(began)
	if err != nil {
		return nil, cost{}, fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	return stdout.Bytes(), cost{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}

func medians(costs []cost) cost {
	wall, cpu := make([]time.Duration, len(costs)), make([]time.Duration, len(costs))
	for i, c := range costs {
		wall[i], cpu[i] = c.wall, c.cpu
	}
	slices.Sort(wall)
	slices.Sort(cpu)
	return cost{wall[len(wall)/2], cpu[len(cpu)/2]}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func countLines(out []byte) (int, error) { return bytes.Count(out, []byte("\n")), nil }

func countPins(out []byte) (int, error) {
	var plan struct {
		Pins []struct{ File string }
	}
	err := json.Unmarshal(out, &plan)
	return len(plan.Pins), err
}

// create makes a git repository of services times environments, four files a
// service. Of files, marks hold an image whose digest is still to be computed;
// every other image is static. The same arguments make the same bytes.
func create(ctx context.Context, repo string, files, marks int) error {
	if marks < 1 || marks > files/4 {
		return errors.New("there is at most one mark for each service, which is four files, and at least one")
	}
	step := files / marks
	step -= step % 4 // one environment, so that no two marks are of one service
	var declared strings.Builder
	declared.WriteString("apiVersion: pin-cmp/v1\nkind: Components\ncomponents:\n")
	for i := range files {
		service, env := i/4, []string{"dev", "stage", "prod", "dr"}[i%4]
		image := fmt.Sprintf("registry.example.com/acme/svc%d", service)
		reference := fmt.Sprintf("%s@sha256:%x", image, sha256.Sum256([]byte(image)))
		if i%step == 0 && i/step < marks {
			reference = image + "@build"
			fmt.Fprintf(&declared, "- image: %s\n  build: {command: [make, push]}\n", image)
		}
		dir := filepath.Join(repo, "apps", fmt.Sprintf("team%d", service%37), fmt.Sprintf("svc%d", service), env)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "deployment.yaml"), manifest(service, env, reference), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(repo, "pin.yaml"), []byte(declared.String()), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"},
		{"config", "user.name", "Bench"},
		{"config", "user.email", "bench@example.com"},
		{"config", "gc.auto", "0"},
		{"add", "."},
		{"commit", "-qm", "first"},
	} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = repo
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

// manifest is a Deployment and its Service, about 2 KiB.
func manifest(service int, env, reference string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `# Deployment of svc%[1]d in %[2]s
apiVersion: apps/v1
kind: Deployment
metadata:
  name: svc%[1]d
  namespace: %[2]s
  labels: {app: svc%[1]d, team: team%[3]d}
spec:
  replicas: 3
  selector:
    matchLabels:
      app: svc%[1]d
  template:
    metadata:
      labels:
        app: svc%[1]d
    spec:
      initContainers:
        - name: migrate
          image: registry.example.com/acme/migrate@sha256:%[4]x # third party
          args: ["--dsn", "postgres://db.%[2]s/svc%[1]d"]
      containers:
        - name: app
          image: %[5]s
          ports:
            - containerPort: 8080
          env:
`, service, env, service%37, sha256.Sum256([]byte("migrate")), reference)
	for k := range 12 {
		fmt.Fprintf(&b, "            - name: VAR_%[1]d\n              value: \"value %[1]d of svc%[2]d in %[3]s\"\n", k, service, env)
	}
	fmt.Fprintf(&b, `          resources:
            requests: {cpu: 100m, memory: 128Mi}
            limits: {memory: 256Mi}
---
apiVersion: v1
kind: Service
metadata:
  name: svc%[1]d
  namespace: %[2]s
spec:
  selector:
    app: svc%[1]d
  ports:
    - port: 80
      targetPort: 8080
`, service, env)
	return []byte(b.String())
}
