// Command startup times the start of the gate beside a hello-world Go binary:
//
//	go run ./bench/startup
//
// It builds both, runs them in turn, and prints medians and ratios of user and
// system time together and of wall time: of pin-cmp --version (one process),
// and of pin-cmp generate on a directory with one ConfigMap (two processes: the
// gate, and the child that renders). GODEBUG=inittrace=1 pin-cmp --version says
// what the start is made of.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const runs = 60

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := os.MkdirTemp("", "startup-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	app := filepath.Join(dir, "app")
	for name, content := range map[string]string{
		"hello/main.go":     "package main\n\nfunc main() { println(\"hello\") }\n",
		"hello/go.mod":      "module hello\n",
		"app/configmap.yml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
	} {
		if err := write(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	hello, gate := filepath.Join(dir, "hello.bin"), filepath.Join(dir, "pin-cmp")
	if err := build(filepath.Join(dir, "hello"), hello, "."); err != nil {
		return err
	}
	if err := build("", gate, "./cmd/pin-cmp"); err != nil {
		return err
	}
	commands := [][]string{{hello}, {gate, "--version"}, {gate, "generate"}}
	times := make([][]sample, len(commands))
	for range runs {
		for i, command := range commands {
			s, err := timed(app, command)
			if err != nil {
				return err
			}
			times[i] = append(times[i], s)
		}
	}
	for i, name := range []string{"hello", "pin-cmp --version", "pin-cmp generate"} {
		cpu, wall := medians(times[i])
		baseCPU, baseWall := medians(times[0])
		fmt.Printf("%-18s cpu %7v (%.1fx)  wall %7v (%.1fx)\n", name, cpu.Round(10*time.Microsecond), ratio(cpu, baseCPU), wall.Round(10*time.Microsecond), ratio(wall, baseWall))
	}
	return nil
}

func write(file, content string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// build builds as the Dockerfile does.
func build(dir, out, pkg string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s: %w", pkg, err)
	}
	return nil
}

type sample struct{ cpu, wall time.Duration }

// timed runs a command; the time of its children counts.
func timed(dir string, command []string) (sample, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return sample{}, fmt.Errorf("%v: %w", command, err)
	}
	wall := time.Since(start)
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return sample{time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), wall}, nil
}

func medians(samples []sample) (cpu, wall time.Duration) {
	middle := func(pick func(sample) time.Duration) time.Duration {
		var all []time.Duration
		for _, s := range samples {
			all = append(all, pick(s))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return middle(func(s sample) time.Duration { return s.cpu }), middle(func(s sample) time.Duration { return s.wall })
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
