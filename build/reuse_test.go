package build

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// platformed returns an image whose configuration names a platform.
func platformed(t *testing.T, platform string) v1.Image {
	t.Helper()
	i, _ := layered(t, 1000)
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		t.Fatal(err)
	}
	config, err := i.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	if i, err = mutate.ConfigFile(i, config); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestFind(t *testing.T) {
	d := newDepot(t)
	repository := d.host + "/acme/web"
	single := platformed(t, "linux/arm64/v8")
	index := mutate.AppendManifests(
		indexOf(t, map[string]v1.Image{"linux/amd64": platformed(t, "linux/amd64"), "linux/arm/v7": platformed(t, "linux/arm/v7")}),
		mutate.IndexAddendum{Add: platformed(t, "linux/amd64"), Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}, Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"},
		}},
		mutate.IndexAddendum{Add: platformed(t, "linux/riscv64")}, // says nothing; its configuration does
	)
	r := d.client()
	for tag, artifact := range map[string]Artifact{"single": single, "index": index} {
		if _, err := r.Push(t.Context(), repository, artifact, tag); err != nil {
			t.Fatal(err)
		}
	}
	r = d.client()
	if _, err := r.Find(t.Context(), repository, "single", nil); err != nil { // signs in
		t.Fatal(err)
	}
	d.seen()
	for _, c := range []struct {
		tag       string
		platforms []string
		found     Artifact
		missing   []string
		has       []string
		requests  string
	}{
		{"none", nil, nil, nil, nil, "HEAD manifest ×1"},
		{"none", []string{"linux/amd64"}, nil, nil, nil, "GET manifest ×1"},
		{"single", nil, single, nil, nil, "HEAD manifest ×1"},
		{"single", []string{"linux/arm64"}, single, nil, nil, "GET blob ×1, GET manifest ×1"},
		{"single", []string{"linux/arm64", "linux/amd64"}, nil, []string{"linux/amd64"}, []string{"linux/arm64"}, "GET blob ×1, GET manifest ×1"},
		{"index", nil, index, nil, nil, "HEAD manifest ×1"},
		{"index", []string{"linux/arm", "linux/amd64"}, index, nil, nil, "GET blob ×1, GET manifest ×2"},
		{"index", []string{"linux/x86_64", "linux/arm/v6", "linux/s390x"}, nil, []string{"linux/arm/v6", "linux/s390x"}, []string{"linux/amd64", "linux/arm/v7", "linux/riscv64"}, "GET blob ×1, GET manifest ×2"},
	} {
		got, err := r.Find(t.Context(), repository, c.tag, c.platforms)
		requests, _ := d.seen()
		if counted(requests) != c.requests {
			t.Errorf("%s %v: asked %s", c.tag, c.platforms, counted(requests))
		}
		var missing *MissingPlatformsError
		if errors.As(err, &missing) {
			if !slices.Equal(missing.Missing, c.missing) || !slices.Equal(missing.Has, c.has) || got != "" || missing.Digest == "" || missing.Image != repository+":"+c.tag {
				t.Errorf("%s %v: %+v", c.tag, c.platforms, missing)
			}
			continue
		}
		want := ""
		if c.found != nil {
			want = digestOf(t, c.found)
		}
		if got != want || err != nil || c.missing != nil {
			t.Errorf("%s %v: %q, %v", c.tag, c.platforms, got, err)
		}
	}
	if got, err := r.Find(t.Context(), d.host+"/acme/never", "1", nil); got != "" || err != nil {
		t.Errorf("a repository that is not there: %q, %v", got, err)
	}

	if has, err := r.Platforms(t.Context(), repository, digestOf(t, index)); err != nil || !slices.Equal(has, []string{"linux/amd64", "linux/arm/v7", "linux/riscv64"}) {
		t.Errorf("%q, %v", has, err)
	}
	if err := r.CheckPlatforms(t.Context(), repository, digestOf(t, single), []string{"linux/arm64/v8"}); err != nil {
		t.Error(err)
	}
	err := r.CheckPlatforms(t.Context(), repository, digestOf(t, single), []string{"linux/amd64"})
	if err == nil || err.Error() != repository+"@"+digestOf(t, single)+" has no linux/amd64; it has linux/arm64" {
		t.Errorf("%v", err)
	}
	if _, err := r.Platforms(t.Context(), repository, someDigest); err == nil || err.Error() != repository+"@"+someDigest+": the registry answered 404 MANIFEST_UNKNOWN" {
		t.Errorf("%v", err)
	}
}

// A tag of a registry without HEAD, or whose HEAD says too little, takes one more
// request; its digest is that of the bytes that came, whatever a header says.
func TestFindWithoutHead(t *testing.T) {
	d := newDepot(t)
	artifact := platformed(t, "linux/amd64")
	if _, err := d.client().Push(t.Context(), d.host+"/acme/web", artifact, "1"); err != nil {
		t.Fatal(err)
	}
	for _, status := range []int{http.StatusOK, http.StatusMethodNotAllowed} {
		d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if kind(r) == "HEAD manifest" {
				w.WriteHeader(status)
				return true
			}
			if kind(r) != "GET manifest" {
				return false
			}
			recorder := httptest.NewRecorder()
			d.inner.ServeHTTP(recorder, r)
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws") // whose header the library believes
			w.Header().Set("Docker-Content-Digest", someDigest)
			w.WriteHeader(recorder.Code)
			_, _ = w.Write(recorder.Body.Bytes())
			return true
		})
		for _, platforms := range [][]string{nil, {"linux/amd64"}} {
			if got, err := d.client().Find(t.Context(), d.host+"/acme/web", "1", platforms); got != digestOf(t, artifact) || err != nil {
				t.Errorf("%d, %v: %q, %v", status, platforms, got, err)
			}
		}
		if _, err := d.client().Platforms(t.Context(), d.host+"/acme/web", digestOf(t, artifact)); err == nil {
			t.Error("a header that names another digest was overlooked")
		}
	}
}

// What a registry answers for a component that is pushed for the first time, and
// what it answers when it is the rights that are missing.
func TestFindFirst(t *testing.T) {
	denied := func(status int) func(http.ResponseWriter, *http.Request) {
		return statusFault(status, `{"errors":[{"code":"UNAUTHORIZED"}]}`)
	}
	for _, c := range []struct {
		name       string
		look, push func(http.ResponseWriter, *http.Request)
		says       string // "" if the build may begin
		undecided  bool
	}{
		{"404 NAME_UNKNOWN", statusFault(404, `{"errors":[{"code":"NAME_UNKNOWN"}]}`), nil, "", false},
		{"404 NOT_FOUND", statusFault(404, `{"errors":[{"code":"NOT_FOUND"}]}`), nil, "", false},
		{"401, and we may push, as Quay", denied(401), statusFault(202, ""), "", false},
		{"403, and we may push, as Artifactory", denied(403), statusFault(202, ""), "", false},
		{"401, and so is a push", denied(401), denied(401), "H/acme/web:1: the registry denies it (401), and a push, too: log in, or check the spelling", false},
		{"403, and a push finds no repository", denied(403), statusFault(404, `{"errors":[{"code":"NAME_UNKNOWN"}]}`), "H/acme/web:1: the registry denies it (403), and a push, too: log in, or check the spelling", false},
		{"401, and a push is no answer", denied(401), statusFault(503, ""), "H/acme/web: may we push there: the registry could not say: it answered 503: run this again later", true},
		{"no answer", statusFault(503, ""), nil, "H/acme/web:1: the registry could not say: it answered 503: run this again later", true},
	} {
		for _, platforms := range [][]string{nil, {"linux/amd64"}} {
			t.Run(fmt.Sprint(c.name, platforms), func(t *testing.T) {
				d := newDepot(t)
				d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
					switch {
					case strings.HasSuffix(kind(r), " manifest"):
						c.look(w, r)
					case kind(r) == "POST upload":
						c.push(w, r)
					default:
						return false
					}
					return true
				})
				got, err := d.client().Find(t.Context(), d.host+"/acme/web", "1", platforms)
				if c.says == "" {
					if got != "" || err != nil {
						t.Errorf("%q, %v", got, err)
					}
					return
				}
				if got != "" || err == nil || err.Error() != strings.ReplaceAll(c.says, "H", d.host) || errors.Is(err, ErrUndecided) != c.undecided {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
	}
}

// A 404 of something that is no registry is not the absence of a tag.
func TestFindNoRegistry(t *testing.T) {
	d := newDepot(t)
	d.spoil(func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusNotFound)
		return true
	})
	for _, platforms := range [][]string{nil, {"linux/amd64"}} {
		_, err := d.client().Find(t.Context(), d.host+"/acme/web", "1", platforms)
		if err == nil || err.Error() != d.host+"/acme/web:1: the host doesn't answer as a registry: 404 for /v2/" {
			t.Errorf("%v", err)
		}
	}
}

// Nor is a 404 of the token server, where a token has expired.
func TestFindTokenGone(t *testing.T) {
	d := newDepot(t)
	tk := &tokens{}
	d.spoil(tk.fault(d, nil))
	r := d.client()
	r.Keychain = login()
	if got, err := r.Find(t.Context(), d.host+"/acme/web", "1", nil); got != "" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test",error="invalid_token"`, d.host))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	if got, err := r.Find(t.Context(), d.host+"/acme/web", "1", nil); got != "" || err == nil || err.Error() != d.host+"/acme/web:1: the registry answered 404" {
		t.Errorf("%q, %v", got, err)
	}
}

// covering is a keychain with one credential for a whole registry.
type covering struct{ *keys }

func (covering) Identity(authn.Resource) (string, bool, error) { return "", false, nil }
func (covering) Covers(target authn.Resource) (string, error)  { return target.RegistryStr(), nil }

var _ presence.Identifier = covering{}

// 50 look-ups of 50 components share a ping and a credential, and take a request
// each, with a token for each repository where the registry wants tokens. Again,
// they take a request each.
func TestFindMany(t *testing.T) {
	const n = 50
	for _, how := range []string{"basic", "bearer"} {
		t.Run(how, func(t *testing.T) {
			d := newDepot(t)
			tk := &tokens{}
			if how == "bearer" {
				d.spoil(tk.fault(d, nil))
			} else {
				d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
					if user, password, _ := r.BasicAuth(); user == "robot" && password == "hunter2" {
						return false
					}
					w.Header().Set("WWW-Authenticate", "Basic realm=test")
					w.WriteHeader(http.StatusUnauthorized)
					return true
				})
			}
			k := covering{login()}
			r := d.client()
			r.Keychain = k
			for _, want := range []string{
				map[string]string{"basic": "GET ping ×1, HEAD manifest ×50", "bearer": "GET ping ×1, GET token ×50, HEAD manifest ×50"}[how],
				"HEAD manifest ×50",
			} {
				var group sync.WaitGroup
				for i := range n {
					group.Go(func() {
						if got, err := r.Find(t.Context(), fmt.Sprintf("%s/acme/web%d", d.host, i), "pin-abc", nil); got != "" || err != nil {
							t.Errorf("%q, %v", got, err)
						}
					})
				}
				group.Wait()
				requests, _ := d.seen()
				if got := counted(requests); got != want {
					t.Errorf("asked %s, not %s", got, want)
				}
			}
			if k.asked != 1 {
				t.Errorf("the credential was resolved %d times", k.asked)
			}
		})
	}
}

// Look-ups at a registry that is down fail together, not one after the other.
func TestFindDown(t *testing.T) {
	d := newDepot(t)
	d.spoil(func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	r := d.client()
	r.pause = 20 * time.Millisecond // all arrive within the first one's attempts
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			if _, err := r.Find(t.Context(), fmt.Sprintf("%s/acme/web%d", d.host, i), "1", nil); !errors.Is(err, ErrUndecided) {
				t.Errorf("%v", err)
			}
		})
	}
	group.Wait()
	if requests, _ := d.seen(); len(requests) > 4*questionAttempts {
		t.Errorf("asked %s", counted(requests))
	}
}

// A mistake in the user's configuration stays what it is.
func TestFindConfigError(t *testing.T) {
	d := newDepot(t)
	mistake := &presence.ConfigError{File: "/home/dev/.docker/config.json", Line: 3, Problem: "the helper is not here", Fix: "install it"}
	r := d.client()
	r.Keychain = failing{mistake}
	_, err := r.Find(t.Context(), d.host+"/acme/web", "1", nil)
	var config *presence.ConfigError
	if !errors.As(err, &config) || config != mistake {
		t.Errorf("%v", err)
	}
	if err := r.MayPush(t.Context(), d.host+"/acme/web"); !errors.As(err, &config) {
		t.Errorf("%v", err)
	}
	artifact, _ := layered(t, 10)
	if _, err := r.Push(t.Context(), d.host+"/acme/web", artifact); !errors.As(err, &config) {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f failing) Resolve(authn.Resource) (authn.Authenticator, error) { return nil, f.err }

func TestMark(t *testing.T) {
	d := newDepot(t)
	repository := d.host + "/acme/web"
	one, two := platformed(t, "linux/amd64"), platformed(t, "linux/arm64")
	r := d.client()
	for _, i := range []v1.Image{one, two} {
		if _, err := r.Push(t.Context(), repository, i); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		digest string
		want   Marked
	}{
		{digestOf(t, one), MarkSet}, {digestOf(t, one), MarkThere}, {digestOf(t, two), MarkMoved}, {digestOf(t, one), MarkMoved},
	} {
		if got, err := r.Mark(t.Context(), repository, "pin-abc", c.digest); got != c.want || err != nil {
			t.Errorf("%q, %v, not %s", got, err, c.want)
		}
		if held, err := r.Find(t.Context(), repository, "pin-abc", nil); held != c.digest || err != nil {
			t.Errorf("%q, %v", held, err)
		}
	}
	if _, err := r.Mark(t.Context(), repository, "pin-abc", someDigest); err == nil || err.Error() != repository+"@"+someDigest+": the registry answered 404 MANIFEST_UNKNOWN" {
		t.Errorf("%v", err)
	}

	for _, c := range []struct {
		name  string
		fault func(http.ResponseWriter, *http.Request)
		fixed bool
		says  string
	}{
		{"as ECR", statusFault(400, `{"errors":[{"code":"TAG_INVALID"}]}`), true, ":pin-abc names ONE, and can't be set to TWO (400 TAG_INVALID): the registry lets no tag move; delete the tag there, or exempt it from the rule"},
		{"precondition", statusFault(412, `{"errors":[{"code":"PRECONDITION"}]}`), true, ":pin-abc names ONE, and can't be set to TWO (412 PRECONDITION): the registry lets no tag move; delete the tag there, or exempt it from the rule"},
		{"locked", statusFault(405, `{"errors":[{"code":"UNSUPPORTED"}]}`), true, ":pin-abc names ONE, and can't be set to TWO (405 UNSUPPORTED): the registry lets no tag move; delete the tag there, or exempt it from the rule"},
		{"denied", statusFault(403, ""), false, ":pin-abc can't be pushed: the registry denies it (403): log in, or check the spelling"},
		{"down", statusFault(500, ""), false, ":pin-abc can't be pushed: the registry could not say: it answered 500: run this again later"},
		{"lies", statusFault(201, "", "Docker-Content-Digest", someDigest), false, ":pin-abc can't be pushed: the registry gave what was pushed another digest than it has, so nothing can be pinned by it"},
	} {
		d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if kind(r) != "PUT manifest" {
				return false
			}
			c.fault(w, r)
			return true
		})
		_, err := r.Mark(t.Context(), repository, "pin-abc", digestOf(t, two))
		want := repository + strings.NewReplacer("ONE", digestOf(t, one), "TWO", digestOf(t, two)).Replace(c.says)
		if err == nil || err.Error() != want || errors.Is(err, ErrTagFixed) != c.fixed {
			t.Errorf("%s: got  %v\nwant %s", c.name, err, want)
		}
	}

	// Somebody else was faster, and set it to the same.
	d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if kind(r) != "PUT manifest" || !strings.HasSuffix(r.URL.Path, "/pin-abc") {
			return false
		}
		d.inner.ServeHTTP(httptest.NewRecorder(), r)
		statusFault(400, `{"errors":[{"code":"TAG_INVALID"}]}`)(w, r)
		return true
	})
	if got, err := r.Mark(t.Context(), repository, "pin-abc", digestOf(t, two)); got != MarkThere || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSize(t *testing.T) {
	d := newDepot(t)
	repository := d.host + "/acme/web"
	small, _ := layered(t, 100, 200)
	large, _ := layered(t, 5000)
	twice, err := mutate.AppendLayers(small, must(small.Layers())[0])
	if err != nil {
		t.Fatal(err)
	}
	nested := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: indexOf(t, map[string]v1.Image{"linux/arm64": large})})
	r := d.client()
	for _, c := range []struct {
		name     string
		artifact Artifact
		want     int64
	}{
		{"image", small, 300},
		{"a layer twice", twice, 300},
		{"index with linux/amd64", indexOf(t, map[string]v1.Image{"linux/aarch64": large, "linux/x86_64": small}), 300},
		{"index without", indexOf(t, map[string]v1.Image{"linux/arm64": large, "linux/s390x": small}), 5000},
		{"index of an index", nested, 5000},
	} {
		digest, err := r.Push(t.Context(), repository, c.artifact)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Size(t.Context(), repository, digest); got != c.want || err != nil {
			t.Errorf("%s: %d, %v", c.name, got, err)
		}
	}
	if _, err := r.Size(t.Context(), repository, someDigest); err == nil {
		t.Error("the size of what is not there")
	}
}

// Manifests come from outside.
func TestManifestsFromOutside(t *testing.T) {
	entry := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,"digest":"` + someDigest + `"}`
	for body, says := range map[string]string{
		`{`:                            "the manifest is not valid JSON of its kind",
		`{}`:                           "the manifest is neither an index nor an image",
		`null`:                         "the manifest is neither an index nor an image",
		`{"manifests":[{"digest":1}]}`: "the manifest is not valid JSON of its kind",
		`{"manifests":[` + entry + `],"config":` + entry + `}`: "the manifest is neither an index nor an image",
	} {
		if _, err := parseManifest([]byte(body)); err == nil || err.Error() != says {
			t.Errorf("%s: %v", body, err)
		}
	}
	r := &reader{}
	if has, err := r.platforms([]byte(`{"manifests":[]}`)); has != nil || err != nil {
		t.Errorf("%q, %v", has, err)
	}
	if _, err := r.size([]byte(`{"manifests":[]}`)); err == nil {
		t.Error("the size of nothing")
	}
	if has, err := r.platforms([]byte(`{"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","size":2,"digest":"` + someDigest + `"}}`)); has != nil || err != nil {
		t.Errorf("%q, %v", has, err)
	}
	layer := `{"mediaType":"l","digest":"` + someDigest + `","size":`
	for _, layers := range []string{layer + `-1}`, layer + `9223372036854775807},` + strings.ReplaceAll(layer, "aaaa", "bbbb") + `9223372036854775807}`} {
		if n, err := r.size([]byte(`{"config":` + entry + `,"layers":[` + layers + `]}`)); err == nil {
			t.Errorf("%d", n)
		}
	}
}

// An index can't have us read for ever: not by its length, nor by naming indexes
// that name it.
func TestManifestsWithoutEnd(t *testing.T) {
	d := newDepot(t)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for range maxUnnamed + 1 {
		i, _ := layered(t, 10)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: i})
	}
	r := d.client()
	digest, err := r.Push(t.Context(), d.host+"/acme/web", index)
	if err != nil {
		t.Fatal(err)
	}
	d.seen()
	if _, err := r.Platforms(t.Context(), d.host+"/acme/web", digest); err == nil || !strings.HasSuffix(err.Error(), "the index names more than 16 manifests without their platform") {
		t.Errorf("%v", err)
	}
	if requests, _ := d.seen(); len(requests) > 3*maxUnnamed {
		t.Errorf("asked %s", counted(requests))
	}
	deep := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i := range maxUnnamed + 2 {
		deep = mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: deep, Descriptor: v1.Descriptor{Annotations: map[string]string{"at": fmt.Sprint(i)}}})
	}
	if digest, err = r.Push(t.Context(), d.host+"/acme/web", deep); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Size(t.Context(), d.host+"/acme/web", digest); err == nil {
		t.Error("an index of indexes of indexes has a size")
	}
}

// An answer is not held in memory whatever its length.
func TestLargeAnswer(t *testing.T) {
	d := newDepot(t)
	d.spoil(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if kind(r) != "GET manifest" {
			return false
		}
		_, _ = io.CopyN(w, zeros{}, maxAnswer+1)
		return true
	})
	_, err := d.client().Find(t.Context(), d.host+"/acme/web", "1", []string{"linux/amd64"})
	if err == nil || err.Error() != d.host+"/acme/web:1: the registry's answer is larger than 8 MiB" {
		t.Errorf("%v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestPlatformOf(t *testing.T) {
	for given, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/amd64/v1": "linux/amd64", "linux/amd64/v2": "linux/amd64/v2", "Linux/x86_64": "linux/amd64",
		"linux/arm64/v8": "linux/arm64", "linux/aarch64": "linux/arm64", "linux/arm": "linux/arm/v7", "linux/arm/6": "linux/arm/v6",
		"linux/armhf": "linux/arm/v7", "linux/armel": "linux/arm/v6", "linux/i386": "linux/386", "windows/amd64": "windows/amd64",
	} {
		if got := normalPlatform(given); got != want {
			t.Errorf("%s: %s, not %s", given, got, want)
		}
	}
}
