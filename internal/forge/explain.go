package forge

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// permission is what a credential needs, in each forge's own words.
var permission = map[string]string{
	GitHub: "pull requests: write and contents: read (in a workflow, permissions: pull-requests: write; of a classic token, the scope repo)",
	GitLab: "the scope api, and the role Developer",
	Gitea:  "the scopes write:repository and write:issue",
}

// login is how to renew what a tool is logged in with.
func (c *client) login() string {
	switch c.source {
	case "gh":
		return "gh auth login --hostname " + c.site.host
	case "glab":
		return "glab auth login --hostname " + c.site.host
	}
	if strings.HasPrefix(c.source, "tea") {
		return "tea login add"
	}
	return "set " + c.source + " anew"
}

// toSee is the first thing that is wanted of a repository. What is not found
// afterwards may not be done: that is how forges hide what they have.
const toSee = "see"

// explain says what an answer that is no success means for a request that wanted
// to do something with a repository.
func (c *client) explain(err error, what, repository string) error {
	var unsure *unsureError
	if errors.As(err, &unsure) {
		return unsure.err
	}
	var status *statusError
	if !errors.As(err, &status) {
		return err
	}
	said := ""
	if status.message != "" {
		said = fmt.Sprintf(" (%s)", status.message)
	}
	switch status.status {
	case http.StatusUnauthorized:
		return failure(ErrDenied, "%s does not accept %s%s: it is wrong, or has expired; %s, and run it again: the branch is pushed", c.site.host, c.source, said, c.login())
	case http.StatusNotFound, http.StatusForbidden:
		if what == toSee && status.status == http.StatusNotFound {
			return failure(ErrDenied, "%s has no %s that %s may see%s; it needs %s", c.site.host, repository, c.source, said, permission[c.site.kind])
		}
		return failure(ErrDenied, "%s may not %s %s on %s%s; it needs %s", c.source, what, repository, c.site.host, said, permission[c.site.kind])
	}
	message := status.message
	if message == "" {
		message = fmt.Sprintf("%d %s", status.status, strings.ToLower(http.StatusText(status.status)))
	}
	return failure(ErrRefused, "%s did not %s %s: %s", c.site.host, what, repository, message)
}

// isStatus reports whether err is an answer with one of codes.
func isStatus(err error, codes ...int) bool {
	var status *statusError
	return errors.As(err, &status) && slices.Contains(codes, status.status)
}
