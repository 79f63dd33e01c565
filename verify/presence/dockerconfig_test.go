package presence

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// home is a user's home directory with nothing in it, and the only one that the
// test sees.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	for _, v := range []string{
		"DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME",
		"GOOGLE_APPLICATION_CREDENTIALS", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AZURE_CLIENT_ID",
	} {
		t.Setenv(v, "")
	}
	return dir
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// helper installs a credential helper made of a shell script.
func helper(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func auth(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// resolve returns user:password, or the error.
func resolve(t *testing.T, k authn.Keychain, repository string) (string, error) {
	t.Helper()
	repo, err := name.NewRepository(repository)
	if err != nil {
		t.Fatal(err)
	}
	a, err := authn.Resolve(context.Background(), k, repo)
	if err != nil {
		return "", err
	}
	if a == authn.Anonymous {
		return "anonymous", nil
	}
	c, err := authn.Authorization(context.Background(), a)
	if err != nil {
		return "", err
	}
	if c.IdentityToken != "" {
		return "token " + c.IdentityToken, nil
	}
	return c.Username + ":" + c.Password, nil
}

func TestDockerConfigPlaces(t *testing.T) {
	config := func(user string) string {
		return fmt.Sprintf(`{"auths":{"ghcr.io":{"auth":%q}}}`, auth(user, "x"))
	}
	dir := home(t)
	k := DefaultKeychain()
	want := func(want string) {
		t.Helper()
		if got, err := resolve(t, k, "ghcr.io/acme/web"); got != want || err != nil {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
	want("anonymous")
	// From the last choice to the first.
	write(t, dir+"/.config/containers/auth.json", config("config"))
	want("config:x")
	write(t, dir+"/run/containers/auth.json", config("runtime"))
	t.Setenv("XDG_RUNTIME_DIR", dir+"/run")
	want("runtime:x")
	t.Setenv("REGISTRY_AUTH_FILE", write(t, dir+"/named.json", config("named")))
	want("named:x")
	write(t, dir+"/.docker/config.json", config("docker"))
	want("docker:x")
	write(t, dir+"/elsewhere/config.json", config("elsewhere"))
	t.Setenv("DOCKER_CONFIG", dir+"/elsewhere")
	want("elsewhere:x")
}

func TestDockerConfigKeys(t *testing.T) {
	dir := home(t)
	write(t, dir+"/.docker/config.json", fmt.Sprintf(`{"auths": {
		"https://index.docker.io/v1/": {"auth": %q},
		"ghcr.io": {"auth": %q},
		"ghcr.io/acme": {"auth": %q},
		"ghcr.io/acme/web/deep": {"username": "deep", "password": "x"},
		"https://quay.io/v2/": {"auth": %q},
		"token.example.org": {"identitytoken": "abc"},
		"beside.example.org": {}
	}}`, auth("hub", "x"), auth("all", "x"), auth("acme", "x:y"), auth("quay", "x")))
	k := DefaultKeychain()
	for repository, want := range map[string]string{
		"index.docker.io/library/nginx": "hub:x",
		"nginx":                         "hub:x",
		"ghcr.io/other/web":             "all:x",
		"ghcr.io/acme/web":              "acme:x:y",
		"ghcr.io/acme/web/deep":         "deep:x",
		"ghcr.io/acme/web/deeper":       "acme:x:y",
		"ghcr.io/acmes/web":             "all:x",
		"quay.io/acme/web":              "quay:x",
		"token.example.org/acme/web":    "token abc",
		"beside.example.org/acme/web":   "anonymous",
		"other.example.org/acme/web":    "anonymous",
		"ghcr.io.example.org/acme/web":  "anonymous",
	} {
		if got, err := resolve(t, k, repository); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", repository, got, err, want)
		}
	}
	identity := func(repository string) string {
		repo, err := name.NewRepository(repository)
		if err != nil {
			t.Fatal(err)
		}
		id, ok, err := k.(Identifier).Identity(repo)
		if err != nil || !ok || strings.Contains(id, "acme") {
			t.Errorf("%s: %s, %v, %v", repository, id, ok, err)
		}
		return id
	}
	if identity("ghcr.io/acme/web") == identity("ghcr.io/other/web") {
		t.Error("two credentials, one identity")
	}
	if identity("ghcr.io/acme/web") != identity("ghcr.io/acme/api") {
		t.Error("one credential, two identities")
	}
	if identity("other.example.org/acme/web") != "anonymous" {
		t.Error("no credential is anonymous")
	}
}

// A mounted Secret changes under a running process.
func TestDockerConfigChanges(t *testing.T) {
	dir := home(t)
	k := DefaultKeychain()
	for i, user := range []string{"first", "other"} {
		path := write(t, dir+"/.docker/config.json", fmt.Sprintf(`{"auths":{"ghcr.io":{"auth":%q}}}`, auth(user, "x")))
		stamp := time.Now().Add(time.Duration(i) * time.Second)
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
		if got, err := resolve(t, k, "ghcr.io/acme/web"); got != user+":x" || err != nil {
			t.Errorf("%s, %v", got, err)
		}
	}
}

func TestCredentialHelper(t *testing.T) {
	dir := home(t)
	helper(t, "good", `read server; echo "{\"Username\":\"user\",\"Secret\":\"for $server\"}"`)
	helper(t, "empty", `echo "credentials not found in native keychain"; exit 1`)
	helper(t, "token", `echo '{"Username":"<token>","Secret":"abc"}'`)
	helper(t, "broken", `echo "no such keyring, request 7b1c"; exit 1`)
	helper(t, "garbage", `echo hello`)
	path := write(t, dir+"/.docker/config.json", fmt.Sprintf(`{
  "auths": {"inline.example.org": {"auth": %q}, "empty.example.org": {"auth": %q}},
  "credHelpers": {
    "good.example.org": "good",
    "https://index.docker.io/v1/": "good",
    "empty.example.org": "empty", "token.example.org": "token",
    "missing.example.org": "missing",
    "broken.example.org": "broken",
    "garbage.example.org":
       "garbage"
  }
}`, auth("inline", "x"), auth("beside", "x")))
	k := DefaultKeychain()
	for repository, want := range map[string]string{
		"good.example.org/a/web":   "user:for good.example.org",
		"nginx":                    "user:for https://index.docker.io/v1/",
		"empty.example.org/a/web":  "beside:x",
		"token.example.org/a/web":  "token abc",
		"inline.example.org/a/web": "inline:x",
	} {
		if got, err := resolve(t, k, repository); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", repository, got, err, want)
		}
	}
	for repository, want := range map[string]string{
		"missing.example.org/a/web": path + ":7: the credential helper for missing.example.org, docker-credential-missing, is not installed; put it on the PATH, or take its name out of this file and put the credential under auths",
		"broken.example.org/a/web":  path + ":8: the credential helper docker-credential-broken fails for broken.example.org; see what `echo broken.example.org | docker-credential-broken get` says",
		"garbage.example.org/a/web": path + ":9: the credential helper docker-credential-garbage fails for garbage.example.org; see what `echo garbage.example.org | docker-credential-garbage get` says",
	} {
		got, err := resolve(t, k, repository)
		var config *ConfigError
		if !errors.As(err, &config) || err.Error() != want {
			t.Errorf("%s: %s, %v, want %s", repository, got, err, want)
		} else if registry, _, _ := strings.Cut(repository, "/"); config.Registry != registry {
			t.Errorf("%s: registry %s", repository, config.Registry)
		}
	}

	// A store for everything, as Docker Desktop writes it.
	path = write(t, dir+"/.docker/config.json", "{\n\n \"credsStore\": \"missing\"}")
	if got, err := resolve(t, k, "ghcr.io/acme/web"); err == nil || !strings.HasPrefix(err.Error(), path+":3: ") {
		t.Errorf("%s, %v", got, err)
	}
	r, err := NewRemote(RemoteOptions{Keychain: k})
	if err != nil {
		t.Fatal(err)
	}
	var config *ConfigError
	if _, err := NewCache(r, CacheOptions{}).Check(context.Background(), imagesOf("ghcr.io", 1)[0]); !errors.As(err, &config) {
		t.Errorf("through the cache: %v", err)
	}
}

// A helper that hangs is waited for as long as the check may take.
func TestSlowCredentialHelper(t *testing.T) {
	dir := home(t)
	helper(t, "slow", "exec sleep 60")
	write(t, dir+"/.docker/config.json", `{"credsStore":"slow"}`)
	p := newProxy(t)
	r, _ := newTestRemote(t, p, RemoteOptions{Keychain: DefaultKeychain()})
	for _, c := range []Checker{r, NewCache(r, CacheOptions{})} {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		got, err := c.Check(ctx, p.missing("app/web"))
		cancel()
		if err != nil || got != (Result{Verdict: Unreachable, Reason: "the credentials could not be read in time"}) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if got := p.seen(); len(got) != 0 {
		t.Errorf("asked anonymously meanwhile: %v", got)
	}
}

func TestBrokenDockerConfig(t *testing.T) {
	dir := home(t)
	path := dir + "/.docker/config.json"
	const fix = "; correct it, or write it anew with docker login"
	for _, tt := range []struct{ content, want string }{
		{"{\n \"auths\": {\n  \"ghcr.io\": {,}\n }\n}", ":3: the file with the registry credentials is broken: not valid JSON" + fix},
		{"{\n \"auths\": {\n", ":3: the file with the registry credentials is broken: not valid JSON" + fix},
		{"{}\n{}", ":2: the file with the registry credentials is broken: not valid JSON" + fix},
		{"{\n \"auths\": {\n  \"ghcr.io\": {\"auth\": 5}\n }\n}", `:3: the file with the registry credentials is broken: "auths.auth" is a number, which it can't be` + fix},
		{"[]", `:1: the file with the registry credentials is broken: "" is a array, which it can't be` + fix},
		{"{\"auths\": {\n\n\"ghcr.io\": {\n\"auth\": \"???\"}}}", ":4: the credential for ghcr.io is not user:password in base64; write it anew with docker login ghcr.io"},
		{"{\"auths\": {\"ghcr.io\": {\"auth\": \"" + base64.StdEncoding.EncodeToString([]byte("nocolon")) + "\"}}}", ":1: the credential for ghcr.io is not user:password in base64; write it anew with docker login ghcr.io"},
	} {
		write(t, path, tt.content)
		got, err := resolve(t, DefaultKeychain(), "ghcr.io/acme/web")
		var config *ConfigError
		if !errors.As(err, &config) || err.Error() != path+tt.want {
			t.Errorf("%q: %s\n got %v\nwant %s", tt.content, got, err, path+tt.want)
		}
	}
	write(t, path, " \n")
	if got, err := resolve(t, DefaultKeychain(), "ghcr.io/acme/web"); got != "anonymous" || err != nil {
		t.Errorf("empty file: %s, %v", got, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REGISTRY_AUTH_FILE", dir+"/nowhere.json")
	var config *ConfigError
	if got, err := resolve(t, DefaultKeychain(), "ghcr.io/acme/web"); !errors.As(err, &config) || config.File != dir+"/nowhere.json" {
		t.Errorf("%s, %v", got, err)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"ghcr.io":{"auth":"YTpi"}},"credHelpers":{"a":"b"},"credsStore":"c"}`))
	f.Add([]byte("{\n\"credHelpers\":\n{\"ghcr.io\":\n\"x\"}}"))
	f.Add([]byte(`{"auths":{"ghcr.io":null}}`))
	repo, err := name.NewRepository("ghcr.io/acme/web")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		lines := strings.Count(string(content), "\n") + 1
		file, err := parseConfig("config.json", content)
		var config *ConfigError
		if errors.As(err, &config) && (config.Line < 1 || config.Line > lines) {
			t.Errorf("line %d of %d", config.Line, lines)
		}
		if err != nil {
			return
		}
		if h, line := file.helper(repo); h != "" && (line < 0 || line > lines) {
			t.Errorf("line %d of %d", line, lines)
		}
		if key, a, ok := file.entry(repo); ok {
			_, _ = file.decode(key, a, "ghcr.io")
		}
	})
}
