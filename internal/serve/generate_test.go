package serve

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"
)

func TestGenerate(t *testing.T) {
	w := start(t, nil)
	image := w.push(t)
	client := w.dial(t)
	manifests, err := request(t, "overlays/prod", map[string]string{
		"base/kustomization.yaml":          "resources: [pod.yaml]\n",
		"base/pod.yaml":                    pod("web"),
		"overlays/prod/kustomization.yaml": "resources: [../../base, c.yaml]\nimages: [{name: web, newName: " + strings.Split(image, "@")[0] + ", digest: " + strings.Split(image, "@")[1] + "}]\n",
		"overlays/prod/c.yaml":             configMap,
		".git/config":                      "[remote]\n",
	}, `ARGOCD_APP_PARAMETERS=[{"name":"kustomize","string":"namePrefix: eu-"}]`).generate(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	if len(manifests) != 2 {
		t.Fatalf("got %d manifests: %s", len(manifests), manifests)
	}
	var kinds []string
	for _, manifest := range manifests {
		var object struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     struct{ Containers []struct{ Image string } }
		}
		if err := json.Unmarshal([]byte(manifest), &object); err != nil {
			t.Fatalf("%v in %s", err, manifest)
		}
		kinds = append(kinds, object.Kind+"/"+object.Metadata.Name)
		for _, c := range object.Spec.Containers {
			if c.Image != image {
				t.Errorf("image %s, want %s", c.Image, image)
			}
		}
	}
	if got := strings.Join(kinds, " "); got != "ConfigMap/eu-c Pod/eu-web" && got != "Pod/eu-web ConfigMap/eu-c" {
		t.Errorf("got %s", got)
	}
}

// TestRefusals: the text is that of generate, whatever the cause, and the same
// each time.
func TestRefusals(t *testing.T) {
	w := start(t, nil)
	client := w.dial(t)
	absent := w.registry.Addr + "/acme/web@sha256:" + strings.Repeat("1", 64)
	for name, tt := range map[string]struct {
		files map[string]string
		env   string
		code  codes.Code
		want  string
	}{
		"floating":   {map[string]string{"app/a.yaml": pod("nginx:1.27")}, "", codes.FailedPrecondition, "pin-cmp: refused 1 of 1 image: Pod/web uses nginx:1.27, which names a tag"},
		"symbolic":   {map[string]string{"app/a.yaml": pod("ghcr.io/acme/web@build")}, "", codes.FailedPrecondition, "fix: pin-cmp rewrite"},
		"absent":     {map[string]string{"app/a.yaml": pod(absent)}, "", codes.FailedPrecondition, "is absent: "},
		"place":      {map[string]string{"app/a.yaml": pod("nginx")}, "", codes.FailedPrecondition, "at app/a.yaml:4"},
		"down":       {map[string]string{"app/a.yaml": pod("127.0.0.1:1/a@sha256:" + strings.Repeat("1", 64))}, "", codes.Unavailable, "pin-cmp: could not decide about 1 of 1 image"},
		"no objects": {map[string]string{"app/README": "hello"}, "", codes.FailedPrecondition, "could not render the application: "},
		"broken":     {map[string]string{"app/a.yaml": "apiVersion: v1\nkind: X\nmetadata: [\n"}, "", codes.FailedPrecondition, "could not render the application: app/a.yaml:"},
		"no such":    {map[string]string{"other/a.yaml": configMap}, "", codes.FailedPrecondition, "the application's directory does not exist"},
		"parameter":  {map[string]string{"app/a.yaml": configMap}, `ARGOCD_APP_PARAMETERS=[{"name":"kustomise","string":""}]`, codes.InvalidArgument, "is no parameter of pin-cmp"},
		"dangling":   {map[string]string{"app/a.yaml": "-> gone.yaml"}, "", codes.FailedPrecondition, "could not render the application: "},
	} {
		t.Run(name, func(t *testing.T) {
			var before string
			for range 2 {
				_, err := request(t, "app", tt.files, tt.env).generate(t.Context(), client)
				refusedAs(t, err, tt.code, tt.want)
				if before != "" && before != err.Error() {
					t.Errorf("first\n%s\nthen\n%s", before, err)
				}
				before = err.Error()
			}
		})
	}
}

// TestOnlyTheRequest: what the sidecar has in its environment is nobody's
// business but its own.
func TestOnlyTheRequest(t *testing.T) {
	t.Setenv("ARGOCD_APP_PARAMETERS", `[{"name":"kustomize","string":"namePrefix: sidecar-"}]`)
	t.Setenv("ARGOCD_APP_REVISION", "secret")
	w := start(t, nil)
	client := w.dial(t)
	files := map[string]string{"app/kustomization.yaml": "resources: [c.yaml]\n", "app/c.yaml": configMap}
	manifests, err := request(t, "app", files).generate(t.Context(), client)
	if err != nil || len(manifests) != 1 || strings.Contains(manifests[0], "sidecar-") {
		t.Errorf("got %v, %v", manifests, err)
	}
	manifests, err = request(t, "app", files, `ARGOCD_APP_PARAMETERS=[{"name":"kustomize","string":"commonAnnotationsEnvsubst: true\ncommonAnnotations: {a: \"$ARGOCD_APP_NAME-$ARGOCD_APP_REVISION-$PATH\"}"}]`).generate(t.Context(), client)
	if err != nil || len(manifests) != 1 || !strings.Contains(manifests[0], `"a":"demo--"`) {
		t.Errorf("got %v, %v", manifests, err)
	}
}

// TestPartOfTheRepository: with manifest-generate-paths Argo CD sends only a
// directory above the application, and messages still name files as the
// repository does.
func TestPartOfTheRepository(t *testing.T) {
	w := start(t, nil)
	client := w.dial(t)
	for relative, files := range map[string]map[string]string{
		"web/prod": {"web/prod/kustomization.yaml": "resources: [../base]\n", "web/base/kustomization.yaml": "resources: [p.yaml]\n", "web/base/p.yaml": pod("nginx")},
		".":        {"kustomization.yaml": "resources: [base]\n", "base/kustomization.yaml": "resources: [p.yaml]\n", "base/p.yaml": pod("nginx")},
		"":         {"p.yaml": pod("nginx")},
	} {
		_, err := request(t, relative, files, "ARGOCD_APP_SOURCE_PATH=apps/web/prod").generate(t.Context(), client)
		refusedAs(t, err, codes.FailedPrecondition, "at apps/web/")
	}
}

func TestOtherRequests(t *testing.T) {
	w := start(t, nil)
	client := w.dial(t)
	config, err := client.CheckPluginConfiguration(t.Context(), &emptypb.Empty{})
	if err != nil || config.GetIsDiscoveryConfigured() || config.GetProvideGitCreds() {
		t.Errorf("got %v, %v", config, err)
	}
	stream, err := client.MatchRepository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := request(t, "app", map[string]string{"app/a.yaml": configMap}).send(stream); err != nil {
		t.Fatal(err)
	}
	match, err := stream.CloseAndRecv()
	if err != nil || match.GetIsSupported() || match.GetIsDiscoveryEnabled() {
		t.Errorf("got %v, %v", match, err)
	}
}

// TestParameters: the user interface shows the options, and what the gate says
// of each image, present or not.
func TestParameters(t *testing.T) {
	w := start(t, nil)
	present := w.push(t)
	client := w.dial(t)
	announced := func(files map[string]string) map[string]string {
		stream, err := client.GetParametersAnnouncement(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := request(t, "app", files).send(stream); err != nil {
			t.Fatal(err)
		}
		response, err := stream.CloseAndRecv()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		var images map[string]string
		for _, a := range response.GetParameterAnnouncements() {
			names = append(names, a.GetName())
			if a.GetName() == "images" {
				images = a.GetMap()
			}
		}
		if got := strings.Join(names, " "); got != "images kustomize directory" {
			t.Errorf("announced %s", got)
		}
		return images
	}
	repository, digest, _ := strings.Cut(present, "@")
	images := announced(map[string]string{"app/a.yaml": pod(present) + "---\n" + pod(repository+":1.4.0@"+digest) + "---\n" + pod(repository+"@sha256:"+strings.Repeat("1", 64)) + "---\n" + pod("nginx:1.27")})
	for name, want := range map[string]string{
		repository + ":1.4.0": digest + " present",
		"nginx:1.27":          "refused: names a tag",
	} {
		if !strings.HasPrefix(images[name], want) {
			t.Errorf("%s: %q, want %s…", name, images[name], want)
		}
	}
	both := images[repository] + " " + images[repository+" (2)"]
	if len(images) != 4 || !strings.Contains(both, digest+" present") || !strings.Contains(both, strings.Repeat("1", 64)+" refused: ") {
		t.Errorf("got %q", images)
	}
	images = announced(map[string]string{"app/README": ""})
	if !strings.HasPrefix(images[""], "could not render the application: ") {
		t.Errorf("an application that can't be rendered: %q", images)
	}
}
