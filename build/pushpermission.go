package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// MayPush returns nil if we may push to a repository. It starts an upload and
// cancels it, since a token alone proves nothing: Docker Hub hands one out to
// anybody (https://github.com/docker/hub-feedback/issues/1771). A repository is
// asked about once; only [ErrUndecided] is no answer that is kept.
func (r *Registry) MayPush(ctx context.Context, repository string) error {
	repo, err := r.parse(repository)
	if err != nil {
		return err
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	verdict, err := r.permissions.get(ctx, repo.Name(), forever, func() (error, error) {
		return r.startUpload(ctx, repo, repository)
	})
	if err != nil {
		return fmt.Errorf("%s: may we push there: %w", repository, explain(ctx, err))
	}
	return verdict
}

// startUpload returns the registry's answer to the start of an upload, nil or an
// error, or why there was none.
func (r *Registry) startUpload(ctx context.Context, repo name.Repository, repository string) (verdict, err error) {
	host := repo.RegistryStr()
	if host == name.DefaultRegistry {
		host = "docker.io"
	}
	connection, err := r.connect(ctx, repo, transport.PushScope)
	var answer *transport.Error
	if err == nil {
		answer, err = askUpload(ctx, connection, repo)
	} else {
		errors.As(err, &answer)
	}
	switch {
	case answer == nil && err == nil:
		return nil, nil
	case answer == nil:
		if ecr.MatchString(host) && errors.Is(err, io.EOF) {
			// https://github.com/aws/containers-roadmap/issues/1970
			err = &undecidedError{"the connection ended before the answer did; ECR does that where the repository does not exist: " + createIn(host, repo)}
		}
		return nil, err
	case isDenied(answer.StatusCode):
		return fmt.Errorf("%s: %s denies the push (%d): log in, or ask for push rights", repository, host, answer.StatusCode), nil
	case err != nil:
		return nil, err
	case answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s: %s has no such repository, and a push does not create it (%s): %s", repository, host, answered(404, answer.Errors), createIn(host, repo)), nil
	case answer.StatusCode == http.StatusMethodNotAllowed, hasCode(answer, transport.UnsupportedErrorCode):
		return fmt.Errorf("%s: %s takes no push (%s): it is read-only, or a mirror", repository, host, answered(answer.StatusCode, answer.Errors)), nil
	}
	return fmt.Errorf("%s: %s takes no push: it answered %s", repository, host, answered(answer.StatusCode, answer.Errors)), nil
}

// askUpload starts an upload and cancels it. The error is about the way there.
func askUpload(ctx context.Context, connection http.RoundTripper, repo name.Repository) (*transport.Error, error) {
	start := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: "/v2/" + repo.RepositoryStr() + "/blobs/uploads/"}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, start.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: connection}).Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if err := transport.CheckError(response, http.StatusAccepted, http.StatusCreated); err != nil {
		var answer *transport.Error
		if errors.As(err, &answer) {
			return answer, nil
		}
		return nil, err
	}
	cancelUpload(ctx, connection, response)
	return nil, nil
}

// cancelUpload tells the registry that nothing will come. It is a courtesy: a
// registry clears away forgotten uploads in time, and not all can cancel.
//
// The connection adds credentials for the registry alone. Where the upload is
// elsewhere, only a public address is asked: a registry is not to send us to what
// only we can reach.
func cancelUpload(ctx context.Context, connection http.RoundTripper, started *http.Response) {
	location, err := started.Location()
	if err != nil {
		return
	}
	at := started.Request.URL
	if address, err := netip.ParseAddr(location.Hostname()); err == nil && location.Hostname() != at.Hostname() &&
		(address.IsPrivate() || address.IsLoopback() || address.IsUnspecified() || address.IsLinkLocalUnicast()) {
		return
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, location.String(), nil)
	if err != nil {
		return
	}
	response, err := (&http.Client{Transport: connection}).Do(request)
	if err == nil {
		_ = response.Body.Close()
	}
}

var ecr = regexp.MustCompile(`^\d+\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|on\.aws)$`)

// createIn says how to create a repository.
func createIn(host string, repo name.Repository) string {
	if ecr.MatchString(host) {
		return "aws ecr create-repository --repository-name " + repo.RepositoryStr()
	}
	return "create it there first"
}

func hasCode(answer *transport.Error, code transport.ErrorCode) bool {
	for _, d := range answer.Errors {
		if d.Code == code {
			return true
		}
	}
	return false
}
