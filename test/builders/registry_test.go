package builders

import (
	"archive/tar"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// hub is a registry.
type hub struct {
	t       *testing.T
	host    string
	options []remote.Option
	ca      string // the file with its certificate, "" over plain HTTP
}

const user, password = "ci", "s3cret"

// newHub starts a registry over plain HTTP.
func newHub(t *testing.T) hub {
	server := httptest.NewServer(registry.New(registry.Logger(stdlog.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return hub{t: t, host: strings.TrimPrefix(server.URL, "http://")}
}

// newTLSHub starts one with TLS that asks for a password.
func newTLSHub(t *testing.T) hub {
	inner := registry.New(registry.Logger(stdlog.New(io.Discard, "", 0)))
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = stdlog.New(io.Discard, "", 0)
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	transport := server.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: transport.TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS12}
	return hub{
		t: t, host: strings.TrimPrefix(server.URL, "https://"), ca: ca,
		options: []remote.Option{remote.WithTransport(transport), remote.WithAuth(&authn.Basic{Username: user, Password: password})},
	}
}

// credentials is a config.json with the hub's password.
func (h hub) credentials() string {
	return fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, h.host, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

// base pushes an image with a file, for a platform, and returns its static
// reference.
func (h hub) base(architectures ...string) string {
	h.t.Helper()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		reader, writer := io.Pipe()
		go func() {
			w := tar.NewWriter(writer)
			err := w.WriteHeader(&tar.Header{Name: "base.txt", Mode: 0o644, Size: 5, ModTime: at})
			_, werr := io.WriteString(w, "base\n")
			_ = writer.CloseWithError(errors.Join(err, werr, w.Close()))
		}()
		return reader, nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	var index v1.ImageIndex = empty.Index
	for _, architecture := range architectures {
		image, err := mutate.AppendLayers(empty.Image, layer)
		if err != nil {
			h.t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			h.t.Fatal(err)
		}
		config = config.DeepCopy()
		config.OS, config.Architecture = "linux", architecture
		if image, err = mutate.ConfigFile(image, config); err != nil {
			h.t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}})
	}
	tag := h.reference("/acme/base:1")
	if err := remote.WriteIndex(tag, index, h.options...); err != nil {
		h.t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		h.t.Fatal(err)
	}
	return h.host + "/acme/base@" + digest.String()
}

func (h hub) reference(path string) name.Reference {
	h.t.Helper()
	ref, err := name.ParseReference(h.host + path)
	if err != nil {
		h.t.Fatal(err)
	}
	return ref
}

// images returns what was pushed as acme/web, by its platform: the digest is there,
// and the tag names it.
func (h hub) images(digest string) map[string]v1.Image {
	h.t.Helper()
	tagged, err := remote.Get(h.reference("/acme/web:pin-0123"), h.options...)
	if err != nil || tagged.Digest.String() != digest {
		h.t.Fatalf("the tag names %v, not %s: %v", tagged, digest, err)
	}
	images := map[string]v1.Image{}
	if !tagged.MediaType.IsIndex() {
		image, err := tagged.Image()
		if err != nil {
			h.t.Fatal(err)
		}
		images[platform(h.t, image)] = image
		return images
	}
	index, err := tagged.ImageIndex()
	if err != nil {
		h.t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, one := range manifest.Manifests {
		image, err := index.Image(one.Digest)
		if err != nil {
			h.t.Fatal(err)
		}
		if p := platform(h.t, image); p != one.Platform.String() && p+"/v8" != one.Platform.String() {
			h.t.Errorf("the index has %s for %s", one.Platform, p)
		}
		images[platform(h.t, image)] = image
	}
	if len(images) != len(manifest.Manifests) {
		h.t.Errorf("%d images of %d platforms", len(manifest.Manifests), len(images))
	}
	return images
}

func platform(t *testing.T, image v1.Image) string {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config.OS + "/" + config.Architecture
}

// entry is a file of an image.
type entry struct {
	mode    int64
	at      time.Time
	content string
}

// files returns the regular files of an image.
func files(t *testing.T, image v1.Image) map[string]entry {
	t.Helper()
	found := map[string]entry{}
	reader := tar.NewReader(mutate.Extract(image))
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimPrefix(header.Name, "/")] = entry{header.Mode & 0o777, header.ModTime, string(content)}
	}
}
