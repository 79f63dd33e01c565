package forge

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

var toolOf = map[string]string{GitHub: "gh", GitLab: "glab", Gitea: "tea"}

// teaConfigOf is a tea that keeps its token in a keyring.
func teaConfigOf(t *testing.T, env []string, url, token string) {
	t.Helper()
	write(t, filepath.Join(newEnviron(env)["HOME"], ".config", "tea", "config.yml"),
		"logins:\n- name: other\n  url: https://other.example\n  token: other\n- name: "+hostOf(url)+"\n  url: "+url+"\n  token: \""+token+"\"\n  ssh_host: ssh."+hostOf(url)+"\n")
}

// served is a stand-in on a real port, for a tool to talk to.
func served(t *testing.T, kind string) (*standin, string) {
	t.Helper()
	s := newStandin(kind)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL
}

func TestThroughTheTool(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		s, url := served(t, kind)
		h := host[kind]
		site := hostOf(h.remote)
		env := install(t, url, site, toolOf[kind])
		teaConfigOf(t, env, "https://"+site, "")
		pr := feature
		pr.Head = "pin/{owner}#%3A"
		for _, want := range []string{Created, Unchanged, Updated} {
			if want == Updated {
				pr.Body = "other"
			}
			f, err := open(t.Context(), h.remote, Options{Environ: append(env, h.token+"=not-used"), HTTP: internet{}}, (&clock{}).sleep)
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.Publish(t.Context(), pr)
			if err != nil || got.Action != want || got.Number != 1 {
				t.Errorf("got %+v, %v\n%s", got, err, strings.Join(calls(t, env), "\n"))
			}
		}
		if s.pulls[0].Head != pr.Head {
			t.Errorf("got %+v", s.pulls[0])
		}
		for _, call := range calls(t, env) {
			if strings.Contains(call, "s3cret") || strings.Contains(call, "Pin web") || strings.Contains(call, "graphql") {
				t.Errorf("on the command line: %s", call)
			}
		}
	})
}

func TestWhatTheToolSays(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		s, url := served(t, kind)
		h := host[kind]
		site := hostOf(h.remote)
		tool := toolOf[kind]
		env := install(t, url, site, tool)
		teaConfigOf(t, env, "https://"+site, "")
		publish := func(c *clock) error {
			f, err := open(t.Context(), h.remote, Options{Environ: env}, c.sleep)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.Publish(t.Context(), feature)
			return err
		}
		s.set("another", nil)
		login := map[string]string{GitHub: "gh auth login --hostname github.com", GitLab: "glab auth login --hostname gitlab.com", Gitea: "tea login add"}[kind]
		if err := publish(&clock{}); !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), " does not accept "+tool+" (") || !strings.Contains(err.Error(), login) {
			t.Errorf("got %v", err)
		}
		// Headers come through: a rate limit is waited for.
		var limited atomic.Bool
		s.set(authorization[kind], func(w http.ResponseWriter, _ *http.Request) bool {
			if limited.Swap(true) {
				return false
			}
			w.Header().Set("Retry-After", "3")
			reply(w, 429, object{"message": "slow down"})
			return true
		})
		c := &clock{}
		if err := publish(c); err != nil || len(c.slept) != 1 {
			t.Errorf("got %v after %v", err, c.slept)
		}
		// Nobody answers the tool.
		env[1] = "FAKE_SERVER=http://127.0.0.1:1"
		err := publish(&clock{})
		want := "pull request of pin/web: " + site + " can't be reached through " + tool + ": error connecting to " + site + "; run it again"
		if !errors.Is(err, ErrUnreachable) || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

// An answer that has no end is cut off, and the tool with it.
func TestToolThatDoesNotStop(t *testing.T) {
	s, url := served(t, GitHub)
	s.set(s.token, func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte(strings.Repeat(" ", longestAnswer+100)))
		return true
	})
	env := install(t, url, "github.com", "gh")
	f, err := open(t.Context(), host[GitHub].remote, Options{Environ: env}, (&clock{}).sleep)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Publish(t.Context(), feature); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), errTooLong.Error()) {
		t.Errorf("got %v", err)
	}
}

// Which credential is used: the tool's on a workstation, the token's in CI.
func TestOrderOfCredentials(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		h := host[kind]
		site := hostOf(h.remote)
		env := install(t, "", site, toolOf[kind])
		teaConfigOf(t, env, "https://"+site, "")
		for _, tt := range []struct {
			name string
			env  []string
			o    Options
			want string
		}{
			{"workstation", []string{h.token + "=x"}, Options{}, toolOf[kind]},
			{"CI", []string{h.token + "=x", "CI=true"}, Options{}, h.token},
			{"CI without token", []string{"CI=true"}, Options{}, toolOf[kind]},
			{"CI=false", []string{h.token + "=x", "CI=false"}, Options{}, toolOf[kind]},
			{"an API of the caller's", []string{h.token + "=x"}, Options{APIURL: "https://proxy.example" + apiPath[kind]}, h.token},
		} {
			got, err := chosen(t, h.remote, append(slices.Clone(env), tt.env...), tt.o)
			if err != nil || got.source != tt.want {
				t.Errorf("%s: got %+v, %v", tt.name, got, err)
			}
		}
	})
}

// chosen is who would talk to a remote's forge.
func chosen(t *testing.T, remoteURL string, env []string, o Options) (way, error) {
	t.Helper()
	o.Environ = env
	tools := tools{env: newEnviron(env)}
	r, err := parseRemote(remoteURL)
	if err != nil {
		t.Fatal(err)
	}
	s, err := discover(t.Context(), r, o, tools)
	if err != nil {
		return way{}, err
	}
	return chooseWay(t.Context(), s, o, tools)
}

func TestTeaLogins(t *testing.T) {
	env := install(t, "", "tea.example", "tea")
	teaConfigOf(t, env, "https://tea.example", "s3cret-token")
	for remoteURL, want := range map[string]string{
		"https://tea.example/acme/web":       "tea's login tea.example",
		"git@ssh.tea.example:acme/web":       "tea's login tea.example",
		"https://unknown.example/acme/web":   "",
		"https://xtea.example/acme/web":      "",
		"https://tea.example:8443/acme/web":  "tea's login tea.example",
		"git@tea.example.evil.com:acme/web":  "",
		"https://other.example/acme/web.git": "tea's login other",
	} {
		got, err := chosen(t, remoteURL, env, Options{HTTP: internet{}})
		if want == "" {
			if !errors.Is(err, ErrUnknownForge) {
				t.Errorf("%s: got %+v, %v", remoteURL, got, err)
			}
			continue
		}
		if err != nil || got.source != want {
			t.Errorf("%s: got %+v, %v", remoteURL, got, err)
		}
		if h, ok := got.transport.(*httpTransport); !ok || !strings.HasPrefix(h.base, "https://") || strings.Contains(h.base, "8443") {
			t.Errorf("%s: got %+v", remoteURL, got.transport)
		}
	}
	// An old tea, and a token that only a new one could use.
	teaConfigOf(t, env, "https://tea.example", "")
	got, err := chosen(t, "https://tea.example/acme/web", append(env, "FAKE_OLD=1"), Options{HTTP: internet{}})
	if err != nil || got.transport != nil || !strings.Contains(got.why, "only tea 0.12 and later can use it") {
		t.Errorf("got %+v, %v", got, err)
	}
	// Plain http, which nobody but the caller can ask for.
	teaConfigOf(t, env, "http://tea.example:3000", "s3cret-token")
	got, err = chosen(t, "http://tea.example:3000/acme/web", env, Options{})
	if err != nil || got.transport != nil || !strings.Contains(got.why, "plain http") {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = chosen(t, "http://tea.example:3000/acme/web", env, Options{APIURL: "http://tea.example:3000/api/v1"})
	if err != nil || got.source != "tea's login tea.example" {
		t.Errorf("got %+v, %v", got, err)
	}
	// A configuration that is none.
	write(t, filepath.Join(newEnviron(env)["HOME"], ".config", "tea", "config.yml"), "logins: [[[")
	if _, err = chosen(t, "https://tea.example/acme/web", env, Options{HTTP: internet{}}); !errors.Is(err, ErrUnknownForge) {
		t.Errorf("got %v", err)
	}
}

// gh of before 2.17 has no "auth token"; glab of before 1.41 ends with 0 always.
func TestOldTools(t *testing.T) {
	env := install(t, "", "gitlab.com", "glab")
	got, err := chosen(t, "https://git.example.com/acme/web", append(env, "FAKE_OLD=1"), Options{Kind: GitLab})
	if err != nil || got.transport != nil || !strings.HasPrefix(got.why, "glab is not logged in to git.example.com here") {
		t.Errorf("got %+v, %v", got, err)
	}
	env = install(t, "", "elsewhere.example", "gh")
	got, err = chosen(t, host[GitHub].remote, env, Options{})
	if err != nil || got.transport != nil || !slices.Equal(calls(t, env), []string{"gh auth token --hostname github.com", "gh auth status --hostname github.com"}) {
		t.Errorf("got %+v, %v, %q", got, err, calls(t, env))
	}
}

// A program that lies in the repository is not the engineer's.
func TestNoToolFromTheRepository(t *testing.T) {
	env := install(t, "", "github.com", "gh")
	dir := newEnviron(env)["HOME"]
	t.Chdir(dir)
	for _, path := range []string{".", "", "bin:."} {
		if got := (tools{env: environ{"PATH": path}, dir: dir}).find("gh"); got != "" {
			t.Errorf("PATH=%q: found %s", path, got)
		}
	}
}
