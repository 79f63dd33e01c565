//go:build linux

package monorepo

import (
	"path/filepath"
	"testing"
)

// What Argo CD gets of each overlay, before the release and after it.
func TestGate(t *testing.T) {
	r := newRegistry(t, "")
	bare := origin(t, r)
	e := newEngineer(t, r)
	shop := e.clone(bare, "release")
	generate := func(overlay string) result {
		e.set("ARGOCD_APP_NAME", "shop")
		e.set("ARGOCD_APP_SOURCE_PATH", overlay)
		e.set("ARGOCD_APP_PARAMETERS", "[]")
		return e.pin(filepath.Join(shop, overlay), "generate")
	}
	refused := generate("deploy/prod")
	expect(t, "status", refused.code, 1)
	expect(t, "manifests", refused.stdout, "")
	contains(t, refused.stderr, "pin-cmp: refused 2 of 2 images", "(1/2)", "(2/2)", "Deployment/", "CronJob/", "deploy/prod/kustomization.yaml:11", "fix:")
	p := e.must(0, shop, "rewrite", "--commit", "--output", "json").planned(t)
	for _, overlay := range []string{"deploy/staging", "deploy/prod"} {
		passed := generate(overlay)
		expect(t, "status", passed.code, 0)
		contains(t, passed.stdout, "kind: Deployment", "kind: CronJob", p.digest(t, "api"), p.digest(t, "worker"))
	}
	contains(t, generate("deploy/prod").stdout, r.host+"/shop/api:0.1.0@"+p.digest(t, "api"), "replicas: 3")

	// The Applications themselves name no image, and the chart is not rendered yet.
	e.must(0, shop, "verify", "apps")
	contains(t, e.must(1, shop, "verify", "deploy/web").stderr+e.pin(shop, "verify", "deploy/web").stdout, "Helm charts are not rendered yet")

	// A digest that the registry does not have is no digest to run.
	e.edit(shop, "deploy/prod/kustomization.yaml", p.digest(t, "api"), p.digest(t, "web"))
	swapped := generate("deploy/prod")
	expect(t, "status", swapped.code, 1)
	expect(t, "manifests", swapped.stdout, "")
	contains(t, swapped.stderr, "refused 1 of 2 images", "shop/api:0.1.0@"+p.digest(t, "web"))
}
