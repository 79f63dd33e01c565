package render

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestIsolatedIsTheSame(t *testing.T) {
	files := map[string]string{
		"app/kustomization.yaml": "resources: [d.yaml]\nconfigMapGenerator:\n- name: c\n  files: [link]\n", "app/d.yaml": deployment, "app/link": "-> data/x",
		"app/data/x": "\x00\xff binary", "dir/a.yaml": configMap("a") + "---\n" + configMap("b"), ".git/config": "secret",
	}
	for _, path := range []string{"app", "dir"} {
		want, err := InProcess{}.Render(t.Context(), Application{Checkout: checkoutOf(t, files), Path: path})
		if err != nil {
			t.Fatal(err)
		}
		for name, app := range map[string]Application{
			"memory":    {Checkout: checkoutOf(t, files), Path: path},
			"directory": {Checkout: directoryOf(t, files), Path: path},
			"os.DirFS":  {Checkout: os.DirFS(directoryOf(t, files).path), Path: path},
		} {
			got, err := (&Isolated{}).Render(t.Context(), app)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got\n%+v\nwant\n%+v", name, got, want)
			}
		}
	}
}

// TestIsolatedErrors: an error is the same on both sides of the pipe.
func TestIsolatedErrors(t *testing.T) {
	for _, test := range []struct {
		files map[string]string
		is    error
	}{
		{map[string]string{"Chart.yaml": ""}, ErrUnsupported},
		{map[string]string{"README": ""}, ErrNoObjects},
		{map[string]string{"kustomization.yaml": "resources:\n- https://example.com/a\n"}, ErrRemote},
		{map[string]string{"a.yaml": "-> ../x"}, ErrOutside},
		{map[string]string{"a.yaml": strings.Repeat("# filler\n", 2_000_000)}, ErrLimit},
		{map[string]string{"a.yaml": "apiVersion: v1\nkind: X\nmetadata: [\n"}, nil},
	} {
		for _, app := range []Application{
			{Checkout: checkoutOf(t, test.files), Path: "."}, {Checkout: directoryOf(t, test.files), Path: "."},
		} {
			_, want := InProcess{}.Render(t.Context(), app)
			_, got := (&Isolated{}).Render(t.Context(), app)
			var a, b *Error
			if !errors.As(want, &a) || !errors.As(got, &b) || !reflect.DeepEqual(a, b) {
				t.Errorf("got %#v, want %#v", got, want)
			}
			if test.is != nil && !errors.Is(got, test.is) {
				t.Errorf("%v is no %v", got, test.is)
			}
		}
	}
}

func TestChildHasNothingElse(t *testing.T) {
	c, err := (&Isolated{}).start()
	if err != nil {
		t.Fatal(err)
	}
	defer c.discard()
	if _, _, err := readFrame(c.stdout, 0); err != nil {
		t.Fatal(err)
	}
	proc := fmt.Sprintf("/proc/%d/", c.cmd.Process.Pid)
	env, err := os.ReadFile(proc + "environ")
	if err != nil {
		t.Skipf("only Linux shows the environment of a process: %v", err)
	}
	for _, variable := range strings.Split(strings.TrimSuffix(string(env), "\x00"), "\x00") {
		name, _, _ := strings.Cut(variable, "=")
		switch name {
		case "PATH", "GOGC", "GOMEMLIMIT", "GOTRACEBACK":
		default:
			t.Errorf("the child has %s", variable)
		}
	}
	if cwd, err := os.Readlink(proc + "cwd"); err != nil || cwd != "/" {
		t.Errorf("the child is in %s, %v", cwd, err)
	}
}

// discard ends a child that has not been asked.
func (c *child) discard() {
	_ = c.stdin.Close()
	_ = c.cmd.Wait()
}

func TestIdleChildEndsWithItsParent(t *testing.T) {
	c, err := (&Isolated{}).start()
	if err != nil {
		t.Fatal(err)
	}
	// All that a child sees of its parent's end is the end of its input.
	_ = c.stdin.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("the child ended with %v: %s", err, c.stderr)
	}
}

func TestIdleChildServes(t *testing.T) {
	c, err := (&Isolated{}).start()
	if err != nil {
		t.Fatal(err)
	}
	result, err := c.render(t.Context(), Application{Checkout: checkoutOf(t, map[string]string{"a.yaml": configMap("a")}), Path: "."})
	if err != nil || text(result) != configMap("a") {
		t.Errorf("got %v, %v", result, err)
	}
}

// slow is a kustomization that takes hours: each of 40 levels builds the next
// one twice.
func slow() map[string]string {
	files := map[string]string{"l40/kustomization.yaml": "resources: [d.yaml]\n", "l40/d.yaml": deployment}
	for i := range 40 {
		files[fmt.Sprintf("l%d/kustomization.yaml", i)] = "resources: [a, b]\n"
		for _, side := range []string{"a", "b"} {
			files[fmt.Sprintf("l%d/%s/kustomization.yaml", i, side)] = fmt.Sprintf("namePrefix: %s\nresources: [../../l%d]\n", side, i+1)
		}
	}
	return files
}

func TestIsolatedDeadline(t *testing.T) {
	for _, checkout := range []Application{{Checkout: checkoutOf(t, slow())}, {Checkout: directoryOf(t, slow())}} {
		checkout.Path = "l0"
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := (&Isolated{}).Render(ctx, checkout)
		if !errors.Is(err, context.DeadlineExceeded) || err.Error() != "the render did not end in time: context deadline exceeded" {
			t.Errorf("got %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err := (&Isolated{}).Render(ctx, Application{Checkout: checkoutOf(t, slow()), Path: "l0"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := (&Isolated{}).Render(ctx, Application{Checkout: checkoutOf(t, slow()), Path: "l0"}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: got %v", err)
	}
	noChildren(t)
}

// noChildren wants no process left that was started here.
func noChildren(t *testing.T) {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Skip("only Linux lists the children of a process")
	}
	for _, list := range lists {
		if pids, err := os.ReadFile(list); err == nil && len(bytes.TrimSpace(pids)) > 0 {
			for _, pid := range strings.Fields(string(pids)) {
				comm, _ := os.ReadFile("/proc/" + pid + "/cmdline")
				t.Errorf("child %s is left: %q", pid, comm)
			}
		}
	}
}

func TestIsolatedMemory(t *testing.T) {
	// 20 files that together do not fit.
	files := map[string]string{}
	kustomization := "configMapGenerator:\n"
	for i := range 20 {
		files[fmt.Sprintf("f%d", i)] = strings.Repeat(fmt.Sprintf("line %d\n", i), 1_000_000)
		kustomization += fmt.Sprintf("- name: c%d\n  files: [f%d]\n", i, i)
	}
	files["kustomization.yaml"] = kustomization
	_, err := (&Isolated{Memory: 64 << 20}).Render(t.Context(), Application{Checkout: directoryOf(t, files), Path: "."})
	if !errors.Is(err, ErrLimit) || !strings.HasPrefix(err.Error(), "the render needs more than 64 MiB of memory; ") {
		t.Errorf("got %v", err)
	}
	noChildren(t)
}

func TestIsolatedOutput(t *testing.T) {
	_, err := (&Isolated{Output: 1 << 20}).Render(t.Context(), Application{
		Checkout: checkoutOf(t, map[string]string{"a.yaml": configMap("a") + "data:\n  a: " + strings.Repeat("x", 2<<20) + "\n"}), Path: ".",
	})
	if !errors.Is(err, ErrLimit) || err.Error() != "the application renders to more than 1 MiB; split it" {
		t.Errorf("got %v", err)
	}
	noChildren(t)
}

// TestIsolatedCrash starts something else than a child that answers.
func TestIsolatedCrash(t *testing.T) {
	for script, want := range map[string]string{
		"exit 1":                         "the render ended without an answer",
		"echo hello":                     "the render ended without an answer",
		"echo 'panic: oh no' >&2;exit 2": "the render crashed: panic: oh no; this is a bug of pin-cmp",
		"echo 'fatal error: runtime: out of memory' >&2;exit 2": "the render needs more than",
		"kill -9 $$":                             "the render was killed; if the container is out of memory, give it more",
		`printf 'h\0\0\0\0m\0\0\0\5abc'; exit 3`: "the render ended without an answer",
		`printf 'h\0\0\0\0m\377\377\377\377'`:    "the application renders to more than",
		`printf 'h\0\0\0\0r\0\0\0\2{]'`:          "the render ended without an answer",
	} {
		c := &child{cmd: exec.Command("/bin/sh", "-c", script), stderr: &tail{}, memory: DefaultMemory, output: DefaultOutput}
		c.cmd.Stderr = c.stderr
		c.cmd.SysProcAttr = childAttributes()
		var err error
		if c.stdin, err = c.cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		stdout, err := c.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		c.stdout = bufio.NewReader(stdout)
		if err := c.cmd.Start(); err != nil {
			t.Skipf("this system has no such program: %v", err)
		}
		_, err = c.render(t.Context(), Application{Checkout: checkoutOf(t, map[string]string{"a": "b"}), Path: "."})
		if err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, ErrCrashed) && !errors.Is(err, ErrLimit) {
			t.Errorf("%s: got %v, want %s", script, err, want)
		}
	}
	noChildren(t)
}

// TestIsolatedPanic: kustomize 0.21.2 indexes into an empty crds file.
func TestIsolatedPanic(t *testing.T) {
	checkout := checkoutOf(t, map[string]string{"kustomization.yaml": "resources: [a.yaml]\ncrds: [empty]\n", "empty": "", "a.yaml": configMap("a")})
	_, err := (&Isolated{}).Render(t.Context(), Application{Checkout: checkout, Path: "."})
	if !errors.Is(err, ErrCrashed) || !strings.HasPrefix(err.Error(), "the renderer failed on this application: runtime error: index out of range") {
		t.Errorf("got %v", err)
	}
}

// TestIsolatedOpenAPI: a schema of one application does not reach another.
func TestIsolatedOpenAPI(t *testing.T) {
	const custom = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\nspec:\n  containers:\n  - {name: a, image: a:1}\n  - {name: b, image: b:1}\n"
	const patch = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\nspec:\n  containers:\n  - {name: b, image: b:2}\n"
	const schema = `{"definitions":{"v1.Thing":{"type":"object","x-kubernetes-group-version-kind":[{"group":"example.com","version":"v1","kind":"Thing"}],"properties":{"spec":{"type":"object","properties":{"containers":{"type":"array","x-kubernetes-patch-merge-key":"name","x-kubernetes-patch-strategy":"merge","items":{"type":"object"}}}}}}}}`
	with := checkoutOf(t, map[string]string{"kustomization.yaml": "resources: [t.yaml]\npatches: [{path: p.yaml}]\nopenapi: {path: s.json}\n", "t.yaml": custom, "p.yaml": patch, "s.json": schema})
	without := checkoutOf(t, map[string]string{"kustomization.yaml": "resources: [t.yaml]\npatches: [{path: p.yaml}]\n", "t.yaml": custom, "p.yaml": patch})
	for _, renderer := range []Renderer{&Isolated{}, InProcess{}} {
		containers := func(app *Memory) int {
			result, err := renderer.Render(t.Context(), Application{Checkout: app, Path: "."})
			if err != nil {
				t.Fatal(err)
			}
			return len(result.Manifests[0].Object["spec"].(map[string]any)["containers"].([]any))
		}
		if a, b, c := containers(without), containers(with), containers(without); a != 1 || b != 2 || c != 1 {
			t.Errorf("%T: %d, %d and %d containers, want 1, 2 and 1", renderer, a, b, c)
		}
	}
}

func TestIsolatedConcurrently(t *testing.T) {
	isolated := &Isolated{}
	var group sync.WaitGroup
	for i := range 12 {
		group.Go(func() {
			name := fmt.Sprintf("n%d", i)
			checkout := checkoutOf(t, map[string]string{"k/kustomization.yaml": "resources: [a.yaml]\nnamePrefix: p-\n", "k/a.yaml": configMap(name), "d/a.yaml": configMap(name)})
			for path, want := range map[string]string{"k": configMap("p-" + name), "d": configMap(name)} {
				result, err := isolated.Render(t.Context(), Application{Checkout: checkout, Path: path})
				if err != nil {
					t.Error(err)
					return
				}
				if got := text(result); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		})
	}
	group.Wait()
	noChildren(t)
}

// TestIsolatedPrintsNothing: what kustomize prints does not reach the
// process's own streams.
func TestIsolatedPrintsNothing(t *testing.T) {
	if os.Getenv("PIN_CMP_TEST_PRINTS") != "" {
		_, err := (&Isolated{}).Render(t.Context(), Application{Checkout: checkoutOf(t, map[string]string{
			"kustomization.yaml": "bases: [b]\n", "b/kustomization.yaml": "resources: [d.yaml]\nvars: []\ncommonLabels: {a: b}\n", "b/d.yaml": deployment,
		}), Path: "."})
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestIsolatedPrintsNothing$")
	cmd.Env = append(os.Environ(), "PIN_CMP_TEST_PRINTS=1")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "deprecated") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	if err := writeFrame(&b, 'x', []byte("payload")); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	if kind, payload, err := readFrame(bytes.NewReader(whole), 7); err != nil || kind != 'x' || string(payload) != "payload" {
		t.Errorf("got %c %q %v", kind, payload, err)
	}
	if _, _, err := readFrame(bytes.NewReader(whole), 6); !errors.Is(err, errTooLong) {
		t.Errorf("a long frame: %v", err)
	}
	for n := range whole {
		if _, _, err := readFrame(bytes.NewReader(whole[:n]), 7); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a frame of %d bytes: %v", n, err)
		}
	}
}
