package forge

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCreateThenUnchangedThenUpdate(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		s, c := newStandin(kind), &clock{}
		first, err := publishAt(t, s, c, feature)
		if err != nil {
			t.Fatal(err)
		}
		if first.Action != Created || first.Number != 1 || first.Repository != "acme/web" || !strings.HasPrefix(first.URL, "https://pages.example/acme/web/") {
			t.Errorf("got %+v", first)
		}
		made := *s.pulls[0]
		if made.Body != "<!-- pin-cmp -->\n| web | 1.4.0 |\n<!-- /pin-cmp -->" || made.Title != "Pin web" || made.Head != "pin/web" || made.Base != "main" {
			t.Errorf("opened %+v", made)
		}
		// A person edits title and description, as GitHub's page does with line ends.
		s.pulls[0].Title = "WIP: Release 1.4.0" // a draft
		s.pulls[0].Body = "Please review.\r\n\r\n<!-- pin-cmp -->\r\n| web | 1.4.0 |\r\n<!-- /pin-cmp -->\r\n\r\ncc Grace"
		writes := len(s.writes())
		again, err := publishAt(t, s, c, feature)
		if err != nil || again.Action != Unchanged || again.Number != 1 || again.URL != first.URL {
			t.Errorf("got %+v, %v", again, err)
		}
		if got := s.writes()[writes:]; len(got) != 0 {
			t.Errorf("something was sent though nothing changed: %q", got)
		}
		changed := feature
		changed.Title, changed.Body, changed.Base = "another", "| web | 1.5.0 |", "release"
		third, err := publishAt(t, s, c, changed)
		if err != nil || third.Action != Updated || third.Number != 1 {
			t.Errorf("got %+v, %v", third, err)
		}
		if want := "Please review.\r\n\r\n<!-- pin-cmp -->\n| web | 1.5.0 |\n<!-- /pin-cmp -->\r\n\r\ncc Grace"; s.pulls[0].Body != want {
			t.Errorf("got  %q\nwant %q", s.pulls[0].Body, want)
		}
		if s.pulls[0].Title != "WIP: Release 1.4.0" || s.pulls[0].Base != "main" || len(s.pulls) != 1 {
			t.Errorf("touched more than the description: %+v", s.pulls[0])
		}
		// A closed one is over.
		s.pulls[0].St = "closed"
		fourth, err := publishAt(t, s, c, feature)
		if err != nil || fourth.Action != Created || fourth.Number != 2 {
			t.Errorf("got %+v, %v", fourth, err)
		}
		if len(c.slept) != 0 {
			t.Errorf("waited %v for nothing", c.slept)
		}
	})
}

func TestDefaultBranchIsTheBase(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		s := newStandin(kind)
		s.repos[0].DefaultBranch = "trunk"
		pr := feature
		pr.Base, pr.Title = "", ""
		if _, err := publishAt(t, s, &clock{}, pr); err != nil {
			t.Fatal(err)
		}
		if s.pulls[0].Base != "trunk" || s.pulls[0].Title != "pin/web" {
			t.Errorf("got %+v", s.pulls[0])
		}
		pr.Head = "trunk"
		if _, err := publishAt(t, s, &clock{}, pr); !errors.Is(err, ErrNothingToOpen) {
			t.Errorf("got %v", err)
		}
	})
}

// Branches of the same name in other repositories, pull requests into other
// branches, and pages of strangers are not ours.
func TestFindsOnlyItsOwn(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		s := newStandin(kind)
		s.repos = append(s.repos, &standinRepo{ID: 8, Path: "mallory/web", DefaultBranch: "main", Parent: "acme/web"})
		open := map[string]string{GitHub: "open", GitLab: "opened", Gitea: "open"}[kind]
		s.pulls = append(s.pulls, &standinPull{Number: 1, Into: "acme/web", From: "mallory/web", Head: "pin/web", Base: "main", St: open})
		for i := range 120 {
			s.pulls = append(s.pulls, &standinPull{Number: i + 2, Into: "acme/web", From: "acme/web", Head: fmt.Sprintf("other-%d", i), Base: "main", St: open})
		}
		s.pulls[2].Head, s.pulls[2].Base = "pin/web", "release" // the second page, where there are pages
		s.pulls[4].Head, s.pulls[4].Base = "pin/web", "main"
		got, err := publishAt(t, s, &clock{}, feature)
		if err != nil || got.Action != Updated || got.Number != 5 {
			t.Errorf("got %+v, %v", got, err)
		}
		if s.pulls[0].Body != "" || s.pulls[2].Body != "" {
			t.Errorf("wrote into somebody else's: %q, %q", s.pulls[0].Body, s.pulls[2].Body)
		}
		s.pulls[4].Head = "gone"
		if got, err := publishAt(t, s, &clock{}, feature); err != nil || got.Number != 3 {
			t.Errorf("the one into another branch was not taken: %+v, %v", got, err)
		}
	})
}

func TestForks(t *testing.T) {
	for _, tt := range []struct {
		name     string
		fork     standinRepo
		parent   standinRepo
		into     string
		existing string // where one is open
		want     string
	}{
		{name: "into the parent", want: "upstream/web"},
		{name: "archived parent", parent: standinRepo{Archived: true}, want: "acme/web"},
		{name: "private fork of a public repository", fork: standinRepo{Private: true}, want: "acme/web"},
		{name: "private fork of a private repository", fork: standinRepo{Private: true}, parent: standinRepo{Private: true}, want: "upstream/web"},
		{name: "said otherwise", into: "acme/web", want: "acme/web"},
		{name: "one is open within the fork", existing: "acme/web", want: "acme/web"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind string) {
				s := newStandin(kind)
				fork, parent := tt.fork, tt.parent
				fork.ID, fork.Path, fork.DefaultBranch, fork.Parent = 7, "acme/web", "main", "upstream/web"
				parent.ID, parent.Path, parent.DefaultBranch = 9, "upstream/web", "devel"
				s.repos = []*standinRepo{&fork, &parent}
				pr := feature
				pr.Base = ""
				if tt.existing != "" {
					st := map[string]string{GitHub: "open", GitLab: "opened", Gitea: "open"}[kind]
					s.pulls = append(s.pulls, &standinPull{Number: 1, Into: tt.existing, From: "acme/web", Head: pr.Head, Base: "main", St: st})
				}
				h := host[kind]
				f, err := open(t.Context(), h.remote, Options{HTTP: internet{h.api: s}, Into: tt.into, Environ: []string{h.token + "=s3cret-token"}}, (&clock{}).sleep)
				if err != nil {
					t.Fatal(err)
				}
				got, err := f.Publish(t.Context(), pr)
				if err != nil {
					t.Fatal(err)
				}
				p := s.pulls[0]
				base := map[string]string{"upstream/web": "devel", "acme/web": "main"}[tt.want]
				if got.Repository != tt.want || len(s.pulls) != 1 || p.Into != tt.want || p.From != "acme/web" || p.Base != base {
					t.Errorf("got %+v, %+v", got, *p)
				}
				if again, err := f.Publish(t.Context(), pr); err != nil || again.Action != Unchanged {
					t.Errorf("again: %+v, %v", again, err)
				}
			})
		})
	}
}

func TestForkOfTheSameOwner(t *testing.T) {
	for _, kind := range []string{GitHub, Gitea} {
		s := newStandin(kind)
		s.repos = []*standinRepo{{ID: 7, Path: "acme/web", DefaultBranch: "main", Parent: "acme/upstream"}, {ID: 9, Path: "acme/upstream", DefaultBranch: "main"}}
		if _, err := publishAt(t, s, &clock{}, feature); err != nil || s.pulls[0].From != "acme/web" || s.pulls[0].Into != "acme/upstream" {
			t.Errorf("got %+v, %v", s.pulls, err)
		}
	}
}

// Forgejo and older versions of Gitea take the owner alone.
func TestForkOnForgejo(t *testing.T) {
	s := newStandin(Gitea)
	s.old, s.branches = true, []string{"pin/web", "main"}
	s.repos = []*standinRepo{{ID: 7, Path: "acme/web", DefaultBranch: "main", Parent: "upstream/web"}, {ID: 9, Path: "upstream/web", DefaultBranch: "main"}}
	if got, err := publishAt(t, s, &clock{}, feature); err != nil || got.Repository != "upstream/web" || s.pulls[0].From != "acme/web" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// GitLab's own setting of a fork, and a parent that is not to be seen.
func TestGitLabForkThatStaysHome(t *testing.T) {
	s := newStandin(GitLab)
	s.repos = []*standinRepo{{ID: 7, Path: "acme/web", DefaultBranch: "main", Parent: "upstream/web", Self: true}, {ID: 9, Path: "upstream/web", DefaultBranch: "main"}}
	if got, err := publishAt(t, s, &clock{}, feature); err != nil || got.Repository != "acme/web" {
		t.Errorf("got %+v, %v", got, err)
	}
	s.repos[0].Self, s.pulls = false, nil
	s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/projects/9") {
			return false
		}
		reply(w, 404, object{"message": "404 Project Not Found"})
		return true
	}
	if got, err := publishAt(t, s, &clock{}, feature); err != nil || got.Repository != "acme/web" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Two at once, both of which find none: one pull request stays, whether the forge
// refuses the second or opens it as well. A person's is left alone.
func TestTwoAtOnce(t *testing.T) {
	for name, blind := range map[string]bool{"refused": false, "opened": true} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind string) { twoAtOnce(t, kind, blind) })
		})
	}
}

func twoAtOnce(t *testing.T, kind string, blind bool) {
	s := newStandin(kind)
	s.blind = blind
	st := map[string]string{GitHub: "open", GitLab: "opened", Gitea: "open"}[kind]
	s.pulls = []*standinPull{{Number: 1, Into: "acme/web", From: "acme/web", Head: "other", Base: "main", St: st, Body: beginMark + "\n" + endMark}}
	var looked sync.WaitGroup
	looked.Add(2)
	var mu sync.Mutex
	lists := 0
	s.after = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && (strings.HasSuffix(r.URL.Path, "/pulls") || strings.HasSuffix(r.URL.Path, "/merge_requests")) {
			mu.Lock()
			lists++
			early := lists <= 2
			mu.Unlock()
			if early {
				looked.Done()
				looked.Wait()
			}
		}
		return false
	}
	var got [2]Published
	var errs [2]error
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			pr := feature
			pr.Body = fmt.Sprintf("by %d", i)
			got[i], errs[i] = publishAt(t, s, &clock{}, pr)
		})
	}
	wg.Wait()
	if errs[0] != nil || errs[1] != nil {
		t.Fatal(errs)
	}
	var open []int
	for _, p := range s.pulls {
		if p.St == st {
			open = append(open, p.Number)
		}
	}
	actions := []string{got[0].Action, got[1].Action}
	slices.Sort(actions)
	if !slices.Equal(open, []int{1, 2}) || !slices.Equal(actions, []string{Created, Updated}) || got[0].Number != 2 || got[1].Number != 2 {
		t.Errorf("%v are open; %+v", open, got)
	}
	if blind && len(s.pulls) != 3 {
		t.Errorf("there was no race: %+v", s.pulls)
	}
}

// A person opened one at the same time, which is the newer: both stay.
func TestAPersonAtTheSameTime(t *testing.T) {
	s := newStandin(GitHub)
	s.after = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			s.pulls = append(s.pulls, &standinPull{Number: 2, Into: "acme/web", From: "acme/web", Head: "pin/web", Base: "main", St: "open", Body: "mine"})
		}
		return false
	}
	got, err := publishAt(t, s, &clock{}, feature)
	if err != nil || got.Action != Created || got.Number != 1 || s.pulls[1].St != "open" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// The look after the opening fails: there is a pull request all the same.
func TestLookAfterwardsFails(t *testing.T) {
	s := newStandin(GitHub)
	s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && len(s.writes()) > 0 {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	}
	if got, err := publishAt(t, s, &clock{}, feature); err != nil || got.Action != Created || got.Number != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A server that does what it was told and then fails to say so.
func TestCreatedButTheAnswerIsLost(t *testing.T) {
	for name, lose := range map[string]func(w http.ResponseWriter){
		"502":            func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) },
		"half an answer": func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"number": 1, "html_`)) },
		"null":           func(w http.ResponseWriter) { _, _ = w.Write([]byte(`null`)) },
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind string) {
				s := newStandin(kind)
				s.after = func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method == http.MethodPost {
						lose(w)
						return true
					}
					return false
				}
				got, err := publishAt(t, s, &clock{}, feature)
				if err != nil || got.Action != Created || got.Number != 1 || len(s.pulls) != 1 || len(s.writes()) != 1 {
					t.Errorf("got %+v, %v after %q", got, err, s.writes())
				}
			})
		})
	}
}

// A server that fails before it does anything is asked again, and only after a
// look that nothing happened.
func TestNotCreatedAndAskedAgain(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		s, c := newStandin(kind), &clock{}
		posts := 0
		s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				if posts++; posts < 3 {
					w.WriteHeader(http.StatusServiceUnavailable)
					return true
				}
			}
			return false
		}
		got, err := publishAt(t, s, c, feature)
		if err != nil || got.Action != Created || len(s.pulls) != 1 || posts != 3 {
			t.Errorf("got %+v, %v after %d posts", got, err, posts)
		}
		var order []string
		for _, r := range s.requests {
			order = append(order, strings.Fields(r)[0])
		}
		if strings.Join(order, " ") != "GET GET POST GET POST GET POST GET" {
			t.Errorf("asked %q", s.requests)
		}
	})
}

func TestServerThatStaysDown(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			s, c := newStandin(kind), &clock{}
			s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == method {
					w.WriteHeader(http.StatusBadGateway)
				}
				return r.Method == method
			}
			_, err := publishAt(t, s, c, feature)
			want := "pull request of pin/web: " + hostOf(host[kind].remote) + " answers with an error of its own, 502 bad gateway; run it again"
			if !errors.Is(err, ErrUnreachable) || err.Error() != want {
				t.Errorf("%s: got %v\nwant %s", method, err, want)
			}
			if len(s.requests) > 16 {
				t.Errorf("%s: asked %d times", method, len(s.requests))
			}
		}
	})
}

func TestRenamedRepository(t *testing.T) {
	for _, kind := range []string{GitHub, Gitea} {
		s := newStandin(kind)
		s.repos[0].Path, s.repos[0].Was = "acme/shop", "acme/web"
		got, err := publishAt(t, s, &clock{}, feature)
		if err != nil || got.Repository != "acme/shop" || got.Action != Created {
			t.Errorf("%s: got %+v, %v", kind, got, err)
		}
		if w := s.writes(); len(w) != 1 || w[0] != "POST /repos/acme/shop/pulls" {
			t.Errorf("%s: wrote %q", kind, w)
		}
	}
}

// A repository that moves between two requests: the POST is repeated at the new
// place, with its body.
func TestMovedUnderway(t *testing.T) {
	s := newStandin(GitHub)
	moved := false
	s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && !moved {
			moved = true
			w.Header().Set("Location", "https://api.github.com/repos/acme/web/pulls?moved")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	got, err := publishAt(t, s, &clock{}, feature)
	if err != nil || got.Action != Created || !moved || s.pulls[0].Title != "Pin web" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// The forge that has not seen the push yet.
func TestPushNotSeenYet(t *testing.T) {
	for kind, say := range map[string]struct {
		status int
		body   any
	}{
		GitHub: {422, object{"message": "Validation Failed", "errors": []object{{"resource": "PullRequest", "field": "head", "code": "invalid"}}}},
		GitLab: {400, object{"message": map[string][]string{"base": {`Source branch "pin/web" does not exist`}}}},
		Gitea:  {404, object{"message": "The target couldn't be found."}},
	} {
		t.Run(kind, func(t *testing.T) {
			s, c := newStandin(kind), &clock{}
			s.branches = []string{"main"}
			posts := 0
			s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPost {
					posts++
				}
				if r.Method == http.MethodPost && posts < 3 {
					reply(w, say.status, say.body)
					return true
				}
				return false
			}
			got, err := publishAt(t, s, c, feature)
			if err != nil || got.Action != Created || posts != 3 || len(c.slept) != 2 {
				t.Errorf("got %+v, %v after %d posts and %v", got, err, posts, c.slept)
			}
			posts, s.pulls = -100, nil // it never comes
			_, err = publishAt(t, s, c, feature)
			if want := " knows no branch pin/web of acme/web; push it, or run it again if it was pushed just now"; !errors.Is(err, ErrRefused) || !strings.HasSuffix(err.Error(), want) || posts > -90 {
				t.Errorf("got %v after %d posts", err, posts+100)
			}
		})
	}
}

func TestEmptyGitea(t *testing.T) {
	s, c := newStandin(Gitea), &clock{}
	asked := 0
	s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/repos/acme/web") {
			if asked++; asked < 4 {
				reply(w, 200, object{"full_name": "acme/web", "default_branch": "main", "empty": true})
				return true
			}
		}
		return false
	}
	got, err := publishAt(t, s, c, feature)
	if err != nil || got.Action != Created || !slices.Equal(c.slept, []time.Duration{time.Second / 4, time.Second / 2, time.Second}) {
		t.Errorf("got %+v, %v after %v", got, err, c.slept)
	}
}

func TestWhatTheForgeSays(t *testing.T) {
	post := func(s *standin, status int, body any) {
		s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				reply(w, status, body)
			}
			return r.Method == http.MethodPost
		}
	}
	get := func(s *standin, status int, body any) {
		s.intercept = func(w http.ResponseWriter, _ *http.Request) bool { reply(w, status, body); return true }
	}
	for _, tt := range []struct {
		name   string
		kind   string
		set    func(*standin)
		reason error
		want   string
	}{
		{"wrong token", GitHub, func(s *standin) { s.token = "Bearer another" }, ErrDenied, "github.com does not accept GITHUB_TOKEN (Bad credentials): it is wrong, or has expired; set GITHUB_TOKEN anew, and run it again: the branch is pushed"},
		{"wrong token", GitLab, func(s *standin) { s.token = "" }, ErrDenied, "gitlab.com does not accept GITLAB_TOKEN (401 Unauthorized): it is wrong, or has expired; set GITLAB_TOKEN anew, and run it again: the branch is pushed"},
		{"no such repository", GitHub, func(s *standin) { s.repos = nil }, ErrDenied, "github.com has no acme/web that GITHUB_TOKEN may see (Not Found); it needs pull requests: write and contents: read (in a workflow, permissions: pull-requests: write; of a classic token, the scope repo)"},
		{"no permission", GitHub, func(s *standin) {
			post(s, 403, object{"message": "Resource not accessible by integration", "documentation_url": "https://docs.github.com/rest"})
		}, ErrDenied, "GITHUB_TOKEN may not open a pull request in acme/web on github.com (Resource not accessible by integration); it needs pull requests: write and contents: read (in a workflow, permissions: pull-requests: write; of a classic token, the scope repo)"},
		{"no permission", GitLab, func(s *standin) {
			post(s, 403, object{"error": "insufficient_scope", "error_description": "x", "scope": "api"})
		}, ErrDenied, "GITLAB_TOKEN may not open a pull request in acme/web on gitlab.com (insufficient_scope); it needs the scope api, and the role Developer"},
		{"no permission", Gitea, func(s *standin) {
			post(s, 403, object{"message": "token does not have at least one of required scope(s): [write:repository]"})
		}, ErrDenied, "GITEA_TOKEN may not open a pull request in acme/web on codeberg.org (token does not have at least one of required scope(s): [write:repository]); it needs the scopes write:repository and write:issue"},
		{"nothing new", GitHub, func(s *standin) {
			post(s, 422, object{"message": "Validation Failed", "errors": []object{{"resource": "PullRequest", "code": "custom", "message": "No commits between main and pin/web"}}})
		}, ErrNothingToOpen, "it holds no commits that main of acme/web has not"},
		{"bad base", GitHub, func(s *standin) {
			post(s, 422, object{"message": "Validation Failed", "errors": []object{{"resource": "PullRequest", "field": "base", "code": "invalid"}}})
		}, ErrRefused, "acme/web has no branch main to merge it into"},
		{"codes", GitHub, func(s *standin) {
			post(s, 422, object{"message": "Validation Failed", "errors": []object{{"resource": "PullRequest", "field": "title", "code": "missing_field"}, {"message": "and more"}}})
		}, ErrRefused, "github.com did not open a pull request in acme/web: title is missing_field: and more"},
		{"hidden permission", GitHub, func(s *standin) { post(s, 404, object{"message": "Not Found"}) }, ErrDenied, "GITHUB_TOKEN may not open a pull request in acme/web on github.com (Not Found); it needs pull requests: write and contents: read (in a workflow, permissions: pull-requests: write; of a classic token, the scope repo)"},
		{"strings", GitHub, func(s *standin) {
			post(s, 422, object{"message": "Validation Failed", "errors": []string{"one\x1b[2J", "two\u202e"}})
		}, ErrRefused, "github.com did not open a pull request in acme/web: one[2J: two"},
		{"validation", GitLab, func(s *standin) {
			post(s, 400, object{"message": object{"title": []string{"can't be blank"}}})
		}, ErrRefused, "gitlab.com did not open a pull request in acme/web: title can't be blank"},
		{"no words", Gitea, func(s *standin) { post(s, 418, nil) }, ErrRefused, "codeberg.org did not open a pull request in acme/web: 418 i'm a teapot"},
		{"a login page", GitLab, func(s *standin) {
			s.intercept = func(w http.ResponseWriter, _ *http.Request) bool {
				_, _ = w.Write([]byte("<html>log in</html>"))
				return true
			}
		}, ErrUnreachable, "gitlab.com answers GET projects/acme%2Fweb with something that is not from the API of GitLab; is --forge-api right?"},
		{"wrong types", GitHub, func(s *standin) { get(s, 200, object{"full_name": 7}) }, ErrUnreachable, "github.com answers GET repos/acme/web with something that is not from the API of GitHub; is --forge-api right?"},
		{"wrong types", Gitea, func(s *standin) { get(s, 200, []int{1}) }, ErrUnreachable, "codeberg.org answers GET repos/acme/web with something that is not from the API of Gitea; is --forge-api right?"},
		{"an object without a name", GitHub, func(s *standin) { get(s, 200, object{"full_name": "../../etc"}) }, ErrUnreachable, "github.com says of acme/web nothing that the API of GitHub would; is --forge-api right?"},
		{"no id", GitLab, func(s *standin) { get(s, 200, object{"id": 0, "path_with_namespace": "acme/web"}) }, ErrUnreachable, "gitlab.com says of acme/web nothing that the API of GitLab would; is --forge-api right?"},
		{"no default branch", GitLab, func(s *standin) { s.repos[0].DefaultBranch = "" }, ErrNothingToOpen, "acme/web has no default branch to merge into; push one first"},
	} {
		t.Run(tt.kind+" "+tt.name, func(t *testing.T) {
			s := newStandin(tt.kind)
			tt.set(s)
			pr := feature
			if tt.name == "no default branch" {
				pr.Base = ""
			}
			_, err := publishAt(t, s, &clock{}, pr)
			if err == nil || err.Error() != "pull request of pin/web: "+tt.want || !errors.Is(err, tt.reason) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if len(s.pulls) != 0 {
				t.Error("there is one all the same")
			}
		})
	}
}
