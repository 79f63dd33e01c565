package forge

import (
	"net/url"
	"strings"
)

// environ is an environment by name.
type environ map[string]string

func newEnviron(pairs []string) environ {
	e := make(environ, len(pairs))
	for _, pair := range pairs {
		if name, value, ok := strings.Cut(pair, "="); ok {
			e[name] = value
		}
	}
	return e
}

// first returns the first of names that has a value.
func (e environ) first(names ...string) (name, value string) {
	for _, name := range names {
		if value := strings.TrimSpace(e[name]); value != "" {
			return name, value
		}
	}
	return "", ""
}

// inCI reports whether this is a CI job, whose token is meant to be used.
func (e environ) inCI() bool {
	return e["CI"] != "" && e["CI"] != "false" || e["GITHUB_ACTIONS"] == "true" || e["GITLAB_CI"] == "true"
}

// giteaActions reports whether GITHUB_ variables are those of Gitea's or Forgejo's
// Actions, which took GitHub's names.
func (e environ) giteaActions() bool {
	return e["GITEA_ACTIONS"] == "true" || e["FORGEJO_ACTIONS"] == "true"
}

// namedHost is a server that a variable names, with the base of its API if that is
// named as well.
type namedHost struct{ host, api string }

// hosts returns the servers of a kind that the environment names: CI's own, and
// the one that the kind's tool is set to.
func (e environ) hosts(kind string) []namedHost {
	var hosts []namedHost
	add := func(server, api string) {
		if server = hostOf(server); server != "" {
			hosts = append(hosts, namedHost{server, strings.TrimSuffix(api, "/")})
		}
	}
	switch kind {
	case GitHub:
		if !e.giteaActions() {
			add(e["GITHUB_SERVER_URL"], e["GITHUB_API_URL"])
		}
		add(e["GH_HOST"], "")
	case GitLab:
		add(e["CI_SERVER_URL"], e["CI_API_V4_URL"])
		for _, name := range []string{"GITLAB_HOST", "GITLAB_URI", "GL_HOST"} {
			add(e[name], "")
		}
	case Gitea:
		if e.giteaActions() {
			add(e["GITHUB_SERVER_URL"], e["GITHUB_API_URL"])
		}
		add(e["GITEA_SERVER_URL"], "")
		add(e["FORGEJO_SERVER_URL"], "")
	}
	return hosts
}

// names reports whether the environment says that host is a server of a kind, and
// where its API is if it says that.
func (e environ) names(kind, host string) (api string, ok bool) {
	for _, h := range e.hosts(kind) {
		if h.host == host {
			return h.api, true
		}
	}
	return "", false
}

// hostOf returns the host of a URL or of a bare host name, in lower case and
// without port.
func hostOf(s string) string {
	if s == "" {
		return ""
	}
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}
