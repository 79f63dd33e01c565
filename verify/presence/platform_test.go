package presence

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// pushIndex pushes an index of one image for each platform, and returns it with
// the digests of its images. "" is an image without a platform.
func (p *proxy) pushIndex(t *testing.T, kind types.MediaType, platforms ...string) (Image, []string) {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, kind)
	var digests []string
	for _, s := range platforms {
		img, err := random.Image(64, 1)
		if err != nil {
			t.Fatal(err)
		}
		var d v1.Descriptor
		if s != "" {
			if d.Platform, err = v1.ParsePlatform(s); err != nil {
				t.Fatal(err)
			}
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: d})
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest.String())
	}
	return p.put(t, "app/web", index), digests
}

func TestPlatforms(t *testing.T) {
	for _, tt := range []struct {
		name   string
		holds  string // what the index has
		gone   string // what has been deleted behind its back
		wants  string
		reason string // "" is present; %s is the digest of what is gone
	}{
		{"all there", "linux/amd64 linux/arm64", "", "linux/amd64 linux/arm64", ""},
		{"more than asked for", "linux/amd64 linux/arm64 linux/s390x", "", "linux/amd64", ""},
		{"nothing asked for", "linux/amd64", "linux/amd64", "", ""},
		{"none of it", "linux/amd64", "", "linux/amd64 linux/arm64", "index has no linux/arm64"},
		{"manifest gone", "linux/amd64 linux/arm64", "linux/arm64", "linux/amd64 linux/arm64", "index lists linux/arm64 as %s: the registry answered 404 not found (MANIFEST_UNKNOWN)"},
		{"manifest of another platform gone", "linux/amd64 linux/arm64", "linux/arm64", "linux/amd64", ""},
		{"attestation is no image", "linux/amd64 unknown/unknown", "", "linux/arm64", "index has no linux/arm64"},
		{"attestation gone", "linux/amd64 unknown/unknown", "unknown/unknown", "linux/amd64", ""},
		{"an entry without a platform", "linux/amd64 -", "", "linux/arm64", "index has no linux/arm64"},
		{"another system", "windows/amd64", "", "linux/amd64", "index has no linux/amd64"},
		{"arm64 in full", "linux/arm64/v8", "", "linux/arm64", ""},
		{"arm64 asked for in full", "linux/arm64", "", "linux/arm64/v8", ""},
		{"arm of its own kind", "linux/arm/v7", "", "linux/arm/v7", ""},
		{"arm without a variant is v7", "linux/arm", "", "linux/arm/v7", ""},
		{"older arm will do", "linux/arm/v6", "", "linux/arm/v7", ""},
		{"newer arm won't", "linux/arm/v7", "", "linux/arm/v6", "index has no linux/arm/v6"},
		{"the best is what counts", "linux/arm/v6 linux/arm/v7", "linux/arm/v7", "linux/arm/v7", "index lists linux/arm/v7 as %s: the registry answered 404 not found (MANIFEST_UNKNOWN)"},
		{"newer amd64 won't", "linux/amd64/v3", "", "linux/amd64", "index has no linux/amd64"},
		{"older amd64 will", "linux/amd64", "", "linux/amd64/v3", ""},
		{"empty index", "", "", "linux/amd64", "index has no linux/amd64"},
	} {
		for _, kind := range []types.MediaType{types.OCIImageIndex, types.DockerManifestList} {
			t.Run(tt.name+" "+string(kind), func(t *testing.T) {
				t.Parallel()
				p := newProxy(t)
				holds := strings.Fields(strings.ReplaceAll(tt.holds, "-", ""))
				if strings.HasSuffix(tt.holds, "-") {
					holds = append(holds, "")
				}
				image, digests := p.pushIndex(t, kind, holds...)
				gone := ""
				if i := slices.Index(holds, tt.gone); tt.gone != "" {
					gone = digests[i]
					req, _ := http.NewRequest(http.MethodDelete, "/v2/app/web/manifests/"+gone, nil)
					resp, err := handlerTransport{p.registry}.RoundTrip(req)
					if err != nil || resp.StatusCode != http.StatusAccepted {
						t.Fatal(resp, err)
					}
					_ = resp.Body.Close()
				}
				r, _ := newTestRemote(t, p, RemoteOptions{Platforms: strings.Fields(tt.wants)})
				want := Result{Verdict: Present}
				if tt.reason != "" {
					want = Result{Verdict: Absent, Reason: strings.ReplaceAll(tt.reason, "%s", gone)}
				}
				if got := check(t, r, image); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		}
	}
}

// What a node would pull is decided by the index that the digest vouches for,
// whatever the media type in the header.
func TestPlatformsUnderAnotherMediaType(t *testing.T) {
	p := newProxy(t)
	image, _ := p.pushIndex(t, types.OCIImageIndex, "linux/amd64")
	single := p.push(t, "app/web")
	r, _ := newTestRemote(t, p, RemoteOptions{Platforms: []string{"linux/arm64"}})
	for _, kind := range []string{"", "text/plain", "application/json; charset=utf-8"} {
		p.misbehave(onManifest("", rewritten(func(_ *http.Request, h http.Header, b []byte) []byte {
			h["Content-Type"] = []string{kind}
			return b
		})))
		if got := check(t, r, image); got.Verdict != Absent {
			t.Errorf("%q: index: %+v", kind, got)
		}
		if got := check(t, r, single); got.Verdict != Present {
			t.Errorf("%q: image: %+v", kind, got)
		}
	}
}

// A fault at a child is a fault of the check; an absence is known for sure.
func TestFaultAtChild(t *testing.T) {
	p := newProxy(t)
	image, digests := p.pushIndex(t, types.OCIImageIndex, "linux/amd64", "linux/arm64")
	at := func(digest string, fault faultFunc) faultFunc {
		return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.HasSuffix(r.URL.Path, digest) {
				fault(w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		}
	}
	unknown := status(404, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`)
	for _, tt := range []struct {
		name   string
		first  faultFunc
		second faultFunc
		want   Result
	}{
		{"500", status(500, ""), nil, Result{Verdict: Unreachable, Reason: "server error 500"}},
		{"429", nil, status(429, ""), Result{Verdict: Throttled, Reason: reasonThrottled}},
		{"403", nil, status(403, ""), Result{Verdict: Denied, Reason: fmt.Sprintf("index lists linux/arm64 as %s: the registry answered 403 forbidden, asked without credentials", digests[1])}},
		{"500 and gone", status(500, ""), unknown, Result{Verdict: Absent, Reason: fmt.Sprintf("index lists linux/arm64 as %s: the registry answered 404 not found (MANIFEST_UNKNOWN)", digests[1])}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fault := func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }
			if tt.first != nil {
				fault = at(digests[0], tt.first)
			}
			if tt.second != nil {
				before := fault
				fault = at(digests[1], tt.second)
				if tt.first != nil {
					second := fault
					fault = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
						second(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { before(w, r, next) }))
					}
				}
			}
			p.misbehave(fault)
			r, _ := newTestRemote(t, p, RemoteOptions{Platforms: []string{"linux/amd64", "linux/arm64"}})
			if got := check(t, r, image); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestParsePlatform(t *testing.T) {
	for in, want := range map[string]string{
		"linux/amd64":    "linux/amd64",
		"linux/x86_64":   "linux/amd64",
		"Linux/AMD64":    "linux/amd64",
		"linux/amd64/v1": "linux/amd64",
		"linux/aarch64":  "linux/arm64",
		"linux/arm64/v8": "linux/arm64",
		"linux/arm":      "linux/arm/v7",
		"linux/armhf":    "linux/arm/v7",
		"linux/arm/6":    "linux/arm/v6",
		"windows/amd64":  "windows/amd64",
		"":               "",
		"linux":          "",
		"linux/":         "",
		"linux/arm/v7/x": "",
		"linux/amd64,x":  "",
	} {
		p, err := parsePlatform(in)
		if (err != nil) != (want == "") || err == nil && p.String() != want {
			t.Errorf("parsePlatform(%q) = %v, %v, want %q", in, p, err, want)
		}
	}
	if _, err := NewRemote(RemoteOptions{Platforms: []string{"amd64"}}); err == nil || !strings.Contains(err.Error(), "linux/amd64") {
		t.Errorf("%v", err)
	}
}
