package render

import (
	"errors"
	"strings"
	"testing"
)

func TestDetect(t *testing.T) {
	for _, test := range []struct {
		name    string
		files   []string
		options Options
		want    Type
		err     string
	}{
		{name: "nothing", files: []string{"a.yaml"}, want: Directory},
		{name: "kustomization.yaml", files: []string{"a.yaml", "kustomization.yaml"}, want: Kustomize},
		{name: "kustomization.yml", files: []string{"kustomization.yml"}, want: Kustomize},
		{name: "Kustomization", files: []string{"Kustomization"}, want: Kustomize},
		{name: "another spelling", files: []string{"Kustomization.yaml", "kustomization", "KUSTOMIZATION"}, want: Directory},
		{name: "Chart.yaml", files: []string{"Chart.yaml"}, want: Helm},
		{name: "a name that ends in Chart.yaml", files: []string{"myChart.yaml"}, want: Helm},
		{name: "chart.yaml", files: []string{"chart.yaml"}, want: Directory},
		{name: "both", files: []string{"Chart.yaml", "kustomization.yaml"}, want: Kustomize},
		{name: "both, the chart later", files: []string{"Kustomization", "myChart.yaml"}, want: Helm},
		{name: "in a subdirectory", files: []string{"a.yaml", "sub/kustomization.yaml", "sub/Chart.yaml"}, want: Directory},
		{name: "a directory of that name", files: []string{"kustomization.yaml/a.yaml"}, want: Directory},
		{name: "options force it", files: []string{"kustomization.yaml"}, options: Options{Directory: &DirectoryOptions{}}, want: Directory},
		{name: "options force it, the other way", files: []string{"Chart.yaml"}, options: Options{Kustomize: &KustomizeOptions{}}, want: Kustomize},
		{name: "a type", files: []string{"Chart.yaml"}, options: Options{Type: Directory}, want: Directory},
		{name: "a type and its options", files: []string{"Chart.yaml"}, options: Options{Type: Directory, Directory: &DirectoryOptions{}}, want: Directory},
		{name: "a type and other options", options: Options{Type: Directory, Kustomize: &KustomizeOptions{}}, err: "options for Directory and for Kustomize are both set"},
		{name: "two blocks", options: Options{Directory: &DirectoryOptions{}, Kustomize: &KustomizeOptions{}}, err: "options for Kustomize and for Directory are both set"},
		{name: "an unknown type", options: Options{Type: "helm"}, err: `the application type "helm" is unknown; use Directory, Kustomize or Helm`},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{"app/README": ""}
			for _, name := range test.files {
				files["app/"+name] = configMap("x")
			}
			got, err := detect(newCheckout(checkoutOf(t, files)), "app", false, test.options)
			if test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) || test.err == "" && err != nil {
				t.Fatalf("got error %v, want %q", err, test.err)
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestHelmIsNotRendered(t *testing.T) {
	_, err := rendered(t, checkoutOf(t, map[string]string{"app/Chart.yaml": "name: x\n", "app/templates/a.yaml": configMap("a")}), "app", Options{})
	if !errors.Is(err, ErrUnsupported) || !strings.HasPrefix(err.Error(), "app: Helm charts are not rendered yet; ") {
		t.Errorf("got %v", err)
	}
}
