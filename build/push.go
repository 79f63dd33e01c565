package build

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Artifact is what can be pushed: a [v1.Image] or a [v1.ImageIndex].
type Artifact interface {
	partial.Describable
	RawManifest() ([]byte, error)
}

// pushJobs is how many blobs of one push are under way at once, as with docker
// and crane.
const pushJobs = 4

// Push pushes an artifact by its digest, then gives it the tags, which are moved
// if they name something else. It returns the digest.
//
// Nothing is sent that the registry has, and what another of its repositories
// has is mounted, where the layer is one that package remote has read there
// ([remote.MountableLayer]). A push that is interrupted starts over with what is
// missing. The error is [ErrUndecided] where that was tried in vain: the next run
// goes on from there. When ctx ends, so does the push.
//
// A registry that gives the artifact another digest than it has is an error.
func (r *Registry) Push(ctx context.Context, repository string, artifact Artifact, tags ...string) (digest string, err error) {
	repo, err := r.parse(repository)
	if err != nil {
		return "", err
	}
	hash, err := artifact.Digest()
	if err != nil {
		return "", fmt.Errorf("%s: the digest of what is to be pushed: %w", repository, err)
	}
	up := &upload{sizes: map[string]int64{}}
	if err := up.plan(artifact); err != nil {
		return "", fmt.Errorf("%s: %w", repository, err)
	}
	if r.Progress != nil {
		up.report = func(sent, total int64) { r.Progress(repository, sent, total) }
	}
	pusher, err := r.pusher(ctx, repo, up)
	if err == nil {
		err = pusher.Push(ctx, repo.Digest(hash.String()), artifact)
	}
	if err != nil {
		return "", fmt.Errorf("%s@%s can't be pushed: %w", repository, hash, pushFailure(ctx, err))
	}
	for _, tag := range tags {
		if err := pusher.Push(ctx, repo.Tag(tag), artifact); err != nil {
			return "", fmt.Errorf("%s:%s can't be pushed: %w", repository, tag, pushFailure(ctx, err))
		}
	}
	up.finish()
	return hash.String(), nil
}

// pusher returns go-containerregistry's, which knows the order of things and
// signs in for the repositories to mount from, too. It has the wire count and
// wait: its own waits would not end with the context. It is asked to start a blob
// over as often as the wire says that it is worth it.
func (r *Registry) pusher(ctx context.Context, repo name.Repository, up *upload) (*remote.Pusher, error) {
	credential, err := r.credential(ctx, repo)
	if err != nil {
		return nil, err
	}
	w := r.wire(repo.Registry)
	w.upload = up
	return remote.NewPusher(
		remote.WithContext(ctx),
		remote.WithAuth(credential),
		remote.WithTransport(w),
		remote.WithUserAgent(userAgent),
		remote.WithJobs(pushJobs),
		remote.WithRetryStatusCodes(),
		remote.WithRetryBackoff(remote.Backoff{Steps: pushAttempts}),
		remote.WithRetryPredicate(func(err error) bool {
			var f *fault
			return errors.As(err, &f) && f.again && up.lost() == nil
		}),
	)
}

// pushFailure is [explain] for a push, where the question is not what a registry
// could say.
func pushFailure(ctx context.Context, err error) error {
	reason, undecided := judge(ctx, err)
	if !undecided {
		return explain(ctx, err)
	}
	if !strings.HasSuffix(reason, "run this again later") {
		reason += ": run this again later"
	}
	return &undecidedError{reason + ", what has arrived is not sent again"}
}

// undecidedError is an [ErrUndecided] in words of its own.
type undecidedError struct{ text string }

func (e *undecidedError) Error() string { return e.text }

// Is implements what [errors.Is] looks for.
func (e *undecidedError) Is(target error) bool { return target == ErrUndecided }

// upload is one push: how far it is, and what has gone wrong. The nil upload is
// that of a question, which is none.
type upload struct {
	sizes  map[string]int64 // of blobs and manifests, by digest
	total  int64
	report func(sent, total int64)

	mu      sync.Mutex
	sent    int64
	opened  map[*http.Request]bool // whose body was taken
	dead    *fault                 // a fault that has outlived its attempts
	strikes int                    // failed uploads of blobs since one has succeeded
	paused  time.Time              // no request before then
	stall   time.Time              // when nothing moved first, since a blob has succeeded
}

// plan lists what there may be to send.
func (u *upload) plan(artifact partial.Describable) error {
	digest, err := artifact.Digest()
	if err != nil {
		return err
	}
	size, err := artifact.Size()
	if err != nil {
		return err
	}
	u.expect(digest, size)
	switch a := artifact.(type) {
	case v1.Image:
		m, err := a.Manifest()
		if err != nil {
			return err
		}
		u.expect(m.Config.Digest, m.Config.Size)
		for _, l := range m.Layers {
			if l.MediaType.IsDistributable() {
				u.expect(l.Digest, l.Size)
			}
		}
	case v1.ImageIndex:
		children, err := partial.Manifests(a)
		if err != nil {
			return err
		}
		for _, child := range children {
			if err := u.plan(child); err != nil {
				return err
			}
		}
	case v1.Layer:
	default:
		return fmt.Errorf("%T is neither an image nor an index", artifact)
	}
	return nil
}

func (u *upload) expect(digest v1.Hash, size int64) {
	if _, ok := u.sizes[digest.String()]; !ok {
		u.sizes[digest.String()] = size
		u.total += size
	}
}

// add counts bytes.
func (u *upload) add(n int64) {
	if u == nil || n == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sent += n
	if u.report != nil {
		u.report(min(u.sent, u.total), u.total)
	}
}

// finish reports the end: below a manifest that was there already nothing was
// counted.
func (u *upload) finish() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.report != nil && u.sent != u.total {
		u.report(u.total, u.total)
	}
}

// size is what the registry has to put away before it answers a request.
func (u *upload) size(request *http.Request) int64 {
	switch {
	case u == nil:
		return 0
	case request.Method == http.MethodPut:
		return u.sizes[request.URL.Query().Get("digest")]
	}
	return max(0, request.ContentLength)
}

// note learns from an answer what needs no sending, and makes a HEAD that says too
// little one that says no: go-containerregistry fails on those, and they only save
// work.
func (u *upload) note(request *http.Request, answer *http.Response, f *fault) {
	if u == nil {
		return
	}
	if f == nil && answer.StatusCode >= http.StatusMultipleChoices && answer.StatusCode < http.StatusBadRequest {
		return // it is asked elsewhere
	}
	query := request.URL.Query()
	at := request.URL.Path[strings.LastIndex(request.URL.Path, "/")+1:]
	switch ok := f == nil && answer.StatusCode < http.StatusMultipleChoices; {
	case request.Method == http.MethodHead && f == nil:
		switch answer.StatusCode {
		case http.StatusOK:
			h := answer.Header
			if isManifest(request) && (h.Get("Docker-Content-Digest") == "" || h.Get("Content-Type") == "" || answer.ContentLength < 0) {
				answer.StatusCode = http.StatusNotFound
			} else if !isManifest(request) {
				u.add(u.sizes[at])
			}
		case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented:
			answer.StatusCode = http.StatusNotFound
		}
	case request.Method == http.MethodPost && ok && answer.StatusCode == http.StatusCreated:
		u.add(u.sizes[query.Get("mount")])
	case request.Method == http.MethodPut && isManifest(request) && ok:
		u.add(u.sizes[at])
	case request.Method == http.MethodPut && !isManifest(request):
		if !ok {
			u.add(-u.sizes[query.Get("digest")]) // it is sent again, if at all
			return
		}
		u.mu.Lock()
		u.strikes, u.stall = 0, time.Time{}
		u.mu.Unlock()
	}
}

// failed notes that a blob has to start over, and keeps all requests of the push
// waiting: what is wrong with one upload is mostly wrong with the others.
func (u *upload) failed(f *fault, backoff func(tries int) time.Duration) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := time.Now(); !u.paused.After(now) && f.wait == 0 {
		u.strikes++
		u.paused = now.Add(backoff(u.strikes))
	}
}

// stalled tells whether a request in which nothing happened for as long as the
// patience lasts is one too many: a connection may be dead, but not the next one,
// too. Requests that hang together count as one.
func (u *upload) stalled(f *fault, patience time.Duration) bool {
	if u == nil || !errors.Is(f.err, idle{}) {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stall.IsZero() {
		u.stall = time.Now()
	}
	return time.Since(u.stall) > patience*3/4
}

// opens tells whether the body that came with a request is still to be read. The
// library may send a request again, after its token has expired, with the body
// that is used up. To open a body for nothing may be a download from elsewhere.
func (u *upload) opens(request *http.Request) bool {
	if u == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.opened[request] {
		return false
	}
	if u.opened == nil {
		u.opened = map[*http.Request]bool{}
	}
	u.opened[request] = true
	return true
}

// resumes returns when the next request may go out.
func (u *upload) resumes() time.Time {
	if u == nil {
		return time.Time{}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.paused
}

// give ends the push where err is a fault: nothing else is tried then, not even
// what go-containerregistry resorts to, like sending a layer that could not be
// mounted.
func (u *upload) give(err error) error {
	var f *fault
	if u != nil && errors.As(err, &f) {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.dead == nil {
			u.dead = f
		}
	}
	return err
}

// lost returns the fault that ended the push.
func (u *upload) lost() *fault {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.dead
}
