package forge

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// way is who talks to a forge.
type way struct {
	transport transport
	source    string // for people: "GITHUB_TOKEN", "gh"; never a secret
	why       string // without a transport: why there is none
}

// chooseWay takes the first credential that there is, in the order that the
// package's comment gives.
func chooseWay(ctx context.Context, s site, o Options, t tools) (way, error) {
	ways := []func() way{
		func() way { return t.toolWay(ctx, s, o) },
		func() way { return t.tokenWay(s, o) },
	}
	if t.env.inCI() {
		slices.Reverse(ways)
	}
	var why []string
	for _, choose := range ways {
		w := choose()
		if ctx.Err() != nil {
			return way{}, context.Cause(ctx)
		}
		if w.transport != nil {
			return w, nil
		}
		why = append(why, w.why)
	}
	return way{why: strings.Join(why, "; ")}, nil
}

// toolWay is the forge's own command-line tool, if it is logged in to the site.
func (t tools) toolWay(ctx context.Context, s site, o Options) way {
	name := map[string]string{GitHub: "gh", GitLab: "glab", Gitea: "tea"}[s.kind]
	none := way{why: fmt.Sprintf("%s is not logged in to %s here", name, s.host)}
	switch s.kind {
	case GitHub:
		if s.givenAPI {
			return way{why: "gh can't be told --forge-api"}
		}
		if program := t.gh(ctx, s.host); program != "" {
			return way{transport: &ghTransport{tools: t, program: program, host: s.host, headers: githubHeaders}, source: "gh"}
		}
	case GitLab:
		if s.givenAPI {
			return way{why: "glab can't be told --forge-api"}
		}
		if program := t.glab(ctx, s.host); program != "" {
			return way{transport: &ghTransport{tools: t, program: program, host: s.host}, source: "glab"}
		}
	case Gitea:
		login, ok := t.teaLogin(s)
		if !ok {
			return none
		}
		if login.Token != "" && login.RefreshToken == "" {
			api := login.api()
			if s.givenAPI {
				api = s.api
			}
			if api == "" {
				return way{why: "tea's login is for plain http, over which no token is sent; give --forge-api with that URL if the network is yours"}
			}
			return way{transport: newHTTPTransport(s.kind, api, o.HTTP, "token "+login.Token), source: "tea's login " + printable(login.Name)}
		}
		if program := t.find("tea"); program != "" && t.teaHasAPI(ctx, program) {
			return way{transport: &teaTransport{tools: t, program: program, login: login.Name}, source: "tea"}
		}
		return way{why: "tea keeps its token where only tea 0.12 and later can use it"}
	}
	return none
}

// tokenWay is a token from the environment that may go to the site.
func (t tools) tokenWay(s site, o Options) way {
	names, elsewhere := t.env.tokens(s)
	name, token := t.env.first(names...)
	if token == "" {
		why := "none of " + strings.Join(append(names, elsewhere...), ", ") + " is set"
		if other, _ := t.env.first(elsewhere...); other != "" {
			why = fmt.Sprintf("%s is set, but nothing says that it is for %s: say so with --forge %s", other, s.host, s.kind)
		} else if s.kind == GitLab && t.env["CI_JOB_TOKEN"] != "" {
			why += " (a CI_JOB_TOKEN can't open merge requests)"
		}
		return way{why: why}
	}
	if !s.givenAPI && !strings.HasPrefix(s.api, "https://") {
		return way{why: fmt.Sprintf("%s is not sent over plain http; give --forge-api %s if the network is yours", name, printable(s.api))}
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return way{why: name + " holds no token: there are spaces or other characters in it that tokens don't have"}
	}
	scheme := map[string]string{GitHub: "Bearer ", GitLab: "Bearer ", Gitea: "token "}[s.kind]
	return way{transport: newHTTPTransport(s.kind, s.api, o.HTTP, scheme+token), source: name}
}

// tokens returns the variables whose token may go to a site, in order, and those
// that might hold one and are for nobody knows whom.
func (e environ) tokens(s site) (names, elsewhere []string) {
	switch s.kind {
	case GitHub:
		anybodys := []string{"GH_TOKEN", "GITHUB_TOKEN"}
		enterprise := []string{"GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN"}
		job := hostOf(e["GITHUB_SERVER_URL"]) // whose token GITHUB_TOKEN is, in a job
		switch {
		case wellKnown(s.host) == GitHub && (job == "" || job == s.host):
			return anybodys, nil
		case wellKnown(s.host) == GitHub:
			return anybodys[:1], anybodys[1:]
		case s.said, s.named && job == s.host:
			return append(enterprise, anybodys...), nil
		case s.named:
			return enterprise, anybodys
		}
		return nil, append(enterprise, anybodys...)
	case GitLab:
		names = []string{"GITLAB_TOKEN", "GITLAB_ACCESS_TOKEN", "OAUTH_TOKEN"}
	case Gitea:
		names = []string{"GITEA_TOKEN", "FORGEJO_TOKEN", "GITEA_SERVER_TOKEN"}
		if e.giteaActions() && hostOf(e["GITHUB_SERVER_URL"]) == s.host {
			names = append(names, "GITHUB_TOKEN")
		}
	}
	if !s.named {
		return nil, names
	}
	return names, nil
}
