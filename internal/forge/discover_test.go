package forge

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// answering is a host that says one thing at one path, and 404 elsewhere.
func answering(t *testing.T, path string, status int, body any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			t.Errorf("%s was asked with a credential", r.URL)
		}
		if r.URL.Path != path {
			reply(w, 404, object{"message": "404 Not Found"})
			return
		}
		reply(w, status, body)
	})
}

func TestDiscover(t *testing.T) {
	for _, tt := range []struct {
		remote string
		env    []string
		o      Options
		host   http.Handler // of https://git.example.com
		kind   string
		api    string
		path   string
	}{
		{remote: "git@github.com:acme/web.git", kind: GitHub, api: "https://api.github.com"},
		{remote: "ssh://git@ssh.github.com:443/acme/web.git", kind: GitHub, api: "https://api.github.com"},
		{remote: "http://github.com/acme/web", kind: GitHub, api: "https://api.github.com"},
		{remote: "https://acme.ghe.com/acme/web", kind: GitHub, api: "https://api.acme.ghe.com"},
		{remote: "git@gitlab.com:acme/sub/web.git", kind: GitLab, api: "https://gitlab.com/api/v4", path: "acme/sub/web"},
		{remote: "ssh://git@altssh.gitlab.com:443/acme/web", kind: GitLab, api: "https://gitlab.com/api/v4"},
		{remote: "https://codeberg.org/acme/web", kind: Gitea, api: "https://codeberg.org/api/v1"},
		{remote: "https://gitea.com/acme/web", kind: Gitea, api: "https://gitea.com/api/v1"},
		{remote: "https://git.example.com/acme/web", o: Options{Kind: "github"}, kind: GitHub, api: "https://git.example.com/api/v3"},
		{remote: "https://git.example.com:8443/acme/web", o: Options{Kind: "GitLab"}, kind: GitLab, api: "https://git.example.com:8443/api/v4"},
		{remote: "https://git.example.com/acme/web", o: Options{Kind: "forgejo"}, kind: Gitea, api: "https://git.example.com/api/v1"},
		{remote: "https://git.example.com/forge/acme/web", o: Options{Kind: "gitea"}, kind: Gitea, api: "https://git.example.com/forge/api/v1"},
		{remote: "https://git.example.com/acme/web", o: Options{APIURL: "https://api.example.com/api/v3/"}, kind: GitHub, api: "https://api.example.com/api/v3"},
		{remote: "https://git.example.com/labs/acme/sub/web", o: Options{APIURL: "https://git.example.com/labs/api/v4"}, kind: GitLab, api: "https://git.example.com/labs/api/v4", path: "acme/sub/web"},
		{remote: "git@git.example.com:acme/sub/web", o: Options{APIURL: "https://git.example.com/labs/api/v4"}, kind: GitLab, api: "https://git.example.com/labs/api/v4", path: "acme/sub/web"},
		{remote: "http://127.0.0.1:3000/acme/web", o: Options{APIURL: "http://127.0.0.1:3000/api/v1"}, kind: Gitea, api: "http://127.0.0.1:3000/api/v1"},
		{remote: "https://git.example.com/acme/web", env: []string{"GITHUB_SERVER_URL=https://git.example.com", "GITHUB_API_URL=https://git.example.com/api/v3"}, kind: GitHub, api: "https://git.example.com/api/v3"},
		{remote: "https://git.example.com/acme/web", env: []string{"GITHUB_SERVER_URL=https://git.example.com", "GITHUB_API_URL=https://git.example.com/api/v1", "GITEA_ACTIONS=true"}, kind: Gitea, api: "https://git.example.com/api/v1"},
		{remote: "https://git.example.com/acme/sub/web", env: []string{"CI_SERVER_URL=https://git.example.com:443", "CI_API_V4_URL=https://git.example.com/api/v4"}, kind: GitLab, api: "https://git.example.com/api/v4", path: "acme/sub/web"},
		{remote: "https://git.example.com/acme/web", env: []string{"GITLAB_HOST=git.example.com"}, kind: GitLab, api: "https://git.example.com/api/v4"},
		{remote: "https://git.example.com/acme/web", env: []string{"GITEA_SERVER_URL=https://git.example.com/"}, kind: Gitea, api: "https://git.example.com/api/v1"},
		{remote: "https://git.example.com/acme/web", host: answering(t, "/api/v4/version", 401, object{"message": "401 Unauthorized"}), kind: GitLab, api: "https://git.example.com/api/v4"},
		{remote: "git@git.example.com:acme/web", host: answering(t, "/api/v4/version", 200, object{"version": "17.1.0", "revision": "abc"}), kind: GitLab, api: "https://git.example.com/api/v4"},
		{remote: "git@git.example.com:acme/web", host: answering(t, "/api/v1/version", 200, object{"version": "1.26.0"}), kind: Gitea, api: "https://git.example.com/api/v1"},
		{remote: "git@git.example.com:acme/web", host: answering(t, "/api/v1/version", 403, object{"message": "Only signed in user is allowed to call APIs."}), kind: Gitea, api: "https://git.example.com/api/v1"},
		{remote: "https://git.example.com/forge/acme/web", host: answering(t, "/forge/api/v1/version", 200, object{"version": "1.26.0"}), kind: Gitea, api: "https://git.example.com/forge/api/v1"},
		{remote: "https://git.example.com/acme/web", host: answering(t, "/api/v3/meta", 200, object{"installed_version": "3.15.0"}), kind: GitHub, api: "https://git.example.com/api/v3"},
		{remote: "https://git.example.com/acme/web", host: answering(t, "/api/v3/meta", 200, object{"version": "1"}), kind: ""},
		{remote: "https://git.example.com/acme/web", host: answering(t, "/", 200, nil), kind: ""},
		{remote: "https://git.example.com/acme/web", host: http.RedirectHandler("https://github.com/", http.StatusFound), kind: ""},
		{remote: "https://git.example.com/acme/web", kind: ""},
	} {
		tt.o.HTTP = internet{"https://git.example.com": tt.host}
		if tt.host == nil {
			tt.o.HTTP = internet{}
		}
		r, err := parseRemote(tt.remote)
		if err != nil {
			t.Fatal(err)
		}
		s, err := discover(t.Context(), r, tt.o, tools{env: newEnviron(tt.env)})
		if tt.kind == "" {
			want := "what kind of forge git.example.com is can't be told: no gh, glab or tea is logged in to it, and it does not answer like a GitHub, GitLab or Gitea; say it with --forge github, gitlab or gitea, and --forge-api URL if its API is elsewhere"
			if !errors.Is(err, ErrUnknownForge) || err.Error() != want {
				t.Errorf("%s: got %+v, %v", tt.remote, s, err)
			}
			continue
		}
		if tt.path == "" {
			tt.path = "acme/web"
		}
		if err != nil || s.kind != tt.kind || s.api != tt.api || s.path != tt.path {
			t.Errorf("%s %q %+v: got %+v, %v", tt.remote, tt.env, tt.o, s, err)
		}
	}
}

// The names of hosts in an ssh configuration.
func TestSSHAliases(t *testing.T) {
	for _, tt := range []struct{ remote, hostname, want string }{
		{"git@github-work:acme/web", "github.com", "github.com"},
		{"git@github-work:acme/web", "ssh.github.com", "github.com"},
		{"git@work:acme/web", "git.example.com", "git.example.com"},
		{"git@git.example.com:acme/web", "10.0.0.7", "git.example.com"},
		{"git@git.example.com:acme/web", "github.com", "github.com"},
		{"git@work:acme/web", "-x", "work"},
	} {
		env := append(install(t, "", "", "ssh"), "FAKE_SSH="+tt.hostname)
		r, err := parseRemote(tt.remote)
		if err != nil {
			t.Fatal(err)
		}
		if got := (tools{env: newEnviron(env)}).sshHost(t.Context(), r.host); got != tt.want {
			t.Errorf("%s, which is %s: got %s", tt.remote, tt.hostname, got)
		}
		if calls(t, env)[0] != "ssh -G -- "+r.host {
			t.Errorf("called %q", calls(t, env))
		}
	}
}

// To whom a token of the environment goes, and to whom not.
func TestTokensGoHome(t *testing.T) {
	everything := []string{"GH_TOKEN=a", "GITHUB_TOKEN=b", "GH_ENTERPRISE_TOKEN=c", "GITLAB_TOKEN=d", "GITEA_TOKEN=e", "CI=true"}
	evil := internet{"https://git.example.com": answering(t, "/api/v4/version", 401, object{"message": "401 Unauthorized"})}
	for _, tt := range []struct {
		name   string
		remote string
		env    []string
		o      Options
		want   string // source
		why    string
	}{
		{"github.com", host[GitHub].remote, nil, Options{}, "GH_TOKEN", ""},
		{"github.com", host[GitHub].remote, []string{"GH_TOKEN="}, Options{}, "GITHUB_TOKEN", ""},
		{"a job on github.com", host[GitHub].remote, []string{"GH_TOKEN=", "GITHUB_SERVER_URL=https://github.com", "GITHUB_API_URL=https://api.github.com"}, Options{}, "GITHUB_TOKEN", ""},
		{"github.com from a job elsewhere", host[GitHub].remote, []string{"GH_TOKEN=", "GITHUB_SERVER_URL=https://git.example.com"}, Options{}, "", "GITHUB_TOKEN is set, but nothing says that it is for github.com: say so with --forge github"},
		{"a job on an enterprise server", "https://git.example.com/acme/web", []string{"GH_ENTERPRISE_TOKEN=", "GH_TOKEN=", "GITHUB_SERVER_URL=https://git.example.com"}, Options{}, "GITHUB_TOKEN", ""},
		{"gh's host", "https://git.example.com/acme/web", []string{"GH_HOST=git.example.com"}, Options{}, "GH_ENTERPRISE_TOKEN", ""},
		{"gh's host without its token", "https://git.example.com/acme/web", []string{"GH_HOST=git.example.com", "GH_ENTERPRISE_TOKEN="}, Options{}, "", "GH_TOKEN is set, but nothing says that it is for git.example.com: say so with --forge github"},
		{"said", "https://git.example.com/acme/web", []string{"GH_ENTERPRISE_TOKEN=", "GH_TOKEN="}, Options{Kind: GitHub}, "GITHUB_TOKEN", ""},
		{"gitlab.com", host[GitLab].remote, nil, Options{}, "GITLAB_TOKEN", ""},
		{"gitlab.com, but the token is another's", host[GitLab].remote, []string{"GITLAB_HOST=git.example.com"}, Options{}, "", "GITLAB_TOKEN is set, but nothing says that it is for gitlab.com: say so with --forge gitlab"},
		{"a host that answers like a GitLab", "https://git.example.com/acme/web", nil, Options{HTTP: evil}, "", "GITLAB_TOKEN is set, but nothing says that it is for git.example.com: say so with --forge gitlab"},
		{"said", "https://git.example.com/acme/web", nil, Options{Kind: GitLab}, "GITLAB_TOKEN", ""},
		{"a GitLab job", "https://git.example.com/acme/web", []string{"CI_SERVER_URL=https://git.example.com"}, Options{}, "GITLAB_TOKEN", ""},
		{"a GitLab job with its own token alone", "https://git.example.com/acme/web", []string{"GITLAB_TOKEN=", "CI_JOB_TOKEN=x", "CI_SERVER_URL=https://git.example.com"}, Options{}, "", "none of GITLAB_TOKEN, GITLAB_ACCESS_TOKEN, OAUTH_TOKEN is set (a CI_JOB_TOKEN can't open merge requests)"},
		{"codeberg.org", host[Gitea].remote, nil, Options{}, "GITEA_TOKEN", ""},
		{"codeberg.org, but the token is another's", host[Gitea].remote, []string{"GITEA_SERVER_URL=https://git.example.com"}, Options{}, "", "GITEA_TOKEN is set, but nothing says that it is for codeberg.org: say so with --forge gitea"},
		{"a Gitea job", "https://git.example.com/acme/web", []string{"GITEA_TOKEN=", "GITEA_ACTIONS=true", "GITHUB_SERVER_URL=https://git.example.com", "GITHUB_API_URL=https://git.example.com/api/v1"}, Options{}, "GITHUB_TOKEN", ""},
		{"a Gitea job over plain http", "http://git.example.com:3000/acme/web", []string{"GITEA_ACTIONS=true", "GITHUB_SERVER_URL=http://git.example.com:3000", "GITHUB_API_URL=http://git.example.com:3000/api/v1"}, Options{}, "", "GITEA_TOKEN is not sent over plain http; give --forge-api http://git.example.com:3000/api/v1 if the network is yours"},
		{"plain http, said", "http://git.example.com:3000/acme/web", nil, Options{Kind: Gitea}, "", "GITEA_TOKEN is not sent over plain http; give --forge-api http://git.example.com:3000/api/v1 if the network is yours"},
		{"plain http, given", "http://git.example.com:3000/acme/web", nil, Options{APIURL: "http://git.example.com:3000/api/v1"}, "GITEA_TOKEN", ""},
		{"plain http of a host with https", "http://git.example.com/acme/web", nil, Options{Kind: Gitea}, "GITEA_TOKEN", ""},
		{"a token with a line end within", host[GitLab].remote, []string{"GITLAB_TOKEN=a\nHost: evil"}, Options{}, "", "GITLAB_TOKEN holds no token: there are spaces or other characters in it that tokens don't have"},
		{"none", host[GitHub].remote, []string{"GH_TOKEN=", "GITHUB_TOKEN= "}, Options{}, "", "none of GH_TOKEN, GITHUB_TOKEN is set"},
	} {
		got, err := chosen(t, tt.remote, append(append([]string{}, everything...), tt.env...), tt.o)
		if err != nil || got.source != tt.want || (got.transport == nil) != (tt.want == "") || !strings.HasPrefix(got.why, tt.why) {
			t.Errorf("%s, %s: got %+v, %v", tt.name, tt.remote, got, err)
		}
	}
}

func TestByHand(t *testing.T) {
	for _, tt := range []struct {
		remote string
		o      Options
		pr     PullRequest
		want   string
	}{
		{"git@github.com:acme/web", Options{}, PullRequest{Head: "pin/web", Base: "main"}, "https://github.com/acme/web/compare/main...pin/web?expand=1"},
		{"git@github.com:acme/web", Options{}, PullRequest{Head: "pin/web"}, "https://github.com/acme/web/compare/pin/web?expand=1"},
		{"git@github.com:acme/web", Options{}, PullRequest{Head: `a/#1%2F"&ü`, Base: "b#"}, "https://github.com/acme/web/compare/b%23...a/%231%252F%22&%C3%BC?expand=1"},
		{"git@gitlab.com:acme/sub/web", Options{}, PullRequest{Head: "a/#1%&b=c", Base: "main"}, "https://gitlab.com/acme/sub/web/-/merge_requests/new?merge_request%5Bsource_branch%5D=a%2F%231%25%26b%3Dc&merge_request%5Btarget_branch%5D=main"},
		{"git@gitlab.com:acme/web", Options{}, PullRequest{Head: "a"}, "https://gitlab.com/acme/web/-/merge_requests/new?merge_request%5Bsource_branch%5D=a"},
		{"https://ada:s3cret@git.example.com:8443/acme/web.git", Options{Kind: Gitea}, PullRequest{Head: "a#", Base: "main"}, "https://git.example.com:8443/acme/web/compare/main...a%23"},
		{"http://127.0.0.1:3000/acme/web", Options{Kind: Gitea}, PullRequest{Head: "a", Base: "main"}, "http://127.0.0.1:3000/acme/web/compare/main...a"},
		{"/srv/git/web", Options{}, PullRequest{Head: "a"}, ""},
		{"file:///srv/git/web", Options{}, PullRequest{Head: "a"}, ""},
	} {
		f, err := Open(t.Context(), tt.remote, tt.o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Publish(t.Context(), tt.pr)
		if err != nil || got.URL != tt.want || got.Action != ByHand || got.Why == "" || got.Why != f.ByHand() || strings.Contains(got.URL+got.Why, "s3cret") {
			t.Errorf("%s: got %+v, %v", tt.remote, got, err)
		}
		if got.URL != "" && mustParse(t, got.URL).Host == "" {
			t.Errorf("%s is no URL", got.URL)
		}
	}
}

func TestMisuse(t *testing.T) {
	for _, tt := range []struct {
		remote string
		o      Options
		want   string
	}{
		{"git@github.com:acme/web", Options{Kind: "bitbucket\x1b"}, `there is no kind of forge "bitbucket"; it is github, gitlab or gitea`},
		{"git@github.com:acme/web", Options{APIURL: "api.github.com"}, "the URL of the API is not one: write https://host/path, without user name and query"},
		{"git@github.com:acme/web", Options{APIURL: "https://u:s3cret@api.github.com"}, "the URL of the API is not one: write https://host/path, without user name and query"},
		{"git@github.com:acme/web", Options{APIURL: "ftp://api.github.com"}, "the URL of the API is not one: write https://host/path, without user name and query"},
		{"git@github.com:acme/sub/web", Options{}, "github.com/acme/sub/web is not a repository on GitHub, where it would be owner/name"},
		{"git@github.com:acme/web", Options{Into: "web"}, `"web" is not the path of a repository; write owner/name`},
		{"git@github.com:acme/web", Options{Into: "../../x"}, `"../../x" is not the path of a repository; write owner/name`},
	} {
		_, err := Open(t.Context(), tt.remote, tt.o)
		if !errors.Is(err, ErrMisuse) || err.Error() != tt.want {
			t.Errorf("%s %+v: got %v", tt.remote, tt.o, err)
		}
	}
}
