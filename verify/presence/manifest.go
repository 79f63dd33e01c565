package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// absentCodes are the registry's ways of saying that it holds no such thing.
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
var absentCodes = []transport.ErrorCode{
	transport.ManifestUnknownErrorCode, transport.NameUnknownErrorCode, transport.NameInvalidErrorCode,
	transport.BlobUnknownErrorCode, transport.ManifestBlobUnknownErrorCode, "NOT_FOUND",
}

var deniedCodes = []transport.ErrorCode{transport.UnauthorizedErrorCode, transport.DeniedErrorCode}

// ask finds out about digest, and about the platforms if it is an index. The
// error is one for [failed].
func (r *Remote) ask(ctx context.Context, s *session, repo name.Repository, digest string) (Result, error) {
	kind, result, err := r.head(ctx, s, repo.Digest(digest))
	if err != nil || result.Verdict != Present || len(r.platforms) == 0 || kind.IsImage() {
		return result, err
	}
	body, result, err := r.get(ctx, s, repo.Digest(digest))
	if err != nil || result.Verdict != Present {
		return result, err
	}
	return r.askPlatforms(ctx, s, repo, body)
}

// head asks for a manifest without its body, and resorts to get where the
// answer leaves doubt. The media type is "" where it came without one.
func (r *Remote) head(ctx context.Context, s *session, ref name.Digest) (types.MediaType, Result, error) {
	desc, err := pull(ctx, s, func(ctx context.Context) (*v1.Descriptor, error) { return s.Head(ctx, ref) })
	if err == nil {
		kind := mediaType(string(desc.MediaType))
		if kind.IsImage() || kind.IsIndex() {
			return kind, Result{Verdict: Present}, nil
		}
	}
	var status *transport.Error
	if err != nil {
		var o *outage
		switch {
		case errors.As(err, &o), ctx.Err() != nil:
			return "", Result{}, err
		case errors.As(err, &status) && (!atManifest(status, ref) || denied(status.StatusCode)):
			return "", s.judge(status, ref), nil
		}
	}
	// Whatever is odd about a HEAD is settled by the body: headers that are
	// missing or name another digest, a status that carries its reason in the
	// body, a proxy that knows no HEAD.
	body, result, err := r.get(ctx, s, ref)
	if err != nil || result.Verdict != Present {
		return "", result, err
	}
	return kindOf(body), result, nil
}

// manifest is a body that matches its digest.
type manifest struct {
	kind types.MediaType
	body []byte
}

// get asks for a manifest whose body is hashed on the way (see checkDigest).
func (r *Remote) get(ctx context.Context, s *session, ref name.Digest) (manifest, Result, error) {
	desc, err := pull(ctx, s, func(ctx context.Context) (*remote.Descriptor, error) { return s.Get(ctx, ref) })
	if err == nil {
		return manifest{mediaType(string(desc.MediaType)), desc.Manifest}, Result{Verdict: Present}, nil
	}
	var o *outage
	var status *transport.Error
	var broken *url.Error
	switch {
	case errors.As(err, &o), ctx.Err() != nil:
		return manifest{}, Result{}, err
	case errors.As(err, &status) && status.StatusCode == http.StatusNotFound && atManifest(status, ref) && !explained(status):
		// Not a registry's words. An ingress without a backend answers so, too.
		alive, err := r.alive(ctx, s)
		if err != nil {
			return manifest{}, Result{}, err
		}
		if !alive {
			return manifest{}, Result{Verdict: Unreachable, Reason: "404 from something that doesn't answer as a registry"}, nil
		}
		return manifest{}, Result{Verdict: Absent, Reason: "the registry answered 404 not found"}, nil
	case errors.As(err, &status):
		return manifest{}, s.judge(status, ref), nil
	case errors.As(err, &broken):
		// go-containerregistry refuses redirects from public to private addresses.
		return manifest{}, Result{Verdict: Unreachable, Reason: "redirected to an address that is not allowed"}, nil
	}
	return manifest{}, Result{Verdict: Unreachable, Reason: "the registry's way to sign in can't be followed"}, nil
}

// pull runs a request beside the caller's context, again if it failed for
// somebody else's lack of time.
func pull[T any](ctx context.Context, s *session, f func(context.Context) (T, error)) (T, error) {
	for {
		v, err := beside(ctx, func() (T, error) { return f(ctx) })
		var o *outage
		switch {
		case err == nil:
			return v, nil
		case ctx.Err() != nil:
			return v, s.transport.host.timeUp(ctx)
		case errors.As(err, &o) && hasLonger(ctx, o):
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		default:
			return v, err
		}
	}
}

// judge turns a status that is neither success nor a passing fault into a
// verdict. Which endpoint it came from decides what it means: only the
// manifest's own can say that the manifest is absent.
func (s *session) judge(e *transport.Error, ref name.Digest) Result {
	absent := codeOf(e, absentCodes...)
	status := fmt.Sprintf("%d %s", e.StatusCode, strings.ToLower(http.StatusText(e.StatusCode)))
	status = strings.TrimSpace(status)
	at := atManifest(e, ref)
	switch {
	case codeOf(e, transport.TooManyRequestsErrorCode) != "":
		return Result{Verdict: Throttled, Reason: reasonThrottled}
	case denied(e.StatusCode), at && codeOf(e, deniedCodes...) != "":
		who := "the registry"
		if !at && !atPing(e) {
			who = "the registry's token server"
		}
		how := "asked with its credentials"
		if s.anonymous {
			how = "asked without credentials"
		}
		return Result{Verdict: Denied, Reason: fmt.Sprintf("%s answered %s, %s", who, status, how)}
	case at && absent != "":
		return Result{Verdict: Absent, Reason: fmt.Sprintf("the registry answered %s (%s)", status, absent)}
	case at:
		return Result{Verdict: Unreachable, Reason: "the registry answered " + status + " for the manifest"}
	case atPing(e):
		return Result{Verdict: Unreachable, Reason: "the host doesn't answer as a registry: " + status + " for /v2/"}
	}
	return Result{Verdict: Unreachable, Reason: "the registry's token server answered " + status}
}

// codeOf returns the first of codes that the registry gave, or "".
func codeOf(e *transport.Error, codes ...transport.ErrorCode) transport.ErrorCode {
	for _, d := range e.Errors {
		if slices.Contains(codes, d.Code) {
			return d.Code
		}
	}
	return ""
}

// explained tells whether the error's codes say what the status leaves open.
func explained(e *transport.Error) bool {
	return codeOf(e, absentCodes...) != "" || codeOf(e, deniedCodes...) != "" ||
		codeOf(e, transport.TooManyRequestsErrorCode) != ""
}

func denied(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden
}

// atManifest tells whether ref's own endpoint answered, perhaps after
// redirects.
func atManifest(e *transport.Error, ref name.Digest) bool {
	first, _ := origin(e.Request)
	return first.URL.Host == ref.RegistryStr() &&
		first.URL.Path == "/v2/"+ref.RepositoryStr()+"/manifests/"+ref.DigestStr()
}

func atPing(e *transport.Error) bool {
	first, _ := origin(e.Request)
	return isPing(first)
}

// alive asks /v2/ afresh, and tells whether what answers is a registry.
func (r *Remote) alive(ctx context.Context, s *session) (bool, error) {
	t := s.transport
	u := url.URL{Scheme: "https", Host: t.authority, Path: "/v2/"}
	if t.plain {
		u.Scheme = "http"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("User-Agent", userAgent)
	resp, err := t.host.do(req, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, err
	}
	if resp.Header.Get("Docker-Distribution-Api-Version") != "" {
		return resp.StatusCode == http.StatusOK || denied(resp.StatusCode), nil
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return len(body) == 0 || json.Valid(body), nil
	case http.StatusUnauthorized:
		return resp.Header.Get("WWW-Authenticate") != "", nil
	case http.StatusForbidden:
		var e transport.Error
		return json.Unmarshal(body, &e) == nil && len(e.Errors) > 0, nil
	}
	return false, nil
}

// mediaType strips the parameters that some registries add.
func mediaType(header string) types.MediaType {
	if kind, _, err := mime.ParseMediaType(header); err == nil {
		return types.MediaType(kind)
	}
	return types.MediaType(header)
}

// kindOf trusts the content more than the header: it is the content that the
// digest vouches for, and what a container runtime looks at.
func kindOf(m manifest) types.MediaType {
	var content struct {
		MediaType types.MediaType   `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
		Config    json.RawMessage   `json:"config"`
	}
	if json.Unmarshal(m.body, &content) != nil {
		return m.kind
	}
	switch {
	case content.MediaType.IsIndex() || content.MediaType.IsImage():
		return content.MediaType
	case content.Manifests != nil:
		return types.OCIImageIndex
	case content.Config != nil:
		return types.OCIManifestSchema1
	}
	return m.kind
}
