//go:build linux

package monorepo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	program = "../../cmd/pin-cmp"
	example = "../../examples/monorepo"
)

// built is the directory of the program under test, and goCache Go's build cache:
// one for all, so that the standard library is compiled once.
var built, goCache string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "monorepo-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	built = dir
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "pin-cmp"), ".")
	cmd.Dir = program
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build pin-cmp: %v\n%s", err, out)
		return 1
	}
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	goCache = strings.TrimSpace(string(cache))
	return m.Run()
}

// engineer is somebody with a machine of their own, and a login.
type engineer struct {
	t        *testing.T
	home     string
	env      []string
	compiles string // a line for each run of a compiler
}

// newEngineer gives an engineer the registry's password, and the compilers with
// a tally before them.
func newEngineer(t *testing.T, r *registry) *engineer {
	t.Helper()
	e := &engineer{t: t, home: t.TempDir()}
	e.compiles = filepath.Join(e.home, "compiles")
	write(t, e.compiles, "")
	write(t, filepath.Join(e.home, "gitconfig"), "[user]\n\tname = Ada\n\temail = ada@example.com\n[init]\n\tdefaultBranch = main\n")
	bin := filepath.Join(e.home, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	e.env = []string{
		"HOME=" + e.home, "PATH=" + bin + ":" + built + ":" + os.Getenv("PATH"),
		"GIT_CONFIG_GLOBAL=" + filepath.Join(e.home, "gitconfig"), "GIT_CONFIG_NOSYSTEM=1",
		"GOCACHE=" + goCache, "GOTOOLCHAIN=local", "GOPROXY=off", "GOFLAGS=", "GOWORK=",
		"TMPDIR=" + t.TempDir(),
	}
	for _, compiler := range []string{"go", "gcc"} {
		path, err := exec.LookPath(compiler)
		if err != nil {
			t.Fatalf("%s is not installed: sudo apt-get install --no-install-recommends gcc libc6-dev golang", compiler)
		}
		e.install(compiler, fmt.Sprintf("basename \"$PWD\" >>%q\nexec %q \"$@\"", e.compiles, path))
	}
	if r != nil {
		policy := filepath.Join(e.home, "policy.yaml")
		write(t, policy, fmt.Sprintf("apiVersion: pin-cmp/v1\nkind: Policy\npresence: {caBundle: %q}\n", r.ca))
		e.set("PIN_CMP_POLICY", policy)
		e.set("DOCKER_CONFIG", r.login(t, password))
	}
	return e
}

// install puts a program of the engineer's before all others.
func (e *engineer) install(name, script string) {
	e.t.Helper()
	path := filepath.Join(e.home, "bin", name)
	write(e.t, path, "#!/bin/sh\n"+script+"\n")
	if err := os.Chmod(path, 0o755); err != nil {
		e.t.Fatal(err)
	}
}

func (e *engineer) set(name, value string) {
	e.env = append(slices.DeleteFunc(e.env, func(v string) bool { return strings.HasPrefix(v, name+"=") }), name+"="+value)
}

func (e *engineer) get(name string) string {
	for _, v := range e.env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// compiled returns the directories that a compiler ran in since it was called
// last, sorted.
func (e *engineer) compiled() string {
	e.t.Helper()
	content, err := os.ReadFile(e.compiles)
	if err != nil {
		e.t.Fatal(err)
	}
	write(e.t, e.compiles, "")
	dirs := strings.Fields(string(content))
	slices.Sort(dirs)
	return strings.Join(dirs, " ")
}

// result is what a run of pin-cmp came to.
type result struct {
	code           int
	stdout, stderr string
}

func (e *engineer) command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	if !strings.Contains(name, "/") { // the engineer's $PATH counts, not the test's
		for _, in := range filepath.SplitList(e.get("PATH")) {
			if info, err := os.Stat(filepath.Join(in, name)); err == nil && !info.IsDir() {
				cmd.Path, cmd.Err = filepath.Join(in, name), nil
				break
			}
		}
	}
	cmd.Dir, cmd.Env = dir, slices.Clone(e.env)
	return cmd
}

// pin runs pin-cmp.
func (e *engineer) pin(dir string, args ...string) result {
	e.t.Helper()
	cmd := e.command(dir, filepath.Join(built, "pin-cmp"), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		return result{code: -1, stderr: err.Error()}
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs pin-cmp, which has to end with that code.
func (e *engineer) must(code int, dir string, args ...string) result {
	e.t.Helper()
	r := e.pin(dir, args...)
	if r.code != code {
		e.t.Fatalf("pin-cmp %s: status %d, not %d\n%s%s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	return r
}

// git runs git.
func (e *engineer) git(dir string, args ...string) string {
	e.t.Helper()
	out, err := e.command(dir, "git", args...).CombinedOutput()
	if err != nil {
		e.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimRight(string(out), "\n")
}

// origin makes the repository that everybody clones: the example, with the
// registry's name written in.
func origin(t *testing.T, r *registry) string {
	t.Helper()
	e := newEngineer(t, nil)
	work, bare := filepath.Join(e.home, "shop"), filepath.Join(e.home, "shop.git")
	if err := os.CopyFS(work, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	edited := 0
	err := filepath.WalkDir(work, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil && bytes.Contains(content, []byte("registry.example.com")) {
			edited++
			err = os.WriteFile(path, bytes.ReplaceAll(content, []byte("registry.example.com"), []byte(r.host)), 0o644)
		}
		return err
	})
	if err != nil || edited < 8 {
		t.Fatalf("the registry's name was written into %d files: %v", edited, err)
	}
	e.git(work, "init", "-q")
	e.git(work, "add", ".")
	e.git(work, "commit", "-qm", "The shop")
	e.git(e.home, "clone", "-q", "--bare", work, bare)
	return bare
}

// clone makes a fresh clone on a branch.
func (e *engineer) clone(from, branch string) string {
	e.t.Helper()
	dir := filepath.Join(e.t.TempDir(), "shop")
	e.git(e.home, "clone", "-q", from, dir)
	e.git(dir, "switch", "-q", "-c", branch)
	return dir
}

// released returns an origin whose main has everything released.
func released(t *testing.T, r *registry) string {
	t.Helper()
	e := newEngineer(t, r)
	bare := origin(t, r)
	dir := e.clone(bare, "first")
	e.must(0, dir, "rewrite", "--commit", "--push")
	e.git(dir, "push", "-q", "origin", "HEAD:main")
	r.asked()
	return bare
}

// plan is the part of rewrite's JSON that is looked at.
type plan struct {
	Pins       []struct{ File, Component, From, To string }
	Components []struct{ Name, Image, Action, Reason, Digest string }
	Problems   []struct{ File, Message string }
	Commit     string
}

// planned reads it.
func (r result) planned(t *testing.T) plan {
	t.Helper()
	var p plan
	if err := json.Unmarshal([]byte(r.stdout), &p); err != nil {
		t.Fatalf("%v\n%s%s", err, r.stdout, r.stderr)
	}
	return p
}

// actions returns "api build, worker reuse", sorted.
func (p plan) actions() string {
	var list []string
	for _, c := range p.Components {
		list = append(list, c.Name+" "+c.Action)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// digest returns that of a component.
func (p plan) digest(t *testing.T, name string) string {
	t.Helper()
	for _, c := range p.Components {
		if c.Name == name {
			return c.Digest
		}
	}
	t.Fatalf("%s is not in the plan", name)
	return ""
}

// reference is that of a component, by digest.
func (p plan) reference(t *testing.T, name string) string {
	t.Helper()
	for _, c := range p.Components {
		if c.Name == name {
			return c.Image + "@" + c.Digest
		}
	}
	t.Fatalf("%s is not in the plan", name)
	return ""
}

var static = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// expect compares what a test found with what it wants.
func expect[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, not %v", what, got, want)
	}
}

// contains demands words in a text.
func contains(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("it does not say %q:\n%s", word, text)
		}
	}
}

// state is a work tree's: what a run that failed must leave as it was.
func (e *engineer) state(dir string) string {
	e.t.Helper()
	return e.git(dir, "rev-parse", "HEAD") + "\n" + e.git(dir, "status", "--porcelain", "--ignored") + "\n" + e.git(dir, "diff", "HEAD")
}
