package forge

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// standin answers as a forge does, with the shapes and the words of its API's
// documentation, or for Gitea of its source (v1.26, routers/api/v1/repo/pull.go;
// test/forge has the real one).
type standin struct {
	kind  string
	token string // the whole Authorization header
	// intercept answers a request itself if it returns true.
	intercept func(w http.ResponseWriter, r *http.Request) bool
	// after is called when a request was carried out, before it is answered; it
	// answers instead if it returns true.
	after func(w http.ResponseWriter, r *http.Request) bool

	// blind opens a second pull request of a branch, as a forge does that looks and
	// opens in two steps.
	blind bool
	// old knows no owner/name:branch, as Forgejo does not.
	old      bool
	branches []string // that it says it has, if it is asked

	mu       sync.Mutex
	repos    []*standinRepo
	pulls    []*standinPull
	requests []string
}

type standinRepo struct {
	ID                          int64
	Path, DefaultBranch, Parent string
	Private, Archived, Self     bool
	Was                         string // its name before
}

type standinPull struct {
	Number                                  int
	Into, From, Head, Base, Title, Body, St string
}

var authorization = map[string]string{GitHub: "Bearer s3cret-token", GitLab: "Bearer s3cret-token", Gitea: "token s3cret-token"}

func newStandin(kind string) *standin {
	return &standin{kind: kind, token: authorization[kind], repos: []*standinRepo{{ID: 7, Path: "acme/web", DefaultBranch: "main"}}}
}

func (s *standin) repo(path string) *standinRepo {
	for _, r := range s.repos {
		if strings.EqualFold(r.Path, path) || strconv.FormatInt(r.ID, 10) == path {
			return r
		}
	}
	return nil
}

// set changes what a stand-in does while it is served.
func (s *standin) set(token string, intercept func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.intercept = token, intercept
}

// writes are the requests that changed something.
func (s *standin) writes() (w []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if !strings.HasPrefix(r, "GET ") {
			w = append(w, r)
		}
	}
	return w
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

type object = map[string]any

func (s *standin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), apiPath[s.kind])
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+path)
	token, intercept := s.token, s.intercept
	s.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	if r.Header.Get("Authorization") != token {
		reply(w, 401, object{"message": map[string]string{GitHub: "Bad credentials", GitLab: "401 Unauthorized", Gitea: "invalid username, password or token"}[s.kind]})
		return
	}
	var in map[string]any
	if r.Method != http.MethodGet {
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			reply(w, 400, object{"message": "Problems parsing JSON"})
			return
		}
	}
	var parts []string
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		unescaped, _ := url.PathUnescape(part)
		parts = append(parts, unescaped)
	}
	answer := httptest.NewRecorder()
	if s.kind == GitLab {
		s.gitlab(answer, r, parts, in)
	} else {
		s.github(answer, r, parts, in)
	}
	if s.after != nil && s.after(w, r) {
		return
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func (s *standin) github(w http.ResponseWriter, r *http.Request, parts []string, in map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	notFound := func() { reply(w, 404, object{"message": "Not Found"}) }
	if len(parts) < 3 || parts[0] != "repos" {
		notFound()
		return
	}
	for _, renamed := range s.repos {
		if renamed.Was == parts[1]+"/"+parts[2] {
			w.Header().Set("Location", fmt.Sprintf("/repos/%s", strings.Join(append([]string{renamed.Path}, parts[3:]...), "/")))
			reply(w, 301, object{"message": "Moved Permanently"})
			return
		}
	}
	repo := s.repo(parts[1] + "/" + parts[2])
	if repo == nil {
		notFound()
		return
	}
	switch strings.Join(append([]string{r.Method}, parts[3:]...), " ") {
	case "GET":
		reply(w, 200, s.githubRepo(repo))
	case "GET pulls":
		var list []object
		for _, p := range s.pulls {
			owner, _, _ := strings.Cut(p.From, "/")
			head := r.URL.Query().Get("head")
			if p.Into == repo.Path && (p.St == "open" || r.URL.Query().Get("state") == "all") && (s.kind == Gitea || head == "" || strings.EqualFold(head, owner+":"+p.Head)) {
				list = append(list, s.githubPull(p))
			}
		}
		slices.Reverse(list) // newest first
		size, _ := strconv.Atoi(cmp.Or(r.URL.Query().Get("per_page"), r.URL.Query().Get("limit"), "30"))
		page, _ := strconv.Atoi(cmp.Or(r.URL.Query().Get("page"), "1"))
		from, to := min(len(list), (page-1)*size), min(len(list), page*size)
		if to < len(list) {
			// a host that must not be followed
			w.Header().Set("Link", fmt.Sprintf(`<https://elsewhere.example/x?page=%d>; rel="next", <https://elsewhere.example/x?page=9>; rel="last"`, page+1))
		}
		reply(w, 200, append([]object{}, list[from:to]...))
	case "POST pulls":
		from, head := repo.Path, in["head"].(string)
		if owner, branch, ok := strings.Cut(head, ":"); ok {
			head = branch
			name, _ := in["head_repo"].(string)
			if s.kind == Gitea { // owner/name:branch
				owner, name, _ = strings.Cut(owner, "/")
				if s.old && name != "" {
					notFound()
					return
				}
			}
			for _, other := range s.repos {
				if strings.HasPrefix(other.Path, owner+"/") && (name == "" || other.Path == owner+"/"+name) {
					from = other.Path
				}
			}
		}
		for _, p := range s.pulls {
			if !s.blind && p.St == "open" && p.Into == repo.Path && p.From == from && p.Head == head && p.Base == in["base"] {
				if s.kind == Gitea {
					reply(w, 409, object{"message": "pull request already exists for these targets [id: 1, issue_id: 1]", "url": "https://x/api/swagger"})
				} else {
					reply(w, 422, object{"message": "Validation Failed", "errors": []object{{"resource": "PullRequest", "code": "custom", "message": "A pull request already exists for acme:" + head + "."}}})
				}
				return
			}
		}
		p := &standinPull{Number: len(s.pulls) + 1, Into: repo.Path, From: from, Head: head, Base: in["base"].(string), Title: in["title"].(string), Body: in["body"].(string), St: "open"}
		s.pulls = append(s.pulls, p)
		reply(w, 201, s.githubPull(p))
	default:
		if len(parts) == 5 && parts[3] == "branches" && slices.Contains(s.branches, parts[4]) {
			reply(w, 200, object{"name": parts[4]})
			return
		}
		if len(parts) == 5 && parts[3] == "pulls" && r.Method == http.MethodPatch {
			for _, p := range s.pulls {
				if p.Into == repo.Path && strconv.Itoa(p.Number) == parts[4] {
					if body, ok := in["body"].(string); ok {
						p.Body = body
					}
					if state, ok := in["state"].(string); ok {
						p.St = state
					}
					reply(w, 200, s.githubPull(p))
					return
				}
			}
		}
		notFound()
	}
}

func (s *standin) githubRepo(repo *standinRepo) object {
	o := object{"id": repo.ID, "full_name": repo.Path, "default_branch": repo.DefaultBranch, "private": repo.Private, "archived": repo.Archived, "fork": repo.Parent != ""}
	if parent := s.repo(repo.Parent); parent != nil {
		o["parent"] = s.githubRepo(parent)
	}
	return o
}

func (s *standin) githubPull(p *standinPull) object {
	var body any = p.Body
	if p.Body == "" && s.kind == GitHub {
		body = nil
	}
	return object{
		"number": p.Number, "title": p.Title, "body": body, "state": p.St, "draft": strings.HasPrefix(p.Title, "WIP"),
		"html_url": fmt.Sprintf("https://pages.example/%s/pull/%d", p.Into, p.Number),
		"base":     object{"ref": p.Base}, "head": object{"ref": p.Head, "repo": object{"full_name": p.From}},
	}
}

func (s *standin) gitlab(w http.ResponseWriter, r *http.Request, parts []string, in map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var repo *standinRepo
	if len(parts) >= 2 && parts[0] == "projects" {
		repo = s.repo(parts[1])
	}
	if repo == nil {
		reply(w, 404, object{"message": "404 Project Not Found"})
		return
	}
	switch strings.Join(append([]string{r.Method}, parts[2:]...), " ") {
	case "GET":
		o := object{"id": repo.ID, "path_with_namespace": repo.Path, "default_branch": repo.DefaultBranch, "visibility": map[bool]string{true: "private", false: "public"}[repo.Private], "archived": repo.Archived}
		if parent := s.repo(repo.Parent); parent != nil {
			o["forked_from_project"] = object{"id": parent.ID, "path_with_namespace": parent.Path}
			o["mr_default_target_self"] = repo.Self
		}
		reply(w, 200, o)
	case "GET merge_requests":
		list := []object{}
		for _, p := range s.pulls {
			if p.Into == repo.Path && p.St == "opened" && p.Head == r.URL.Query().Get("source_branch") {
				list = append(list, s.gitlabMR(p))
			}
		}
		reply(w, 200, list)
	case "POST merge_requests":
		into := s.repo(strconv.Itoa(int(in["target_project_id"].(float64))))
		for _, p := range s.pulls {
			if !s.blind && p.St == "opened" && p.Into == into.Path && p.From == repo.Path && p.Head == in["source_branch"] && p.Base == in["target_branch"] {
				reply(w, 409, object{"message": []string{"Another open merge request already exists for this source branch: !" + strconv.Itoa(p.Number)}})
				return
			}
		}
		p := &standinPull{Number: len(s.pulls) + 1, Into: into.Path, From: repo.Path, Head: in["source_branch"].(string), Base: in["target_branch"].(string), Title: in["title"].(string), Body: in["description"].(string), St: "opened"}
		s.pulls = append(s.pulls, p)
		reply(w, 201, s.gitlabMR(p))
	default:
		if len(parts) == 4 && parts[2] == "merge_requests" && r.Method == http.MethodPut {
			for _, p := range s.pulls {
				if p.Into == repo.Path && strconv.Itoa(p.Number) == parts[3] {
					if body, ok := in["description"].(string); ok {
						p.Body = body
					}
					if in["state_event"] == "close" {
						p.St = "closed"
					}
					reply(w, 200, s.gitlabMR(p))
					return
				}
			}
		}
		reply(w, 404, object{"error": "404 Not Found"})
	}
}

func (s *standin) gitlabMR(p *standinPull) object {
	return object{
		"id": 900 + p.Number, "iid": p.Number, "title": p.Title, "description": p.Body, "state": p.St, "source_branch": p.Head, "target_branch": p.Base,
		"source_project_id": s.repo(p.From).ID, "target_project_id": s.repo(p.Into).ID,
		"web_url": fmt.Sprintf("https://pages.example/%s/-/merge_requests/%d", p.Into, p.Number),
	}
}

// internet answers for hosts without a network; a host that is not there is an
// error, as in a name server.
type internet map[string]http.Handler

func (n internet) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	h := n[r.URL.Scheme+"://"+r.URL.Host]
	if h == nil {
		return nil, fmt.Errorf("dial tcp: lookup %s: no such host", r.URL.Host)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// clock counts what is slept instead of sleeping.
type clock struct {
	mu    sync.Mutex
	slept []time.Duration
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.slept = append(c.slept, d)
	c.mu.Unlock()
	return context.Cause(ctx)
}

// host is each kind's public host, its API, and the variable with its token.
var host = map[string]struct{ remote, api, token string }{
	GitHub: {"https://github.com/acme/web.git", "https://api.github.com", "GITHUB_TOKEN"},
	GitLab: {"https://gitlab.com/acme/web.git", "https://gitlab.com", "GITLAB_TOKEN"},
	Gitea:  {"https://codeberg.org/acme/web.git", "https://codeberg.org", "GITEA_TOKEN"},
}

// publishAt opens a pull request at a stand-in, with a token.
func publishAt(t *testing.T, s *standin, c *clock, pr PullRequest) (Published, error) {
	t.Helper()
	h := host[s.kind]
	f, err := open(context.Background(), h.remote, Options{
		HTTP: internet{h.api: s}, Environ: []string{h.token + "=s3cret-token"},
	}, c.sleep)
	if err != nil {
		t.Fatal(err)
	}
	if f.Kind() != s.kind || f.ByHand() != "" {
		t.Fatalf("%s: by hand because %q", f.Kind(), f.ByHand())
	}
	return f.Publish(context.Background(), pr)
}

var feature = PullRequest{Title: "Pin web", Body: "| web | 1.4.0 |", Head: "pin/web", Base: "main"}

func eachKind(t *testing.T, test func(t *testing.T, kind string)) {
	for _, kind := range []string{GitHub, GitLab, Gitea} {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}
