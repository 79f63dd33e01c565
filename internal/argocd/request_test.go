package argocd

import (
	"errors"
	"strings"
	"testing"

	"github.com/pin-cmp/pin-cmp/render"
)

func TestReadRequest(t *testing.T) {
	r, err := ReadRequest([]string{
		"ARGOCD_APP_NAME=old", "ARGOCD_APP_NAME=demo", "ARGOCD_APP_PROJECT_NAME=default",
		"ARGOCD_APP_SOURCE_PATH=apps/demo", "ARGOCD_ENV_X=y", "SECRET=s",
		`ARGOCD_APP_PARAMETERS=[{"name":"kustomize","string":"namePrefix: a-\nimages: [web=ghcr.io/a/web:1]\nreplicas: [{name: web, count: 2}, {name: api, count: \"3\"}]\n"}]`,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "demo" || r.Project != "default" || r.SourcePath != "apps/demo" {
		t.Errorf("got %+v", r)
	}
	k := r.Options.Kustomize
	if r.Options.Type != render.Kustomize || k == nil || k.NamePrefix != "a-" || len(k.Images) != 1 || len(k.Replicas) != 2 || k.Replicas[1].Count != "3" {
		t.Errorf("options %+v", k)
	}
	if len(r.Options.Env) != 3 || r.Options.Env["SECRET"] != "" {
		t.Errorf("the build environment is %v: only Argo CD's own variables belong there", r.Options.Env)
	}
}

func TestReadRequestWithoutParameters(t *testing.T) {
	for _, environ := range [][]string{nil, {"ARGOCD_APP_PARAMETERS=null"}, {"ARGOCD_APP_PARAMETERS=[]"}} {
		r, err := ReadRequest(environ)
		if err != nil || r.Options.Kustomize != nil || r.Options.Directory != nil || r.Options.Type != "" {
			t.Errorf("%v: %+v, %v", environ, r, err)
		}
	}
}

func TestReadRequestMistakes(t *testing.T) {
	for parameters, want := range map[string]string{
		`{`:                                      "ARGOCD_APP_PARAMETERS",
		`[{"name":"kustomise","string":""}]`:     "is no parameter",
		`[{"name":"kustomize","map":{"a":"b"}}]`: "must be a string",
		`[{"name":"kustomize","string":"imagse: [a]"}]`:                                    `unknown field "imagse"`,
		`[{"name":"directory","string":"recurse: maybe"}]`:                                 "recurse",
		`[{"name":"directory","string":""},{"name":"directory","string":""}]`:              "twice",
		`[{"name":"directory","string":"recurse: true"},{"name":"kustomize","string":""}]`: "one tool",
		`{"a":1}`:                                     "object is not what belongs here",
		`[{"name":"directory","string":"[1]"}]`:       "array is not what belongs here",
		`[{"name":"kustomize","string":"images: a"}]`: "images: string is not what belongs here",
		`[{"name":"kustomize","string":"namePrefix: a\n---\nimages: [b]\n"}]`: "one document",
		`[{"name":"helm","string":"releaseName: x"}]`:                         "not supported yet",
	} {
		_, err := ReadRequest([]string{"ARGOCD_APP_PARAMETERS=" + parameters})
		var mistake *ParameterError
		if !errors.As(err, &mistake) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", parameters, err, want)
		}
	}
}

func TestRoot(t *testing.T) {
	for _, tt := range []struct{ source, dir, root, app string }{
		{"", "/tmp/x", "/tmp/x", "."},
		{".", "/tmp/_cmp_server/u", "/tmp/_cmp_server/u", "."},
		{"apps/web/prod", "/tmp/_cmp_server/u/apps/web/prod", "/tmp/_cmp_server/u", "apps/web/prod"},
		// manifest-generate-paths: the archive starts at apps/web.
		{"apps/web/prod", "/tmp/_cmp_server/u/prod", "/tmp/_cmp_server/u", "prod"},
		{"apps/web/prod/", "/tmp/_cmp_server/u/web/prod", "/tmp/_cmp_server/u", "web/prod"},
		{"apps/web", "/tmp/_cmp_server/u", "/tmp/_cmp_server/u", "."},
		{"a", "/a", "/a", "."},
	} {
		root, app := Request{SourcePath: tt.source}.Root(tt.dir)
		if root != tt.root || app != tt.app {
			t.Errorf("source %q in %s: root %s app %s, want %s %s", tt.source, tt.dir, root, app, tt.root, tt.app)
		}
	}
}
