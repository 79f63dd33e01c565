package kustomize

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pin-cmp/pin-cmp/render"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) {
	render.ChildMain()
	os.Exit(m.Run())
}

// modules hold kustomizations that somebody else wrote, at fixed versions, in
// what Go's module proxy serves of them.
var modules = []string{
	"github.com/argoproj/argo-cd/v3@v3.5.7",
	"github.com/fluxcd/flux2/v2@v2.9.5",
	"github.com/kedacore/keda/v2@v2.21.0",
	"github.com/open-policy-agent/gatekeeper/v3@v3.23.1",
	"sigs.k8s.io/cluster-api-provider-aws/v2@v2.13.0",
	"sigs.k8s.io/cluster-api@v1.14.2",
}

// minimum is how many overlays must be equal for the comparison to mean
// anything.
const minimum = 30

// TestSameBytes renders every kustomization of the modules here and with the
// kustomize CLI of the same version, and wants the same bytes, or two failures.
func TestSameBytes(t *testing.T) {
	cli := buildCLI(t)
	var total counts
	for _, module := range modules {
		t.Run(strings.NewReplacer("/", "_", "@", "_").Replace(module), func(t *testing.T) {
			c := compare(t, cli, download(t, module))
			t.Logf("%+v", c)
			total.add(c)
		})
	}
	t.Logf("all modules: %+v", total)
	if total.Equal < minimum {
		t.Errorf("%d kustomizations compared equal, want at least %d", total.Equal, minimum)
	}
	if total.Remote == 0 {
		t.Error("no kustomization with a remote base was seen to be refused")
	}
}

// TestSameBytesCorpus does the same for the checkouts in the directories that
// PIN_CMP_CORPUS lists.
func TestSameBytesCorpus(t *testing.T) {
	corpus := os.Getenv("PIN_CMP_CORPUS")
	if corpus == "" {
		t.Skip("PIN_CMP_CORPUS is not set")
	}
	cli := buildCLI(t)
	var total counts
	for _, dir := range filepath.SplitList(corpus) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c := compare(t, cli, dir)
			t.Logf("%+v", c)
			total.add(c)
		})
	}
	t.Logf("all: %+v", total)
}

type counts struct{ Equal, BothFail, Remote, Unsupported, Differ int }

func (c *counts) add(d counts) {
	c.Equal += d.Equal
	c.BothFail += d.BothFail
	c.Remote += d.Remote
	c.Unsupported += d.Unsupported
	c.Differ += d.Differ
}

func buildCLI(t *testing.T) string {
	t.Helper()
	cli := filepath.Join(t.TempDir(), "kustomize")
	out, err := exec.Command("go", "build", "-o", cli, "sigs.k8s.io/kustomize/kustomize/v5").CombinedOutput()
	if err != nil {
		t.Fatalf("building the kustomize CLI: %v\n%s", err, out)
	}
	return cli
}

func download(t *testing.T, module string) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = t.TempDir() // outside of any module, so that no go.sum changes
	out, err := cmd.Output()
	var answer struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &answer); jsonErr != nil || answer.Dir == "" {
		t.Fatalf("go mod download %s: %v %s", module, err, answer.Error)
	}
	return answer.Dir
}

// compare renders every kustomization below root both ways.
func compare(t *testing.T, cli, root string) counts {
	t.Helper()
	checkout, err := render.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = checkout.Close() }()
	var c counts
	for _, dir := range kustomizations(t, checkout) {
		isolated := &render.Isolated{}
		result, err := isolated.Render(context.Background(), render.Application{
			Checkout: checkout, Path: dir, Options: render.Options{Type: render.Kustomize},
		})
		switch {
		case errors.Is(err, render.ErrRemote):
			c.Remote++
			t.Logf("refused: %v", err)
			continue
		case errors.Is(err, render.ErrUnsupported):
			c.Unsupported++
			continue
		case errors.Is(err, render.ErrCrashed):
			t.Errorf("%s: %v", dir, err)
			continue
		}
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(cli, "build", dir)
		cmd.Dir, cmd.Stdout, cmd.Stderr = root, &stdout, &stderr
		cmd.Env = []string{"PATH=", "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1"}
		cliErr := cmd.Run()
		switch {
		case err != nil && cliErr != nil:
			c.BothFail++
			t.Logf("both fail: %v\n    CLI: %s", err, strings.TrimSpace(stderr.String()))
		case err == nil && cliErr == nil && bytes.Equal(result.Output(), stdout.Bytes()):
			c.Equal++
			sameObjects(t, dir, result, stdout.Bytes())
		case errors.Is(err, render.ErrNoObjects) && cliErr == nil && stdout.Len() == 0:
			c.BothFail++
		default:
			c.Differ++
			t.Errorf("%s differs:\n  ours: %v\n  CLI:  %v %s", dir, err, cliErr, strings.TrimSpace(stderr.String()))
		}
	}
	return c
}

// sameObjects checks that the objects are what Argo CD makes of the CLI's
// output: Kubernetes' decoder twice, as gitops-engine's SplitYAML does.
func sameObjects(t *testing.T, dir string, result *render.Result, stdout []byte) {
	t.Helper()
	var want []map[string]any
	decoder := kubeyaml.NewYAMLOrJSONDecoder(bytes.NewReader(stdout), 4096)
	for {
		var raw runtime.RawExtension
		if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Errorf("%s: %v", dir, err)
			return
		}
		var u unstructured.Unstructured
		if err := yaml.Unmarshal(raw.Raw, &u); err != nil {
			t.Errorf("%s: %v", dir, err)
			return
		}
		want = append(want, u.Object)
	}
	if len(want) != len(result.Manifests) {
		t.Errorf("%s: %d objects, Argo CD sees %d", dir, len(result.Manifests), len(want))
		return
	}
	for i, manifest := range result.Manifests {
		if !reflect.DeepEqual(manifest.Object, want[i]) {
			t.Errorf("%s: object %d is\n%v\nwant\n%v", dir, i, manifest.Object, want[i])
		}
	}
}

// kustomizations are the directories that can be built, components left out.
func kustomizations(t *testing.T, checkout fs.FS) []string {
	t.Helper()
	var dirs []string
	err := fs.WalkDir(checkout, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if !slices.Contains([]string{"kustomization.yaml", "kustomization.yml", "Kustomization"}, entry.Name()) {
			return nil
		}
		// One that cannot be read is a test case too.
		if text, err := fs.ReadFile(checkout, name); err == nil && bytes.Contains(text, []byte("kind: Component")) {
			return nil
		}
		dirs = append(dirs, filepath.ToSlash(filepath.Dir(name)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Compact(dirs)
}
