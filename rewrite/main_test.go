package rewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pin-cmp/pin-cmp/internal/trialregistry"
)

// What this test binary does instead of testing, when it is the build command of
// a component.
const (
	buildCommand = "build-image"
	hangCommand  = "hang"
)

// scratch is where the tests put what they share.
var scratch string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case buildCommand:
			os.Exit(buildImage())
		case hangCommand:
			hang()
			os.Exit(1)
		}
	}
	var err error
	if scratch, err = os.MkdirTemp("", "rewrite-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, pair := range os.Environ() {
		if variable, _, _ := strings.Cut(pair, "="); strings.HasPrefix(variable, "GIT_") || strings.HasPrefix(variable, "PIN_") {
			_ = os.Unsetenv(variable)
		}
	}
	config := filepath.Join(scratch, "gitconfig")
	_ = os.WriteFile(config, []byte("[user]\n\tname = Ada\n\temail = ada@example.com\n[init]\n\tdefaultBranch = main\n[gc]\n\tauto = 0\n"), 0o644)
	for variable, value := range map[string]string{
		"XDG_CONFIG_HOME": scratch, "GIT_CONFIG_GLOBAL": config, "GIT_CONFIG_NOSYSTEM": "1", "DOCKER_CONFIG": scratch,
	} {
		_ = os.Setenv(variable, value)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// pushImage pushes an image that holds content and returns its digest.
func pushImage(repository, content string) (string, error) {
	ref, err := name.NewRepository(repository, name.Insecure)
	if err != nil {
		return "", err
	}
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer([]byte(content), types.OCIUncompressedLayer))
	if err != nil {
		return "", err
	}
	digest, err := image.Digest()
	if err != nil {
		return "", err
	}
	return digest.String(), remote.Write(ref.Digest(digest.String()), image)
}

// buildImage pushes an image that is made of its repository's name.
func buildImage() int {
	repository := os.Getenv("PIN_IMAGE")
	digest, err := pushImage(repository, repository)
	if err == nil {
		err = os.WriteFile(os.Getenv("PIN_DIGEST_FILE"), []byte(digest+"\n"), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// hang starts a child that waits for ever, says which processes these are, and
// waits for ever itself.
func hang() {
	child := exec.Command("sleep", "100000")
	if err := child.Start(); err != nil {
		return
	}
	pids := os.Args[2]
	_ = os.WriteFile(pids+".new", fmt.Appendf(nil, "%d %d", os.Getpid(), child.Process.Pid), 0o644)
	_ = os.Rename(pids+".new", pids)
	_ = child.Wait()
}

// startRegistry starts a registry for the test.
func startRegistry(t *testing.T) *trialregistry.Registry {
	t.Helper()
	registry, err := trialregistry.Start(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = registry.Close() })
	return registry
}

// program builds pin-cmp, once.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "pin-cmp")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	out, err := exec.Command("go", "build", "-o", path, "github.com/pin-cmp/pin-cmp/cmd/pin-cmp").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, err
})

// A checkout is a git repository in a directory of the test's.
type checkout struct {
	t   *testing.T
	dir string
}

// newCheckout makes a repository with one commit of files.
func newCheckout(t *testing.T, files map[string]string) checkout {
	t.Helper()
	c := checkout{t, t.TempDir()}
	c.git("init", "-q")
	for path, content := range files {
		c.write(path, content)
	}
	c.git("add", ".")
	c.git("commit", "-qm", "start")
	return c
}

// copyOf returns the same checkout elsewhere.
func (c checkout) copyOf(t *testing.T) checkout {
	t.Helper()
	to := checkout{t, t.TempDir()}
	if err := os.CopyFS(to.dir, os.DirFS(c.dir)); err != nil {
		t.Fatal(err)
	}
	to.git("update-index", "-q", "--refresh", "--really-refresh")
	return to
}

// exec runs a program in the checkout.
func (c checkout) exec(program string, args ...string) (stdout, stderr string, err error) {
	cmd := c.command(program, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

func (c checkout) command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(c.t.Context()), program, args...)
	cmd.Dir = c.dir
	return cmd
}

func (c checkout) git(args ...string) string {
	c.t.Helper()
	out, errOut, err := c.exec("git", args...)
	if err != nil && (len(args) == 0 || args[0] != "update-index") {
		c.t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, errOut)
	}
	return out
}

// pinCmp runs the program and returns its exit status.
func (c checkout) pinCmp(args ...string) (status int, stdout, stderr string) {
	c.t.Helper()
	path, err := program()
	if err != nil {
		c.t.Fatal(err)
	}
	stdout, stderr, err = c.exec(path, args...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode(), stdout, stderr
	case err != nil:
		c.t.Fatal(err)
	}
	return 0, stdout, stderr
}

func (c checkout) write(path, content string) {
	c.t.Helper()
	full := filepath.Join(c.dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c checkout) read(path string) string {
	c.t.Helper()
	content, err := os.ReadFile(filepath.Join(c.dir, filepath.FromSlash(path)))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(content)
}

// sound fails the test if the repository is damaged or something of a
// transaction was left behind.
func (c checkout) sound() {
	c.t.Helper()
	if out, errOut, err := c.exec("git", "fsck", "--strict", "--no-dangling"); err != nil {
		c.t.Errorf("git fsck: %v\n%s%s", err, out, errOut)
	}
	for _, left := range []string{".git/index.lock", ".git/pin-cmp"} {
		if _, err := os.Lstat(filepath.Join(c.dir, left)); err == nil {
			c.t.Errorf("%s was left behind", left)
		}
	}
}
