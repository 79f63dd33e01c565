//go:build linux

// Package contract holds pin-cmp against the plugin protocol, with the code that
// Argo CD's repo-server speaks it with: how it finds a plugin, packs a repository,
// sends it and reads the answer.
package contract

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pin-cmp/pin-cmp/test/argocd/stack"
	"github.com/pin-cmp/pin-cmp/test/argocd/stack/client"
)

// fixture is a plugin, somebody who asks it, and a registry.
type fixture struct {
	*stack.Stack
	client   *stack.Client
	registry *stack.Registry
	sidecar  *stack.Sidecar
	// present is an image that is in the registry.
	present string
}

// Test runs everything against each front.
func Test(t *testing.T) {
	for _, front := range stack.Fronts {
		t.Run(front.Name, func(t *testing.T) {
			s := stack.New(t)
			f := &fixture{Stack: s, registry: s.StartRegistry(t)}
			f.present = f.registry.Push(t, "acme/web", "the first", "1.4.0")
			f.sidecar = s.Sidecar(t, front, stack.Policy("  timeout: 3s\n"))
			f.client = s.StartClient(t)
			t.Run("it is found by its name alone", f.found)
			t.Run("what it prints is what is applied", f.generated)
			t.Run("a refusal arrives as it was said", f.refused)
			t.Run("the application's options arrive", f.options)
			t.Run("the application sees its repository", f.repository)
			t.Run("a link within the repository is followed", f.links)
			t.Run("large answers and large repositories", f.large)
			t.Run("many at once", f.many)
			t.Run("streams that no repo-server sends", f.streams)
			t.Run("a client that stalls", f.stalled)
			t.Run("a client that hangs up", f.hangUp)
			t.Run("a registry that is down", f.down)
		})
	}
}

// call is what the repo-server says about an application, besides its files.
func (f *fixture) call(repository, app string, env ...string) client.Call {
	return client.Call{
		Method: client.Generate, Plugin: stack.PluginName,
		Repository: repository, App: filepath.Join(repository, app),
		Env: append([]string{
			"ARGOCD_APP_NAME=shop", "ARGOCD_APP_NAMESPACE=shop", "ARGOCD_APP_PROJECT_NAME=default",
			"ARGOCD_APP_REVISION=0123456789abcdef0123456789abcdef01234567", "ARGOCD_APP_REVISION_SHORT=0123456", "ARGOCD_APP_REVISION_SHORT_8=01234567",
			"ARGOCD_APP_SOURCE_REPO_URL=http://git.example.com/shop.git", "ARGOCD_APP_SOURCE_PATH=" + app, "ARGOCD_APP_SOURCE_TARGET_REVISION=main",
			"KUBE_VERSION=1.36.1", "KUBE_API_VERSIONS=apps/v1,apps/v1/Deployment,v1,v1/ConfigMap", "ARGOCD_APP_PARAMETERS=null",
		}, env...),
	}
}

// files writes a checkout.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// good is a checkout that the gate lets pass.
func (f *fixture) good(t *testing.T) string {
	return files(t, map[string]string{"app/web.yaml": stack.Deployment("web", f.present), "app/notes.yaml": stack.ConfigMap("notes", "1")})
}

// passes checks that an answer holds the manifests, by something that each says.
func passes(t *testing.T, a client.Answer, parts ...string) {
	t.Helper()
	if a.Error != "" {
		t.Fatalf("refused: %s: %s", a.Code, a.Error)
	}
	if len(a.Manifests) != len(parts) {
		t.Fatalf("%d manifests, want %d: %q", len(a.Manifests), len(parts), a.Manifests)
	}
	for i, part := range parts {
		if !strings.Contains(a.Manifests[i], part) {
			t.Errorf("manifest %d does not hold %q:\n%s", i, part, a.Manifests[i])
		}
	}
}

// fails checks that an answer is an error that says something, and that it is the
// plugin's own, not what the client makes of a connection that broke.
func fails(t *testing.T, a client.Answer, parts ...string) {
	t.Helper()
	if a.Error == "" {
		t.Fatalf("passed with %d manifests", len(a.Manifests))
	}
	for _, part := range parts {
		if !strings.Contains(a.Error, part) {
			t.Errorf("the error does not say %q:\n%s", part, a.Error)
		}
	}
	for _, broken := range []string{"EOF", "error sending", "Unavailable", "connection"} {
		if strings.Contains(a.Error, broken) {
			t.Errorf("the error is the client's (%s):\n%s", broken, a.Error)
		}
	}
}

func (f *fixture) found(t *testing.T) {
	repository := f.good(t)
	check := f.call(repository, "app")
	check.Method = client.Check
	if a := f.client.Ask(t, check); a.Error != "" || a.Discovery || a.GitCredentials {
		t.Errorf("configuration: discovery %t, git credentials %t, %s", a.Discovery, a.GitCredentials, a.Error)
	}
	match := f.call(repository, "app")
	match.Method = client.Match
	if a := f.client.Ask(t, match); a.Error != "" || a.Discovery {
		t.Errorf("match: discovery %t, %s", a.Discovery, a.Error)
	}
	unnamed := f.call(repository, "app")
	unnamed.Plugin = ""
	if a := f.client.Ask(t, unnamed); !strings.Contains(a.Error, "could not find plugin supporting the given repository") {
		t.Errorf("discovered: %+v", a)
	}
	other := f.call(repository, "app")
	other.Plugin = "pin-cmp-v1.0"
	if a := f.client.Ask(t, other); !strings.Contains(a.Error, `find cmp-server plugin with name "pin-cmp-v1.0"`) {
		t.Errorf("another name: %+v", a)
	}
	announcement := f.call(repository, "app")
	announcement.Method = client.Parameters
	if a := f.client.Ask(t, announcement); a.Error != "" {
		t.Errorf("parameters: %s", a.Error)
	}
}

func (f *fixture) generated(t *testing.T) {
	passes(t, f.client.Ask(t, f.call(f.good(t), "app")), "notes", f.present)
}

func (f *fixture) refused(t *testing.T) {
	for name, c := range map[string]struct{ image, says string }{
		"floating": {"registry.example.com/acme/web:1.4.0", "registry.example.com/acme/web:1.4.0"},
		"symbolic": {"registry.example.com/acme/web@build", "registry.example.com/acme/web@build"},
		"absent":   {f.registry.Image("acme/web", "never pushed"), f.registry.Image("acme/web", "never pushed")},
	} {
		t.Run(name, func(t *testing.T) {
			repository := files(t, map[string]string{"app/web.yaml": stack.Deployment("web", c.image)})
			fails(t, f.client.Ask(t, f.call(repository, "app")), c.says, "app/web.yaml")
		})
	}
	t.Run("nothing to apply", func(t *testing.T) {
		repository := files(t, map[string]string{"app/README.md": "hello\n"})
		fails(t, f.client.Ask(t, f.call(repository, "app")))
	})
	// The reason is the server's last word: a client that is still sending must
	// get it all the same.
	t.Run("behind megabytes", func(t *testing.T) {
		repository := files(t, map[string]string{
			"app/web.yaml": stack.Deployment("web", "registry.example.com/acme/web:1.4.0"),
			"video":        noise(6 << 20),
		})
		fails(t, f.client.Ask(t, f.call(repository, "app")), "registry.example.com/acme/web:1.4.0")
	})
}

// noise is text that does not compress.
func noise(size int) string {
	random := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return string(b)
}

func (f *fixture) options(t *testing.T) {
	repository := files(t, map[string]string{
		"app/kustomization.yaml": "resources: [web.yaml]\n",
		"app/web.yaml":           stack.Deployment("web", "web"),
	})
	parameters := fmt.Sprintf(`ARGOCD_APP_PARAMETERS=[{"name":"kustomize","string":"namePrefix: eu-\nimages: [web=%s]\n"}]`, f.present)
	passes(t, f.client.Ask(t, f.call(repository, "app", parameters)), "eu-web")
	a := f.client.Ask(t, f.call(repository, "app", `ARGOCD_APP_PARAMETERS=[{"name":"kustomize","string":"namePrefx: eu-"}]`))
	fails(t, a, "namePrefx")
}

func (f *fixture) repository(t *testing.T) {
	repository := files(t, map[string]string{
		"base/kustomization.yaml":          "resources: [web.yaml]\n",
		"base/web.yaml":                    stack.Deployment("web", f.present),
		"overlays/prod/kustomization.yaml": "namePrefix: prod-\nresources: [../../base]\n",
		".git/HEAD":                        "ref: refs/heads/main\n",
	})
	passes(t, f.client.Ask(t, f.call(repository, "overlays/prod")), "prod-web")
	without := f.call(repository, "overlays/prod")
	without.Exclude = []string{".git", ".git/*"}
	passes(t, f.client.Ask(t, without), "prod-web")
	// With manifest-generate-paths the repo-server sends a part of the repository.
	part := f.call(repository, "overlays/prod")
	part.Repository = filepath.Join(repository, "overlays")
	fails(t, f.client.Ask(t, part), "base")
	t.Run("its root", func(t *testing.T) {
		root := files(t, map[string]string{"web.yaml": stack.Deployment("web", f.present)})
		passes(t, f.client.Ask(t, f.call(root, ".")), f.present)
	})
}

func (f *fixture) links(t *testing.T) {
	repository := files(t, map[string]string{"shared/web.yaml": stack.Deployment("web", f.present), "app/notes.yaml": stack.ConfigMap("notes", "1")})
	if err := os.Symlink("../shared/web.yaml", filepath.Join(repository, "app/web.yaml")); err != nil {
		t.Fatal(err)
	}
	passes(t, f.client.Ask(t, f.call(repository, "app")), "notes", f.present)
}

func (f *fixture) large(t *testing.T) {
	// More than gRPC's own 4 MiB, both ways; Argo CD's limit is 100 MiB. What is
	// sent hardly compresses, and neither does the answer.
	repository := f.good(t)
	for i := range 12 {
		if err := os.WriteFile(filepath.Join(repository, fmt.Sprintf("app/large%02d.yaml", i)), []byte(stack.ConfigMap(fmt.Sprintf("large%02d", i), hexNoise(500<<10))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a := f.client.Ask(t, f.call(repository, "app"))
	if a.Error != "" {
		t.Fatal(a.Error)
	}
	var size int
	for _, m := range a.Manifests {
		size += len(m)
	}
	if len(a.Manifests) != 14 || size < 12*500<<10 {
		t.Errorf("%d manifests of %d bytes", len(a.Manifests), size)
	}
}

// hexNoise is noise that YAML can hold.
func hexNoise(size int) string { return fmt.Sprintf("%x", noise(size/2)) }

func (f *fixture) many(t *testing.T) {
	good := f.good(t)
	bad := files(t, map[string]string{"app/web.yaml": stack.Deployment("web", "registry.example.com/acme/web:1.4.0")})
	var asking sync.WaitGroup
	for i := range 32 {
		asking.Add(1)
		go func() {
			defer asking.Done()
			if i%2 == 0 {
				if a := f.client.Ask(t, f.call(good, "app")); a.Error != "" || len(a.Manifests) != 2 {
					t.Errorf("%d manifests, %s", len(a.Manifests), a.Error)
				}
			} else if a := f.client.Ask(t, f.call(bad, "app")); !strings.Contains(a.Error, "acme/web:1.4.0") {
				t.Errorf("%d manifests, %s", len(a.Manifests), a.Error)
			}
		}()
	}
	asking.Wait()
}

func (f *fixture) down(t *testing.T) {
	f.registry.Stop()
	image := f.registry.Image("acme/web", "not seen before")
	repository := files(t, map[string]string{"app/web.yaml": stack.Deployment("web", image)})
	a := f.client.Ask(t, f.call(repository, "app"))
	if !strings.Contains(a.Error, image) || !strings.Contains(a.Error, "unreachable") {
		t.Errorf("%s: %s", a.Code, a.Error)
	}
	f.registry.Start(t)
	f.registry.Push(t, "acme/web", "not seen before", "1.5.0")
	passes(t, f.client.Ask(t, f.call(repository, "app")), image)
}
