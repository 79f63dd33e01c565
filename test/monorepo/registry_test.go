//go:build linux

package monorepo

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/crypto/bcrypt"
)

const (
	user     = "robot"
	password = "correct horse"
)

// registry is Debian's docker-registry, with passwords and TLS, behind a proxy
// that counts what it is asked. Clients know the proxy alone.
type registry struct {
	host    string // of the proxy
	dir     string
	ca, key string // PEM files
	pool    *x509.CertPool

	mu       sync.Mutex
	backend  string   // host:port of the registry itself
	requests []string // "PUT /v2/…", in the order of their answers, with the status
}

// newRegistry starts one. storage is added to that section of its configuration.
func newRegistry(t *testing.T, storage string) *registry {
	t.Helper()
	r := &registry{dir: t.TempDir(), pool: x509.NewCertPool()}
	r.ca, r.key = filepath.Join(r.dir, "ca.pem"), filepath.Join(r.dir, "key.pem")
	certificate := r.certificate(t)
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(r.dir, "htpasswd"), user+":"+string(hash)+"\n")
	r.renew(t, storage)
	r.front(t, certificate)
	return r
}

// renew puts an empty registry behind the same address.
func (r *registry) renew(t *testing.T, storage string) {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Fatal("docker-registry is not installed: sudo apt-get install --no-install-recommends docker-registry")
	}
	address := freePort(t)
	config := filepath.Join(t.TempDir(), "config.yml")
	write(t, config, fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %q}
%s
http: {addr: %s, secret: x, tls: {certificate: %q, key: %q}}
auth:
  htpasswd: {realm: test, path: %q}
`, t.TempDir(), storage, address, r.ca, r.key, filepath.Join(r.dir, "htpasswd")))
	log := &lockedBuffer{}
	exited := start(t, log, exec.Command(program, "serve", config))
	for {
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: r.pool, MinVersion: tls.VersionTLS12})
		if err == nil {
			_ = conn.Close()
			break
		}
		select {
		case <-exited:
			t.Fatalf("docker-registry ended: %s", log)
		case <-time.After(10 * time.Millisecond):
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.backend = address
}

// start starts a program that ends with the test, also if the test itself is
// killed.
func start(t *testing.T, output io.Writer, cmd *exec.Cmd) (exited chan struct{}) {
	t.Helper()
	cmd.Stdout, cmd.Stderr = output, output
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	exited = make(chan struct{})
	go func() {
		runtime.LockOSThread() // the signal comes when this thread ends
		started <- cmd.Start()
		_ = cmd.Wait()
		close(exited)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	return exited
}

// front puts the counting proxy before it.
func (r *registry) front(t *testing.T, certificate tls.Certificate) {
	t.Helper()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			r.mu.Lock()
			defer r.mu.Unlock()
			pr.SetURL(&url.URL{Scheme: "https", Host: r.backend})
			pr.Out.Host = pr.In.Host // so that the registry's redirects come here
		},
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.pool, MinVersion: tls.VersionTLS12}},
		ModifyResponse: func(answer *http.Response) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.requests = append(r.requests, fmt.Sprintf("%s %s %d", answer.Request.Method, answer.Request.URL.Path, answer.StatusCode))
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	server := httptest.NewUnstartedServer(proxy)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = proxy.ErrorLog
	server.StartTLS()
	t.Cleanup(server.Close)
	r.host = server.Listener.Addr().String()
}

// asked returns the requests since it was called last, without those that are
// about nothing but who asks.
func (r *registry) asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var requests []string
	for _, request := range r.requests {
		if !strings.Contains(request, " /v2/ ") {
			requests = append(requests, request)
		}
	}
	r.requests = nil
	return requests
}

// signsIn returns how often somebody asked who they are, since asked was called.
func (r *registry) signsIn() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, request := range r.requests {
		if strings.Contains(request, " /v2/ ") {
			n++
		}
	}
	return n
}

// writes are the requests that change something.
func writes(requests []string) []string {
	var changes []string
	for _, request := range requests {
		if !strings.HasPrefix(request, "GET ") && !strings.HasPrefix(request, "HEAD ") {
			changes = append(changes, request)
		}
	}
	return changes
}

// pull returns an image as a node would get it.
func (r *registry) pull(t *testing.T, reference string) v1.Image {
	t.Helper()
	digest, err := name.NewDigest(reference)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(digest,
		remote.WithAuth(&authn.Basic{Username: user, Password: password}),
		remote.WithTransport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.pool, MinVersion: tls.VersionTLS12}}))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// login returns a Docker configuration that knows a password.
func (r *registry) login(t *testing.T, secret string) string {
	t.Helper()
	dir := t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
	write(t, filepath.Join(dir, "config.json"), fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, r.host, auth))
	return dir
}

// certificate makes one for the loopback address, signed by itself.
func (r *registry) certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "monorepo test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
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
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	write(t, r.ca, string(certPEM))
	write(t, r.key, string(keyPEM))
	r.pool.AppendCertsFromPEM(certPEM)
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// freePort returns an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer is written by a program while the test reads it.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
