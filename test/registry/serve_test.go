package registry

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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
	"golang.org/x/crypto/bcrypt"

	"github.com/pin-cmp/pin-cmp/verify/presence"
)

const (
	user     = "robot"
	password = "correct horse"
)

// dockerRegistry is a docker-registry process on a loopback address.
type dockerRegistry struct {
	host string
	ca   string // PEM file
	cert tls.Certificate
	pool *x509.CertPool
	cmd  *exec.Cmd
	stop func()
}

// start starts one with TLS, passwords and deletion.
func start(t *testing.T) *dockerRegistry {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Fatal("docker-registry is not installed: sudo apt-get install --no-install-recommends docker-registry")
	}
	dir := t.TempDir()
	r := &dockerRegistry{ca: filepath.Join(dir, "cert.pem")}
	key := filepath.Join(dir, "key.pem")
	r.certificate(t, key)

	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	passwords := filepath.Join(dir, "htpasswd")
	write(t, passwords, user+":"+string(hash)+"\n")

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.host = listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config.yml")
	write(t, config, fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
http:
  addr: %s
  secret: x
  tls: {certificate: %q, key: %q}
auth:
  htpasswd: {realm: test, path: %q}
`, filepath.Join(dir, "data"), r.host, r.ca, key, passwords))

	var log bytes.Buffer
	r.cmd = exec.Command(program, "serve", config)
	r.cmd.Stdout, r.cmd.Stderr = &log, &log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = r.cmd.Wait()
		close(exited)
	}()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			_ = r.cmd.Process.Kill()
			<-exited
		})
	}
	t.Cleanup(r.stop)

	for {
		select {
		case <-exited:
			t.Fatalf("docker-registry ended: %s", log.String())
		default:
		}
		conn, err := tls.Dial("tcp", r.host, &tls.Config{RootCAs: r.pool, MinVersion: tls.VersionTLS12})
		if err == nil {
			_ = conn.Close()
			return r
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// certificate makes one for the loopback address, signed by itself.
func (r *dockerRegistry) certificate(t *testing.T, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "registry test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	write(t, r.ca, string(cert))
	write(t, keyFile, string(keyPEM))
	if r.cert, err = tls.X509KeyPair(cert, keyPEM); err != nil {
		t.Fatal(err)
	}
	r.pool = x509.NewCertPool()
	r.pool.AppendCertsFromPEM(cert)
}

// options lets go-containerregistry push.
func (r *dockerRegistry) options() []remote.Option {
	return []remote.Option{
		remote.WithAuth(&authn.Basic{Username: user, Password: password}),
		remote.WithTransport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.pool, MinVersion: tls.VersionTLS12}}),
	}
}

func (r *dockerRegistry) image(repository string, digest v1.Hash) presence.Image {
	return presence.Image{Repository: r.host + "/" + repository, Digest: digest.String()}
}

func reference(t *testing.T, image presence.Image) name.Digest {
	t.Helper()
	ref, err := name.NewDigest(image.String())
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// push puts a new image there.
func (r *dockerRegistry) push(t *testing.T, repository string) presence.Image {
	t.Helper()
	img, err := random.Image(1024, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	image := r.image(repository, digest)
	if err := remote.Write(reference(t, image), img, r.options()...); err != nil {
		t.Fatal(err)
	}
	return image
}

// pushIndex puts an index there, and returns it with the images for its
// platforms.
func (r *dockerRegistry) pushIndex(t *testing.T, repository string, platforms ...string) (presence.Image, []presence.Image) {
	t.Helper()
	var index v1.ImageIndex = empty.Index
	var children []presence.Image
	for _, s := range platforms {
		img, err := random.Image(1024, 1)
		if err != nil {
			t.Fatal(err)
		}
		platform, err := v1.ParsePlatform(s)
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform}})
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		children = append(children, r.image(repository, digest))
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	image := r.image(repository, digest)
	if err := remote.WriteIndex(reference(t, image), index, r.options()...); err != nil {
		t.Fatal(err)
	}
	return image, children
}

func (r *dockerRegistry) remove(t *testing.T, image presence.Image) {
	t.Helper()
	if err := remote.Delete(reference(t, image), r.options()...); err != nil {
		t.Fatal(err)
	}
}

// keychain always gives the same credential.
type keychain struct{ authn.Authenticator }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) { return k.Authenticator, nil }

func newRemote(t *testing.T, o presence.RemoteOptions) *presence.Remote {
	t.Helper()
	c, err := presence.NewRemote(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// check asks. What is expected to be retried in vain gets little time for it.
func check(t *testing.T, c presence.Checker, image presence.Image, want presence.Verdict) presence.Result {
	t.Helper()
	ctx := context.Background()
	if !want.Decided() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Second)
		defer cancel()
	}
	result, err := c.Check(ctx, image)
	if err != nil {
		t.Fatal(err)
	}
	return result
}
