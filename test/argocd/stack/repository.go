//go:build linux

package stack

import (
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// GitServer serves repositories over HTTP with git's own server program.
type GitServer struct {
	s    *Stack
	root string
}

// StartGit starts a server.
func (s *Stack) StartGit(t *testing.T) *GitServer {
	t.Helper()
	g := &GitServer{s: s, root: filepath.Join(s.Dir, "git")}
	listener, err := net.Listen("tcp", gitAddress)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: &cgi.Handler{
		Path: s.Git, Args: []string{"http-backend"}, Dir: g.root,
		Env:    append(gitEnv(s), "GIT_PROJECT_ROOT="+g.root, "GIT_HTTP_EXPORT_ALL=1"),
		Stderr: &discard{},
	}}
	served := make(chan struct{})
	go func() {
		_ = server.Serve(listener)
		close(served)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return g
}

// discard drops what git's server says of clients that go away.
type discard struct{}

func (*discard) Write(p []byte) (int, error) { return len(p), nil }

// Repository is a bare repository on the server and a checkout of it.
type Repository struct {
	// URL is what an Application names, and Dir the checkout.
	URL, Dir string
	s        *Stack
}

// Create makes a repository with a first commit.
func (g *GitServer) Create(t *testing.T, name string, files map[string]string) *Repository {
	t.Helper()
	r := &Repository{URL: "http://" + gitHost + "/" + name + ".git", Dir: filepath.Join(g.s.Dir, "checkouts", name), s: g.s}
	bare := filepath.Join(g.root, name+".git")
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.git(t, "init", "--quiet", "--bare", "--initial-branch=main", bare)
	r.git(t, "init", "--quiet", "--initial-branch=main")
	r.git(t, "remote", "add", "origin", bare)
	r.Commit(t, files)
	return r
}

// Commit writes files, commits and pushes, and returns the commit.
func (r *Repository) Commit(t *testing.T, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		write(t, filepath.Join(r.Dir, name), content)
	}
	r.git(t, "add", "--all")
	r.git(t, "commit", "--quiet", "--allow-empty", "--message=change")
	r.git(t, "push", "--quiet", "origin", "main")
	return strings.TrimSpace(r.git(t, "rev-parse", "HEAD"))
}

func (r *Repository) git(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(r.s.Git, args...)
	cmd.Dir = r.Dir
	cmd.Env = gitEnv(r.s)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// gitEnv has git read nobody's configuration.
func gitEnv(s *Stack) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(s.Dir, "home"), "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
	}
}
