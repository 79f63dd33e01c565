package forge

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pin-cmp/pin-cmp/internal/forge"
)

// ghHome is a home directory in which gh is logged in to github.localhost, the
// only host that it talks plain http to, as http://api.github.localhost. No name
// server knows that name, so what gh says to it goes through a proxy, which leads
// to Gitea's API: most of it is GitHub's.
func ghHome(t *testing.T, token string) (env []string, asked func() []string) {
	t.Helper()
	gh, err := exec.LookPath("gh")
	if err != nil {
		t.Fatalf("install gh (apt-get install gh): %v", err)
	}
	home := t.TempDir()
	hosts := filepath.Join(home, ".config", "gh", "hosts.yml")
	if err := os.MkdirAll(filepath.Dir(hosts), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hosts, []byte("github.localhost:\n    oauth_token: "+token+"\n    user: ci\n    git_protocol: https\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(server.url)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var requests []string
	to := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		requests = append(requests, r.Method+" "+r.URL.Host+" "+r.URL.EscapedPath())
		mu.Unlock()
		if r.URL.Host != "api.github.localhost" {
			http.Error(w, "not here", http.StatusBadGateway)
			return
		}
		r.URL.Scheme, r.URL.Host = "", ""
		if r.URL.RawPath != "" {
			r.URL.RawPath = "/api/v1" + r.URL.RawPath
		}
		r.URL.Path = "/api/v1" + r.URL.Path
		to.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	return []string{"PATH=" + filepath.Dir(gh), "HOME=" + home, "HTTP_PROXY=" + proxy.URL, "http_proxy=" + proxy.URL}, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return requests
	}
}

func TestThroughGH(t *testing.T) {
	path, dir := server.repository(t, "through-gh")
	env, asked := ghHome(t, server.token)
	follow(t, path, dir, "https://github.localhost/"+path, forge.Options{Environ: env})
	posts := 0
	for _, r := range asked() {
		if strings.Contains(r, "graphql") || !strings.HasPrefix(strings.SplitN(r, " ", 2)[1], "api.github.localhost /repos/ci/through-gh") {
			t.Errorf("gh asked %s", r)
		}
		if strings.HasPrefix(r, "POST ") {
			posts++
		}
	}
	if posts != 2 {
		t.Errorf("%d pull requests were opened: %q", posts, asked())
	}
}

func TestThroughGHWithBranches(t *testing.T) {
	path, dir := server.repository(t, "gh-branches")
	env, _ := ghHome(t, server.token)
	for i, head := range []string{"feat/#12", "50%", "{owner}", "a&state=closed", "ü/🚀"} {
		server.branch(t, dir, path, head)
		for _, want := range []string{forge.Created, forge.Unchanged} {
			got, err := publish(t, "git@github.localhost:"+path, forge.Options{Environ: env}, forge.PullRequest{Head: head})
			if err != nil || got.Action != want || got.Number != i+1 {
				t.Errorf("%q: got %+v, %v", head, got, err)
			}
		}
	}
}

func TestGHWithAnOldLogin(t *testing.T) {
	path, dir := server.repository(t, "gh-old")
	server.branch(t, dir, path, "pin/web")
	env, _ := ghHome(t, strings.Repeat("0", 40))
	_, err := publish(t, "https://github.localhost/"+path, forge.Options{Environ: env}, forge.PullRequest{Head: "pin/web"})
	want := "pull request of pin/web: github.localhost does not accept gh (invalid username, password or token): it is wrong, or has expired; gh auth login --hostname github.localhost, and run it again: the branch is pushed"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Without a login gh says so, and that is no error.
func TestGHWithoutLogin(t *testing.T) {
	env, asked := ghHome(t, server.token)
	f, err := forge.Open(t.Context(), "https://github.com/acme/web", forge.Options{Environ: env})
	if err != nil || f.ByHand() != "gh is not logged in to github.com here; none of GH_TOKEN, GITHUB_TOKEN is set" {
		t.Errorf("got %+v, %v", f, err)
	}
	if len(asked()) != 0 {
		t.Errorf("asked %q", asked())
	}
}

// Nobody behind the proxy.
func TestGHWithoutNetwork(t *testing.T) {
	env, _ := ghHome(t, server.token)
	env = append(env, "HTTP_PROXY=http://127.0.0.1:1", "http_proxy=http://127.0.0.1:1")
	_, err := publish(t, "https://github.localhost/ci/x", forge.Options{Environ: env}, forge.PullRequest{Head: "pin/web"})
	if err == nil || !strings.HasPrefix(err.Error(), "pull request of pin/web: github.localhost can't be reached through gh: ") || !strings.HasSuffix(err.Error(), "; run it again") {
		t.Errorf("got %v", err)
	}
}
