// Command render measures pin-cmp's rendering against the kustomize CLI of the
// same version: wall time of whole processes, run in turns, and peak memory.
//
//	go run ./bench/render [-rounds 30]
//
// It builds both from source. What it measures of pin-cmp is the path that a
// generate takes: a process that starts a child, which renders; and the whole
// pin-cmp generate, which also verifies, by the form of the references alone.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/pin-cmp/pin-cmp/render"
)

func main() {
	render.ChildMain()
	rounds := flag.Int("rounds", 30, "runs of each program on each overlay")
	flag.Parse()
	var err error
	if flag.Arg(0) == "render" {
		err = renderOne(flag.Arg(1), flag.Arg(2))
	} else {
		err = compare(*rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// renderOne writes the manifests of an application to standard output, and the
// peak memory of this process and of its child, in KiB, to standard error.
func renderOne(root, path string) error {
	checkout, err := render.OpenDir(root)
	if err != nil {
		return err
	}
	defer func() { _ = checkout.Close() }()
	result, err := (&render.Isolated{}).Render(context.Background(), render.Application{Checkout: checkout, Path: path})
	if err != nil {
		return err
	}
	if _, err := os.Stdout.Write(result.Output()); err != nil {
		return err
	}
	var self, child syscall.Rusage
	if err := errors.Join(syscall.Getrusage(syscall.RUSAGE_SELF, &self), syscall.Getrusage(syscall.RUSAGE_CHILDREN, &child)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stderr, self.Maxrss, child.Maxrss)
	return err
}

func compare(rounds int) error {
	dir, err := os.MkdirTemp("", "bench-render")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ours, gate, cli := filepath.Join(dir, "render"), filepath.Join(dir, "pin-cmp"), filepath.Join(dir, "kustomize")
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte("apiVersion: pin-cmp/v1\nkind: Policy\npresence: {check: false}\n"), 0o644); err != nil {
		return err
	}
	for _, build := range [][]string{
		{"build", "-ldflags=-s -w", "-o", ours, "github.com/pin-cmp/pin-cmp/bench/render"},
		{"build", "-ldflags=-s -w", "-o", gate, "github.com/pin-cmp/pin-cmp/cmd/pin-cmp"},
		{"build", "-C", "test/kustomize", "-ldflags=-s -w", "-o", cli, "sigs.k8s.io/kustomize/kustomize/v5"},
	} {
		if out, err := exec.Command("go", build...).CombinedOutput(); err != nil {
			return fmt.Errorf("run me from the root of the repository: go %s: %w\n%s", strings.Join(build, " "), err, out)
		}
	}
	// As Argo CD tells its plugins where the application is in the repository.
	if err := os.Setenv("ARGOCD_APP_SOURCE_PATH", "overlay"); err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "overlay\tkustomize ms\trender ms\tratio\tgenerate ms\tratio\tkustomize CPU ms\trender CPU ms\tgenerate CPU ms\tkustomize MiB\trender MiB (parent + child)\tgenerate MiB")
	for _, overlay := range []struct {
		name      string
		resources int
		patched   int
	}{{"small, 2 resources", 2, 1}, {"medium, 50 resources", 50, 10}, {"large, 500 resources", 500, 250}} {
		root := filepath.Join(dir, fmt.Sprint(overlay.resources))
		if err := writeOverlay(root, overlay.resources, overlay.patched); err != nil {
			return err
		}
		var a, b, c []sample
		for range rounds {
			theirs, want, err := run(root, cli, "build", "overlay")
			if err != nil {
				return err
			}
			mine, got, err := run(root, ours, "render", root, "overlay")
			if err != nil {
				return err
			}
			if !bytes.Equal(want, got) {
				return fmt.Errorf("%s: the outputs differ", overlay.name)
			}
			gated, got, err := run(filepath.Join(root, "overlay"), gate, "generate", "--policy", policy)
			if err != nil {
				return err
			}
			if !bytes.Equal(want, got) {
				return fmt.Errorf("%s: the output of generate differs", overlay.name)
			}
			a, b, c = append(a, theirs), append(b, mine), append(c, gated)
		}
		parent, child, err := peak(filepath.Join(root, "overlay"), gate, "generate", "--policy", policy)
		if err != nil {
			return err
		}
		wall := func(s sample) float64 { return s.wall }
		cpu := func(s sample) float64 { return s.cpu }
		_, _ = fmt.Fprintf(table, "%s\t%.1f\t%.1f\t%.2f\t%.1f\t%.2f\t%.1f\t%.1f\t%.1f\t%.0f\t%.0f + %.0f\t%.0f + %.0f\n", overlay.name,
			median(a, wall), median(b, wall), median(b, wall)/median(a, wall), median(c, wall), median(c, wall)/median(a, wall),
			median(a, cpu), median(b, cpu), median(c, cpu),
			median(a, func(s sample) float64 { return s.memory }),
			median(b, func(s sample) float64 { return s.memory }), median(b, func(s sample) float64 { return s.child }),
			parent, child)
	}
	return table.Flush()
}

// sample is one process: milliseconds and MiB.
type sample struct{ wall, cpu, memory, child float64 }

func run(dir, program string, args ...string) (sample, []byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return sample{}, nil, fmt.Errorf("%s: %w: %s", program, err, stderr.String())
	}
	s := sample{wall: float64(time.Since(start).Microseconds()) / 1000}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if ok {
		s.memory = float64(usage.Maxrss) / 1024
	}
	s.cpu = float64((cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Microseconds()) / 1000
	var self, child float64
	if _, err := fmt.Sscan(stderr.String(), &self, &child); err == nil {
		s.memory, s.child = self/1024, child/1024
	}
	return s, stdout.Bytes(), nil
}

// peak runs a program five times and returns the most memory in MiB that it,
// and the child that it starts, ever held: what the kernel says of each while
// they live.
func peak(dir, program string, args ...string) (parent, child float64, err error) {
	for range 5 {
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		if err := cmd.Start(); err != nil {
			return 0, 0, err
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for running := true; running; {
			select {
			case err := <-ended:
				if err != nil {
					return 0, 0, fmt.Errorf("%s: %w", program, err)
				}
				running = false
			case <-time.After(time.Millisecond / 2):
				parent = max(parent, highWater(cmd.Process.Pid))
				tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", cmd.Process.Pid))
				for _, task := range tasks {
					children, _ := os.ReadFile(task)
					for _, field := range strings.Fields(string(children)) {
						if pid, err := strconv.Atoi(field); err == nil {
							child = max(child, highWater(pid))
						}
					}
				}
			}
		}
	}
	return parent, child, nil
}

// highWater is the peak resident size of a living process in MiB.
func highWater(pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	_, _ = fmt.Sscan(after, &kib)
	return kib / 1024
}

func median(samples []sample, of func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// writeOverlay writes a base of deployments, services and config maps, and an
// overlay with a prefix, a namespace, labels, images and patches.
func writeOverlay(root string, resources, patched int) error {
	base, overlay := filepath.Join(root, "base"), filepath.Join(root, "overlay")
	for _, dir := range []string{base, overlay} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	var files, patches strings.Builder
	deployments := 0
	for i := range resources {
		name := fmt.Sprintf("app-%d", i)
		content := fmt.Sprintf(deployment, name)
		switch {
		case i%2 == 1 && i%4 == 1:
			content = fmt.Sprintf(service, name)
		case i%4 == 3:
			content = fmt.Sprintf(configMap, name)
		default:
			if deployments++; deployments <= patched {
				fmt.Fprintf(&patches, patch, name)
			}
		}
		fmt.Fprintf(&files, "- %s.yaml\n", name)
		if err := os.WriteFile(filepath.Join(base, name+".yaml"), []byte(content), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(base, "kustomization.yaml"), []byte("resources:\n"+files.String()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(kustomization+"patches:\n"+patches.String()), 0o644)
}

const (
	deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
  labels: {app: %[1]s}
spec:
  replicas: 2
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers:
      - name: main
        image: example.com/app:1.0
        ports: [{containerPort: 8080, name: http}]
        env:
        - {name: A, value: b}
        - name: C
          valueFrom: {configMapKeyRef: {name: %[1]s, key: c}}
        resources: {limits: {cpu: "1", memory: 128Mi}, requests: {cpu: 100m, memory: 64Mi}}
        livenessProbe: {httpGet: {path: /healthz, port: http}}
`
	service = `apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec:
  selector: {app: %[1]s}
  ports: [{port: 80, targetPort: http}]
`
	configMap = `apiVersion: v1
kind: ConfigMap
metadata: {name: %[1]s}
data:
  c: d
  settings.yaml: |
    a: b
    c: [d, e]
`
	patch = `- target: {kind: Deployment, name: %s}
  patch: |-
    - op: replace
      path: /spec/replicas
      value: 3
`
	kustomization = `namePrefix: prod-
namespace: prod
resources:
- ../base
labels:
- pairs: {env: prod}
  includeSelectors: true
images:
- name: example.com/app
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
configMapGenerator:
- name: generated
  literals: [a=b]
`
)
