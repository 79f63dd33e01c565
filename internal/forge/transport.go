package forge

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// request is a question to a REST API.
type request struct {
	method string
	path   string // below the API's base, escaped, without a slash before it
	query  url.Values
	body   any // nil, or what is sent as JSON
}

// target is the path with its query. Everything but letters, digits and a few
// signs is escaped in both, so that the tools find none of their placeholders
// ({owner}, :id) in a branch's name.
func (r request) target() string {
	if len(r.query) == 0 {
		return r.path
	}
	return r.path + "?" + r.query.Encode()
}

func (r request) json() ([]byte, error) {
	if r.body == nil {
		return nil, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(r.body)
	return b.Bytes(), err
}

// response is what a REST API answered, whatever its status.
type response struct {
	status int
	header http.Header
	body   []byte
}

// transport carries requests to the API of one forge, with a credential. The
// error means that there was no answer, and not that the request did nothing: see
// [client.send].
type transport interface {
	do(ctx context.Context, r request) (response, error)
}

// longestAnswer is more than a page of pull requests with the longest
// descriptions that GitHub takes.
const longestAnswer = 16 << 20

const userAgent = "pin-cmp"

// githubHeaders ask for the version of the API that this package was written to.
var githubHeaders = []string{"Accept: application/vnd.github+json", "X-GitHub-Api-Version: 2022-11-28"}

// segment escapes one part of a path, a slash in it included.
func segment(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
