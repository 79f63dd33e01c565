package forge

import (
	"net/url"
	"regexp"
	"strings"
)

// remote is what a remote's URL says of the repository, and nothing of who asks.
type remote struct {
	ssh   bool   // host may be an alias of the ssh configuration
	plain bool   // http://
	host  string // lower case, without port
	port  string // of the web server; "" where the URL does not say
	path  []string
}

// String is for people.
func (r remote) String() string { return r.hostPort() + "/" + strings.Join(r.path, "/") }

func (r remote) hostPort() string {
	host := r.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if r.port != "" {
		host += ":" + r.port
	}
	return host
}

// noForgeError is a remote that git can push to and that has no pull requests.
type noForgeError struct{ why string }

func (e *noForgeError) Error() string { return e.why }

var (
	driveLetter  = regexp.MustCompile(`^[A-Za-z]:[\\/]`)
	remoteHelper = regexp.MustCompile(`^[A-Za-z0-9+.-]+::`)
	hostName     = regexp.MustCompile(`^(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|[0-9a-f:.]*:[0-9a-f:.]*)$`)
	portNumber   = regexp.MustCompile(`^[0-9]{0,5}$`)
	pathSegment  = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
)

// repositoryPath reports whether path can be a repository's on a forge: at least
// two names, of the letters that GitHub, GitLab and Gitea allow in them.
func repositoryPath(path string) bool {
	segments := strings.Split(path, "/")
	for _, segment := range segments {
		if !pathSegment.MatchString(segment) || strings.Trim(segment, ".") == "" {
			return false
		}
	}
	return len(segments) > 1
}

// parseRemote reads a URL as git does (git-fetch(1), "GIT URLS"). The error is a
// *noForgeError, or an *Error with ErrMisuse that quotes nothing: what it could not
// read may be a password.
func parseRemote(raw string) (remote, error) {
	const unreadable = "the remote's URL is none that a forge has; git remote -v shows it"
	var r remote
	scheme, rest, isURL := strings.Cut(raw, "://")
	scheme = strings.ToLower(scheme)
	isURL = isURL && !strings.ContainsAny(scheme, "/:@")
	var authority, path string
	switch {
	case strings.TrimSpace(raw) == "":
		return r, failure(ErrMisuse, "the remote has no URL")
	case remoteHelper.MatchString(raw):
		return r, &noForgeError{"the remote is reached through a remote helper of git, and what it leads to has no pull requests that are known here"}
	case isURL:
		switch scheme {
		case "http", "https":
			r.plain = scheme == "http"
		case "ssh", "git+ssh", "ssh+git":
			r.ssh = true
		case "git", "ftp", "ftps":
		case "file":
			return r, errDirectory
		default:
			return r, &noForgeError{"the remote is reached through a remote helper of git, and what it leads to has no pull requests that are known here"}
		}
		authority, path, _ = strings.Cut(rest, "/")
		if strings.ContainsAny(path, "?#") {
			return r, failure(ErrMisuse, unreadable)
		}
		decoded, err := url.PathUnescape(path)
		if err != nil {
			return r, failure(ErrMisuse, unreadable)
		}
		path = decoded
	default:
		// host:path, but "a slash before the first colon" is a path
		r.ssh = true
		var ok bool
		if authority, path, ok = cutSCP(raw); !ok || driveLetter.MatchString(raw) {
			return r, errDirectory
		}
	}
	authority = authority[strings.LastIndex(authority, "@")+1:]
	host, port, ok := splitHostPort(authority)
	if !ok || !hostName.MatchString(host) || !portNumber.MatchString(port) {
		return r, failure(ErrMisuse, unreadable)
	}
	r.host = host
	if isURL && (scheme == "http" && port != "80" || scheme == "https" && port != "443") {
		r.port = port
	}
	path = strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	if !repositoryPath(path) {
		return r, failure(ErrMisuse, unreadable)
	}
	r.path = strings.Split(path, "/")
	return r, nil
}

var errDirectory = &noForgeError{"the remote is a directory, which has no pull requests"}

// cutSCP cuts [user@]host:path, where host may stand in brackets, with a port.
func cutSCP(raw string) (authority, path string, ok bool) {
	start := 0
	if open := strings.IndexByte(raw, '['); open == 0 || open > 0 && raw[open-1] == '@' && !strings.ContainsAny(raw[:open], ":/") {
		end := strings.IndexByte(raw, ']')
		if end < open {
			return "", "", false
		}
		start = end
	}
	colon := strings.IndexByte(raw[start:], ':')
	if colon < 0 || strings.Contains(raw[:start+colon], "/") {
		return "", "", false
	}
	authority, path = raw[:start+colon], raw[start+colon+1:]
	if inside, bracketed := strings.CutPrefix(authority[strings.LastIndex(authority, "@")+1:], "["); bracketed {
		inside = strings.TrimSuffix(inside, "]")
		if strings.Count(inside, ":") > 1 { // an address, which keeps its brackets
			inside = "[" + inside + "]"
		}
		authority = inside
	}
	return authority, path, true
}

// splitHostPort splits host:port, where both host may be an address in brackets
// and the port may be missing or empty.
func splitHostPort(authority string) (host, port string, ok bool) {
	authority = strings.ToLower(authority)
	if inside, bracketed := strings.CutPrefix(authority, "["); bracketed {
		host, rest, closed := strings.Cut(inside, "]")
		port, hasPort := strings.CutPrefix(rest, ":")
		return host, port, closed && (hasPort || rest == "")
	}
	host, port, _ = strings.Cut(authority, ":")
	return host, port, !strings.Contains(host, ":")
}

// withoutUserinfo returns a remote's URL as it can be given to somebody else. A
// password may hold a slash, so the last @ counts.
func withoutUserinfo(raw string) string {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return raw // a user name at most, which ssh needs
	}
	return scheme + "://" + rest[strings.LastIndex(rest, "@")+1:]
}
