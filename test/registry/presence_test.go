package registry

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/pin-cmp/pin-cmp/verify/presence"
)

func TestPresence(t *testing.T) {
	r := start(t)
	right := keychain{&authn.Basic{Username: user, Password: password}}
	wrong := keychain{&authn.Basic{Username: user, Password: "battery staple"}}

	there := r.push(t, "team/web")
	deleted := r.push(t, "team/web")
	r.remove(t, deleted)
	whole, _ := r.pushIndex(t, "team/multi", "linux/amd64", "linux/arm64")
	broken, children := r.pushIndex(t, "team/multi", "linux/amd64", "linux/arm64")
	r.remove(t, children[1])
	never := presence.Image{Repository: r.host + "/team/web", Digest: "sha256:" + strings.Repeat("0", 64)}
	nowhere := presence.Image{Repository: r.host + "/team/nothing", Digest: never.Digest}

	both := []string{"linux/amd64", "linux/arm64"}
	for _, tt := range []struct {
		name      string
		keychain  authn.Keychain
		platforms []string
		image     presence.Image
		want      presence.Result
	}{
		{"right password", right, nil, there, presence.Result{Verdict: presence.Present}},
		{"wrong password", wrong, nil, there, presence.Result{Verdict: presence.Denied, Reason: "the registry answered 401 unauthorized, asked with its credentials"}},
		{"no password", nil, nil, there, presence.Result{Verdict: presence.Denied, Reason: "the registry answered 401 unauthorized, asked without credentials"}},
		{"never pushed", right, nil, never, presence.Result{Verdict: presence.Absent, Reason: "the registry answered 404 not found (MANIFEST_UNKNOWN)"}},
		{"never pushed, no password", nil, nil, never, presence.Result{Verdict: presence.Denied, Reason: "the registry answered 401 unauthorized, asked without credentials"}},
		{"no such repository", right, nil, nowhere, presence.Result{Verdict: presence.Absent, Reason: "the registry answered 404 not found (MANIFEST_UNKNOWN)"}},
		{"deleted", right, nil, deleted, presence.Result{Verdict: presence.Absent, Reason: "the registry answered 404 not found (MANIFEST_UNKNOWN)"}},
		{"index", right, both, whole, presence.Result{Verdict: presence.Present}},
		{"index without a platform", right, []string{"linux/s390x"}, whole, presence.Result{Verdict: presence.Absent, Reason: "index has no linux/s390x"}},
		{"index, unasked", right, nil, broken, presence.Result{Verdict: presence.Present}},
		{"index, the other platform gone", right, both[:1], broken, presence.Result{Verdict: presence.Present}},
		{"index, manifest gone", right, both, broken, presence.Result{
			Verdict: presence.Absent,
			Reason:  fmt.Sprintf("index lists linux/arm64 as %s: the registry answered 404 not found (MANIFEST_UNKNOWN)", children[1].Digest),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newRemote(t, presence.RemoteOptions{Keychain: tt.keychain, CABundle: r.ca, Platforms: tt.platforms})
			if got := check(t, c, tt.image, tt.want.Verdict); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}

	t.Run("untrusted", func(t *testing.T) {
		got := check(t, newRemote(t, presence.RemoteOptions{Keychain: right}), there, presence.Unreachable)
		want := presence.Result{Verdict: presence.Unreachable, Reason: "TLS certificate is not trusted: x509: certificate signed by unknown authority"}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
	t.Run("over plain http", func(t *testing.T) {
		got := check(t, newRemote(t, presence.RemoteOptions{Keychain: right, PlainHTTP: []string{r.host}}), there, presence.Unreachable)
		if got.Verdict == presence.Present {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("docker config", func(t *testing.T) {
		dir := t.TempDir()
		t.Setenv("HOME", dir)
		t.Setenv("DOCKER_CONFIG", dir)
		for secret, want := range map[string]presence.Verdict{password: presence.Present, "x": presence.Denied} {
			auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
			write(t, filepath.Join(dir, "config.json"), fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.host, auth))
			c := newRemote(t, presence.RemoteOptions{Keychain: presence.DefaultKeychain(), CABundle: r.ca})
			if got := check(t, c, there, want); got.Verdict != want {
				t.Errorf("password %s: got %+v, want %s", secret, got, want)
			}
		}
	})

	// The last one: the registry does not come back.
	t.Run("stopped", func(t *testing.T) {
		dir := t.TempDir() + "/cache"
		now := time.Now()
		cache := func(k authn.Keychain) *presence.Cache {
			return presence.NewCache(
				newRemote(t, presence.RemoteOptions{Keychain: k, CABundle: r.ca}),
				presence.CacheOptions{Dir: dir, StaleIfError: time.Hour, Now: func() time.Time { return now }, OnWarning: func(s string) { t.Error(s) }},
			)
		}
		if got := check(t, cache(right), there, presence.Present); got.Verdict != presence.Present || got.Stale {
			t.Fatalf("before: %+v", got)
		}
		r.stop()
		for _, tt := range []struct {
			name     string
			keychain authn.Keychain
			image    presence.Image
			later    time.Duration
			want     presence.Result
		}{
			{"inside the window", right, there, time.Hour - time.Second, presence.Result{Verdict: presence.Present, Stale: true, Reason: "connection refused"}},
			{"after the window", right, there, time.Hour + time.Second, presence.Result{Verdict: presence.Unreachable, Reason: "connection refused"}},
			{"another credential", wrong, there, 0, presence.Result{Verdict: presence.Unreachable, Reason: "connection refused"}},
			{"another image", right, whole, 0, presence.Result{Verdict: presence.Unreachable, Reason: "connection refused"}},
		} {
			before := now
			now = now.Add(tt.later)
			if got := check(t, cache(tt.keychain), tt.image, presence.Unreachable); got != tt.want {
				t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
			}
			now = before
		}
	})
}
