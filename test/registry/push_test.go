package registry

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// counting counts what is asked, and the bytes of the bodies that go out.
type counting struct {
	inner http.RoundTripper

	mu       sync.Mutex
	requests []string
	sent     int64
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	what := "blob"
	switch {
	case r.URL.Path == "/v2/":
		what = "ping"
	case strings.Contains(r.URL.Path, "/manifests/"):
		what = "manifest"
	case strings.Contains(r.URL.Path, "/uploads/"):
		what = "upload"
	}
	c.mu.Lock()
	c.requests = append(c.requests, r.Method+" "+what)
	c.sent += r.ContentLength
	c.mu.Unlock()
	return c.inner.RoundTrip(r)
}

// noDelete swallows what would cancel an upload.
type noDelete struct{ inner http.RoundTripper }

func (n noDelete) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodDelete {
		return nil, errors.New("swallowed")
	}
	return n.inner.RoundTrip(r)
}

func (c *counting) seen() (requests string, sent int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.requests)
	requests, sent = strings.Join(c.requests, ", "), c.sent
	c.requests, c.sent = nil, 0
	return requests, sent
}

// builder is what a build pushes with.
func (r *dockerRegistry) builder(t *testing.T, secret string) (*build.Registry, *counting) {
	t.Helper()
	k := keychain{&authn.Basic{Username: user, Password: secret}}
	c := &counting{inner: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.pool, MinVersion: tls.VersionTLS12}}}
	p := newRemote(t, presence.RemoteOptions{Keychain: k, CABundle: r.ca})
	return &build.Registry{Presence: p, Keychain: k, Transport: c}, c
}

// storage is where the registry keeps its data.
func (r *dockerRegistry) storage() string { return filepath.Join(filepath.Dir(r.ca), "data") }

// uploads lists the uploads that the registry knows to be under way. One that was
// cancelled has lost its data and its beginning; what docker-registry 2.8 leaves of
// it is the state of a hash, which it writes after it has removed the directory
// (registry/storage/blobwriter.go, Cancel and Close).
func (r *dockerRegistry) uploads(t *testing.T) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(r.storage(), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.Contains(path, "/_uploads/") && (entry.Name() == "data" || entry.Name() == "startedat") {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// readOnly starts the registry again, for reading alone.
func (r *dockerRegistry) readOnly(t *testing.T) {
	t.Helper()
	r.stop()
	file := filepath.Join(filepath.Dir(r.ca), "config.yml")
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(config), "storage:\n", "storage:\n  maintenance: {readonly: {enabled: true}}\n", 1)
	if changed == string(config) {
		t.Fatalf("the configuration has no storage:\n%s", config)
	}
	write(t, file, changed)
	var log bytes.Buffer
	cmd := exec.Command(r.cmd.Path, "serve", file)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	for {
		select {
		case <-exited:
			t.Fatalf("docker-registry ended: %s", log.String())
		default:
		}
		conn, err := tls.Dial("tcp", r.host, &tls.Config{RootCAs: r.pool, MinVersion: tls.VersionTLS12})
		if err == nil {
			_ = conn.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// multi returns an index of random images for platforms, which their
// configurations name, too.
func multi(t *testing.T, platforms ...string) v1.ImageIndex {
	t.Helper()
	var index v1.ImageIndex = empty.Index
	for _, s := range platforms {
		platform, err := v1.ParsePlatform(s)
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: single(t, s), Descriptor: v1.Descriptor{Platform: platform}})
	}
	return index
}

func single(t *testing.T, s string) v1.Image {
	t.Helper()
	platform, err := v1.ParsePlatform(s)
	if err != nil {
		t.Fatal(err)
	}
	i, err := random.Image(100_000, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := i.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	if i, err = mutate.ConfigFile(i, config); err != nil {
		t.Fatal(err)
	}
	return i
}

func digestOf(t *testing.T, what build.Artifact) string {
	t.Helper()
	digest, err := what.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func TestMayPush(t *testing.T) {
	r := start(t)
	repository := r.host + "/team/web"
	b, c := r.builder(t, password)
	for range 2 {
		if err := b.MayPush(t.Context(), repository); err != nil {
			t.Fatal(err)
		}
	}
	if requests, _ := c.seen(); requests != "DELETE upload, GET ping, POST upload" {
		t.Errorf("asked %s", requests)
	}
	if left := r.uploads(t); len(left) > 0 {
		t.Errorf("the upload was not cancelled: %s", left)
	}
	// Without a cancellation there is something to see.
	if err := remote.CheckPushPermission(reference(t, presence.Image{Repository: repository, Digest: "sha256:" + strings.Repeat("0", 64)}), b.Keychain, noDelete{c.inner}); err != nil {
		t.Fatal(err)
	}
	if left := r.uploads(t); len(left) == 0 {
		t.Error("an upload that nobody cancelled left nothing: this test sees nothing")
	}
	wrong, _ := r.builder(t, "battery staple")
	err := wrong.MayPush(t.Context(), repository)
	if want := repository + ": " + r.host + " denies the push (401): log in, or ask for push rights"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := wrong.Find(t.Context(), repository, "1", nil); err == nil || !strings.HasSuffix(err.Error(), ":1: the registry denies it (401), and a push, too: log in, or check the spelling") {
		t.Errorf("%v", err)
	}

	image := single(t, "linux/amd64")
	digest, err := b.Push(t.Context(), repository, image, "1")
	if err != nil {
		t.Fatal(err)
	}
	r.readOnly(t)
	b, _ = r.builder(t, password)
	err = b.MayPush(t.Context(), repository)
	if want := repository + ": " + r.host + " takes no push (405"; err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "): it is read-only, or a mirror") || errors.Is(err, build.ErrUndecided) {
		t.Errorf("got %v, want %s", err, want)
	}
	if got, err := b.Find(t.Context(), repository, "1", nil); got != digest || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := b.Push(t.Context(), repository, single(t, "linux/amd64")); err == nil || errors.Is(err, build.ErrUndecided) {
		t.Errorf("a push to a registry that is read-only: %v", err)
	}
	if _, err := b.Mark(t.Context(), repository, "2", digest); err == nil || errors.Is(err, build.ErrTagFixed) {
		t.Errorf("a tag in a registry that is read-only: %v", err)
	}
}

func TestPush(t *testing.T) {
	r := start(t)
	repository := r.host + "/team/web"
	b, c := r.builder(t, password)
	both := []string{"linux/amd64", "linux/arm64"}
	if got, err := b.Find(t.Context(), repository, "pin-1", both); got != "" || err != nil {
		t.Fatalf("before the first push: %q, %v", got, err)
	}
	index := multi(t, both...)
	digest, err := b.Push(t.Context(), repository, index, "pin-1")
	if err != nil || digest != digestOf(t, index) {
		t.Fatalf("%q, %v", digest, err)
	}
	if err := b.Confirm(t.Context(), repository, digest); err != nil {
		t.Error(err)
	}
	if left := r.uploads(t); len(left) > 0 {
		t.Errorf("uploads are left: %s", left)
	}

	// The same once more sends nothing.
	c.seen()
	if again, err := b.Push(t.Context(), repository, index, "pin-1"); again != digest || err != nil {
		t.Errorf("%q, %v", again, err)
	}
	if requests, sent := c.seen(); sent > 0 || requests != "HEAD manifest, HEAD manifest" {
		t.Errorf("sent %d: %s", sent, requests)
	}

	// Finding it takes one request.
	for _, l := range []struct {
		platforms []string
		requests  string
	}{{nil, "HEAD manifest"}, {both, "GET manifest"}} {
		if got, err := b.Find(t.Context(), repository, "pin-1", l.platforms); got != digest || err != nil {
			t.Errorf("%v: %q, %v", l.platforms, got, err)
		}
		if requests, _ := c.seen(); requests != l.requests {
			t.Errorf("%v: asked %s", l.platforms, requests)
		}
	}
	var missing *build.MissingPlatformsError
	if _, err := b.Find(t.Context(), repository, "pin-1", []string{"linux/s390x"}); !errors.As(err, &missing) || missing.Digest != digest {
		t.Errorf("%v", err)
	}
	if err := b.CheckPlatforms(t.Context(), repository, digest, both); err != nil {
		t.Error(err)
	}
	if size, err := b.Size(t.Context(), repository, digest); size < 200_000 || size > 210_000 || err != nil {
		t.Errorf("%d, %v", size, err)
	}

	// A base of another repository is mounted; for one platform the
	// configuration tells which.
	base, err := name.NewDigest(repository + "@" + digest)
	if err != nil {
		t.Fatal(err)
	}
	from, err := remote.Image(base, append(r.options(), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "arm64"}))...)
	if err != nil {
		t.Fatal(err)
	}
	own, err := random.Layer(1000, "application/vnd.docker.image.rootfs.diff.tar.gzip")
	if err != nil {
		t.Fatal(err)
	}
	derived, err := mutate.AppendLayers(from, own)
	if err != nil {
		t.Fatal(err)
	}
	c.seen()
	other := r.host + "/team/derived"
	derivedDigest, err := b.Push(t.Context(), other, derived)
	if err != nil {
		t.Fatal(err)
	}
	if requests, sent := c.seen(); sent > 20_000 || strings.Count(requests, "PATCH upload") != 2 {
		t.Errorf("sent %d: %s", sent, requests)
	}
	if has, err := b.Platforms(t.Context(), other, derivedDigest); err != nil || !slices.Equal(has, []string{"linux/arm64"}) {
		t.Errorf("%q, %v", has, err)
	}

	// A tag of ours moves, one of the user's doesn't.
	second, err := b.Push(t.Context(), repository, multi(t, both...))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		digest string
		want   build.Marked
	}{{digest, build.MarkThere}, {second, build.MarkMoved}, {second, build.MarkThere}} {
		if got, err := b.Mark(t.Context(), repository, "pin-1", m.digest); got != m.want || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if got, err := b.Mark(t.Context(), repository, "pin-2", digest); got != build.MarkSet || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := b.Keep(t.Context(), repository, "1.4.0", digest); err != nil {
		t.Error(err)
	}
	if err := b.Keep(t.Context(), repository, "1.4.0", second); !errors.Is(err, build.ErrTagTaken) {
		t.Errorf("%v", err)
	}
	if got, err := b.Resolve(t.Context(), repository, "pin-1"); got != second || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// The proxy in front of the real registry stumbles at each step; what got through
// is whole.
func TestPushFaults(t *testing.T) {
	r := start(t)
	for _, step := range []string{"POST uploads", "PATCH uploads", "PUT uploads", "PUT manifests", "HEAD blobs"} {
		for _, what := range []string{"503", "reset", "lost"} {
			t.Run(what+" at "+step, func(t *testing.T) {
				t.Parallel()
				f := newFaulty(t, r)
				method, part, _ := strings.Cut(step, " ")
				var mu sync.Mutex
				n := 0
				f.set(func(w http.ResponseWriter, req *http.Request) bool {
					if req.Method != method || !strings.Contains(req.URL.Path, "/"+part+"/") {
						return false
					}
					mu.Lock()
					defer mu.Unlock()
					if n++; n > 1 {
						return false
					}
					switch {
					case what == "reset":
						return resetAny(w)
					case what == "lost" && strings.HasSuffix(step, "uploads") && method != http.MethodPost:
						w.WriteHeader(http.StatusNotFound)
						_, _ = w.Write([]byte(`{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}`))
					default:
						w.WriteHeader(http.StatusServiceUnavailable)
					}
					return true
				}, func(resp *http.Response) {
					// The registry names itself in its locations.
					if l := resp.Header.Get("Location"); l != "" {
						resp.Header.Set("Location", strings.Replace(l, r.host, strings.TrimPrefix(f.URL, "https://"), 1))
					}
				})
				b, _ := r.builder(t, password)
				repository := strings.TrimPrefix(f.URL, "https://") + "/team/web"
				digest, err := b.Push(t.Context(), repository, multi(t, "linux/amd64", "linux/arm64"))
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					t.Fatal("the fault did not happen")
				}
				if err := b.CheckPlatforms(t.Context(), r.host+"/team/web", digest, []string{"linux/amd64", "linux/arm64"}); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func resetAny(w http.ResponseWriter) bool {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	if c, ok := conn.(*tls.Conn); ok {
		_ = c.NetConn().Close()
	}
	return true
}
