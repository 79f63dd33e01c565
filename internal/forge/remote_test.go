package forge

import (
	"errors"
	"strings"
	"testing"
)

func TestParseRemote(t *testing.T) {
	for _, tt := range []struct {
		raw, want string
		ssh       bool
	}{
		{"https://github.com/acme/web.git", "github.com/acme/web", false},
		{"https://github.com/acme/web", "github.com/acme/web", false},
		{"https://github.com/acme/web.git/", "github.com/acme/web", false},
		{"HTTPS://GitHub.com/Acme/Web.git", "github.com/Acme/Web", false},
		{"https://github.com:443/acme/web", "github.com/acme/web", false},
		{"https://ada:s3cret@git.example.com:8443/acme/web.git", "git.example.com:8443/acme/web", false},
		{"https://***@github.com/acme/web.git", "github.com/acme/web", false}, // as gitrepo.Redact shows it
		{"https://ada:p@ss@git.example.com/acme/web", "git.example.com/acme/web", false},
		{"https://ada:p#s?s@git.example.com/acme/web", "git.example.com/acme/web", false},
		{"http://127.0.0.1:3000/acme/web.git", "127.0.0.1:3000/acme/web", false},
		{"https://[2001:db8::1]:8443/acme/web", "[2001:db8::1]:8443/acme/web", false},
		{"https://gitlab.com/acme/platform/shop/web.git", "gitlab.com/acme/platform/shop/web", false},
		{"https://github.com//acme/web", "github.com/acme/web", false},
		{"https://github.com/acme/we%62", "github.com/acme/web", false},
		{"ssh://git@github.com/acme/web.git", "github.com/acme/web", true},
		{"ssh://git@git.example.com:2222/acme/web.git", "git.example.com/acme/web", true},
		{"git+ssh://git@github.com/acme/web", "github.com/acme/web", true},
		{"ssh+git://git@github.com/acme/web", "github.com/acme/web", true},
		{"ssh://[2001:db8::1]:22/acme/web", "[2001:db8::1]/acme/web", true},
		{"git://git.example.com/acme/web", "git.example.com/acme/web", false},
		{"git@github.com:acme/web.git", "github.com/acme/web", true},
		{"github.com:acme/web", "github.com/acme/web", true},
		{"git@gitlab.com:/acme/platform/web.git", "gitlab.com/acme/platform/web", true},
		{"git@[2001:db8::1]:acme/web", "[2001:db8::1]/acme/web", true},
		{"[git.example.com:2222]:acme/web", "git.example.com/acme/web", true},
		{"git@[git.example.com:2222]:acme/web.git", "git.example.com/acme/web", true},
		{"github-work:acme/web.git", "github-work/acme/web", true},
	} {
		r, err := parseRemote(tt.raw)
		if err != nil || r.String() != tt.want || r.ssh != tt.ssh {
			t.Errorf("%s: got %s (ssh %v), %v; want %s", tt.raw, r, r.ssh, err, tt.want)
		}
	}
}

func TestRemotesWithoutForge(t *testing.T) {
	for _, raw := range []string{
		"/srv/git/web.git", "./web", "../web.git", "web", "file:///srv/git/web.git", "FILE:///srv/git/web", `C:\git\web`, "C:/git/web",
		"/srv/a:b/web", "ext::sh -c 'git %s /x'", "codecommit::eu-west-1://web", "codecommit://web", "s3://bucket/web", "./a:b/c",
	} {
		_, err := parseRemote(raw)
		var none *noForgeError
		if !errors.As(err, &none) {
			t.Errorf("%s: got %v", raw, err)
		}
	}
}

// Whatever can't be read is not shown either: any part of it may be a password.
func TestHostileRemotes(t *testing.T) {
	for _, raw := range []string{
		"", "   ", "https://", "https:///acme/web", "https://github.com", "https://github.com/acme", "https://github.com/s3cret/../web",
		"https://ada:s3/cret@github.com/acme/web",
		"https://github.com/acme/web?token=s3cret", "https://github.com/acme/web#s3cret", "https://github.com/acme/%2e%2e", "https://github.com/acme/a%2fb%00s3cret",
		"https://github.com/acme/web%zzs3cret", "https://github.com\x1b[2J/acme/s3cret", "https://git hub.com/acme/s3cret", "https://github.com:99999999/acme/s3cret",
		"ssh://-oProxyCommand=s3cret/acme/web", "ssh://git@-oProxyCommand=s3cret/acme/web", "-oProxyCommand=s3cret:acme/web", "git@github.com:acme",
		"git@github.com:~ada/s3cret", "https://[::1/acme/s3cret", "git@github.com:acme/web s3cret", "git@github.com:acme/..",
		"https://github.com/acme/web\nhttps://evil.example/s3cret/x", "git@evil.example\n:acme/s3cret", "https://xn--github .com/a/s3cret",
	} {
		r, err := parseRemote(raw)
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, ErrMisuse) {
			t.Errorf("%q: got %v, %v", raw, r, err)
			continue
		}
		for _, secret := range []string{"s3", "cret", "\x1b", "ada"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%q: %q is in the error: %v", raw, secret, err)
			}
		}
	}
}

func FuzzParseRemote(f *testing.F) {
	for _, s := range []string{"https://ada:s3cret@h/a/b", "git@h:a/b.git", "[h:22]:a/b", "ssh://[::1]:22/a/b", "file:///x", "x::y", "a/b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := parseRemote(raw)
		if err != nil {
			return
		}
		if !hostName.MatchString(r.host) || strings.HasPrefix(r.host, "-") || !repositoryPath(strings.Join(r.path, "/")) || !isPlain(r.String()) {
			t.Errorf("%q: got %+v", raw, r)
		}
		if strings.Contains(r.String(), "@") {
			t.Errorf("%q: %s may hold a password", raw, r)
		}
		if again, err := parseRemote("https://" + r.String()); err != nil || again.String() != r.String() {
			t.Errorf("%q: %s reads as %s, %v", raw, r, again, err)
		}
	})
}

func TestWithoutUserinfo(t *testing.T) {
	for raw, want := range map[string]string{
		"https://ada:s3cret@h/a/b":  "https://h/a/b",
		"https://ada:s3/c@et@h/a/b": "https://h/a/b",
		"https://h/a/b":             "https://h/a/b",
		"ssh://git@h/a/b":           "ssh://h/a/b",
		"git@h:a/b":                 "git@h:a/b",
		"/srv/web":                  "/srv/web",
	} {
		if got := withoutUserinfo(raw); got != want {
			t.Errorf("%s: got %s", raw, got)
		}
	}
}

func TestBranchNames(t *testing.T) {
	for _, name := range []string{"a", "pin/web", "feat/#12", "50%", "ü/🚀", "a@b", "@a", "{owner}", "a{b", "x-y_z.1", `"quoted"`, "$(id)", "a&b=c", "a+b", "'"} {
		if !branchName(name) {
			t.Errorf("%q is a branch's name", name)
		}
	}
	for _, name := range []string{"", "a b", "a..b", "a@{1}", "@", "-f", "a:b", "a~1", "a^", "a?", "a*", "a[", `a\b`, "a\x00", "a\n", "/a", "a/", "a//b", "a.lock", "a.lock/b", ".a", "a/.b", "a.", "\xff"} {
		if branchName(name) {
			t.Errorf("%q is no branch's name", name)
		}
	}
}
