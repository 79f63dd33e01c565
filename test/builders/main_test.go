package builders

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// tools is the directory of what is built from this module's tool directives.
var tools string

func TestMain(m *testing.M) {
	code, err := withTools(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withTools(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "builders-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	tools = dir
	for name, pkg := range map[string]string{
		"ko":            "github.com/google/ko",
		"docker-buildx": "github.com/docker/buildx/cmd/buildx",
		"buildkitd":     "github.com/moby/buildkit/cmd/buildkitd",
		"program":       "./testdata/program",
	} {
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", filepath.Join(dir, name), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return m.Run(), nil
}
