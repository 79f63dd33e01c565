package render

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
      - image: nginx:1.25
        name: web
`

// TestKustomizeOptions has a case for each option of spec.source.kustomize,
// written as in an Application, and the output in full.
func TestKustomizeOptions(t *testing.T) {
	files := map[string]string{
		"app/kustomization.yaml": "resources:\n- deployment.yaml\n", "app/deployment.yaml": deployment,
		"app/component/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnameSuffix: -c\n",
		"app/patch.yaml":                   "- op: replace\n  path: /spec/template/spec/containers/0/image\n  value: patched:2\n",
	}
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(deployment) }
	for _, test := range []struct {
		name, options string
		files         map[string]string
		want, err     string
		is            error
	}{
		{name: "none", options: "{}", want: deployment},
		{name: "namePrefix", options: "namePrefix: pre-", want: replace("  name: web\nspec", "  name: pre-web\nspec")},
		{name: "namePrefix that looks like a flag", options: "namePrefix: --force", want: replace("  name: web\nspec", "  name: --forceweb\nspec")},
		{name: "nameSuffix", options: "nameSuffix: -suf", want: replace("  name: web\nspec", "  name: web-suf\nspec")},
		{name: "images: a tag", options: "images: ['nginx:1.26']", want: replace("nginx:1.25", "nginx:1.26")},
		{name: "images: a name, a tag and a digest", options: "images: ['nginx=ghcr.io/acme/nginx:1.26@sha256:" + zeros + "']", want: replace("nginx:1.25", "ghcr.io/acme/nginx:1.26@sha256:"+zeros)},
		{name: "images: variables", options: "images: ['nginx:$ARGOCD_APP_REVISION-${NONE}$$x']", want: replace("nginx:1.25", "nginx:abc-$x")},
		{name: "images: a variable", options: "images: ['nginx:v$ARGOCD_APP_REVISION${NONE}']", want: replace("nginx:1.25", "nginx:vabc")},
		{name: "images: a kustomization's own stay", options: "images: ['nginx:1.26']", files: map[string]string{"app/kustomization.yaml": "resources:\n- deployment.yaml\nimages:\n- {name: nginx, newName: other}\n- {name: unused, newTag: '1'}\n"}, want: replace("nginx:1.25", "nginx:1.26")},
		{name: "images: nothing to set", options: "images: [nginx]", err: "kustomize.images: "},
		{name: "replicas", options: "replicas: [{name: web, count: 3}]", want: replace("spec:\n  selector", "spec:\n  replicas: 3\n  selector")},
		{name: "replicas in quotes", options: "replicas: [{name: web, count: '3'}]", want: replace("spec:\n  selector", "spec:\n  replicas: 3\n  selector")},
		{name: "replicas: no whole number", options: "replicas: [{name: web, count: 1.5}]", err: `kustomize.replicas: the count "1.5" of web is not a whole number`},
		{
			name: "commonLabels", options: "commonLabels: {team: a$ARGOCD_APP_NAME, x: 'y'}",
			want: replace("metadata:\n  name", "metadata:\n  labels:\n    team: ademo\n    x: \"y\"\n  name", "      app: web\n  template", "      app: web\n      team: ademo\n      x: \"y\"\n  template", "        app: web\n    spec", "        app: web\n        team: ademo\n        x: \"y\"\n    spec"),
		},
		{
			name: "commonLabels, labelWithoutSelector", options: "{commonLabels: {team: a}, labelWithoutSelector: true}",
			want: replace("metadata:\n  name", "metadata:\n  labels:\n    team: a\n  name"),
		},
		{
			name: "commonLabels, labelIncludeTemplates", options: "{commonLabels: {team: a}, labelWithoutSelector: true, labelIncludeTemplates: true}",
			want: replace("metadata:\n  name", "metadata:\n  labels:\n    team: a\n  name", "        app: web\n    spec", "        app: web\n        team: a\n    spec"),
		},
		{name: "labelIncludeTemplates alone", options: "{commonLabels: {team: a}, labelIncludeTemplates: true}", err: "--without-selector flag must be specified"},
		{
			name: "commonLabels that the kustomization has", options: "commonLabels: {team: a}", files: map[string]string{"app/kustomization.yaml": "resources:\n- deployment.yaml\ncommonLabels: {team: b}\n"},
			err: "app/kustomization.yaml: kustomize.commonLabels: kustomize: label team already in kustomization file. Use --force to override; set forceCommonLabels",
		},
		{
			name: "forceCommonLabels", options: "{commonLabels: {app: b}, forceCommonLabels: true}", files: map[string]string{"app/kustomization.yaml": "resources:\n- deployment.yaml\ncommonLabels: {app: c}\n"},
			want: replace("metadata:\n  name", "metadata:\n  labels:\n    app: b\n  name", "app: web", "app: b"),
		},
		{
			name: "commonAnnotations are not substituted", options: "commonAnnotations: {team: a$ARGOCD_APP_NAME}",
			want: replace("metadata:\n  name", "metadata:\n  annotations:\n    team: a$ARGOCD_APP_NAME\n  name", "    metadata:\n      labels", "    metadata:\n      annotations:\n        team: a$ARGOCD_APP_NAME\n      labels"),
		},
		{
			name: "commonAnnotationsEnvsubst", options: "{commonAnnotations: {team: a$ARGOCD_APP_NAME}, commonAnnotationsEnvsubst: true}",
			want: replace("metadata:\n  name", "metadata:\n  annotations:\n    team: ademo\n  name", "    metadata:\n      labels", "    metadata:\n      annotations:\n        team: ademo\n      labels"),
		},
		{
			name: "forceCommonAnnotations", options: "{commonAnnotations: {team: a}, forceCommonAnnotations: true}", files: map[string]string{"app/kustomization.yaml": "resources:\n- deployment.yaml\ncommonAnnotations: {team: b}\n"},
			want: replace("metadata:\n  name", "metadata:\n  annotations:\n    team: a\n  name", "    metadata:\n      labels", "    metadata:\n      annotations:\n        team: a\n      labels"),
		},
		{name: "namespace", options: "namespace: prod", want: replace("  name: web\nspec", "  name: web\n  namespace: prod\nspec")},
		{
			name:    "patches: inline, with a target",
			options: "patches:\n- target: {kind: Deployment}\n  patch: |\n    - op: replace\n      path: /spec/template/spec/containers/0/image\n      value: patched:1\n",
			want:    replace("nginx:1.25", "patched:1"),
		},
		{name: "patches: a file", options: "patches: [{path: patch.yaml, target: {name: web}}]", want: replace("nginx:1.25", "patched:2")},
		{
			name: "patches: options", options: "patches:\n- options: {allowNameChange: true}\n  target: {kind: Deployment}\n  patch: |\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: renamed}\n",
			want: replace("  name: web\nspec", "  name: renamed\nspec"),
		},
		{
			name: "patches come after the kustomization's own", options: "patches: [{path: patch.yaml, target: {name: web}}]",
			files: map[string]string{"app/kustomization.yaml": "resources:\n- deployment.yaml\npatches:\n- target: {name: web}\n  patch: |-\n    - op: replace\n      path: /spec/template/spec/containers/0/image\n      value: own:1\n"},
			want:  replace("nginx:1.25", "patched:2"),
		},
		{name: "patches: a missing file", options: "patches: [{path: none.yaml}]", err: "app/kustomization.yaml: kustomize.patches of the application: none.yaml does not exist"},
		{name: "components", options: "components: [component]", want: replace("  name: web\nspec", "  name: web-c\nspec")},
		{name: "components: missing", options: "components: [component, none]", err: "app/kustomization.yaml: kustomize.components: "},
		{name: "ignoreMissingComponents", options: "{components: [component, none], ignoreMissingComponents: true}", want: replace("  name: web\nspec", "  name: web-c\nspec")},
		{name: "components: remote", options: "components: ['https://github.com/acme/components//web?ref=v1']", err: "kustomize.components: https://github.com/acme/components//web?ref=v1 is remote", is: ErrRemote},
		{name: "version, kubeVersion and apiVersions have no effect", options: "{version: v4.0.0, kubeVersion: '1.30', apiVersions: [x/v1]}", want: deployment},
		{
			name: "all in order", options: "{namePrefix: a-, nameSuffix: -z, namespace: prod, images: ['nginx:2'], replicas: [{name: web, count: 1}], components: [component]}",
			want: replace("  name: web\nspec:\n", "  name: a-web-c-z\n  namespace: prod\nspec:\n  replicas: 1\n", "nginx:1.25", "nginx:2"),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			all := map[string]string{}
			for name, content := range files {
				all[name] = content
			}
			for name, content := range test.files {
				all[name] = content
			}
			var options KustomizeOptions
			if err := yaml.UnmarshalStrict([]byte(test.options), &options); err != nil {
				t.Fatal(err)
			}
			got, err := rendered(t, checkoutOf(t, all), "app", Options{
				Kustomize: &options, Env: map[string]string{"ARGOCD_APP_NAME": "demo", "ARGOCD_APP_REVISION": "abc"},
			})
			if test.want == "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got error %v, want %q\n%s", err, test.err, got)
				}
				if test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("the error is no %v: %v", test.is, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

func TestKustomizeLeavesTheCheckoutAlone(t *testing.T) {
	files := map[string]string{"app/kustomization.yaml": "resources:\n- deployment.yaml\n", "app/deployment.yaml": deployment}
	checkout := directoryOf(t, files)
	options := Options{Kustomize: &KustomizeOptions{
		NamePrefix: "x-", Images: []string{"nginx:2"}, Patches: []KustomizePatch{{Patch: deployment}},
	}}
	if _, err := rendered(t, checkout, "app", options); err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got, err := checkout.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s is now\n%s (%v)", name, got, err)
		}
	}
}

// TestKustomizeErrors has what a repository can get wrong, or should not do:
// each an error that says where, and nothing of the host.
func TestKustomizeErrors(t *testing.T) {
	component := "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"
	for _, test := range []struct {
		name  string
		files map[string]string
		err   string
		is    error
	}{
		{name: "a remote base", files: map[string]string{"app/kustomization.yaml": "# head\nresources:\n- a.yaml\n- https://github.com/acme/base?ref=v1\n", "app/a.yaml": deployment}, err: "app/kustomization.yaml:4: resources: https://github.com/acme/base?ref=v1 is remote, and a render fetches nothing; vendor it", is: ErrRemote},
		{name: "a remote base of a base", files: map[string]string{"app/kustomization.yaml": "resources: [../base]", "base/kustomization.yaml": "bases:\n- github.com/acme/base/x\n"}, err: "base/kustomization.yaml:2: resources: github.com/acme/base/x is remote", is: ErrRemote},
		{name: "a base over ssh", files: map[string]string{"app/kustomization.yaml": "resources: ['git@example.com:acme/base.git']"}, err: "is remote", is: ErrRemote},
		{name: "a password in a URL is not shown", files: map[string]string{"app/kustomization.yaml": "resources: ['https://u:hunter2@example.com/acme/base']"}, err: "app/kustomization.yaml:1: resources: https://xxx@example.com/acme/base is remote", is: ErrRemote},
		{name: "a remote component", files: map[string]string{"app/kustomization.yaml": "components:\n- https://example.com/a/b\n"}, err: "app/kustomization.yaml:2: components: ", is: ErrRemote},
		{name: "remote crds", files: map[string]string{"app/kustomization.yaml": "crds:\n- https://example.com/a.json\n"}, err: "app/kustomization.yaml:2: crds: ", is: ErrRemote},
		{name: "a remote openapi", files: map[string]string{"app/kustomization.yaml": "openapi:\n  path: https://example.com/a.json\n"}, err: "app/kustomization.yaml:2: openapi: ", is: ErrRemote},
		{name: "a remote patch", files: map[string]string{"app/kustomization.yaml": "patches:\n- path: https://example.com/a.yaml\n"}, err: "app/kustomization.yaml:2: patches: ", is: ErrRemote},
		{name: "a remote strategic merge patch", files: map[string]string{"app/kustomization.yaml": "patchesStrategicMerge:\n- https://example.com/a.yaml\n"}, err: "app/kustomization.yaml:2: patchesStrategicMerge: ", is: ErrRemote},
		{name: "a remote configuration", files: map[string]string{"app/kustomization.yaml": "configurations:\n- https://example.com/a.yaml\n"}, err: "app/kustomization.yaml:2: configurations: ", is: ErrRemote},
		{name: "a remote replacement", files: map[string]string{"app/kustomization.yaml": "replacements:\n- path: https://example.com/a.yaml\n"}, err: "app/kustomization.yaml:2: replacements: ", is: ErrRemote},
		{name: "a remote file of a configMapGenerator", files: map[string]string{"app/kustomization.yaml": "configMapGenerator:\n- name: x\n  files:\n  - a=https://example.com/a.yaml\n"}, err: "app/kustomization.yaml:4: configMapGenerator: https://example.com/a.yaml is remote", is: ErrRemote},
		{name: "a remote env file of a secretGenerator", files: map[string]string{"app/kustomization.yaml": "secretGenerator:\n- name: x\n  envs:\n  - https://example.com/a.env\n"}, err: "app/kustomization.yaml:4: secretGenerator: https://example.com/a.env is remote", is: ErrRemote},
		{name: "a remote generator", files: map[string]string{"app/kustomization.yaml": "generators:\n- https://example.com/a.yaml\n"}, err: "app/kustomization.yaml:2: generators: ", is: ErrRemote},
		{name: "a remote path of a built-in transformer", files: map[string]string{"app/kustomization.yaml": "resources: [d.yaml]\ntransformers: [t.yaml]\n", "app/d.yaml": deployment, "app/t.yaml": "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: p}\npath: https://example.com/p.yaml\n"}, err: "app/t.yaml:1: transformers: https://example.com/p.yaml is remote", is: ErrRemote},
		{name: "an exec plugin", files: map[string]string{"app/kustomization.yaml": "generators:\n- g.yaml\n", "app/g.yaml": "# x\napiVersion: viaduct.ai/v1\nkind: ksops\nmetadata: {name: x}\n"}, err: "app/g.yaml:2: generators: ksops is a plugin, which would run a program of its own"},
		{name: "a container function, inline", files: map[string]string{"app/kustomization.yaml": "transformers:\n- |-\n  apiVersion: v1\n  kind: Fn\n  metadata:\n    name: x\n    annotations:\n      config.kubernetes.io/function: 'container: {image: evil}'\n"}, err: "app/kustomization.yaml:2: transformers: Fn is a plugin"},
		{name: "helmCharts", files: map[string]string{"app/kustomization.yaml": "namespace: x\nhelmCharts:\n- name: x\n  repo: https://example.com\n"}, err: "app/kustomization.yaml:2: helmCharts: Helm charts in a kustomization are not rendered yet", is: ErrUnsupported},
		{name: "helmChartInflationGenerator", files: map[string]string{"app/kustomization.yaml": "helmChartInflationGenerator:\n- chartName: x\n"}, err: "app/kustomization.yaml:1: helmChartInflationGenerator: Helm charts", is: ErrUnsupported},
		{name: "HelmChartInflationGenerator", files: map[string]string{"app/kustomization.yaml": "generators: [g.yaml]\n", "app/g.yaml": "apiVersion: builtin\nkind: HelmChartInflationGenerator\nmetadata: {name: x}\n"}, err: "app/g.yaml:1: generators: Helm charts", is: ErrUnsupported},
		{name: "a cycle", files: map[string]string{"app/kustomization.yaml": "resources:\n- ../a\n", "a/kustomization.yaml": "resources:\n- ../b\n", "b/kustomization.yaml": "# b\nresources:\n- ../a\n"}, err: "b/kustomization.yaml:3: resources: ../a is a cycle: a -> b -> a"},
		{name: "a directory above", files: map[string]string{"x/app/kustomization.yaml": "resources:\n- ..\n", "x/kustomization.yaml": "namespace: x\n"}, err: "x/app/kustomization.yaml:2: resources: .. is a cycle: x/app -> x"},
		{name: "a missing base", files: map[string]string{"app/kustomization.yaml": "resources:\n- ../base\n"}, err: "app/kustomization.yaml:2: resources: ../base does not exist; paths are relative to app"},
		{name: "a missing file of a base", files: map[string]string{"app/kustomization.yaml": "resources: [../base]\n", "base/kustomization.yaml": "resources:\n- a.yaml\n- b.yaml\n", "base/a.yaml": deployment}, err: "base/kustomization.yaml:3: resources: b.yaml does not exist"},
		{name: "a base without a kustomization", files: map[string]string{"app/kustomization.yaml": "resources:\n- ../base\n", "base/a.yaml": deployment}, err: "app/kustomization.yaml:2: resources: ../base has no kustomization.yaml"},
		{name: "a component that is a file", files: map[string]string{"app/kustomization.yaml": "components:\n- c.yaml\n", "app/c.yaml": component}, err: "app/kustomization.yaml:2: components: c.yaml is a file"},
		{name: "a resource that is a component", files: map[string]string{"app/kustomization.yaml": "resources:\n- c\n", "app/c/kustomization.yaml": component + "namePrefix: x\n"}, err: "expected kind != 'Component' for path 'app/c'"},
		{name: "no kustomization", files: map[string]string{"app/a.yaml": deployment}, err: "app: there is no kustomization.yaml"},
		{name: "two kustomizations", files: map[string]string{"app/kustomization.yaml": "namespace: x\n", "app/Kustomization": "namespace: x\n"}, err: "app: there are several kustomization files: kustomization.yaml, Kustomization; keep one"},
		{name: "an empty kustomization", files: map[string]string{"app/kustomization.yaml": "# nothing\n"}, err: "app/kustomization.yaml:1: the kustomization is empty"},
		{name: "an unknown field", files: map[string]string{"app/kustomization.yaml": "resources: []\nresource:\n- a.yaml\n"}, err: `app/kustomization.yaml:2: kustomize knows no field "resource" here; check the spelling`},
		{name: "a field of the wrong type", files: map[string]string{"app/kustomization.yaml": "namespace: x\nresources: a.yaml\n"}, err: "app/kustomization.yaml:2: the field resources has the wrong type: a YAML string"},
		{name: "a kustomization that is a list", files: map[string]string{"app/kustomization.yaml": "- a\n"}, err: "app/kustomization.yaml:1: the file is not a mapping but a YAML array"},
		{name: "a malformed kustomization", files: map[string]string{"app/kustomization.yaml": "resources:\n- a.yaml\n  b: [\n"}, err: "app/kustomization.yaml:3: invalid YAML: mapping values are not allowed in this context"},
		{name: "a kustomization of a wrong version", files: map[string]string{"app/kustomization.yaml": "apiVersion: v1\nkind: Kustomization\nnamespace: x\n"}, err: "app/kustomization.yaml:1: apiVersion for Kustomization should be kustomize.config.k8s.io/v1beta1"},
		{name: "a malformed resource", files: map[string]string{"app/kustomization.yaml": "resources: [../base]\n", "base/kustomization.yaml": "resources: [a.yaml]\n", "base/a.yaml": "apiVersion: v1\nkind: X\nmetadata:\n  name: x\n bad: [\n"}, err: "base/a.yaml"},
		{name: "a resource without a kind", files: map[string]string{"app/kustomization.yaml": "resources: [a.yaml]\n", "app/a.yaml": "a: b\n"}, err: "app/a.yaml: kustomize: missing Resource metadata"},
		{name: "two resources of one name", files: map[string]string{"app/kustomization.yaml": "resources: [a.yaml, b.yaml]\n", "app/a.yaml": deployment, "app/b.yaml": deployment}, err: "app/b.yaml: kustomize: may not add resource with an already registered id: Deployment.v1.apps/web.[noNs]; two resources have the same kind"},
		{name: "a patch without an object", files: map[string]string{"app/kustomization.yaml": "resources: [../base]\n", "base/kustomization.yaml": "resources: [a.yaml]\npatches:\n- path: p.yaml\n", "base/a.yaml": deployment, "base/p.yaml": strings.ReplaceAll(deployment, "web", "other")}, err: "base/kustomization.yaml: kustomize: no resource matches strategic merge patch"},
		{name: "a file outside of the kustomization", files: map[string]string{"app/kustomization.yaml": "resources:\n- ../x.yaml\n", "x.yaml": deployment}, err: "app/kustomization.yaml:2: resources: ../x.yaml is outside of the kustomization's directory app"},
		{name: "a patch outside of the kustomization", files: map[string]string{"app/kustomization.yaml": "resources: [d.yaml]\npatchesStrategicMerge:\n- ../p.yaml\n", "app/d.yaml": deployment, "p.yaml": deployment}, err: "app/kustomization.yaml: kustomize: security; file 'p.yaml' is not in or below 'app'; a kustomization reads"},
		{name: "a path out of the checkout", files: map[string]string{"app/kustomization.yaml": "resources:\n- ../../../etc\n"}, err: "app/kustomization.yaml:2: resources: ../../../etc: the path /etc is outside the checkout", is: ErrOutside},
		{name: "an absolute path", files: map[string]string{"app/kustomization.yaml": "resources:\n- /etc/passwd\n"}, err: "app/kustomization.yaml:2: resources: /etc/passwd is an absolute path"},
		{name: "a symbolic link out of the checkout", files: map[string]string{"app/kustomization.yaml": "resources:\n- a.yaml\n", "app/a.yaml": "-> ../../secret"}, err: "app/kustomization.yaml:2: resources: app/a.yaml: the symbolic link points to ../../secret, which is outside the checkout", is: ErrOutside},
		{name: "a kustomization that is a link out of the checkout", files: map[string]string{"app/kustomization.yaml": "-> /etc/kustomization.yaml"}, err: ""},
		{name: "a generator's file that is a link out of the checkout", files: map[string]string{"app/kustomization.yaml": "configMapGenerator:\n- name: x\n  files:\n  - a\n", "app/a": "-> /etc/passwd"}, err: "app/kustomization.yaml:4: configMapGenerator: app/a: the symbolic link points to /etc/passwd, which is outside the checkout", is: ErrOutside},
		{name: "a file of 100 MB", files: map[string]string{"app/kustomization.yaml": "resources: [a.yaml]\n", "app/a.yaml": strings.Repeat("# filler.\n", 10_000_000)}, err: "app/a.yaml: the file is larger than 10 MiB", is: ErrLimit},
		{name: "a file of 100 MB in a generator", files: map[string]string{"app/kustomization.yaml": "configMapGenerator:\n- name: x\n  files: [a]\n", "app/a": strings.Repeat("# filler.\n", 10_000_000)}, err: "app/a: the file is larger than 10 MiB", is: ErrLimit},
		{name: "an alias bomb in a resource", files: map[string]string{"app/kustomization.yaml": "resources: [a.yaml]\n", "app/a.yaml": bomb()}, err: "app/a.yaml:11: the YAML aliases here expand to more than", is: ErrLimit},
		{name: "an alias bomb in a kustomization", files: map[string]string{"app/kustomization.yaml": strings.ReplaceAll(bomb(), "kind: ConfigMap", "kind: Kustomization")}, err: "app/kustomization.yaml:11: the YAML aliases here expand", is: ErrLimit},
		{name: "an alias of itself", files: map[string]string{"app/kustomization.yaml": "resources: [a.yaml]\n", "app/a.yaml": configMap("a") + "data:\n  a: &a [*a]\n"}, err: "app/a.yaml:6: the YAML aliases here expand", is: ErrLimit},
		{name: "no objects", files: map[string]string{"app/kustomization.yaml": "resources: [a.yaml]\npatches:\n- patch: |\n    $patch: delete\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: web}\n", "app/a.yaml": deployment}, err: "app/kustomization.yaml: the kustomization has no objects", is: ErrNoObjects},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := "app"
			if _, ok := test.files["x/app/kustomization.yaml"]; ok {
				path = "x/app"
			}
			for _, checkout := range []Application{
				{Checkout: checkoutOf(t, test.files), Path: path, Options: Options{Type: Kustomize}},
				{Checkout: directoryOf(t, test.files), Path: path, Options: Options{Type: Kustomize}},
			} {
				_, err := InProcess{}.Render(context.Background(), checkout)
				if err == nil {
					t.Fatal("no error")
				}
				if !strings.Contains(err.Error(), test.err) {
					t.Errorf("got error\n%v\nwant\n%s", err, test.err)
				}
				if test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("the error is no %v: %v", test.is, err)
				}
				if strings.Contains(err.Error(), kustomizeRoot+"/") || strings.Contains(err.Error(), "/tmp/") {
					t.Errorf("a path of the host in: %v", err)
				}
			}
		})
	}
}

func TestKustomizeWarnings(t *testing.T) {
	checkout := checkoutOf(t, map[string]string{
		"app/kustomization.yaml": "bases: [../base]\ncommonLabels: {a: b}\n", "base/kustomization.yaml": "resources: [d.yaml]\nvars: []\n", "base/d.yaml": deployment,
	})
	result, err := (&Isolated{}).Render(context.Background(), Application{Checkout: checkout, Path: "app"})
	if err != nil {
		t.Fatal(err)
	}
	want := `app/kustomization.yaml: 'bases' is deprecated. Please use 'resources' instead. Run 'kustomize edit fix' to update your Kustomization automatically
app/kustomization.yaml: 'commonLabels' is deprecated. Please use 'labels' instead. Run 'kustomize edit fix' to update your Kustomization automatically
base/kustomization.yaml: 'vars' is deprecated. Please use 'replacements' instead. [EXPERIMENTAL] Run 'kustomize edit fix' to update your Kustomization automatically`
	if got := strings.Join(result.Warnings, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := strings.Join(result.Files, " "); got != "app/kustomization.yaml base/d.yaml base/kustomization.yaml" {
		t.Errorf("files read: %s", got)
	}
}

func TestKustomizeObjects(t *testing.T) {
	// kustomize keeps an object that has items but is no List. Argo CD does not.
	checkout := checkoutOf(t, map[string]string{
		"kustomization.yaml": "resources: [a.yaml, d.yaml]\n", "d.yaml": deployment,
		"a.yaml": "apiVersion: x/v1\nkind: Odd\nmetadata: {name: odd}\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: one}}\n",
	})
	result, err := InProcess{}.Render(context.Background(), Application{Checkout: checkout, Path: "."})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(result); got != "Deployment/web Secret/one" && got != "Secret/one Deployment/web" {
		t.Errorf("got %s", got)
	}
}

func TestOptionsAreTheNativeBlock(t *testing.T) {
	const block = `{"namePrefix":"a","nameSuffix":"b","images":["c:1"],"replicas":[{"name":"d","count":2}],"commonLabels":{"e":"f"},"forceCommonLabels":true,"labelWithoutSelector":true,"labelIncludeTemplates":true,"commonAnnotations":{"g":"h"},"forceCommonAnnotations":true,"commonAnnotationsEnvsubst":true,"namespace":"i","patches":[{"path":"j","patch":"k","target":{"group":"l","version":"m","kind":"n","name":"o","namespace":"p","annotationSelector":"q","labelSelector":"r"},"options":{"s":true}}],"components":["t"],"ignoreMissingComponents":true,"version":"u","kubeVersion":"v","apiVersions":["w"]}`
	var options KustomizeOptions
	if err := json.Unmarshal([]byte(block), &options); err != nil {
		t.Fatal(err)
	}
	if back, err := json.Marshal(options); err != nil || string(back) != block {
		t.Errorf("got\n%s\nwant\n%s", back, block)
	}
}
