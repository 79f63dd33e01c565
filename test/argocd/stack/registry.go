//go:build linux

package stack

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"
)

const (
	registryUser     = "robot"
	registryPassword = "correct horse"
	// registryPasswordHash is its bcrypt hash, which the registry wants.
	registryPasswordHash = "$2a$04$k.VN0Hxb70z8vSM4LSit.e.BO4yDUmTJhnP/zq05m9LipNupu4KrO"
)

// Registry is Debian's docker-registry, which asks for a password.
type Registry struct {
	s       *Stack
	owner   *testing.T
	config  string
	process *Process
}

// StartRegistry starts one, on plain HTTP under a name that only the stack has.
func (s *Stack) StartRegistry(t *testing.T) *Registry {
	t.Helper()
	dir := filepath.Join(s.Dir, "registry")
	r := &Registry{s: s, owner: t, config: filepath.Join(dir, "config.yml")}
	passwords := filepath.Join(dir, "htpasswd")
	write(t, passwords, registryUser+":"+registryPasswordHash+"\n")
	write(t, r.config, fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
http: {addr: %q, secret: x}
auth:
  htpasswd: {realm: test, path: %q}
`, filepath.Join(dir, "data"), registryAddress, passwords))
	r.Start(t)
	return r
}

// Start starts it again with what it held.
func (r *Registry) Start(t *testing.T) {
	t.Helper()
	r.process = r.s.start(r.owner, "docker-registry", r.s.Registry, r.s.env(), "serve", r.config)
	r.process.ready(t, func() error { return dial(registryAddress) })
}

// Stop ends it: connections to it are refused.
func (r *Registry) Stop() { r.process.Kill() }

// Image is a reference by digest to an image that is, or would be, in a
// repository. Its content is the text, so its digest is always the same.
func (r *Registry) Image(repository, content string) string {
	_, manifest := image(content)
	return registryHost + "/" + repository + "@" + digest(manifest)
}

// Push puts that image there, and under a tag, and returns its reference by
// digest.
func (r *Registry) Push(t *testing.T, repository, content, tag string) string {
	t.Helper()
	config, manifest := image(content)
	r.blob(t, repository, config)
	r.blob(t, repository, []byte(content))
	for _, name := range []string{digest(manifest), tag} {
		r.do(t, http.MethodPut, "/v2/"+repository+"/manifests/"+name, "application/vnd.oci.image.manifest.v1+json", manifest, http.StatusCreated)
	}
	return r.Image(repository, content)
}

// Delete removes that image's manifest.
func (r *Registry) Delete(t *testing.T, repository, content string) {
	t.Helper()
	_, manifest := image(content)
	r.do(t, http.MethodDelete, "/v2/"+repository+"/manifests/"+digest(manifest), "", nil, http.StatusAccepted)
}

func (r *Registry) blob(t *testing.T, repository string, content []byte) {
	t.Helper()
	location := r.do(t, http.MethodPost, "/v2/"+repository+"/blobs/uploads/", "", nil, http.StatusAccepted).Get("Location")
	request, err := http.NewRequest(http.MethodPut, location, nil)
	if err != nil {
		t.Fatal(err)
	}
	query := request.URL.Query()
	query.Set("digest", digest(content))
	r.do(t, http.MethodPut, request.URL.Path+"?"+query.Encode(), "application/octet-stream", content, http.StatusCreated)
}

func (r *Registry) do(t *testing.T, method, path, contentType string, body []byte, want int) http.Header {
	t.Helper()
	request, err := http.NewRequest(method, "http://"+registryHost+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(registryUser, registryPassword)
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != want {
		t.Fatalf("%s %s: %s\n%s", method, path, response.Status, text)
	}
	return response.Header
}

// image returns the configuration and the manifest of an image of one layer.
func image(content string) (config, manifest []byte) {
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest([]byte(content))}},
	})
	if err != nil {
		panic(err) // it is made of strings
	}
	descriptor := func(mediaType string, of []byte) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": digest(of), "size": len(of)}
	}
	manifest, err = json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": descriptor("application/vnd.oci.image.config.v1+json", config),
		"layers": []any{descriptor("application/vnd.oci.image.layer.v1.tar", []byte(content))},
	})
	if err != nil {
		panic(err)
	}
	return config, manifest
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// dockerConfig is a config.json that holds the registry's password.
func dockerConfig() string {
	auth := base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + registryPassword))
	return fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, registryHost, auth)
}
