//go:build linux

package install

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pin-cmp/pin-cmp/test/argocd/stack"
)

const applications = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"

// admission applies the policy to a cluster that has an ungated Application
// already, and asks for all ways past the gate.
func admission(t *testing.T, s *stack.Stack) {
	ctx := context.Background()
	type object = map[string]any
	ungated := object{"repoURL": "https://git.example.com/shop.git", "path": "app", "targetRevision": "main"}
	with := func(name string) object {
		return object{"repoURL": "https://git.example.com/shop.git", "path": "app", "targetRevision": "main", "plugin": object{"name": name}}
	}
	gated := with("pin-cmp")
	application := func(name string, spec object) object {
		spec["project"] = "default"
		spec["destination"] = object{"server": "https://kubernetes.default.svc", "namespace": "shop"}
		return object{
			"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
			"metadata": object{"name": name, "namespace": "argocd"}, "spec": spec,
		}
	}
	do := func(method, path string, body any) error { return s.Kube.Do(ctx, method, path, body, nil) }
	if err := do(http.MethodPost, applications, application("before", object{"source": ungated})); err != nil {
		t.Fatal(err)
	}
	s.Kubectl(t, "", "apply", "--server-side", "--validate=strict", "-k", filepath.Join(s.Repository(), "manifests/admission"))
	// The kube-apiserver takes the policy up a moment later.
	for {
		probe := application("probe", object{"source": ungated})
		if err := do(http.MethodPost, applications+"?dryRun=All", probe); err != nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}

	denied := func(t *testing.T, err error, says string) {
		t.Helper()
		var status *stack.StatusError
		if !errors.As(err, &status) || status.Code != http.StatusForbidden {
			t.Fatalf("admitted, or refused for another reason: %v", err)
		}
		if !strings.Contains(status.Message, says) {
			t.Errorf("it does not say %q: %s", says, status.Message)
		}
	}
	const unnamed = "the source https://git.example.com/shop.git does not name the gate; write plugin: {name: pin-cmp} into it"
	for name, c := range map[string]struct {
		spec object
		says string
	}{
		"no plugin":           {object{"source": ungated}, unnamed},
		"a plugin to find":    {object{"source": with("")}, unnamed},
		"another plugin":      {object{"source": with("pin-cmp-v1.0")}, unnamed},
		"one source of two":   {object{"sources": []object{gated, ungated}}, unnamed},
		"a reference's path":  {object{"sources": []object{gated, {"repoURL": "https://git.example.com/shop.git", "ref": "values", "path": "app"}}}, unnamed},
		"sources over source": {object{"source": gated, "sources": []object{ungated}}, unnamed},
		"a hydrator": {object{"sourceHydrator": object{
			"drySource":  object{"repoURL": "https://git.example.com/shop.git", "path": "app", "targetRevision": "main"},
			"syncSource": object{"targetBranch": "env/prod", "path": "app"},
		}}, "spec.sourceHydrator"},
	} {
		t.Run(name, func(t *testing.T) {
			denied(t, do(http.MethodPost, applications+"?dryRun=All", application("shop", c.spec)), c.says)
		})
	}
	for name, spec := range map[string]object{
		"gated":       {"source": gated},
		"two, gated":  {"sources": []object{gated, gated}},
		"a reference": {"sources": []object{gated, {"repoURL": "https://git.example.com/shop.git", "ref": "values", "targetRevision": "main"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := do(http.MethodPost, applications+"?dryRun=All", application("shop", spec)); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("an update", func(t *testing.T) {
		if err := do(http.MethodPost, applications, application("shop", object{"source": gated})); err != nil {
			t.Fatal(err)
		}
		denied(t, do(http.MethodPatch, applications+"/shop", object{"spec": object{"source": object{"plugin": nil}}}), unnamed)
	})
	t.Run("a sync of another source", func(t *testing.T) {
		denied(t, do(http.MethodPatch, applications+"/shop", object{"operation": object{"sync": object{"source": ungated}}}), unnamed)
	})
	t.Run("a sync of local manifests", func(t *testing.T) {
		denied(t, do(http.MethodPatch, applications+"/shop", object{"operation": object{"sync": object{"manifests": []string{"{}"}}}}), "a sync of local manifests goes past the gate")
	})
	t.Run("a sync", func(t *testing.T) {
		if err := do(http.MethodPatch, applications+"/shop", object{"operation": object{"sync": object{"revision": "main"}}}); err != nil {
			t.Error(err)
		}
	})
	t.Run("one from before goes on", func(t *testing.T) {
		status := object{"status": object{"sync": object{"status": "OutOfSync", "comparedTo": object{"source": ungated, "destination": object{}}}}}
		if err := do(http.MethodPatch, applications+"/before", status); err != nil {
			t.Errorf("Argo CD can't write its status: %v", err)
		}
		denied(t, do(http.MethodPatch, applications+"/before", object{"spec": object{"source": object{"path": "other"}}}), unnamed)
		if err := do(http.MethodPatch, applications+"/before", object{"spec": object{"source": object{"plugin": object{"name": "pin-cmp"}}}}); err != nil {
			t.Errorf("it can't be moved over: %v", err)
		}
	})
	t.Run("an exempt one", func(t *testing.T) {
		if err := do(http.MethodPatch, "/api/v1/namespaces/argocd/configmaps/pin-cmp-ungated", object{"data": object{"argocd.cert-manager": "a Helm chart"}}); err != nil {
			t.Fatal(err)
		}
		for {
			err := do(http.MethodPost, applications+"?dryRun=All", application("cert-manager", object{"source": ungated}))
			if err == nil {
				break
			}
			denied(t, err, unnamed) // until the kube-apiserver has seen the edit
			time.Sleep(50 * time.Millisecond)
		}
		denied(t, do(http.MethodPost, applications+"?dryRun=All", application("cert-manager2", object{"source": ungated})), unnamed)
	})
	t.Run("no list", func(t *testing.T) {
		if err := do(http.MethodDelete, "/api/v1/namespaces/argocd/configmaps/pin-cmp-ungated", nil); err != nil {
			t.Fatal(err)
		}
		for do(http.MethodPost, applications+"?dryRun=All", application("cert-manager", object{"source": ungated})) == nil {
			time.Sleep(50 * time.Millisecond)
		}
	})
}
