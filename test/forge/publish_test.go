package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pin-cmp/pin-cmp/internal/forge"
)

// pullRequest is what Gitea says of one.
type pullRequest struct {
	Number int    `json:"number"`
	State  string `json:"state"`
	Title  string `json:"title"`
	Body   string `json:"body"`
	Base   struct {
		Ref string `json:"ref"`
	} `json:"base"`
	Head struct {
		Ref  string `json:"ref"`
		Repo struct {
			FullName string `json:"full_name"`
		} `json:"repo"`
	} `json:"head"`
}

func pullRequests(t *testing.T, path string) (list []pullRequest) {
	t.Helper()
	server.api(t, "GET", "/repos/"+path+"/pulls?state=all", nil, &list)
	return list
}

// withToken is how CI talks to a Gitea of the house.
func withToken(token string) forge.Options {
	return forge.Options{APIURL: server.url + "/api/v1", Environ: []string{"GITEA_TOKEN=" + token}}
}

func publish(t *testing.T, remote string, o forge.Options, pr forge.PullRequest) (forge.Published, error) {
	t.Helper()
	f, err := forge.Open(t.Context(), remote, o)
	if err != nil {
		t.Fatal(err)
	}
	if f.ByHand() != "" {
		t.Fatalf("by hand: %s", f.ByHand())
	}
	return f.Publish(t.Context(), pr)
}

// follow is the life of a pull request, whoever talks to Gitea.
func follow(t *testing.T, path, dir, remote string, o forge.Options) {
	t.Helper()
	pr := forge.PullRequest{Title: "Pin web", Body: "| component | digest |\n|---|---|\n| web | sha256:1 |", Head: "pin/web"}
	// Straight after the first pushes, of which Gitea hears later.
	server.branch(t, dir, path, pr.Head)
	first, err := publish(t, remote, o, pr)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("/%s/pulls/%d", path, first.Number); first.Action != forge.Created || !strings.HasPrefix(first.URL, "http://") || !strings.HasSuffix(first.URL, want) || first.Repository != path {
		t.Errorf("got %+v", first)
	}
	list := pullRequests(t, path)
	if len(list) != 1 || list[0].Title != "Pin web" || list[0].Base.Ref != "main" || list[0].Head.Ref != "pin/web" || list[0].Body != "<!-- pin-cmp -->\n"+pr.Body+"\n<!-- /pin-cmp -->" {
		t.Fatalf("got %+v", list)
	}
	if again, err := publish(t, remote, o, pr); err != nil || again.Action != forge.Unchanged || again.Number != first.Number {
		t.Errorf("got %+v, %v", again, err)
	}
	// People write into it, and push again.
	edited := "Ready, @grace?\r\n\r\n" + list[0].Body + "\r\n\r\n- [ ] tell support"
	server.api(t, "PATCH", fmt.Sprintf("/repos/%s/pulls/%d", path, first.Number), map[string]string{"title": "Web 1.4.0", "body": edited}, nil)
	if again, err := publish(t, remote, o, pr); err != nil || again.Action != forge.Unchanged {
		t.Errorf("got %+v, %v", again, err)
	}
	pr.Body, pr.Title = "| web | sha256:2 |", "another title"
	if updated, err := publish(t, remote, o, pr); err != nil || updated.Action != forge.Updated || updated.Number != first.Number {
		t.Errorf("got %+v, %v", updated, err)
	}
	list = pullRequests(t, path)
	if want := "Ready, @grace?\r\n\r\n<!-- pin-cmp -->\n| web | sha256:2 |\n<!-- /pin-cmp -->\r\n\r\n- [ ] tell support"; len(list) != 1 || list[0].Body != want || list[0].Title != "Web 1.4.0" {
		t.Errorf("got  %+v\nwant %q", list, want)
	}
	// Closed is over.
	server.api(t, "PATCH", fmt.Sprintf("/repos/%s/pulls/%d", path, first.Number), map[string]string{"state": "closed"}, nil)
	second, err := publish(t, remote, o, pr)
	if err != nil || second.Action != forge.Created || second.Number == first.Number {
		t.Errorf("got %+v, %v", second, err)
	}
	if again, err := publish(t, remote, o, pr); err != nil || again.Action != forge.Unchanged || again.Number != second.Number {
		t.Errorf("got %+v, %v", again, err)
	}
}

func TestWithToken(t *testing.T) {
	path, dir := server.repository(t, "with-token")
	follow(t, path, dir, server.remote(path), withToken(server.token))
}

// front is Gitea behind TLS, as it is everywhere but here.
func front(t *testing.T) (address string, rt http.RoundTripper) {
	t.Helper()
	target, err := url.Parse(server.url)
	if err != nil {
		t.Fatal(err)
	}
	tls := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(target))
	t.Cleanup(tls.Close)
	return tls.URL, tls.Client().Transport
}

// Nothing but the remote's URL and what the engineer's tea knows.
func TestWithTeaLogin(t *testing.T) {
	path, dir := server.repository(t, "with-tea")
	address, rt := front(t)
	home := t.TempDir()
	config := filepath.Join(home, ".config", "tea", "config.yml")
	if err := os.MkdirAll(filepath.Dir(config), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte("logins:\n    - name: house\n      url: "+address+"\n      token: "+server.token+"\n      default: true\n      ssh_host: 127.0.0.1\n      insecure: false\n      user: ci\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	follow(t, path, dir, address+"/"+path, forge.Options{HTTP: rt, Environ: []string{"HOME=" + home}})
}

// Gitea is known by its answer, and gets no token for that.
func TestKnownByItsAnswer(t *testing.T) {
	path, dir := server.repository(t, "known")
	server.branch(t, dir, path, "pin/web")
	address, rt := front(t)
	o := forge.Options{HTTP: rt, Environ: []string{"GITEA_TOKEN=" + server.token}}
	f, err := forge.Open(t.Context(), address+"/"+path, o)
	if err != nil || f.Kind() != forge.Gitea || !strings.Contains(f.ByHand(), "GITEA_TOKEN is set, but nothing says that it is for 127.0.0.1") {
		t.Fatalf("got %+v, %v", f, err)
	}
	o.Environ = append(o.Environ, "GITEA_SERVER_URL="+address)
	if got, err := publish(t, address+"/"+path, o, forge.PullRequest{Head: "pin/web"}); err != nil || got.Action != forge.Created {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestBranches(t *testing.T) {
	path, dir := server.repository(t, "branches")
	for i, head := range []string{"feat/#12", "50%", "ü/🚀", "a&state=closed", "a+b", "{owner}", "$(id)", `"q"`, "a@b", "a=b;c", "100%25/%2F"} {
		server.branch(t, dir, path, head)
		for _, want := range []string{forge.Created, forge.Unchanged} {
			got, err := publish(t, server.remote(path), withToken(server.token), forge.PullRequest{Head: head, Body: head})
			if err != nil || got.Action != want || got.Number != i+1 {
				t.Errorf("%q: got %+v, %v", head, got, err)
			}
		}
	}
}

// The page that a person is sent to is there, and compares the two branches.
func TestByHand(t *testing.T) {
	path, dir := server.repository(t, "by-hand")
	server.seen(t, path)
	for _, head := range []string{"pin/web", "feat/#12%&x"} {
		server.branch(t, dir, path, head)
		for _, base := range []string{"main", ""} {
			f, err := forge.Open(t.Context(), server.url+"/"+path, forge.Options{Kind: forge.Gitea})
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.Publish(t.Context(), forge.PullRequest{Head: head, Base: base})
			if err != nil || got.Action != forge.ByHand || got.Why == "" {
				t.Fatalf("got %+v, %v", got, err)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, got.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", got.URL, resp.Status)
			}
		}
	}
}

func TestFork(t *testing.T) {
	path, dir := server.repository(t, "forked")
	server.seen(t, path)
	server.api(t, "POST", "/orgs", map[string]string{"username": "team"}, nil)
	server.api(t, "POST", "/repos/"+path+"/forks", map[string]string{"organization": "team"}, nil)
	server.branch(t, dir, "team/forked", "pin/web")
	pr := forge.PullRequest{Head: "pin/web", Title: "Pin web", Body: "x"}
	for _, want := range []string{forge.Created, forge.Unchanged} {
		got, err := publish(t, server.url+"/team/forked", withToken(server.token), pr)
		if err != nil || got.Action != want || got.Repository != path {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	list := pullRequests(t, path)
	if len(list) != 1 || list[0].Head.Repo.FullName != "team/forked" || list[0].Base.Ref != "main" {
		t.Errorf("got %+v", list)
	}
	// Within the fork, if it is said.
	o := withToken(server.token)
	o.Into = "team/forked"
	if got, err := publish(t, server.url+"/team/forked", o, pr); err != nil || got.Action != forge.Created || got.Repository != "team/forked" {
		t.Errorf("got %+v, %v", got, err)
	}
	// A fork of an owner's own repository, of another name.
	server.api(t, "POST", "/repos/team/forked/forks", map[string]string{"name": "mine"}, nil)
	server.branch(t, dir, "ci/mine", "pin/api")
	pr.Head = "pin/api"
	for _, want := range []string{forge.Created, forge.Unchanged} {
		if got, err := publish(t, server.url+"/ci/mine", withToken(server.token), pr); err != nil || got.Action != want || got.Repository != "team/forked" {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

func TestRenamed(t *testing.T) {
	path, dir := server.repository(t, "old-name")
	server.branch(t, dir, path, "pin/web")
	server.api(t, "PATCH", "/repos/"+path, map[string]string{"name": "new-name"}, nil)
	got, err := publish(t, server.url+"/"+path, withToken(server.token), forge.PullRequest{Head: "pin/web"})
	if err != nil || got.Action != forge.Created || got.Repository != "ci/new-name" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestSeveralAtOnce(t *testing.T) {
	path, dir := server.repository(t, "at-once")
	server.branch(t, dir, path, "pin/web")
	const n = 4
	var got [n]forge.Published
	var errs [n]error
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			f, err := forge.Open(context.Background(), server.remote(path), withToken(server.token))
			if err != nil {
				errs[i] = err
				return
			}
			got[i], errs[i] = f.Publish(context.Background(), forge.PullRequest{Head: "pin/web", Body: "same"})
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	var open []int
	for _, p := range pullRequests(t, path) {
		if p.State == "open" {
			open = append(open, p.Number)
		}
	}
	if len(open) != 1 {
		t.Errorf("%v are open: %+v", open, got)
	}
	for _, p := range got {
		if p.Number != open[0] {
			t.Errorf("got %+v, which is not #%d", p, open[0])
		}
	}
}

func TestWhatGiteaRefuses(t *testing.T) {
	path, dir := server.repository(t, "refused")
	server.branch(t, dir, path, "pin/web")
	server.api(t, "PATCH", "/repos/"+path, map[string]bool{"private": true}, nil)
	scoped := func(scopes string) string {
		token, err := server.newToken("ci", scopes)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	for _, tt := range []struct {
		name, token string
		pr          forge.PullRequest
		reason      error
		want        string
	}{
		{"wrong token", strings.Repeat("0", 40), forge.PullRequest{Head: "pin/web"}, forge.ErrDenied, "127.0.0.1 does not accept GITEA_TOKEN (invalid username, password or token): it is wrong, or has expired; set GITEA_TOKEN anew, and run it again: the branch is pushed"},
		{"a token that may only read", scoped("read:repository,read:issue"), forge.PullRequest{Head: "pin/web"}, forge.ErrDenied, "GITEA_TOKEN may not open a pull request in ci/refused on 127.0.0.1 (token does not have at least one of required scope(s), required=[write:repository], token scope=read:issue,read:repository); it needs the scopes write:repository and write:issue"},
		{"nothing new", server.token, forge.PullRequest{Head: "main"}, forge.ErrNothingToOpen, "it is the branch that it would be merged into; push another one, or give another base"},
		{"no such base", server.token, forge.PullRequest{Head: "pin/web", Base: "nowhere"}, forge.ErrRefused, "ci/refused has no branch nowhere to merge it into"},
		{"no such branch", server.token, forge.PullRequest{Head: "never/pushed"}, forge.ErrRefused, "127.0.0.1 knows no branch never/pushed of ci/refused; push it, or run it again if it was pushed just now"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := publish(t, server.remote(path), withToken(tt.token), tt.pr)
			if !errors.Is(err, tt.reason) || !strings.HasPrefix(err.Error(), "pull request of "+tt.pr.Head+": "+tt.want) || strings.Contains(err.Error(), server.token) || strings.Contains(err.Error(), tt.token) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	if list := pullRequests(t, path); len(list) != 0 {
		t.Errorf("got %+v", list)
	}
	// The scopes that the message asks for are enough.
	if got, err := publish(t, server.remote(path), withToken(scoped("write:repository,write:issue")), forge.PullRequest{Head: "pin/web", Body: "1"}); err != nil || got.Action != forge.Created {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := publish(t, server.remote(path), withToken(scoped("write:repository,write:issue")), forge.PullRequest{Head: "pin/web", Body: "2"}); err != nil || got.Action != forge.Updated {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A list of other people's that goes over several of Gitea's pages.
func TestManyOpen(t *testing.T) {
	path, dir := server.repository(t, "many")
	names := []string{"pin/web"}
	for i := range 6 {
		names = append(names, fmt.Sprintf("other/%d", i))
	}
	for _, name := range names {
		git(t, dir, "branch", name, "main")
	}
	git(t, dir, "checkout", "-q", "pin/web")
	commit(t, dir, "image: web@sha256:1")
	git(t, dir, append([]string{"push", "-q", server.remote(path)}, names...)...)
	if got, err := publish(t, server.remote(path), withToken(server.token), forge.PullRequest{Head: "pin/web", Body: "1"}); err != nil || got.Action != forge.Created {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, name := range slices.Backward(names[1:]) {
		server.api(t, "POST", "/repos/"+path+"/pulls", map[string]string{"title": name, "head": name, "base": "main"}, nil)
	}
	if got, err := publish(t, server.remote(path), withToken(server.token), forge.PullRequest{Head: "pin/web", Body: "2"}); err != nil || got.Action != forge.Updated || got.Number != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}
