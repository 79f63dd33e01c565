//go:build linux

package stack

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Addresses of what only the stack itself talks to.
const (
	etcdAddress          = "127.0.0.1:2379"
	etcdPeerAddress      = "127.0.0.1:2380"
	redisAddress         = "127.0.0.1:6379"
	repoServerAddress    = "127.0.0.1:8081"
	repoServerMetrics    = "127.0.0.1:8084"
	controllerMetrics    = "127.0.0.1:8082"
	kubernetesPort       = "6443"
	argocdNamespace      = "argocd"
	reconciliationPeriod = "10s"
)

// Stack is a running Argo CD, or what there is of it so far.
type Stack struct {
	Programs
	// Dir holds everything that the processes write.
	Dir string
	// Tests is the directory of the tests.
	Tests string
	Kube  *Kube

	kubeconfig string
	repoServer *Process
}

// New prepares a stack in which nothing runs yet.
func New(t *testing.T) *Stack {
	t.Helper()
	var p prepared
	if err := json.Unmarshal([]byte(os.Getenv(inside)), &p); err != nil {
		t.Fatalf("the tests are not in their namespaces; does TestMain call stack.Main? %v", err)
	}
	dir, err := os.MkdirTemp(p.Dir, "s")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"log", "tmp", "home", "plugins", "scripts", "argocd/gpg/keys", "argocd/gpg/source", "argocd/tls", "argocd/ssh", "git", "registry", "redis", "pki"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return &Stack{Programs: p.Programs, Dir: dir, Tests: p.Tests, kubeconfig: filepath.Join(dir, "kubeconfig")}
}

// Repository is the root of pin-cmp's own repository.
func (s *Stack) Repository() string { return filepath.Join(s.Tests, "../../..") }

// Start starts all of Argo CD but its plugins.
func Start(t *testing.T) *Stack {
	t.Helper()
	s := New(t)
	s.StartKubernetes(t)
	s.installArgoCD(t)
	s.startArgoCD(t)
	return s
}

// StartKubernetes starts etcd and kube-apiserver, and waits until they answer.
func (s *Stack) StartKubernetes(t *testing.T) {
	t.Helper()
	etcd := s.start(t, "etcd", s.Etcd, s.env(),
		"--name=default", "--data-dir="+filepath.Join(s.Dir, "etcd"),
		"--listen-client-urls=http://"+etcdAddress, "--advertise-client-urls=http://"+etcdAddress,
		"--listen-peer-urls=http://"+etcdPeerAddress, "--initial-advertise-peer-urls=http://"+etcdPeerAddress,
		"--initial-cluster=default=http://"+etcdPeerAddress)
	etcd.ready(t, func() error { return get("http://" + etcdAddress + "/health") })

	pki := filepath.Join(s.Dir, "pki")
	key := filepath.Join(pki, "service-accounts.key")
	writeKey(t, key)
	token := rand.Text()
	tokens := filepath.Join(pki, "tokens.csv")
	write(t, tokens, token+`,admin,1,"system:masters"`+"\n")
	apiserver := s.start(t, "kube-apiserver", s.APIServer, s.env(),
		"--etcd-servers=http://"+etcdAddress, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
		"--secure-port="+kubernetesPort, "--cert-dir="+pki, "--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+key, "--service-account-signing-key-file="+key,
		"--token-auth-file="+tokens, "--authorization-mode=RBAC", "--anonymous-auth=false",
		// Nothing here makes the service accounts' secrets.
		"--disable-admission-plugins=ServiceAccount", "--allow-privileged=true", "--profiling=false")
	ca := filepath.Join(pki, "apiserver.crt") // signed by itself at the start
	apiserver.ready(t, func() error {
		certificate, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		if s.Kube, err = newKube("https://127.0.0.1:"+kubernetesPort, certificate, token); err != nil {
			return err
		}
		return s.Kube.Do(context.Background(), http.MethodGet, "/readyz", nil, nil)
	})
	write(t, s.kubeconfig, fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: admin, namespace: %s}}]
clusters: [{name: test, cluster: {server: "https://127.0.0.1:%s", certificate-authority: %s}}]
users: [{name: admin, user: {token: %s}}]
`, argocdNamespace, kubernetesPort, ca, token))
}

// Kubectl runs kubectl with something on its standard input, and returns what it
// prints.
func (s *Stack) Kubectl(t *testing.T, input string, args ...string) string {
	t.Helper()
	out, err := s.tryKubectl(input, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *Stack) tryKubectl(input string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(s.Programs.Kubectl, args...)
	cmd.Env = s.env()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader([]byte(input)), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %v: %w\n%s", args, err, stderr.String())
	}
	return stdout.String(), nil
}

// RunPinCmp runs pin-cmp in a directory, and returns what it prints.
func (s *Stack) RunPinCmp(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(s.PinCmp, args...)
	cmd.Dir = dir
	cmd.Env = s.env()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// installArgoCD creates the objects that Argo CD reads, from its own manifests.
func (s *Stack) installArgoCD(t *testing.T) {
	t.Helper()
	s.Kubectl(t, "", "create", "namespace", argocdNamespace)
	manifests := filepath.Join(s.Source, "manifests")
	apply := []string{"apply", "--server-side"}
	for _, crd := range []string{"application", "appproject", "applicationset"} {
		apply = append(apply, "-f", filepath.Join(manifests, "crds", crd+"-crd.yaml"))
	}
	for _, config := range []string{"argocd-cm", "argocd-cmd-params-cm", "argocd-gpg-keys-cm", "argocd-rbac-cm", "argocd-ssh-known-hosts-cm", "argocd-tls-certs-cm", "argocd-secret"} {
		apply = append(apply, "-f", filepath.Join(manifests, "base/config", config+".yaml"))
	}
	s.Kubectl(t, "", apply...)
	s.Kubectl(t, "", "wait", "--for=condition=Established", "--timeout=-1s", "crd/applications.argoproj.io", "crd/appprojects.argoproj.io")
	s.Kubectl(t, `apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: default, namespace: argocd}
spec:
  sourceRepos: ["*"]
  destinations: [{namespace: "*", server: "*"}]
  clusterResourceWhitelist: [{group: "*", kind: "*"}]
`, "apply", "--server-side", "-f", "-")
}

// startArgoCD starts the repo-server and the controller.
func (s *Stack) startArgoCD(t *testing.T) {
	t.Helper()
	scripts := filepath.Join(s.Dir, "scripts")
	for _, script := range []string{"git-verify-wrapper.sh", "gpg-wrapper.sh"} {
		content, err := os.ReadFile(filepath.Join(s.Source, "hack", script))
		if err != nil {
			t.Fatal(err)
		}
		// Archives of Go modules keep no permissions.
		if err := os.WriteFile(filepath.Join(scripts, script), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(s.ArgoCD, filepath.Join(scripts, "argocd")); err != nil {
		t.Fatal(err)
	}
	redis := s.start(t, "redis-server", s.Redis, s.env(), "--bind", "127.0.0.1", "--port", "6379", "--save", "", "--appendonly", "no", "--dir", filepath.Join(s.Dir, "redis"))
	redis.ready(t, func() error { return dial(redisAddress) })

	s.StartRepoServer(t)
	controller := s.start(t, "argocd-application-controller", s.ArgoCD, s.env("HOSTNAME=argocd-application-controller-0"),
		"--kubeconfig", s.kubeconfig, "--namespace", argocdNamespace, "--redis", redisAddress, "--repo-server", repoServerAddress,
		"--metrics-port", "8082", "--app-state-cache-expiration", "1h", "--logformat", "text", "--loglevel", "warn")
	controller.ready(t, func() error { return get("http://" + controllerMetrics + "/healthz") })
}

// StartRepoServer starts the repo-server.
func (s *Stack) StartRepoServer(t *testing.T) {
	t.Helper()
	s.repoServer = s.start(t, "argocd-repo-server", s.ArgoCD, s.env(),
		"--address", "127.0.0.1", "--port", "8081", "--metrics-address", "127.0.0.1", "--metrics-port", "8084",
		"--redis", redisAddress, "--logformat", "text", "--loglevel", "warn")
	s.repoServer.ready(t, func() error { return get("http://" + repoServerMetrics + "/healthz?full=true") })
}

// env is the environment of the stack's own programs: nothing of the user's but
// what finds programs.
func (s *Stack) env(more ...string) []string {
	argocd := filepath.Join(s.Dir, "argocd")
	return append([]string{
		"PATH=" + filepath.Join(s.Dir, "scripts") + ":" + os.Getenv("PATH"),
		"HOME=" + filepath.Join(s.Dir, "home"),
		"KUBECONFIG=" + s.kubeconfig,
		"TMPDIR=" + filepath.Join(s.Dir, "tmp"),
		"ARGOCD_FAKE_IN_CLUSTER=true", "ARGOCD_GPG_ENABLED=false",
		"ARGOCD_GNUPGHOME=" + filepath.Join(argocd, "gpg/keys"),
		"ARGOCD_GPG_DATA_PATH=" + filepath.Join(argocd, "gpg/source"),
		"ARGOCD_TLS_DATA_PATH=" + filepath.Join(argocd, "tls"),
		"ARGOCD_SSH_DATA_PATH=" + filepath.Join(argocd, "ssh"),
		"ARGOCD_PLUGINSOCKFILEPATH=" + s.Plugins(),
		"ARGOCD_ASK_PASS_SOCK=" + filepath.Join(s.Dir, "tmp/askpass.sock"),
		// In a cluster these come from argocd-cm, through the Deployments.
		"ARGOCD_RECONCILIATION_TIMEOUT=" + reconciliationPeriod, "ARGOCD_RECONCILIATION_JITTER=0s",
	}, more...)
}

// Plugins is the directory of the plugins' sockets.
func (s *Stack) Plugins() string { return filepath.Join(s.Dir, "plugins") }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeKey makes an EC key.
func writeKey(t *testing.T, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
}
