//go:build linux

package stack

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Application is an Application that is gated, with automated syncs.
type Application struct {
	Name string
	s    *Stack
}

// Status is what Argo CD says of an Application.
type Status struct {
	// Sync is Synced, OutOfSync or Unknown, at Revision.
	Sync, Revision string
	// Conditions are "TYPE: MESSAGE".
	Conditions []string
	// Operation is the phase of the last sync, and Operated the revision it was
	// of.
	Operation, Operated string
	// Refreshing is true until a refresh that was asked for is done.
	Refreshing bool
}

// String is for messages of tests.
func (s Status) String() string {
	return fmt.Sprintf("sync %s of %q, operation %q of %q, refreshing %t, conditions: %s", s.Sync, s.Revision, s.Operation, s.Operated, s.Refreshing, strings.Join(s.Conditions, "\n"))
}

// Blocked reports whether Argo CD could not render the application.
func (s Status) Blocked() bool {
	return s.Sync == "Unknown" && len(s.Conditions) > 0 && strings.HasPrefix(s.Conditions[0], "ComparisonError: ")
}

// Applied reports whether a commit has been rendered and is what the cluster
// holds.
func (s Status) Applied(commit string) bool {
	return s.Sync == "Synced" && s.Revision == commit && len(s.Conditions) == 0
}

// Source is the spec.source of a gated Application.
func Source(repository *Repository, path string) map[string]any {
	return map[string]any{
		"repoURL": repository.URL, "targetRevision": "main", "path": path,
		"plugin": map[string]any{"name": PluginName},
	}
}

// Apply creates an Application, which deploys into the namespace of its name.
func (s *Stack) Apply(t *testing.T, name string, source map[string]any) *Application {
	t.Helper()
	a := &Application{Name: name, s: s}
	err := s.Kube.Do(context.Background(), http.MethodPost, applications, a.object(source), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.delete(t) })
	return a
}

const applications = "/apis/argoproj.io/v1alpha1/namespaces/" + argocdNamespace + "/applications"

func (a *Application) object(source map[string]any) map[string]any {
	return map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
		"metadata": map[string]any{"name": a.Name, "namespace": argocdNamespace},
		"spec": map[string]any{
			"project":     "default",
			"destination": map[string]any{"server": "https://kubernetes.default.svc", "namespace": a.Name},
			"source":      source,
			"syncPolicy": map[string]any{
				"automated":   map[string]any{"prune": true, "selfHeal": true},
				"syncOptions": []string{"CreateNamespace=true"},
			},
		},
	}
}

func (a *Application) delete(t *testing.T) {
	if err := a.s.Kube.Do(context.Background(), http.MethodDelete, applications+"/"+a.Name, nil, nil); err != nil && !Missing(err) {
		t.Error(err)
	}
}

// Refresh asks for a comparison: "normal", as a webhook does for a commit, or
// "hard", which forgets what was rendered.
func (a *Application) Refresh(t *testing.T, kind string) {
	t.Helper()
	patch := map[string]any{"metadata": map[string]any{"annotations": map[string]any{"argocd.argoproj.io/refresh": kind}}}
	if err := a.s.Kube.Do(context.Background(), http.MethodPatch, applications+"/"+a.Name, patch, nil); err != nil {
		t.Fatal(err)
	}
}

// Status asks for the status.
func (a *Application) Status(t *testing.T) Status {
	t.Helper()
	var object struct {
		Metadata struct{ Annotations map[string]string }
		Status   struct {
			Sync           struct{ Status, Revision string }
			Conditions     []struct{ Type, Message string }
			OperationState struct {
				Phase      string
				SyncResult struct{ Revision string }
			}
		}
	}
	if err := a.s.Kube.Do(context.Background(), http.MethodGet, applications+"/"+a.Name, nil, &object); err != nil {
		t.Fatal(err)
	}
	_, refreshing := object.Metadata.Annotations["argocd.argoproj.io/refresh"]
	s := Status{
		Sync: object.Status.Sync.Status, Revision: object.Status.Sync.Revision,
		Operation: object.Status.OperationState.Phase, Operated: object.Status.OperationState.SyncResult.Revision,
		Refreshing: refreshing,
	}
	for _, c := range object.Status.Conditions {
		s.Conditions = append(s.Conditions, c.Type+": "+c.Message)
	}
	return s
}

// Wait waits for a status, and returns it.
func (a *Application) Wait(t *testing.T, what string, is func(Status) bool) Status {
	t.Helper()
	for {
		s := a.Status(t)
		if is(s) {
			return s
		}
		outOfTime(t, "application %s never came to be %s; it is: %v", a.Name, what, s)
		time.Sleep(50 * time.Millisecond)
	}
}

// WaitApplied waits until a commit is what the cluster holds.
func (a *Application) WaitApplied(t *testing.T, commit string) Status {
	t.Helper()
	return a.Wait(t, "synced to "+commit, func(s Status) bool { return s.Applied(commit) })
}

// WaitBlocked asks for a refresh and returns the condition that it ends with.
func (a *Application) WaitBlocked(t *testing.T, refresh string) string {
	t.Helper()
	a.Refresh(t, refresh)
	return a.Wait(t, "blocked", func(s Status) bool { return s.Blocked() && !s.Refreshing }).Conditions[0]
}

// Live returns the image of the Deployment "web" and the value of the ConfigMap
// "notes" that the cluster holds; "" for what it does not.
func (a *Application) Live(t *testing.T) (image, notes string) {
	t.Helper()
	var deployment struct {
		Spec struct {
			Template struct {
				Spec struct{ Containers []struct{ Image string } }
			}
		}
	}
	err := a.s.Kube.Do(context.Background(), http.MethodGet, "/apis/apps/v1/namespaces/"+a.Name+"/deployments/web", nil, &deployment)
	if err != nil && !Missing(err) {
		t.Fatal(err)
	}
	if err == nil {
		image = deployment.Spec.Template.Spec.Containers[0].Image
	}
	var config struct{ Data map[string]string }
	if err := a.s.Kube.Do(context.Background(), http.MethodGet, "/api/v1/namespaces/"+a.Name+"/configmaps/notes", nil, &config); err != nil && !Missing(err) {
		t.Fatal(err)
	}
	return image, config.Data["value"]
}
