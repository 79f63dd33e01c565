package forge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// requestTime bounds one request. Forges answer the slowest of them, the creation
// of a pull request, in seconds.
const requestTime = 60 * time.Second

// mostRedirects is more than a repository that was renamed and moved needs.
const mostRedirects = 5

// httpTransport speaks to the API itself.
type httpTransport struct {
	base          string
	rt            http.RoundTripper
	accept        []string // headers
	authorization string
}

var _ transport = (*httpTransport)(nil)

func newHTTPTransport(kind, base string, rt http.RoundTripper, authorization string) *httpTransport {
	if rt == nil {
		rt = http.DefaultTransport
	}
	accept := []string{"Accept: application/json"}
	if kind == GitHub {
		accept = githubHeaders
	}
	return &httpTransport{base: base, rt: rt, accept: accept, authorization: authorization}
}

// do implements [transport]. A redirect is followed with the same method and
// body, as GitHub documents it for repositories that were renamed, and only on the
// same server: the credential goes nowhere else.
func (t *httpTransport) do(ctx context.Context, r request) (response, error) {
	body, err := r.json()
	if err != nil {
		return response{}, err
	}
	where, err := url.Parse(t.base + "/" + r.target())
	if err != nil {
		return response{}, errors.New("its address is none")
	}
	for range mostRedirects {
		resp, next, err := t.once(ctx, r.method, where, body)
		if err != nil || next == nil {
			return resp, err
		}
		if next.Scheme != where.Scheme || !strings.EqualFold(next.Host, where.Host) {
			return response{}, &redirectError{to: next.Scheme + "://" + next.Host}
		}
		where = next
	}
	return response{}, &redirectError{}
}

// redirectError is an answer that leads nowhere a credential may go.
type redirectError struct{ to string }

func (e *redirectError) Error() string {
	if e.to == "" {
		return "it redirects without end"
	}
	return fmt.Sprintf("it redirects to %s, where the credential is not sent; give --forge-api if its API is there", printable(e.to))
}

func (t *httpTransport) once(ctx context.Context, method string, where *url.URL, body []byte) (response, *url.URL, error) {
	within, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(within, method, where.String(), reader)
	if err != nil {
		return response{}, nil, errors.New("its address is none")
	}
	for _, header := range t.accept {
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Set(name, value)
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Authorization", t.authorization)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := t.rt.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			return response{}, nil, context.Cause(ctx)
		}
		return response{}, nil, networkError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		next, err := resp.Location()
		if err != nil || next.User != nil {
			return response{}, nil, &redirectError{}
		}
		return response{}, next, nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, longestAnswer+1))
	if err != nil {
		if ctx.Err() != nil {
			return response{}, nil, context.Cause(ctx)
		}
		return response{}, nil, networkError(err)
	}
	if len(data) > longestAnswer {
		return response{}, nil, errTooLong
	}
	return response{status: resp.StatusCode, header: resp.Header, body: data}, nil, nil
}

// networkError says why there was no answer, without the parts of the text that
// differ from run to run: ports and addresses.
func networkError(err error) error {
	var timeout interface{ Timeout() bool }
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("it does not answer in time")
	}
	for err != nil {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err = inner
	}
	return errors.New(printable(err.Error()))
}
