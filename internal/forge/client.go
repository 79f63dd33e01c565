package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// longestWait bounds what one Publish waits altogether because the forge asks it
// to. GitHub asks for a minute after a secondary rate limit.
const longestWait = time.Minute

// attempts are the pauses before a request that can be repeated is: after a
// server's fault, or none of its answers.
var attempts = []time.Duration{0, time.Second / 2, 2 * time.Second, 4 * time.Second}

// client asks one forge, patiently, and says in words what it said.
type client struct {
	transport transport
	source    string
	site      site
	sleep     sleeper
	budget    time.Duration // what is left of longestWait
}

// statusError is an answer that is not a success.
type statusError struct {
	status  int
	message string // the forge's words, printable
}

func (e *statusError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.message) }

// unsureError is a request of which nobody knows whether it did something: it got
// no answer, or that of a server at fault.
type unsureError struct{ err error }

func (e *unsureError) Error() string { return e.err.Error() }
func (e *unsureError) Unwrap() error { return e.err }

// get asks until there is an answer, and decodes it.
func (c *client) get(ctx context.Context, path string, query url.Values, into any) (http.Header, error) {
	return c.repeat(ctx, request{method: http.MethodGet, path: path, query: query}, into)
}

// repeat makes a request that does the same however often it is made.
func (c *client) repeat(ctx context.Context, r request, into any) (header http.Header, err error) {
	for _, pause := range attempts {
		if pause > 0 {
			if err := c.sleep(ctx, pause); err != nil {
				return nil, err
			}
		}
		header, err = c.once(ctx, r, into)
		var unsure *unsureError
		if !errors.As(err, &unsure) {
			break
		}
	}
	return header, err
}

// once makes a request once, but for waits that the forge asked for: what it
// throttles it has not done. An *unsureError may have done something.
func (c *client) once(ctx context.Context, r request, into any) (http.Header, error) {
	for {
		resp, err := c.transport.do(ctx, r)
		var redirect *redirectError
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &redirect):
			return nil, failure(ErrUnreachable, "%s can't be asked: %v", c.site.host, err)
		case err != nil:
			return nil, &unsureError{failure(ErrUnreachable, "%s can't be reached through %s: %v; run it again", c.site.host, c.source, err)}
		}
		if wait, throttled := throttling(resp); throttled {
			if wait > c.budget {
				return nil, failure(ErrThrottled, "%s takes no more requests from %s for now; the branch is pushed, so run it again later", c.site.host, c.source)
			}
			c.budget -= wait
			if err := c.sleep(ctx, wait); err != nil {
				return nil, err
			}
			continue
		}
		switch {
		case resp.status >= 500:
			return nil, &unsureError{failure(ErrUnreachable, "%s answers with an error of its own, %d %s; run it again", c.site.host, resp.status, strings.ToLower(http.StatusText(resp.status)))}
		case resp.status < 200 || resp.status > 299:
			return nil, &statusError{resp.status, words(resp.body)}
		}
		if err := json.Unmarshal(resp.body, into); err != nil {
			bad := failure(ErrUnreachable, "%s answers %s %s with something that is not from the API of %s; is --forge-api right?", c.site.host, r.method, printable(r.path), kindName[c.site.kind])
			if r.method == http.MethodPost {
				return nil, &unsureError{bad}
			}
			return nil, bad
		}
		return resp.header, nil
	}
}

// throttling reports whether an answer is a rate limit, and how long to wait.
// GitHub sends 403 or 429 (docs.github.com, "Rate limits for the REST API"):
// Retry-After, else the reset of a limit that is used up, else at least a minute.
func throttling(resp response) (wait time.Duration, yes bool) {
	get := resp.header.Get
	usedUp := get("X-Ratelimit-Remaining") == "0"
	switch {
	case resp.status == http.StatusTooManyRequests:
	case resp.status == http.StatusForbidden && (usedUp || get("Retry-After") != "" || strings.Contains(words(resp.body), "rate limit")):
	default:
		return 0, false
	}
	now := time.Now()
	if date, err := http.ParseTime(get("Date")); err == nil {
		now = date // the server's own clock, which its times are by
	}
	if after := get("Retry-After"); after != "" {
		if seconds, err := strconv.Atoi(after); err == nil && seconds >= 0 {
			return time.Duration(min(seconds, 1<<20)) * time.Second, true
		}
		if date, err := http.ParseTime(after); err == nil {
			return max(0, date.Sub(now)), true
		}
	}
	if usedUp {
		if reset, err := strconv.ParseInt(get("X-Ratelimit-Reset"), 10, 64); err == nil {
			return max(time.Second, time.Unix(reset, 0).Sub(now)), true
		}
	}
	return longestWait, true
}

// words are what a forge says in an answer that is no success: a message, and
// GitHub's list of what did not hold, or GitLab's strings, lists and maps.
func words(body []byte) string {
	var said struct {
		Message any `json:"message"`
		Error   any `json:"error"`
		Errors  any `json:"errors"`
	}
	if json.Unmarshal(body, &said) != nil {
		return ""
	}
	var parts []string
	var collect func(any)
	collect = func(v any) {
		switch v := v.(type) {
		case string:
			if v = printable(v); v != "" {
				parts = append(parts, v)
			}
		case []any:
			for _, e := range v {
				collect(e)
			}
		case map[string]any:
			if message, ok := v["message"].(string); ok && message != "" {
				collect(message)
				return
			}
			if field, ok := v["field"].(string); ok { // GitHub: {resource, field, code}
				code, _ := v["code"].(string)
				collect(field + " is " + code)
				return
			}
			for _, key := range sortedKeys(v) { // GitLab: {field: [what is wrong]}
				before := len(parts)
				collect(v[key])
				for i := before; i < len(parts); i++ {
					parts[i] = printable(key + " " + parts[i])
				}
			}
		}
	}
	collect(said.Message)
	collect(said.Error)
	collect(said.Errors)
	if len(parts) > 1 && parts[0] == "Validation Failed" {
		parts = parts[1:]
	}
	return printable(strings.Join(parts, ": "))
}

// pages walks over the pages of a list. The address in a Link header is not
// followed: that there is a next page is all that it is believed. visit returns
// false to stop.
func pages[T any](ctx context.Context, c *client, path string, query url.Values, visit func([]T) bool) error {
	const mostPages = 200
	for page := 1; page <= mostPages; page++ {
		query.Set("page", strconv.Itoa(page))
		var list []T
		header, err := c.get(ctx, path, query, &list)
		if err != nil {
			return err
		}
		if !visit(list) || len(list) == 0 || !strings.Contains(strings.Join(header.Values("Link"), ","), `rel="next"`) {
			return nil
		}
	}
	return failure(ErrRefused, "%s has so many open pull requests that its list has no end", c.site.host)
}
