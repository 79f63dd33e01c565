package forge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"regexp"
	"strconv"
)

// ghTransport speaks through "gh api", or through "glab api", which took its
// flags over. The credential stays with the tool.
type ghTransport struct {
	tools   tools
	program string
	host    string
	headers []string
}

var _ transport = (*ghTransport)(nil)

// do implements [transport]. With --include the tool prints the status line and
// the headers before the body, for an error as well, which its exit status only
// repeats.
func (t *ghTransport) do(ctx context.Context, r request) (response, error) {
	body, err := r.json()
	if err != nil {
		return response{}, err
	}
	args := []string{"api", "--hostname", t.host, "--include", "--method", r.method}
	for _, header := range t.headers {
		args = append(args, "--header", header)
	}
	if body != nil {
		args = append(args, "--header", "Content-Type: application/json", "--input", "-")
	}
	out, stderr, err := t.tools.run(ctx, t.program, body, append(args, r.target())...)
	if ctx.Err() != nil {
		return response{}, context.Cause(ctx)
	}
	if errors.Is(err, errTooLong) {
		return response{}, errTooLong
	}
	resp, ok := parseAnswer(out)
	if !ok {
		return response{}, toolError(stderr, err)
	}
	return resp, nil
}

// teaTransport speaks through "tea api", which prints the status line and the
// headers on standard error, and ends with 0 whatever the status.
type teaTransport struct {
	tools   tools
	program string
	login   string
}

var _ transport = (*teaTransport)(nil)

// do implements [transport].
func (t *teaTransport) do(ctx context.Context, r request) (response, error) {
	body, err := r.json()
	if err != nil {
		return response{}, err
	}
	args := []string{"api", "--login=" + t.login, "--include", "--method", r.method}
	if body != nil {
		args = append(args, "--data", "@-")
	}
	out, stderr, err := t.tools.run(ctx, t.program, body, append(args, r.target())...)
	if ctx.Err() != nil {
		return response{}, context.Cause(ctx)
	}
	if errors.Is(err, errTooLong) {
		return response{}, errTooLong
	}
	head := statusLine.FindIndex(stderr)
	if head == nil || err != nil {
		return response{}, toolError(stderr, err)
	}
	resp, ok := parseAnswer(stderr[head[0]:])
	if !ok {
		return response{}, toolError(stderr, err)
	}
	resp.body = out
	return resp, nil
}

var statusLine = regexp.MustCompile(`(?m)^HTTP/[0-9.]+ ([0-9]{3})\b`)

// parseAnswer reads a status line, headers and a body. Lines may end in LF alone.
func parseAnswer(out []byte) (response, bool) {
	status := statusLine.FindSubmatchIndex(out)
	if status == nil || status[0] != 0 {
		return response{}, false
	}
	code, err := strconv.Atoi(string(out[status[2]:status[3]]))
	if err != nil {
		return response{}, false
	}
	reader := bufio.NewReader(bytes.NewReader(out))
	if _, err := reader.ReadString('\n'); err != nil {
		return response{status: code, header: http.Header{}}, true
	}
	header, err := textproto.NewReader(reader).ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return response{}, false
	}
	body, err := io.ReadAll(reader)
	return response{status: code, header: http.Header(header), body: body}, err == nil
}

// toolError is a tool that got no answer, in its own last words.
func toolError(stderr []byte, err error) error {
	for _, line := range bytes.Split(bytes.TrimSpace(stderr), []byte("\n")) {
		if said := printable(string(line)); said != "" {
			return errors.New(said)
		}
	}
	if err != nil {
		return errors.New(printable(err.Error()))
	}
	return errors.New("it printed no answer")
}
