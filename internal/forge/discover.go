package forge

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
)

// wellKnown returns the kind of a public forge.
func wellKnown(host string) string {
	switch {
	case host == "github.com", strings.HasSuffix(host, ".ghe.com"):
		return GitHub
	case host == "gitlab.com":
		return GitLab
	case host == "codeberg.org", host == "gitea.com":
		return Gitea
	}
	return ""
}

// sshFront are the hosts that forges answer ssh on beside their own, on port 443.
var sshFront = map[string]string{
	"ssh.github.com":    "github.com",
	"altssh.gitlab.com": "gitlab.com",
}

// discover finds out which forge a remote is on.
func discover(ctx context.Context, r remote, o Options, t tools) (site, error) {
	given := strings.ToLower(strings.TrimSpace(o.Kind))
	if given == "forgejo" {
		given = Gitea
	}
	if given != "" && apiPath[given] == "" {
		return site{}, failure(ErrMisuse, "there is no kind of forge %q; it is github, gitlab or gitea", printable(o.Kind))
	}
	if r.ssh {
		r.host = t.sshHost(ctx, r.host)
	}
	api, kind := "", given
	if o.APIURL != "" {
		var told string
		var err error
		if api, told, err = parseAPIURL(o.APIURL); err != nil {
			return site{}, err
		}
		if kind == "" {
			kind = told
		}
	}
	said := kind != ""
	named := said
	if kind == "" {
		kind = wellKnown(r.host)
		named = kind != "" && len(t.env.hosts(kind)) == 0
	}
	for _, k := range []string{GitHub, GitLab, Gitea} {
		if kind != "" && kind != k {
			continue
		}
		if itsAPI, ok := t.env.names(k, r.host); ok {
			kind = k
			if api == "" {
				api = itsAPI
			}
			s, err := newSite(kind, r, api, o.APIURL != "")
			s.said, s.named = said, true
			return s, err
		}
	}
	if kind == "" {
		kind = t.loggedIn(ctx, r.host)
	}
	if kind == "" {
		var err error
		if kind, api, err = probe(ctx, r, o.HTTP); err != nil {
			return site{}, err
		}
	}
	if kind == "" {
		return site{}, failure(ErrUnknownForge, "what kind of forge %s is can't be told: no gh, glab or tea is logged in to it, and it does not answer like a GitHub, GitLab or Gitea; say it with --forge github, gitlab or gitea, and --forge-api URL if its API is elsewhere", r.hostPort())
	}
	s, err := newSite(kind, r, api, o.APIURL != "")
	s.said, s.named = said, named
	return s, err
}

// probeTime bounds the wait for each of the three questions to a server that may
// be no forge at all.
const probeTime = 5 * time.Second

// probe asks a host what it is, without credentials and only over https. No
// answer is no kind; the error is ctx's.
func probe(ctx context.Context, r remote, rt http.RoundTripper) (kind, api string, err error) {
	if rt == nil {
		rt = http.DefaultTransport
	}
	base := "https://" + r.hostPort()
	bases := []string{base}
	if !r.ssh && len(r.path) > 2 {
		bases = append(bases, base+"/"+strings.Join(r.path[:len(r.path)-2], "/"))
	}
	for _, base := range bases {
		for _, q := range []struct {
			kind, path string
			is         func(*http.Response, answer) bool
		}{
			{GitLab, "/version", func(resp *http.Response, a answer) bool {
				return resp.StatusCode == http.StatusUnauthorized && a.Message == "401 Unauthorized" ||
					resp.StatusCode == http.StatusOK && a.Version != "" && a.Revision != ""
			}},
			{Gitea, "/version", func(resp *http.Response, a answer) bool {
				return resp.StatusCode == http.StatusOK && a.Version != "" ||
					resp.StatusCode == http.StatusForbidden && strings.HasPrefix(a.Message, "Only signed in user is allowed")
			}},
			{GitHub, "/meta", func(resp *http.Response, a answer) bool {
				return resp.Header.Get("X-Github-Enterprise-Version") != "" || resp.StatusCode == http.StatusOK && a.InstalledVersion != ""
			}},
		} {
			ok, err := ask(ctx, rt, base+apiPath[q.kind]+q.path, q.is)
			if err != nil {
				return "", "", err
			}
			if ok {
				return q.kind, base + apiPath[q.kind], nil
			}
		}
	}
	return "", "", nil
}

// answer is what the three kinds say of themselves.
type answer struct {
	Message          string `json:"message"`
	Version          string `json:"version"`
	Revision         string `json:"revision"`
	InstalledVersion string `json:"installed_version"`
}

func ask(ctx context.Context, rt http.RoundTripper, url string, is func(*http.Response, answer) bool) (bool, error) {
	within, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	req, err := http.NewRequestWithContext(within, http.MethodGet, url, nil)
	if err != nil {
		return false, failure(ErrMisuse, "the remote's host makes no address")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	resp, err := rt.RoundTrip(req) // not a client: a redirect is no answer
	if err != nil {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		return false, nil
	}
	defer func() { _ = resp.Body.Close() }()
	var a answer
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || json.Unmarshal(body, &a) != nil {
		a = answer{}
	}
	return is(resp, a), nil
}
