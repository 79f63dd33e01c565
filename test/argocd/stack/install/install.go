//go:build linux

// Package install applies what manifests/ holds to a real kube-apiserver, on top
// of an Argo CD's own install manifests, as an administrator does.
package install

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pin-cmp/pin-cmp/test/argocd/stack"
)

// image is what an administrator puts in the placeholder's place.
const image = "registry.example.com/pin-cmp@sha256:6bf2eea8422d7e513a45354b2a355a99fa9fccc3abc8ee25472690a3a160c6f2"

// Test starts a kube-apiserver and applies everything to it.
func Test(t *testing.T) {
	s := stack.New(t)
	s.StartKubernetes(t)
	s.Kubectl(t, "", "create", "namespace", "argocd")
	t.Run("the sidecar", func(t *testing.T) { sidecar(t, s) })
	t.Run("the stock server", func(t *testing.T) { stock(t, s) })
	t.Run("the placeholder is no image", func(t *testing.T) { placeholder(t, s) })
	t.Run("the chart's values say the same", func(t *testing.T) { values(t, s) })
	t.Run("admission", func(t *testing.T) { admission(t, s) })
}

// overlay writes the kustomization of an administrator who has Argo CD's manifests
// and takes components from manifests/.
func overlay(t *testing.T, s *stack.Stack, more string, components ...string) string {
	t.Helper()
	dir := t.TempDir()
	install, err := os.ReadFile(filepath.Join(s.Source, "manifests/install.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "install.yaml"), string(install))
	text := "namespace: argocd\nresources: [install.yaml]\ncomponents:\n"
	for _, component := range components {
		relative, err := filepath.Rel(dir, filepath.Join(s.Repository(), "manifests", component))
		if err != nil {
			t.Fatal(err)
		}
		text += "  - " + relative + "\n"
	}
	write(t, filepath.Join(dir, "kustomization.yaml"), text+more)
	return dir
}

const images = `images:
  - name: ghcr.io/pin-cmp/pin-cmp
    newName: registry.example.com/pin-cmp
    digest: sha256:6bf2eea8422d7e513a45354b2a355a99fa9fccc3abc8ee25472690a3a160c6f2
`

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// apply applies a directory as its administrator does. A field that Kubernetes does
// not know is an error.
func apply(t *testing.T, s *stack.Stack, dir string) {
	t.Helper()
	s.Kubectl(t, "", "apply", "--server-side", "--validate=strict", "-k", dir)
}

// podSpec is the part of the repo-server's Deployment that is looked at.
type podSpec struct {
	Containers []container
	Volumes    []map[string]any
}

type container struct {
	Name, Image     string
	Command, Args   []string
	Env             []map[string]any
	Ports           []map[string]any
	VolumeMounts    []map[string]any
	StartupProbe    map[string]any
	LivenessProbe   map[string]any
	SecurityContext map[string]any
	Resources       map[string]any
}

// repoServer returns the pod that the kube-apiserver holds, and the sidecar in it.
func repoServer(t *testing.T, s *stack.Stack) (podSpec, container) {
	t.Helper()
	var deployment struct {
		Spec struct{ Template struct{ Spec podSpec } }
	}
	if err := s.Kube.Do(context.Background(), http.MethodGet, "/apis/apps/v1/namespaces/argocd/deployments/argocd-repo-server", nil, &deployment); err != nil {
		t.Fatal(err)
	}
	pod := deployment.Spec.Template.Spec
	return pod, named(t, pod.Containers, "pin-cmp")
}

func named(t *testing.T, containers []container, name string) container {
	t.Helper()
	i := slices.IndexFunc(containers, func(c container) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("there is no container %s", name)
	}
	return containers[i]
}

func sidecar(t *testing.T, s *stack.Stack) {
	dir := overlay(t, s, images, "sidecar", "settings")
	apply(t, s, dir)
	pod, c := repoServer(t, s)
	if c.Image != image {
		t.Errorf("the sidecar's image is %s", c.Image)
	}
	if want := []string{"/usr/local/bin/pin-cmp", "serve"}; !slices.Equal(c.Command, want) {
		t.Errorf("the command is %q", c.Command)
	}
	hardened(t, c)
	if got := named(t, pod.Containers, "argocd-repo-server"); !holds(got.Env, "name", "ARGOCD_PAUSE_GEN_MINUTES") || !holds(got.Env, "name", "ARGOCD_RECONCILIATION_TIMEOUT") {
		t.Errorf("the repo-server's own environment: %v", got.Env)
	}
	for _, c := range []struct{ name, key, want string }{
		{"argocd-cm", "timeout.hard.reconciliation", "12h"},
		{"argocd-cmd-params-cm", "reposerver.plugin.tar.exclusions", ".git"},
	} {
		if got := config(t, s, c.name)[c.key]; got != c.want {
			t.Errorf("%s, %s is %q", c.name, c.key, got)
		}
	}
	// The policy that ships is one that pin-cmp reads: the tests of cmd/pin-cmp hold
	// every policy against its schema, this one against the program.
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	write(t, policy, config(t, s, "pin-cmp-policy")["policy.yaml"])
	if out, err := s.RunPinCmp(t, t.TempDir(), "verify", "--policy", policy, "-"); err == nil || strings.Contains(out, "policy") {
		t.Errorf("pin-cmp does not take the policy: %v: %s", err, out)
	}

	// An administrator's own policy replaces it, under the same name.
	own := overlay(t, s, images+"configMapGenerator: [{name: pin-cmp-policy, behavior: replace, files: [policy.yaml]}]\n", "sidecar")
	write(t, filepath.Join(own, "policy.yaml"), "apiVersion: pin-cmp/v1\nkind: Policy\nregistries: {allowed: [ghcr.io/acme]}\n")
	apply(t, s, own)
	if got := config(t, s, "pin-cmp-policy")["policy.yaml"]; !strings.Contains(got, "ghcr.io/acme") {
		t.Errorf("the policy is %q", got)
	}
}

// hardened checks what a sidecar that renders strangers' repositories must have.
func hardened(t *testing.T, c container) {
	t.Helper()
	context, err := json.Marshal(c.SecurityContext)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`"runAsUser":999`, `"runAsNonRoot":true`, `"readOnlyRootFilesystem":true`, `"allowPrivilegeEscalation":false`,
		`"capabilities":{"drop":["ALL"]}`, `"seccompProfile":{"type":"RuntimeDefault"}`,
	} {
		if !strings.Contains(string(context), part) {
			t.Errorf("the security context lacks %s: %s", part, context)
		}
	}
	if limits, ok := c.Resources["limits"].(map[string]any); !ok || limits["memory"] == nil {
		t.Errorf("no limit of memory: %v", c.Resources)
	}
	if c.StartupProbe == nil || c.LivenessProbe == nil {
		t.Error("no probes")
	}
	for _, path := range []string{"/home/argocd/cmp-server/plugins", "/etc/pin-cmp", "/etc/pin-cmp-credentials", "/tmp"} {
		if !holds(c.VolumeMounts, "mountPath", path) {
			t.Errorf("nothing is mounted at %s", path)
		}
	}
}

func holds(items []map[string]any, key, value string) bool {
	return slices.ContainsFunc(items, func(item map[string]any) bool { return item[key] == value })
}

func config(t *testing.T, s *stack.Stack, name string) map[string]string {
	t.Helper()
	var object struct{ Data map[string]string }
	if err := s.Kube.Do(context.Background(), http.MethodGet, "/api/v1/namespaces/argocd/configmaps/"+name, nil, &object); err != nil {
		t.Fatal(err)
	}
	return object.Data
}

func stock(t *testing.T, s *stack.Stack) {
	apply(t, s, overlay(t, s, images, "sidecar", "stock", "settings"))
	pod, c := repoServer(t, s)
	if want := []string{"/var/run/argocd/argocd-cmp-server"}; !slices.Equal(c.Command, want) || len(c.Args) != 0 || len(c.Ports) != 0 {
		t.Errorf("the command is %q with %q, ports %v", c.Command, c.Args, c.Ports)
	}
	hardened(t, c)
	if !holds(c.VolumeMounts, "mountPath", "/var/run/argocd") {
		t.Error("Argo CD's program is not mounted")
	}
	for _, volume := range pod.Volumes {
		if volume["name"] == "pin-cmp-tmp" {
			if dir, _ := volume["emptyDir"].(map[string]any); dir["medium"] != "Memory" {
				t.Errorf("the checkouts are unpacked to %v", dir)
			}
		}
	}
}

// placeholder checks that without an image nothing starts by accident: what stands
// there is a symbolic reference, which the gate refuses as it refuses anybody's.
func placeholder(t *testing.T, s *stack.Stack) {
	without := s.Kubectl(t, "", "kustomize", overlay(t, s, "", "sidecar"))
	if !strings.Contains(without, "image: ghcr.io/pin-cmp/pin-cmp@build") || strings.Contains(without, "pin-cmp@sha256:") {
		t.Error("the image is not the placeholder")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "install.yaml"), without)
	out, err := s.RunPinCmp(t, dir, "verify", ".")
	if err == nil || !strings.Contains(out, "ghcr.io/pin-cmp/pin-cmp@build is a placeholder") {
		t.Errorf("pin-cmp verify: %v: %s", err, out)
	}
}

// values checks that the snippet for the chart adds the very container and volumes
// that the component adds.
func values(t *testing.T, s *stack.Stack) {
	apply(t, s, overlay(t, s, "", "sidecar"))
	pod, c := repoServer(t, s)
	text, err := os.ReadFile(filepath.Join(s.Repository(), "manifests/helm-values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// kubectl reads YAML: as an object of a kind that takes anything.
	wrapped := "apiVersion: v1\nkind: List\nitems: []\nvalues:\n  " + strings.ReplaceAll(string(text), "\n", "\n  ")
	var snippet struct {
		Values struct {
			RepoServer struct {
				ExtraContainers []container
				Volumes         []map[string]any
			}
		}
	}
	out := s.Kubectl(t, wrapped, "create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-")
	_ = json.Unmarshal([]byte(out), &snippet)
	if len(snippet.Values.RepoServer.ExtraContainers) != 1 {
		t.Fatalf("no container in %s", out)
	}
	same(t, "container", snippet.Values.RepoServer.ExtraContainers[0], c)
	for _, volume := range snippet.Values.RepoServer.Volumes {
		i := slices.IndexFunc(pod.Volumes, func(v map[string]any) bool { return v["name"] == volume["name"] })
		if i < 0 {
			t.Errorf("the component has no volume %v", volume["name"])
		} else {
			same(t, "volume", volume, pod.Volumes[i])
		}
	}
}

// same compares what is said with what is stored, which has defaults beside.
func same(t *testing.T, what string, said, stored any) {
	t.Helper()
	a, err := generic(said)
	b, err2 := generic(stored)
	if err = errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if path := missing(a, b, what); path != "" {
		t.Errorf("it differs at %s:\n%v\n%v", path, a, b)
	}
}

func generic(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var g any
	return g, json.Unmarshal(text, &g)
}

// missing returns where b does not hold what a holds.
func missing(a, b any, path string) string {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok {
			return path
		}
		for key, value := range a {
			if p := missing(value, b[key], path+"."+key); p != "" {
				return p
			}
		}
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return path
		}
		for i := range a {
			if p := missing(a[i], b[i], path+"[]"); p != "" {
				return p
			}
		}
	default:
		if a != b {
			return path
		}
	}
	return ""
}
