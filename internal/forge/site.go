package forge

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// site is a repository on a forge.
type site struct {
	kind string
	host string // as the remote has it, without port
	path string // owner/name; with groups on GitLab
	web  string // base of its pages, without a slash at the end
	api  string // base of its REST API, the same
	// givenAPI: the caller named api.
	givenAPI bool
	// said: the caller gave the kind, or the API. named: the caller did, or a
	// variable, or its fame says that the host is of this kind, so that a token of
	// this kind may go there.
	said, named bool
}

// apiPath is where each kind has its API below its pages. GitHub's own is
// elsewhere.
var apiPath = map[string]string{GitHub: "/api/v3", GitLab: "/api/v4", Gitea: "/api/v1"}

// parseAPIURL checks what the caller gave, and finds the kind that its path tells.
func parseAPIURL(given string) (api, kind string, err error) {
	api = strings.TrimRight(given, "/")
	u, err := url.Parse(api)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", "", failure(ErrMisuse, "the URL of the API is not one: write https://host/path, without user name and query")
	}
	for k, suffix := range apiPath {
		if strings.HasSuffix(u.Path, suffix) {
			kind = k
		}
	}
	return api, kind, nil
}

// newSite puts together where the repository's pages and API are.
func newSite(kind string, r remote, api string, given bool) (site, error) {
	s := site{kind: kind, host: r.host, api: api, givenAPI: given}
	scheme := "https://"
	if r.plain {
		scheme = "http://"
	}
	s.web = scheme + r.hostPort()
	path := r.path
	if base, ok := strings.CutSuffix(api, apiPath[kind]); ok {
		// A forge below a path of its server: the remote's URL has that path, too,
		// unless it is an ssh one.
		u, err := url.Parse(base)
		if err != nil {
			return site{}, failure(ErrMisuse, "the URL of the API is not one")
		}
		prefix := strings.FieldsFunc(u.Path, func(c rune) bool { return c == '/' })
		if !r.ssh && len(prefix) > 0 && len(path) > len(prefix) && slices.Equal(path[:len(prefix)], prefix) {
			path = path[len(prefix):]
		}
		if strings.ToLower(u.Hostname()) == r.host {
			s.web = base
		}
	}
	if kind == Gitea && len(path) > 2 && api == "" && !r.ssh {
		s.web += "/" + strings.Join(path[:len(path)-2], "/")
		path = path[len(path)-2:]
	}
	if kind != GitLab && len(path) != 2 {
		return site{}, failure(ErrMisuse, "%s is not a repository on %s, where it would be owner/name", r, kindName[kind])
	}
	s.path = strings.Join(path, "/")
	if s.api == "" {
		s.api = derivedAPI(kind, s.web, r)
	}
	return s, nil
}

// derivedAPI is where a forge has its API unless somebody says otherwise: never
// plain http, but for a server that has nothing else on its port, which tokenWay
// then refuses.
func derivedAPI(kind, web string, r remote) string {
	switch {
	case kind == GitHub && r.host == "github.com":
		return "https://api.github.com"
	case kind == GitHub && strings.HasSuffix(r.host, ".ghe.com"):
		return "https://api." + r.host
	}
	if r.plain && r.port == "" {
		web = "https" + strings.TrimPrefix(web, "http")
	}
	return web + apiPath[kind]
}

var kindName = map[string]string{GitHub: "GitHub", GitLab: "GitLab", Gitea: "Gitea"}

// byHand is the page on which a person opens the pull request; "" on no forge.
func (s site) byHand(pr PullRequest) string {
	repository := s.web + "/" + s.path
	switch s.kind {
	case GitLab:
		q := url.Values{"merge_request[source_branch]": {pr.Head}}
		if pr.Base != "" {
			q.Set("merge_request[target_branch]", pr.Base)
		}
		return repository + "/-/merge_requests/new?" + q.Encode()
	case GitHub:
		return repository + "/compare/" + compared(pr) + "?expand=1"
	case Gitea:
		return repository + "/compare/" + compared(pr)
	}
	return ""
}

// compared is base...head as a path; head alone is compared with the default
// branch.
func compared(pr PullRequest) string {
	if pr.Base == "" {
		return branchPath(pr.Head)
	}
	return branchPath(pr.Base) + "..." + branchPath(pr.Head)
}

// branchPath escapes a branch for a path, but for its slashes.
func branchPath(branch string) string {
	return strings.ReplaceAll(url.PathEscape(branch), "%2F", "/")
}

// pullURL is a pull request's page.
func (s site) pullURL(path string, number int) string {
	between := map[string]string{GitHub: "/pull/", GitLab: "/-/merge_requests/", Gitea: "/pulls/"}[s.kind]
	return s.web + "/" + path + between + strconv.Itoa(number)
}

// isPage reports whether s is the address of a page, and can be printed.
func isPage(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && isPlain(s)
}
