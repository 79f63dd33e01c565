package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/pin-cmp/pin-cmp/render"
	"github.com/pin-cmp/pin-cmp/verify"
)

// applied is what Argo CD makes of a plugin's output: the plugin server splits
// it (gitops-engine, pkg/utils/kube SplitYAMLToString), the repo-server decodes
// each piece and takes apart what has items (GenerateManifests), and the
// controller gets JSON.
func applied(t *testing.T, stream []byte) []map[string]any {
	t.Helper()
	var objects []map[string]any
	decoder := kubeyaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096)
	for {
		var piece runtime.RawExtension
		err := decoder.Decode(&piece)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, stream)
		}
		piece.Raw = bytes.TrimSpace(piece.Raw)
		if len(piece.Raw) == 0 || string(piece.Raw) == "null" {
			continue
		}
		var object unstructured.Unstructured
		if err := yaml.Unmarshal(piece.Raw, &object); err != nil {
			t.Fatalf("%v in\n%s", err, piece.Raw)
		}
		if object.IsList() {
			t.Fatalf("Argo CD would take apart\n%s", piece.Raw)
		}
		objects = append(objects, object.Object)
	}
}

func check(t *testing.T, files fstest.MapFS) (*Outcome, error) {
	t.Helper()
	policy, err := verify.ParsePolicy("policy", []byte("apiVersion: pin-cmp/v1\nkind: Policy\npresence: {check: false}\n"))
	if err != nil {
		t.Fatal(err)
	}
	g := &Gate{Renderer: render.InProcess{}, Policy: policy}
	return g.Check(t.Context(), render.Application{Checkout: files, Path: "."}, nil)
}

// What is verified is what Argo CD reads back from standard output, object for
// object, however the author writes it.
func TestWhatIsVerifiedIsWhatIsApplied(t *testing.T) {
	const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	pod := func(rest string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: a, image: a/b" + digest + rest + "}]}\n"
	}
	for name, text := range map[string]string{
		"flow style":           `{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{image: a/b` + digest + `}]}}`,
		"duplicate keys":       pod(", image: a/b" + digest),
		"merge keys":           "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{<<: {image: a/b" + digest + "}}]}\n",
		"binary":               "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: !!binary bmdpbng6bGF0ZXN0}\n",
		"odd case":             pod(", Image: nginx"),
		"control characters":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: \"\\x7f\\n---\\nkind: Pod\\n\", b: \"\\0\", c: \"\\e\"}\n",
		"separators in texts":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: |\n    ---\n    kind: Pod\n    ...\n  b: \"---\\n\"\n  \"---\": c\n",
		"separator as a key":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n'--- a': b\n",
		"line separators":      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: \"\\u2028---\\u2028kind: Pod\", b: \"\\x85---\\x85\", c: \"\\r---\\r\"}\n",
		"end marker":           pod("") + "...\n" + pod(""),
		"long lines":           "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: \"" + strings.Repeat("--- ", 100) + "\", " + strings.Repeat("k", 1500) + ": v}\n",
		"numbers":              "apiVersion: v1\nkind: Thing\nmetadata: {name: x}\nspec: {a: 1e3, b: 0x1f, c: 010, d: 1_000, e: 1.0, f: 9007199254740993, g: yes, h: ~, i: 12:30:45, j: 2020-01-01}\n",
		"strings like numbers": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: '1e3', b: '0x1f', c: '010', d: 'yes', e: '', f: '~', g: '2020-01-01', h: '1:30', i: '.inf', j: '='}\n",
		"a List":               "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}}\n- {apiVersion: v1, kind: Service, metadata: {name: b}}\n",
		"JSON in YAML":         "{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"a\"}}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\n",
	} {
		for tool, files := range map[string]fstest.MapFS{
			"directory": {"a.yaml": {Data: []byte(text)}},
			"kustomize": {"a.yaml": {Data: []byte(text)}, "kustomization.yaml": {Data: []byte("resources: [a.yaml]\n")}},
		} {
			t.Run(tool+" "+name, func(t *testing.T) {
				outcome, err := check(t, files)
				var refused *render.Error
				if errors.As(err, &refused) {
					return // nothing is printed
				}
				if err != nil {
					t.Fatal(err)
				}
				got := applied(t, outcome.Result.Output())
				if len(got) != len(outcome.Result.Manifests) {
					t.Fatalf("%d objects were verified, Argo CD reads %d", len(outcome.Result.Manifests), len(got))
				}
				for i, manifest := range outcome.Result.Manifests {
					// The controller gets JSON.
					if want, have := asJSON(t, manifest.Object), asJSON(t, got[i]); !reflect.DeepEqual(want, have) {
						t.Errorf("verified\n%s\nArgo CD reads\n%s", want, have)
					}
				}
			})
		}
	}
}

func asJSON(t *testing.T, object map[string]any) string {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A List in a List is taken apart by nobody here and by Argo CD's repo-server
// there, so its items would be applied without having been looked at as what
// they are.
func TestListInList(t *testing.T) {
	for name, inner := range map[string]string{
		"List":            `{apiVersion: v1, kind: List, metadata: {name: l}, items: [{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{image: nginx}]}}]}`,
		"a data kind":     `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: l}, items: [{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{image: nginx}]}}]}`,
		"an exempt owner": `{apiVersion: v1, kind: List, metadata: {name: l, namespace: istio-system}, spec: {}, items: [{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{image: nginx}]}}]}`,
		"no items":        `{apiVersion: v1, kind: ConfigMapList, metadata: {name: l}, items: null}`,
	} {
		list := "apiVersion: v1\nkind: List\nitems:\n- " + inner + "\n"
		for tool, files := range map[string]fstest.MapFS{
			"directory": {"a.yaml": {Data: []byte(list)}},
			"kustomize": {"a.yaml": {Data: []byte(list)}, "kustomization.yaml": {Data: []byte("resources: [a.yaml]\n")}},
		} {
			outcome, err := check(t, files)
			var refused *render.Error
			if err != nil && !errors.As(err, &refused) {
				t.Errorf("%s, %s: %v", tool, name, err)
			}
			if err == nil && outcome.Report.OK() {
				t.Errorf("%s, %s: passed\n%s", tool, name, outcome.Result.Output())
			}
		}
	}
}
