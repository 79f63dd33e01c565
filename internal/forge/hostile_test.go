package forge

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Every branch that git takes arrives as it is, in queries, paths and bodies.
func TestHostileBranches(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		for _, branch := range []string{"feat/#12", "50%", "100%25/%2F", "ü/🚀", "a&state=closed", "a+b", "{owner}", "{branch}", "$(id)", `"q"`, "a@b", "a=b;c", "refs/heads/x", "'"} {
			s, c := newStandin(kind), &clock{}
			pr := feature
			pr.Head, pr.Base = branch, "release/"+branch
			for _, want := range []string{Created, Unchanged} {
				got, err := publishAt(t, s, c, pr)
				if err != nil || got.Action != want {
					t.Errorf("%q: got %+v, %v", branch, got, err)
				}
			}
			if len(s.pulls) != 1 || s.pulls[0].Head != pr.Head || s.pulls[0].Base != pr.Base {
				t.Errorf("%q: got %+v", branch, s.pulls[0])
			}
		}
		for _, pr := range []PullRequest{{Head: ""}, {Head: "a b"}, {Head: "evil:main"}, {Head: "a..b"}, {Head: "x@{1}"}, {Head: "ok", Base: "a\x1b[2J b"}, {Head: "-x"}} {
			s := newStandin(kind)
			_, err := publishAt(t, s, &clock{}, pr)
			if !errors.Is(err, ErrMisuse) || len(s.requests) != 0 || strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("%+v: got %v after %q", pr, err, s.requests)
			}
		}
	})
}

func TestHostileTitleAndBody(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		s := newStandin(kind)
		pr := feature
		pr.Title = "Pin \x1b]0;owned\x07 web\n/close\r\n" + strings.Repeat("x", 400)
		pr.Body = "a\n<!-- /pin-cmp -->\n/merge\n<!-- pin-cmp -->\x00\n\"}],\"base\":\"evil"
		for _, want := range []string{Created, Unchanged} {
			if got, err := publishAt(t, s, &clock{}, pr); err != nil || got.Action != want {
				t.Errorf("got %+v, %v", got, err)
			}
		}
		p := s.pulls[0]
		if strings.ContainsAny(p.Title, "\x1b\x07\n\r") || characters(p.Title) > 255 || strings.ContainsRune(p.Body, 0) || p.Base != "main" {
			t.Errorf("got %+v", p)
		}
		if strings.Count(p.Body, beginMark) != 1 || strings.Count(p.Body, endMark) != 1 {
			t.Errorf("marks that are not ours are in %q", p.Body)
		}
		if kind == GitLab && strings.Contains(p.Body, "\n/merge") {
			t.Errorf("GitLab would merge: %q", p.Body)
		}
	})
}

// A forge whose answers are somebody else's to choose: what is printed of them is
// one address that is one.
func TestHostileAddress(t *testing.T) {
	for _, bad := range []string{"javascript:alert(1)", "https://github.com/\x1b[2Jx", "https://a b/", "", "https://user:pw@evil.example/", "//evil.example", "https://github.com/\u202egpj.exe", "file:///etc/passwd"} {
		s := newStandin(GitHub)
		s.after = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				reply(w, 201, object{"number": 1, "html_url": bad})
				return true
			}
			return false
		}
		got, err := publishAt(t, s, &clock{}, feature)
		if err != nil || got.URL != "https://github.com/acme/web/pull/1" {
			t.Errorf("%q: got %+v, %v", bad, got, err)
		}
	}
}

// A server that redirects to another place gets there without the token.
func TestRedirectThatWantsTheToken(t *testing.T) {
	thief := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("asked %s with %q", r.URL, r.Header)
	})
	for name, to := range map[string]string{
		"another host":   "https://thief.example/repos/acme/web",
		"another port":   "https://api.github.com:8443/repos/acme/web",
		"plain http":     "http://api.github.com/repos/acme/web",
		"a name before":  "https://token@api.github.com/repos/acme/web",
		"without scheme": "//thief.example/x",
	} {
		for _, status := range []int{301, 302, 307, 308} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				s := newStandin(GitHub)
				s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method != method {
						return false
					}
					w.Header().Set("Location", to)
					w.WriteHeader(status)
					return true
				}
				f, err := open(t.Context(), host[GitHub].remote, Options{Environ: []string{"GH_TOKEN=s3cret-token"}, HTTP: internet{
					"https://api.github.com": s, "https://thief.example": thief, "https://api.github.com:8443": thief, "http://api.github.com": thief,
				}}, (&clock{}).sleep)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.Publish(t.Context(), feature); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "it redirects") || strings.Contains(err.Error(), "token@") {
					t.Errorf("%s, %d, %s: got %v", name, status, method, err)
				}
			}
		}
	}
	s := newStandin(GitHub)
	s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Location", r.URL.String())
		w.WriteHeader(http.StatusFound)
		return true
	}
	if _, err := publishAt(t, s, &clock{}, feature); !errors.Is(err, ErrUnreachable) || len(s.requests) > 10 {
		t.Errorf("got %v after %d requests", err, len(s.requests))
	}
}

// Over a real connection: a body without end, one that stops short, a server that
// hangs up.
func TestBodiesThatDoNotEnd(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		switch {
		case strings.HasSuffix(r.URL.Path, "/endless"):
			_, _ = w.Write([]byte(`{"full_name": "`))
			junk := []byte(strings.Repeat("x", 1<<16))
			for r.Context().Err() == nil {
				if _, err := w.Write(junk); err != nil {
					return
				}
			}
		case strings.HasSuffix(r.URL.Path, "/short"):
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"full_name"`))
		default:
			panic(http.ErrAbortHandler)
		}
	}))
	defer server.Close()
	for _, name := range []string{"endless", "short", "abort"} {
		requests.Store(0)
		f, err := open(t.Context(), "https://git.example.com/acme/"+name, Options{Kind: GitHub, APIURL: server.URL + "/api/v3", Environ: []string{"GH_TOKEN=s3cret-token"}}, (&clock{}).sleep)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Publish(t.Context(), feature)
		if !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "127.0.0.1") || int(requests.Load()) != len(attempts) {
			t.Errorf("%s: got %v after %d requests", name, err, requests.Load())
		}
	}
}

// A list whose every page has a next one.
func TestListWithoutEnd(t *testing.T) {
	s := newStandin(Gitea)
	s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/pulls") {
			return false
		}
		w.Header().Set("Link", `<https://codeberg.org/x>; rel="next"`)
		reply(w, 200, []object{{"number": 1, "state": "open", "head": object{"ref": "x", "repo": nil}}})
		return true
	}
	if _, err := publishAt(t, s, &clock{}, feature); !errors.Is(err, ErrRefused) || len(s.requests) > 250 {
		t.Errorf("got %v after %d requests", err, len(s.requests))
	}
}

// No error of any request that any forge may fail shows a token.
func TestNoErrorShowsTheToken(t *testing.T) {
	const token = "s3cret-token"
	eachKind(t, func(t *testing.T, kind string) {
		for status := 200; status < 600; status += 7 {
			s := newStandin(kind)
			s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
				w.WriteHeader(status)
				_, _ = fmt.Fprintf(w, "<html>%s</html>", r.URL)
				return true
			}
			_, err := publishAt(t, s, &clock{}, feature)
			var e *Error
			if !errors.As(err, &e) || strings.Contains(err.Error(), token) || !isPlain(strings.ReplaceAll(err.Error(), " ", "")) {
				t.Errorf("%d: got %v", status, err)
			}
		}
	})
	broken := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	f, err := open(t.Context(), "https://ada:"+token+"@git.example.com/acme/web", Options{Kind: GitLab, HTTP: internet{"https://x": broken}, Environ: []string{"GITLAB_TOKEN=" + token}}, (&clock{}).sleep)
	if err != nil {
		t.Fatal(err)
	}
	want := "pull request of pin/web: git.example.com can't be reached through GITLAB_TOKEN: dial tcp: lookup git.example.com: no such host; run it again"
	if _, err = f.Publish(t.Context(), feature); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	if err := sleep(t.Context(), time.Nanosecond); err != nil {
		t.Error(err)
	}
}
