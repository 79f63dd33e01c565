package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/pin-cmp/pin-cmp/internal/gate"
	"github.com/pin-cmp/pin-cmp/render"
	"github.com/pin-cmp/pin-cmp/verify"
)

// applied is what argocd-repo-server makes of an answer: it splits each manifest
// (gitops-engine, pkg/utils/kube SplitYAML) and decodes the pieces.
func applied(t *testing.T, manifests []string) []map[string]any {
	t.Helper()
	var objects []map[string]any
	for _, manifest := range manifests {
		decoder := kubeyaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
		for {
			var piece runtime.RawExtension
			err := decoder.Decode(&piece)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in\n%s", err, manifest)
			}
			piece.Raw = bytes.TrimSpace(piece.Raw)
			if len(piece.Raw) == 0 || string(piece.Raw) == "null" {
				continue
			}
			var object unstructured.Unstructured
			if err := yaml.Unmarshal(piece.Raw, &object); err != nil {
				t.Fatalf("%v in\n%s", err, piece.Raw)
			}
			objects = append(objects, object.Object)
		}
	}
	return objects
}

// TestWhatIsVerifiedIsWhatIsSent, object for object, however it is written.
func TestWhatIsVerifiedIsWhatIsSent(t *testing.T) {
	w := start(t, nil)
	w.writePolicy(t, "presence: {check: false}\n")
	policy, err := verify.ParsePolicy("policy", []byte("apiVersion: pin-cmp/v1\nkind: Policy\npresence: {check: false}\n"))
	if err != nil {
		t.Fatal(err)
	}
	client := w.dial(t)
	data := func(text string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: " + text + "\n"
	}
	for name, text := range map[string]string{
		"separators":   data("{a: \"x\\n--- \\n...\\nkind: Pod\\n\", \"---\": b, c: \"\\u2028---\\u2028\"}"),
		"markup":       data("{a: \"<b>&amp;</b>\", b: \"{{ x }}\", c: '\"', d: '\\'}"),
		"numbers":      "apiVersion: v1\nkind: Thing\nmetadata: {name: x}\nspec: {a: 1e3, b: 0x1f, c: 010, e: 1.0, f: 9007199254740993, g: yes, h: ~, i: 12:30:45, j: 2020-01-01, k: 1e21, l: -0.0, m: 1e-7}\n",
		"like numbers": data("{a: '1e3', b: '0x1f', c: '010', d: 'yes', e: '', f: '~', g: '2020-01-01', h: '1:30', i: '.inf', j: '='}"),
		"beyond":       data("{a: \"\\U0001F600\", b: \"ä\", c: \"\\uFEFF\", d: \"\\t\"}"),
		"long":         data("{a: \"" + strings.Repeat("--- ", 3000) + "\", " + strings.Repeat("k", 900) + ": v}"),
		"merge keys":   "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{<<: {image: a/b@sha256:" + strings.Repeat("1", 64) + "}, name: c}]}\n",
		"a List":       "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}}\n- {apiVersion: v1, kind: Service, metadata: {name: b}}\n",
		"binary":       data("{a: !!binary bmdpbng6bGF0ZXN0}"),
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate.Gate{Renderer: render.InProcess{}, Policy: policy}
			outcome, refused := g.Check(t.Context(), render.Application{Checkout: fstest.MapFS{"app/a.yaml": {Data: []byte(text)}}, Path: "app"}, nil)
			manifests, err := request(t, "app", map[string]string{"app/a.yaml": text}).generate(t.Context(), client)
			if refused != nil {
				if err == nil {
					t.Errorf("the gate says %v, the server sends %s", refused, manifests)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var want []map[string]any
			for _, manifest := range outcome.Result.Manifests {
				want = append(want, manifest.Object)
			}
			if a, b := asJSON(t, want), asJSON(t, applied(t, manifests)); !reflect.DeepEqual(a, b) {
				t.Errorf("verified\n%s\nArgo CD reads\n%s", a, b)
			}
		})
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestWarm: what a private registry said is remembered between requests, and the
// sidecar's credential is what it was asked with.
func TestWarm(t *testing.T) {
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	w := start(t, nil)
	target, err := url.Parse("http://" + w.registry.Addr)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(target)
	private := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "right" {
			rw.Header().Set("Www-Authenticate", `Basic realm="private"`)
			http.Error(rw, "", http.StatusUnauthorized)
			return
		}
		if strings.Contains(r.URL.Path, "/manifests/") {
			asked.Add(1)
		}
		proxy.ServeHTTP(rw, r)
	})}
	host := serveOn(t, private)
	image := strings.Replace(w.push(t), w.registry.Addr, host, 1)
	w.writePolicy(t, "presence: {cacheDir: "+filepath.Join(w.dir, "cache")+", timeout: 5s}\nexemptions: []\n")
	text, err := os.ReadFile(w.policy)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.policy, bytes.Replace(text, []byte(w.registry.Addr), []byte(host), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(`{"auths": {"`+host+`": {"username": "u", "password": "right"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := request(t, "app", map[string]string{"app/a.yaml": pod(image)})
	client := w.dial(t)
	for range 3 {
		if _, err := s.generate(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the registry was asked %d times by three requests", n)
	}
}
