package build

import (
	"context"
	"errors"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pin-cmp/pin-cmp/verify/presence"
)

const someDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// server is a registry whose answers a test can spoil.
type server struct {
	host     string
	spoil    atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	requests atomic.Int64
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{}
	inner := registry.New(registry.Logger(stdlog.New(io.Discard, "", 0)))
	http := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if spoil := s.spoil.Load(); spoil != nil && (*spoil)(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(http.Close)
	s.host = strings.TrimPrefix(http.URL, "http://")
	return s
}

// answer makes the server answer requests for manifests with a status.
func (s *server) answer(status int, methods ...string) {
	spoil := func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") || len(methods) > 0 && !strings.Contains(strings.Join(methods, " "), r.Method) {
			return false
		}
		w.WriteHeader(status)
		return true
	}
	s.spoil.Store(&spoil)
}

func (s *server) client(t *testing.T, platforms ...string) *Registry {
	t.Helper()
	p, err := presence.NewRemote(presence.RemoteOptions{PlainHTTP: []string{s.host}, Platforms: platforms})
	if err != nil {
		t.Fatal(err)
	}
	return &Registry{Presence: p, PlainHTTP: map[string]bool{s.host: true}, pause: time.Millisecond}
}

func (s *server) reference(t *testing.T, text string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s.host+"/"+text, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func image(t *testing.T, content string) v1.Image {
	t.Helper()
	i, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer([]byte(content), types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// push pushes an image and returns its digest.
func (s *server) push(t *testing.T, ref, content string) string {
	t.Helper()
	i := image(t, content)
	if err := remote.Write(s.reference(t, ref), i); err != nil {
		t.Fatal(err)
	}
	digest, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func TestResolve(t *testing.T) {
	s := serve(t)
	want := s.push(t, "acme/web:1.0", "one")
	r := s.client(t)
	got, err := r.Resolve(t.Context(), s.host+"/acme/web", "1.0")
	if got != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := r.Resolve(t.Context(), s.host+"/acme/web", "2.0"); err == nil || err.Error() != s.host+"/acme/web:2.0: the registry has no such tag" || errors.Is(err, ErrUndecided) {
		t.Errorf("%v", err)
	}
}

// A tag of an index means the index, if the platforms of the policy are in it.
func TestResolveIndex(t *testing.T) {
	s := serve(t)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image(t, arch), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	if err := remote.WriteIndex(s.reference(t, "acme/web:1.0"), index); err != nil {
		t.Fatal(err)
	}
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, platforms := range [][]string{nil, {"linux/amd64"}, {"linux/amd64", "linux/arm64"}} {
		if got, err := s.client(t, platforms...).Resolve(t.Context(), s.host+"/acme/web", "1.0"); got != want.String() || err != nil {
			t.Errorf("%v: %q, %v", platforms, got, err)
		}
	}
	_, err = s.client(t, "linux/amd64", "linux/s390x").Resolve(t.Context(), s.host+"/acme/web", "1.0")
	if err == nil || !strings.Contains(err.Error(), "is absent: ") || !strings.Contains(err.Error(), "linux/s390x") {
		t.Errorf("%v", err)
	}
}

func TestConfirm(t *testing.T) {
	s := serve(t)
	digest := s.push(t, "acme/web:1.0", "one")
	if err := s.client(t).Confirm(t.Context(), s.host+"/acme/web", digest); err != nil {
		t.Error(err)
	}
	err := s.client(t).Confirm(t.Context(), s.host+"/acme/web", someDigest)
	if err == nil || !strings.HasPrefix(err.Error(), s.host+"/acme/web@"+someDigest+" is absent: ") || errors.Is(err, ErrUndecided) {
		t.Errorf("%v", err)
	}
}

func TestKeep(t *testing.T) {
	s := serve(t)
	one, two := s.push(t, "acme/web:1.0", "one"), s.push(t, "acme/web:2.0", "two")
	r, repository := s.client(t), s.host+"/acme/web"
	if err := r.Keep(t.Context(), repository, "1.1", one); err != nil {
		t.Error(err)
	}
	if got, err := r.Resolve(t.Context(), repository, "1.1"); got != one || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := r.Keep(t.Context(), repository, "1.1", one); err != nil {
		t.Errorf("a second time: %v", err)
	}
	err := r.Keep(t.Context(), repository, "2.0", one)
	if !errors.Is(err, ErrTagTaken) || err.Error() != repository+":2.0 names "+two+": the tag is taken; choose the next version" {
		t.Errorf("%v", err)
	}
	if got, err := r.Resolve(t.Context(), repository, "2.0"); got != two || err != nil {
		t.Errorf("the tag moved: %q, %v", got, err)
	}
	if err := r.Keep(t.Context(), repository, "3.0", someDigest); err == nil || errors.Is(err, ErrUndecided) {
		t.Errorf("a tag for what is not there: %v", err)
	}
}

// A registry without HEAD, or whose HEAD says too little, is asked with GET.
func TestTagWithoutHead(t *testing.T) {
	s := serve(t)
	want := s.push(t, "acme/web:1.0", "one")
	for _, status := range []int{http.StatusMethodNotAllowed, http.StatusOK} {
		s.answer(status, http.MethodHead)
		got, err := s.client(t).tagged(t.Context(), s.host+"/acme/web", "1.0")
		if got != want || err != nil {
			t.Errorf("HEAD answers %d: %q, %v", status, got, err)
		}
		if got, err := s.client(t).tagged(t.Context(), s.host+"/acme/web", "none"); status == http.StatusMethodNotAllowed && (got != "" || err != nil) {
			t.Errorf("HEAD answers %d: %q, %v", status, got, err)
		}
	}
}

// Denied is an answer; what may be otherwise the next time is undecided.
func TestAnswers(t *testing.T) {
	s := serve(t)
	digest := s.push(t, "acme/web:1.0", "one")
	for _, c := range []struct {
		status    int
		undecided bool
		says      string
	}{
		{http.StatusUnauthorized, false, ":1.0: the registry denies it (401): log in, or check the spelling"},
		{http.StatusForbidden, false, ":1.0: the registry denies it (403): log in, or check the spelling"},
		{http.StatusTooManyRequests, true, ":1.0: the registry could not say: it is throttling (429): run this again later"},
		{http.StatusInternalServerError, true, ":1.0: the registry could not say: it answered 500: run this again later"},
		{http.StatusTeapot, false, ":1.0: the registry answered 418"},
	} {
		s.answer(c.status)
		r := s.client(t)
		_, err := r.Resolve(t.Context(), s.host+"/acme/web", "1.0")
		if err == nil || err.Error() != s.host+"/acme/web"+c.says || errors.Is(err, ErrUndecided) != c.undecided {
			t.Errorf("resolve, %d: %v", c.status, err)
		}
		if err := r.Keep(t.Context(), s.host+"/acme/web", "1.0", digest); err == nil || err.Error() != s.host+"/acme/web"+c.says || errors.Is(err, ErrUndecided) != c.undecided {
			t.Errorf("keep, %d: %v", c.status, err)
		}
	}
}

// A push that the registry refuses says so.
func TestPushDenied(t *testing.T) {
	s := serve(t)
	digest := s.push(t, "acme/web:1.0", "one")
	s.answer(http.StatusForbidden, http.MethodPut)
	err := s.client(t).Keep(t.Context(), s.host+"/acme/web", "2.0", digest)
	if err == nil || err.Error() != s.host+"/acme/web:2.0 can't be pushed: the registry denies it (403): log in, or check the spelling" {
		t.Errorf("%v", err)
	}
}

// A registry that can't be reached is told in the same words each time.
func TestNoAnswer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	s := serve(t)
	digest := s.push(t, "acme/web:1.0", "one")

	refusing := &Registry{Presence: s.client(t).Presence, PlainHTTP: map[string]bool{closed: true}, pause: time.Millisecond}
	https := &Registry{Presence: s.client(t).Presence}
	slow := s.client(t)
	slow.Timeout = 50 * time.Millisecond
	for _, c := range []struct {
		name, host, says string
		registry         *Registry
	}{
		{"refused", closed, "connection refused", refusing},
		{"plain HTTP that the policy does not allow", s.host, "it speaks plain HTTP; name it in --plain-http or in the policy, if it should", https},
		{"hangs", s.host, "no answer in time", slow},
	} {
		if c.registry == slow {
			hang := func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
			s.spoil.Store(&hang)
		}
		_, err := c.registry.Resolve(t.Context(), c.host+"/acme/web", "1.0")
		if !errors.Is(err, ErrUndecided) || err.Error() != c.host+"/acme/web:1.0: the registry could not say: "+c.says {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := c.registry.Keep(t.Context(), c.host+"/acme/web", "1.0", digest); !errors.Is(err, ErrUndecided) {
			t.Errorf("%s: keep: %v", c.name, err)
		}
	}
	r := s.client(t)
	s.answer(http.StatusServiceUnavailable)
	stop, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Resolve(stop, s.host+"/acme/web", "1.0"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUndecided) {
		t.Errorf("stopped: %v", err)
	}
}

// What was found out is kept for its time, a failure is not, and who waited for
// somebody who gave up finds out for himself.
func TestMemo(t *testing.T) {
	var m memo[int]
	calls := 0
	find := func() (int, error) { calls++; return calls, nil }
	for _, c := range []struct {
		keep time.Duration
		want int
	}{{forever, 1}, {forever, 1}, {time.Hour, 1}, {time.Nanosecond, 2}, {time.Hour, 2}} {
		time.Sleep(time.Microsecond)
		if got, err := m.get(t.Context(), "a", c.keep, find); got != c.want || err != nil {
			t.Errorf("%v: %d, %v", c.keep, got, err)
		}
	}
	failure := errors.New("failure")
	for range 2 {
		if _, err := m.get(t.Context(), "b", forever, func() (int, error) { calls++; return 0, failure }); !errors.Is(err, failure) {
			t.Error(err)
		}
	}
	if calls != 4 {
		t.Errorf("%d calls", calls)
	}

	began, give := make(chan struct{}), make(chan error)
	go func() {
		_, _ = m.get(t.Context(), "c", forever, func() (int, error) { close(began); return 0, <-give })
	}()
	<-began
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.get(ended, "c", forever, find); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting is over when the context is: %v", err)
	}
	got := make(chan int)
	go func() {
		n, _ := m.get(t.Context(), "c", forever, func() (int, error) { return 7, nil })
		got <- n
	}()
	give <- context.DeadlineExceeded
	if n := <-got; n != 7 {
		t.Errorf("%d", n)
	}
}

// A tag is not set by a registry that says it has set another.
func TestKeepLied(t *testing.T) {
	s := serve(t)
	digest := s.push(t, "acme/web:1.0", "one")
	lie := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		w.Header().Set("Docker-Content-Digest", someDigest)
		w.WriteHeader(http.StatusCreated)
		return true
	}
	s.spoil.Store(&lie)
	if err := s.client(t).Keep(t.Context(), s.host+"/acme/web", "2.0", digest); err == nil || errors.Is(err, ErrUndecided) {
		t.Errorf("%v", err)
	}
}

// A repository of one letter is one.
func TestShortName(t *testing.T) {
	s := serve(t)
	d, err := s.client(t).Push(t.Context(), s.host+"/a", image(t, "one"), "1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.client(t).Resolve(t.Context(), s.host+"/a", "1"); got != d || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
