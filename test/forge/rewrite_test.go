package forge

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The whole way of an engineer: a branch with a placeholder, one command, and a
// pull request that says what it pins. Again it changes nothing; more work on the
// branch brings it up to date.
func TestRewriteOpensAPullRequest(t *testing.T) {
	program := filepath.Join(t.TempDir(), "pin-cmp")
	build := exec.Command("go", "build", "-o", program, "./cmd/pin-cmp")
	build.Dir = filepath.Join("..", "..") // its own module, with its own versions
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	registry := startRegistry(t, program)
	path, dir := server.repository(t, "rewrite")
	server.seen(t, path)
	write := func(name, content string) {
		t.Helper()
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rewrite := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(program, append([]string{"rewrite", "--pr", "--forge", "gitea", "--forge-api", server.url + "/api/v1", "--plain-http", registry}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GITEA_TOKEN="+server.token)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("rewrite: %v\n%s", err, out)
		}
		if bytes.Contains(out, []byte(server.token)) {
			t.Errorf("the token is in\n%s", out)
		}
		return string(out)
	}
	git(t, dir, "config", "user.name", "Ada")
	git(t, dir, "config", "user.email", "ada@example.invalid")
	write("web.yaml", "image: "+registry+"/acme/web:1.0.0@build\n")
	write("web/page", "one\n")
	write("web/pin.yaml", "apiVersion: pin-cmp/v1\nkind: Component\nimage: "+registry+"/acme/web\nbuild: {layers: {files: [{from: page, to: /page}]}}\n")
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-qm", "a component")
	git(t, dir, "remote", "add", "origin", server.remote(path))
	git(t, dir, "push", "-q", "origin", "main")
	git(t, dir, "checkout", "-q", "-b", "feature/one")

	out := rewrite()
	if !strings.Contains(out, "building web") || !strings.Contains(out, "pushed feature/one to origin") || !strings.Contains(out, "pull request created in "+path+": ") {
		t.Errorf("the first run says\n%s", out)
	}
	list := pullRequests(t, path)
	row := regexp.MustCompile("\\| web \\| 1\\.0\\.0 \\| – \\| `sha256:[0-9a-f]{12}…` \\| [0-9.]+ KiB \\|")
	if len(list) != 1 || list[0].Title != "Pin web 1.0.0" || list[0].Base.Ref != "main" || !row.MatchString(list[0].Body) {
		t.Fatalf("got %+v", list)
	}
	if out := rewrite(); !strings.Contains(out, "nothing to rewrite") || !strings.Contains(out, "pull request unchanged in") {
		t.Errorf("the second run says\n%s", out)
	}
	write("web/page", "two\n")
	git(t, dir, "commit", "-qam", "web: another page")
	if out := rewrite("--changed", "--bump", "minor"); !strings.Contains(out, "building web") || !strings.Contains(out, "pull request updated in") {
		t.Errorf("the third run says\n%s", out)
	}
	after := pullRequests(t, path)
	if len(after) != 1 || after[0].Number != list[0].Number || !strings.Contains(after[0].Body, "1.1.0") || !strings.Contains(after[0].Body, "`web: another page`") {
		t.Errorf("got %+v", after)
	}
}

// startRegistry runs pin-cmp's own registry until the test ends.
func startRegistry(t *testing.T, program string) (address string) {
	t.Helper()
	cmd := exec.Command(program, "registry", "--listen", "127.0.0.1:0")
	endWithParent(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}
