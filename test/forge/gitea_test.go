package forge

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// server is the Gitea of this run.
var server *gitea

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// The kernel ends a child with the thread that started it, so this one stays.
	runtime.LockOSThread()
	dir, err := os.MkdirTemp("", "pin-cmp-gitea-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for name, value := range map[string]string{
		"HOME": filepath.Join(dir, "home"), "GIT_CONFIG_GLOBAL": filepath.Join(dir, "gitconfig"), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
		"HTTP_PROXY": "", "http_proxy": "", "HTTPS_PROXY": "", "https_proxy": "",
	} {
		if name == "HOME" {
			continue // go's caches are below it until Gitea is built
		}
		_ = os.Setenv(name, value)
	}
	if server, err = start(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer server.stop()
	_ = os.Setenv("HOME", filepath.Join(dir, "home"))
	return m.Run()
}

// gitea is a real Gitea on a port of this machine.
type gitea struct {
	program, config, dir string
	url                  string // without a slash at the end
	cmd                  *exec.Cmd
	log                  *os.File
	token                string // of user ci, for everything
}

const version = "1.26.0"

// build builds Gitea, or lets Go's cache say that it is built.
func build() (program, static string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", "", err
	}
	program = filepath.Join(cache, "pin-cmp-test", "gitea-"+version)
	environ := append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=-mod=readonly", "GOWORK=off")
	goCommand := func(args ...string) ([]byte, error) {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = "gitea", environ
		out, err := cmd.Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("go %s: %w\n%s", args[0], err, exit.Stderr)
		}
		return out, err
	}
	if _, err = goCommand("build", "-trimpath", "-buildvcs=false", "-tags", "sqlite,sqlite_unlock_notify",
		"-ldflags", "-s -w -X main.Version="+version, "-o", program, "code.gitea.io/gitea"); err != nil {
		return "", "", err
	}
	out, err := goCommand("list", "-m", "-f", "{{.Dir}}", "code.gitea.io/gitea")
	return program, strings.TrimSpace(string(out)), err
}

func secret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// start starts Gitea with a user ci and a token of theirs.
func start(dir string) (*gitea, error) {
	program, static, err := build()
	if err != nil {
		return nil, err
	}
	// Nobody else is told the port between here and Gitea's own listening on it.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	g := &gitea{program: program, dir: dir, config: filepath.Join(dir, "app.ini"), url: fmt.Sprintf("http://127.0.0.1:%d", port)}
	ini := fmt.Sprintf(`APP_NAME = test
RUN_USER = %s
RUN_MODE = prod
WORK_PATH = %s
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = %v
[server]
PROTOCOL = http
DOMAIN = 127.0.0.1
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %d
ROOT_URL = %s/
STATIC_ROOT_PATH = %s
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = %s/gitea.db
[repository]
ROOT = %s/repositories
DEFAULT_BRANCH = main
[security]
INSTALL_LOCK = true
SECRET_KEY = %s
INTERNAL_TOKEN = %s
PASSWORD_HASH_ALGO = pbkdf2_v1
[oauth2]
ENABLED = false
[service]
DISABLE_REGISTRATION = true
[indexer]
ISSUE_INDEXER_TYPE = db
[cron]
ENABLED = false
[actions]
ENABLED = false
[api]
MAX_RESPONSE_ITEMS = 5
[log]
MODE = console
LEVEL = warn
`, me.Username, dir, me.Uid == "0", port, g.url, static, dir, dir, secret(), secret())
	if err := os.WriteFile(g.config, []byte(ini), 0o600); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, "home"), 0o700); err != nil {
		return nil, err
	}
	if _, err := g.admin("migrate"); err != nil {
		return nil, err
	}
	if g.token, err = g.user("ci", "all"); err != nil {
		return nil, err
	}
	if g.log, err = os.Create(filepath.Join(dir, "gitea.log")); err != nil {
		return nil, err
	}
	g.cmd = g.command("web")
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- g.cmd.Wait() }()
	for {
		resp, err := http.Get(g.url + "/api/healthz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return g, nil
			}
		}
		select {
		case err := <-ended:
			log, _ := os.ReadFile(g.log.Name())
			return nil, fmt.Errorf("gitea ended: %w\n%s", err, log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (g *gitea) command(args ...string) *exec.Cmd {
	cmd := exec.Command(g.program, append([]string{"--config", g.config, "--work-path", g.dir}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+filepath.Join(g.dir, "home"))
	endWithParent(cmd)
	return cmd
}

// admin runs one of Gitea's own commands.
func (g *gitea) admin(args ...string) (string, error) {
	cmd := g.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("gitea %s: %w\n%s%s", strings.Join(args, " "), err, out.Bytes(), errs.Bytes())
	}
	return out.String(), nil
}

// user makes a user, and returns a token of theirs.
func (g *gitea) user(name, scopes string) (token string, err error) {
	if _, err := g.admin("admin", "user", "create", "--admin", "--username", name, "--password", "S3cret-"+secret(), "--email", name+"@example.invalid", "--must-change-password=false"); err != nil {
		return "", err
	}
	return g.newToken(name, scopes)
}

var tokenLine = regexp.MustCompile(`(?m)^[0-9a-f]{40}$`)

func (g *gitea) newToken(name, scopes string) (string, error) {
	out, err := g.admin("admin", "user", "generate-access-token", "--username", name, "--token-name", secret(), "--scopes", scopes, "--raw")
	if err != nil {
		return "", err
	}
	token := tokenLine.FindString(out) // as root, a warning stands beside it
	if token == "" {
		return "", fmt.Errorf("no token in %q", out)
	}
	return token, nil
}

func (g *gitea) stop() {
	_ = g.cmd.Process.Kill()
	_, _ = g.cmd.Process.Wait()
	_ = g.log.Close()
}

// api asks Gitea what is so, past the code under test.
func (g *gitea) api(t *testing.T, method, path string, body, into any) {
	t.Helper()
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, g.url+"/api/v1"+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "token "+g.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode > 299 {
		t.Fatalf("%s %s: %s %v\n%s", method, path, resp.Status, err, data)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
}

// git runs git in dir.
func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.invalid", "-c", "credential.helper="}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// remote is the URL that git pushes to, with the token as CI has it.
func (g *gitea) remote(path string) string {
	return strings.Replace(g.url, "://", "://ci:"+g.token+"@", 1) + "/" + path + ".git"
}

// repository makes a repository with one commit on main, and a work tree of it.
func (g *gitea) repository(t *testing.T, name string) (path, dir string) {
	t.Helper()
	g.api(t, "POST", "/user/repos", map[string]any{"name": name}, nil)
	dir = t.TempDir()
	git(t, dir, "init", "-q", "-b", "main")
	commit(t, dir, "image: ghcr.io/acme/web@build")
	git(t, dir, "push", "-q", g.remote("ci/"+name), "main")
	return "ci/" + name, dir
}

// seen waits until Gitea has seen the first push to a repository.
func (g *gitea) seen(t *testing.T, path string) {
	t.Helper()
	for {
		var r struct {
			Empty bool `json:"empty"`
		}
		if g.api(t, "GET", "/repos/"+path, nil, &r); !r.Empty {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func commit(t *testing.T, dir, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "web.yaml"), []byte(content+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-qm", content)
}

// branch makes a branch with a commit of its own and pushes it.
func (g *gitea) branch(t *testing.T, dir, path, name string) {
	t.Helper()
	git(t, dir, "checkout", "-q", "-b", name, "main")
	commit(t, dir, "image: ghcr.io/acme/web@sha256:"+name)
	git(t, dir, "push", "-q", g.remote(path), name)
}
