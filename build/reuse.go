package build

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Find returns the digest that a tag names, if the image has all the platforms;
// "" if there is no such tag. It is the look-up that lets a build be skipped: one
// request, a HEAD without platforms and a GET with them, and one more where the
// image is for a single platform, which only its configuration tells. The first
// look-up at a registry signs in besides.
//
// A platform that is missing is a [*MissingPlatformsError].
//
// A registry that denies the look-up may mean that there is nothing yet. Quay
// always answers 401 for a repository that does not exist
// (https://github.com/quay/quay/pull/1054), Docker Hub does unless it would be
// ours (https://github.com/distribution/distribution/issues/1291), Artifactory
// answers 403 (https://github.com/google/go-containerregistry/pull/1691), GHCR
// "denied" to whoever is not logged in and 404 to whoever is
// (https://github.com/podtato-head/podtato-head/issues/66). A 404 needs no such
// care, whatever its code. So a denial is settled by [Registry.MayPush], which is
// asked before a build anyway: who may push there may read there, so where we may
// push, there is no such tag; where we may not, the denial is the error. oc-mirror
// does the same (https://github.com/openshift/oc-mirror/pull/276). A credential
// that may push but not pull finds nothing, and builds each time.
func (r *Registry) Find(ctx context.Context, repository, tag string, platforms []string) (digest string, err error) {
	if len(platforms) == 0 {
		digest, err = r.tagged(ctx, repository, tag)
	} else {
		digest, err = r.taggedFor(ctx, repository, tag, platforms)
	}
	var missing *MissingPlatformsError
	var answer *transport.Error
	switch {
	case err == nil, errors.As(err, &missing):
		return digest, err
	case errors.As(err, &answer) && isDenied(answer.StatusCode):
		may := r.MayPush(ctx, repository)
		if may == nil {
			return "", nil
		}
		if errors.Is(may, ErrUndecided) || ctx.Err() != nil {
			return "", may
		}
		return "", fmt.Errorf("%s:%s: the registry denies it (%d), and a push, too: log in, or check the spelling", repository, tag, answer.StatusCode)
	}
	return "", fmt.Errorf("%s:%s: %w", repository, tag, explain(ctx, err))
}

// taggedFor is tagged for an image that has to have platforms.
func (r *Registry) taggedFor(ctx context.Context, repository, tag string, platforms []string) (string, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	repo, options, err := r.connected(ctx, repository, transport.PullScope)
	if err != nil {
		return "", err
	}
	body, digest, err := readManifest(repo.Tag(tag), options)
	if absent(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	has, err := (&reader{repo: repo, options: options}).platforms(body)
	if err != nil {
		return "", err
	}
	if err := lacks(repository+":"+tag, digest, has, platforms); err != nil {
		return "", err
	}
	return digest, nil
}

// Marked tells what [Registry.Mark] did with a tag.
type Marked string

// What Mark did.
const (
	MarkSet   Marked = "set"   // there was no such tag
	MarkThere Marked = "there" // it named the digest already
	MarkMoved Marked = "moved" // it named another one
)

// Mark sets one of our own tags to a digest, even if it names another one: the
// image of the same inputs whose platforms were not all there, or one whose build
// is not reproducible. A registry that lets no tag move is [ErrTagFixed].
func (r *Registry) Mark(ctx context.Context, repository, tag, digest string) (Marked, error) {
	held, err := r.tagged(ctx, repository, tag)
	if err != nil {
		return "", fmt.Errorf("%s:%s: %w", repository, tag, explain(ctx, err))
	}
	if held == digest {
		return MarkThere, nil
	}
	err = r.setTag(ctx, repository, tag, digest)
	switch {
	case err == nil && held == "":
		return MarkSet, nil
	case err == nil:
		return MarkMoved, nil
	}
	var refused *refusedTagError
	if !errors.As(err, &refused) || !refused.fixed() {
		return "", err
	}
	// Perhaps somebody built the same and was faster.
	now, again := r.tagged(ctx, repository, tag)
	switch {
	case again == nil && now == digest:
		return MarkThere, nil
	case again == nil && now != "":
		return "", fmt.Errorf("%s:%s names %s, and can't be set to %s (%s): %w; delete the tag there, or exempt it from the rule", repository, tag, now, digest, refused.answer(), ErrTagFixed)
	}
	return "", err
}

// refusedTagError is a registry's refusal to set a tag.
type refusedTagError struct {
	repository, tag string
	cause           *transport.Error
	reason          error
}

// Error says which tag, and why.
func (e *refusedTagError) Error() string {
	return fmt.Sprintf("%s:%s can't be pushed: %v", e.repository, e.tag, e.reason)
}

// Unwrap returns the reason in words.
func (e *refusedTagError) Unwrap() error { return e.reason }

func (e *refusedTagError) answer() string { return answered(e.cause.StatusCode, e.cause.Errors) }

// fixed tells whether the registry may have refused because the tag is there. The
// specification has no code for it: ECR says TAG_INVALID
// (https://github.com/moby/buildkit/issues/3776), others use the statuses that
// HTTP has for a conflict, a precondition or a thing that is locked.
func (e *refusedTagError) fixed() bool {
	switch e.cause.StatusCode {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusPreconditionFailed:
		return true
	}
	return false
}
