package verify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// found renders what Find says about a manifest: "tier field reference".
func found(t *testing.T, manifest string, rules ...Rule) (images []string, warnings []string) {
	t.Helper()
	var object map[string]any
	if err := yaml.Unmarshal([]byte(manifest), &object); err != nil {
		t.Fatal(err)
	}
	finder, err := NewFinder(rules...)
	if err != nil {
		t.Fatal(err)
	}
	list, warned := finder.Find(object)
	for _, image := range list {
		images = append(images, fmt.Sprintf("%s %s %s", image.Tier, image.Path, image.Reference.Text))
	}
	for _, w := range warned {
		warnings = append(warnings, w.Field+": "+w.Message)
	}
	return images, warnings
}

// Each case is the shape in which the field occurs in the wild: the manifest is
// cut down from the project that its name says.
func TestFind(t *testing.T) {
	const podTemplate = `
  template:
    spec:
      initContainers: [{name: i, image: "a/init:1"}]
      containers: [{name: c, image: "a/main:1"}]
      ephemeralContainers: [{name: e, image: "a/debug:1"}]
      volumes:
      - {name: v, image: {reference: "a/volume:1", pullPolicy: Always}}
      - {name: r, rbd: {monitors: ["10.0.0.1:6789"], image: "pool/device:1"}}
`
	workload := []string{
		"typed spec.template.spec.initContainers[0].image a/init:1",
		"typed spec.template.spec.containers[0].image a/main:1",
		"typed spec.template.spec.ephemeralContainers[0].image a/debug:1",
		"typed spec.template.spec.volumes[0].image.reference a/volume:1",
	}
	tests := []struct {
		name     string
		manifest string
		want     []string
	}{
		{"Pod", `{apiVersion: v1, kind: Pod, spec: {containers: [{image: nginx}]}}`, []string{"typed spec.containers[0].image nginx"}},
		{"PodTemplate", `{apiVersion: v1, kind: PodTemplate, template: {spec: {containers: [{image: nginx}]}}}`, []string{"typed template.spec.containers[0].image nginx"}},
		{"ReplicationController", "apiVersion: v1\nkind: ReplicationController\nspec:" + podTemplate, workload},
		{"Deployment", "apiVersion: apps/v1\nkind: Deployment\nspec:" + podTemplate, workload},
		{"StatefulSet", "apiVersion: apps/v1\nkind: StatefulSet\nspec:" + podTemplate, workload},
		{"DaemonSet", "apiVersion: apps/v1\nkind: DaemonSet\nspec:" + podTemplate, workload},
		{"ReplicaSet", "apiVersion: apps/v1\nkind: ReplicaSet\nspec:" + podTemplate, workload},
		{"extensions Deployment", "apiVersion: extensions/v1beta1\nkind: Deployment\nspec:" + podTemplate, workload},
		{"Job", "apiVersion: batch/v1\nkind: Job\nspec:" + podTemplate, workload},
		{
			"CronJob", `{apiVersion: batch/v1, kind: CronJob, spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: busybox}]}}}}}}`,
			[]string{"typed spec.jobTemplate.spec.template.spec.containers[0].image busybox"},
		},
		{"Argo Rollout", "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nspec:" + podTemplate, workload},
		{
			"Argo AnalysisTemplate", `{apiVersion: argoproj.io/v1alpha1, kind: AnalysisTemplate, spec: {metrics: [{provider: {job: {spec: {template: {spec: {containers: [{image: a/b}]}}}}}}]}}`,
			[]string{"typed spec.metrics[0].provider.job.spec.template.spec.containers[0].image a/b"},
		},
		{
			"Knative Service", `{apiVersion: serving.knative.dev/v1, kind: Service, spec: {template: {spec: {containers: [{image: a/b}]}}}}`,
			[]string{"typed spec.template.spec.containers[0].image a/b"},
		},
		{
			"Knative Revision", `{apiVersion: serving.knative.dev/v1, kind: Revision, spec: {containers: [{image: a/b}]}}`,
			[]string{"typed spec.containers[0].image a/b"},
		},
		{
			"KEDA ScaledJob", `{apiVersion: keda.sh/v1alpha1, kind: ScaledJob, spec: {jobTargetRef: {template: {spec: {containers: [{image: a/b}]}}}}}`,
			[]string{"typed spec.jobTargetRef.template.spec.containers[0].image a/b"},
		},
		{
			"Volcano Job", `{apiVersion: batch.volcano.sh/v1alpha1, kind: Job, spec: {tasks: [{template: {spec: {containers: [{image: a/b}]}}}]}}`,
			[]string{"typed spec.tasks[0].template.spec.containers[0].image a/b"},
		},
		{
			"Kubeflow TFJob", `{apiVersion: kubeflow.org/v1, kind: TFJob, spec: {tfReplicaSpecs: {Worker: {template: {spec: {containers: [{image: a/b}]}}}}}}`,
			[]string{"typed spec.tfReplicaSpecs.Worker.template.spec.containers[0].image a/b"},
		},
		{
			"JobSet", `{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, spec: {replicatedJobs: [{template: {spec: {template: {spec: {containers: [{image: a/b}]}}}}}]}}`,
			[]string{"typed spec.replicatedJobs[0].template.spec.template.spec.containers[0].image a/b"},
		},
		{
			"LeaderWorkerSet", `{apiVersion: leaderworkerset.x-k8s.io/v1, kind: LeaderWorkerSet, spec: {leaderWorkerTemplate: {workerTemplate: {spec: {containers: [{image: a/b}]}}}}}`,
			[]string{"typed spec.leaderWorkerTemplate.workerTemplate.spec.containers[0].image a/b"},
		},
		{"OpenShift DeploymentConfig", "apiVersion: apps.openshift.io/v1\nkind: DeploymentConfig\nspec:" + podTemplate, workload},
		{
			"OpenShift ImageStream", `{apiVersion: image.openshift.io/v1, kind: ImageStream, spec: {tags: [{name: "1", from: {kind: DockerImage, name: "quay.io/a/b:1"}}, {name: "2", from: {kind: ImageStreamTag, name: "1"}}]}}`,
			[]string{"typed spec.tags[0].from.name quay.io/a/b:1"},
		},
		{"Kruise CloneSet", "apiVersion: apps.kruise.io/v1alpha1\nkind: CloneSet\nspec:" + podTemplate, workload},

		{
			"Argo Workflow", `{apiVersion: argoproj.io/v1alpha1, kind: Workflow, spec: {templates: [{container: {image: a/c}, initContainers: [{image: a/i}], sidecars: [{image: a/s}]}, {script: {image: a/x}}, {containerSet: {containers: [{image: a/y}]}}]}}`,
			[]string{"typed spec.templates[0].container.image a/c", "typed spec.templates[1].script.image a/x", "typed spec.templates[2].containerSet.containers[0].image a/y", "typed spec.templates[0].initContainers[0].image a/i", "typed spec.templates[0].sidecars[0].image a/s"},
		},
		{
			"Argo CronWorkflow", `{apiVersion: argoproj.io/v1alpha1, kind: CronWorkflow, spec: {workflowSpec: {templates: [{container: {image: a/c}}]}}}`,
			[]string{"typed spec.workflowSpec.templates[0].container.image a/c"},
		},
		{
			"Tekton Task", `{apiVersion: tekton.dev/v1, kind: Task, spec: {params: [{name: img, default: "gcr.io/a/p:1"}], stepTemplate: {image: a/t}, steps: [{image: "$(params.img)"}], sidecars: [{image: a/s}]}}`,
			[]string{"typed spec.steps[0].image $(params.img)", "typed spec.sidecars[0].image a/s", "typed spec.stepTemplate.image a/t", "sweep spec.params[0].default gcr.io/a/p:1"},
		},
		{
			"Tekton TaskRun", `{apiVersion: tekton.dev/v1beta1, kind: TaskRun, spec: {taskRef: {bundle: "gcr.io/a/b:1"}}}`,
			[]string{"typed spec.taskRef.bundle gcr.io/a/b:1"},
		},
		{
			"Tekton Pipeline", `{apiVersion: tekton.dev/v1, kind: Pipeline, spec: {tasks: [{taskSpec: {steps: [{image: a/b}]}}], finally: [{taskSpec: {steps: [{image: a/f}]}}]}}`,
			[]string{"typed spec.tasks[0].taskSpec.steps[0].image a/b", "typed spec.finally[0].taskSpec.steps[0].image a/f"},
		},
		{
			"Tekton PipelineRun", `{apiVersion: tekton.dev/v1, kind: PipelineRun, spec: {pipelineSpec: {tasks: [{taskSpec: {steps: [{image: a/b}]}}]}}}`,
			[]string{"typed spec.pipelineSpec.tasks[0].taskSpec.steps[0].image a/b"},
		},
		{
			"Prometheus", `{apiVersion: monitoring.coreos.com/v1, kind: Prometheus, spec: {image: "quay.io/prometheus/prometheus:v3", thanos: {image: a/thanos}}}`,
			[]string{"typed spec.image quay.io/prometheus/prometheus:v3", "typed spec.thanos.image a/thanos"},
		},
		{
			"Prometheus, deprecated", `{apiVersion: monitoring.coreos.com/v1, kind: Alertmanager, spec: {baseImage: quay.io/prometheus/alertmanager, tag: v0.2, sha: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}}`,
			[]string{"typed spec.sha quay.io/prometheus/alertmanager:v0.2@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
		},
		{
			"VictoriaMetrics", `{apiVersion: operator.victoriametrics.com/v1beta1, kind: VMAgent, spec: {image: {repository: victoriametrics/vmagent, tag: v1.9}, configReloaderImage: "quay.io/a/b:v1"}}`,
			[]string{"generic spec.configReloaderImage quay.io/a/b:v1", "generic spec.image.tag victoriametrics/vmagent:v1.9"},
		},
		{
			"CloudNativePG", `{apiVersion: postgresql.cnpg.io/v1, kind: Cluster, spec: {imageName: "ghcr.io/cloudnative-pg/postgresql:16"}}`,
			[]string{"typed spec.imageName ghcr.io/cloudnative-pg/postgresql:16"},
		},
		{
			"CloudNativePG catalog", `{apiVersion: postgresql.cnpg.io/v1, kind: ImageCatalog, spec: {images: [{major: 16, image: "a/b:16"}]}}`,
			[]string{"typed spec.images[0].image a/b:16"},
		},
		{
			"Zalando Postgres", `{apiVersion: acid.zalan.do/v1, kind: postgresql, spec: {dockerImage: "ghcr.io/zalando/spilo-16:3"}}`,
			[]string{"typed spec.dockerImage ghcr.io/zalando/spilo-16:3"},
		},
		{
			"Strimzi Kafka", `{apiVersion: kafka.strimzi.io/v1beta2, kind: Kafka, spec: {kafka: {image: "quay.io/strimzi/kafka:1"}}}`,
			[]string{"generic spec.kafka.image quay.io/strimzi/kafka:1"},
		},
		{
			"Elasticsearch", `{apiVersion: elasticsearch.k8s.elastic.co/v1, kind: Elasticsearch, spec: {image: "my/es:8"}}`,
			[]string{"generic spec.image my/es:8"},
		},
		{
			"Crossplane Provider", `{apiVersion: pkg.crossplane.io/v1, kind: Provider, spec: {package: "xpkg.upbound.io/a/b:v1"}}`,
			[]string{"typed spec.package xpkg.upbound.io/a/b:v1"},
		},
		{
			"KubeVirt VM", `{apiVersion: kubevirt.io/v1, kind: VirtualMachine, spec: {template: {spec: {volumes: [{containerDisk: {image: "quay.io/a/disk:1"}}]}}}}`,
			[]string{"generic spec.template.spec.volumes[0].containerDisk.image quay.io/a/disk:1"},
		},
		{
			"CDI DataVolume", `{apiVersion: cdi.kubevirt.io/v1beta1, kind: DataVolume, spec: {source: {registry: {url: "docker://quay.io/a/disk:1"}}}}`,
			[]string{"typed spec.source.registry.url quay.io/a/disk:1"},
		},
		{"CDI DataVolume over HTTP", `{apiVersion: cdi.kubevirt.io/v1beta1, kind: DataVolume, spec: {source: {http: {url: "https://x/y.img"}}}}`, nil},
		{
			"Flux OCIRepository", `{apiVersion: source.toolkit.fluxcd.io/v1, kind: OCIRepository, spec: {url: "oci://ghcr.io/a/b", ref: {tag: "1", digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}}`,
			[]string{"typed spec.ref.digest ghcr.io/a/b:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
		},
		{"Flux GitRepository", `{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, spec: {url: "https://github.com/a/b", ref: {tag: v1}}}`, nil},
		{
			"Flux HelmRelease", `{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, spec: {values: {image: {registry: ghcr.io, repository: a/b, tag: 1.10}, controllers: {main: {containers: {app: {image: {repository: ghcr.io/x/y, tag: "v1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}}}}}}}`,
			[]string{"generic spec.values.controllers.main.containers.app.image.tag ghcr.io/x/y:v1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "generic spec.values.image.tag ghcr.io/a/b:1.1"},
		},
		{
			"Flux Kustomization", `{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, spec: {images: [{name: a/b, newName: c/d, newTag: "1"}, {name: e/f, digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}]}}`,
			[]string{"generic spec.images[0].newTag c/d:1", "generic spec.images[1].digest e/f@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
		},
		{
			"OpenTelemetry", `{apiVersion: opentelemetry.io/v1alpha1, kind: Instrumentation, spec: {java: {image: a/java}}}`,
			[]string{"typed spec.java.image a/java"},
		},
		{
			"OLM CSV", `{apiVersion: operators.coreos.com/v1alpha1, kind: ClusterServiceVersion, metadata: {annotations: {containerImage: "quay.io/a/op:1"}}, spec: {relatedImages: [{name: x, image: quay.io/a/x:1}], install: {spec: {deployments: [{spec: {template: {spec: {containers: [{image: "quay.io/a/op:1", env: [{name: RELATED_IMAGE_DB, value: "quay.io/a/db:1"}]}]}}}}]}}}}`,
			[]string{"typed spec.relatedImages[0].image quay.io/a/x:1", "typed metadata.annotations.containerImage quay.io/a/op:1", "generic spec.install.spec.deployments[0].spec.template.spec.containers[0].env[0].value quay.io/a/db:1", "generic spec.install.spec.deployments[0].spec.template.spec.containers[0].image quay.io/a/op:1"},
		},
		{
			"OLM CatalogSource", `{apiVersion: operators.coreos.com/v1alpha1, kind: CatalogSource, spec: {image: "quay.io/a/index:v1"}}`,
			[]string{"typed spec.image quay.io/a/index:v1"},
		},
		{
			"Trident", `{apiVersion: trident.netapp.io/v1, kind: TridentOrchestrator, spec: {tridentImage: netapp/trident:1, autosupportImage: "netapp/as:1"}}`,
			[]string{"typed spec.tridentImage netapp/trident:1", "typed spec.autosupportImage netapp/as:1"},
		},
		{
			"istio annotation in a template", `{apiVersion: apps/v1, kind: Deployment, spec: {template: {metadata: {annotations: {sidecar.istio.io/proxyImage: "istio/proxyv2:1"}}}}}`,
			[]string{`typed spec.template.metadata.annotations["sidecar.istio.io/proxyImage"] istio/proxyv2:1`},
		},
		{
			"cert-manager arguments", `{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: [{image: a/b, args: ["--v=2", "--acme-http01-solver-image=quay.io/jetstack/acmesolver:v1", "--executor-image", "quay.io/argoproj/argoexec:v3", "--prometheus-config-reloader=quay.io/a/reloader:v1"]}]}}}}`,
			[]string{"typed spec.template.spec.containers[0].image a/b", "generic spec.template.spec.containers[0].args[1] quay.io/jetstack/acmesolver:v1", "generic spec.template.spec.containers[0].args[3] quay.io/argoproj/argoexec:v3", "sweep spec.template.spec.containers[0].args[4] quay.io/a/reloader:v1"},
		},
		{
			"Argo CD Application", "apiVersion: argoproj.io/v1alpha1\nkind: Application\nspec:\n  source:\n    kustomize:\n      images: [\"web=ghcr.io/a/web:1\", \"api=ghcr.io/a/api\", \"ghcr.io/a/db@build\"]\n    helm:\n      values: |\n        image:\n          repository: ghcr.io/a/chart\n          tag: \"2\"\n",
			[]string{"typed spec.source.kustomize.images[0] ghcr.io/a/web:1", "typed spec.source.kustomize.images[2] ghcr.io/a/db@build", "nested spec.source.helm.values#0.image.tag ghcr.io/a/chart:2"},
		},
		{
			"Argo CD ApplicationSet", `{apiVersion: argoproj.io/v1alpha1, kind: ApplicationSet, spec: {template: {spec: {sources: [{kustomize: {images: ["a/b:1"]}}]}}}}`,
			[]string{"typed spec.template.spec.sources[0].kustomize.images[0] a/b:1"},
		},
		{
			"manifest in a ConfigMap", "apiVersion: v1\nkind: ConfigMap\ndata:\n  job.yaml: |\n    # two documents\n    apiVersion: v1\n    kind: Service\n    ---\n    apiVersion: batch/v1\n    kind: Job\n    spec: {template: {spec: {containers: [{image: \"a/b:1\"}]}}}\n",
			[]string{`nested data["job.yaml"]#1.spec.template.spec.containers[0].image a/b:1`},
		},
		{
			"manifest in a Secret, base64", "apiVersion: v1\nkind: Secret\ndata:\n  pod: e2FwaVZlcnNpb246IHYxLCBraW5kOiBQb2QsIHNwZWM6IHtjb250YWluZXJzOiBbe2ltYWdlOiBhL2I6MX1dfX0=\n",
			[]string{"nested data.pod#0.spec.containers[0].image a/b:1"},
		},
		{
			"symbolic in a field that nobody knows", `{apiVersion: example.com/v1, kind: Thing, spec: {whatever: "ghcr.io/a/b@build+minor", bare: {repository: ghcr.io/a/c, digest: build}, zero: "ghcr.io/a/d@sha256:0000000000000000000000000000000000000000000000000000000000000000"}}`,
			[]string{"generic spec.bare.digest ghcr.io/a/c@build", "generic spec.whatever ghcr.io/a/b@build+minor", "generic spec.zero ghcr.io/a/d@sha256:0000000000000000000000000000000000000000000000000000000000000000"},
		},
		{
			"digest beside image", `{apiVersion: example.com/v1, kind: Thing, spec: {image: ghcr.io/a/b, digest: build}}`,
			[]string{"generic spec.digest ghcr.io/a/b@build"},
		},
		{
			"symbolic in a policy", `{apiVersion: kyverno.io/v1, kind: ClusterPolicy, spec: {rules: [{validate: {pattern: {spec: {containers: [{image: "*:*"}]}}}, x: "ghcr.io/a/b@build"}]}}`,
			[]string{"generic spec.rules[0].x ghcr.io/a/b@build"},
		},

		// What stands in another object, and what operators make of it.
		{
			"List in a List", `{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod, spec: {containers: [{image: a.img}], volumes: [{image: {reference: v}}]}}]}]}`,
			[]string{"typed items[0].items[0].spec.containers[0].image a.img", "typed items[0].items[0].spec.volumes[0].image.reference v"},
		},
		{
			"items of something that holds no images", `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, items: [{apiVersion: v1, kind: Pod, spec: {containers: [{image: a}]}}]}`,
			[]string{"typed items[0].spec.containers[0].image a"},
		},
		{
			"Crossplane Object", `{apiVersion: kubernetes.crossplane.io/v1alpha2, kind: Object, spec: {forProvider: {manifest: {apiVersion: v1, kind: Pod, spec: {containers: [{image: a.img}]}}}}}`,
			[]string{"typed spec.forProvider.manifest.spec.containers[0].image a.img"},
		},
		{
			"a container dressed up as a schema", `{apiVersion: ray.io/v1, kind: RayCluster, spec: {containers: [{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, image: a}]}}`,
			[]string{"generic spec.containers[0].image a"},
		},
		{
			"an image map dressed up as an object", `{apiVersion: example.com/v1, kind: Thing, spec: {image: {apiVersion: v1, kind: X, repository: a/b, tag: "1"}}}`,
			[]string{"generic spec.image.tag a/b:1"},
		},
		{
			"containers of a kind nobody knows", `{apiVersion: ray.io/v1, kind: RayCluster, spec: {head: {template: {spec: {containers: [{image: ghcr.io/a/b.iso}, {image: "a/b:1.png"}, {image: "{{ .x }}"}], volumes: [{image: {reference: v}}]}}}}}`,
			[]string{"generic spec.head.template.spec.containers[0].image ghcr.io/a/b.iso", "generic spec.head.template.spec.containers[1].image a/b:1.png", "generic spec.head.template.spec.containers[2].image {{ .x }}", "generic spec.head.template.spec.volumes[0].image.reference v"},
		},
		{
			"a repository that ends as a picture does", `{apiVersion: example.com/v1, kind: Thing, spec: {image: ghcr.io/a/b.iso, otherImage: "a/b:1.png"}}`,
			[]string{"sweep spec.image ghcr.io/a/b.iso", "generic spec.otherImage a/b:1.png"},
		},
		{
			"keys that hold the separator of paths", `{apiVersion: kubeflow.org/v1, kind: TFJob, spec: {x: {"y\u0000.z": {template: {spec: {containers: [{image: a}]}}}}, "x\u0000.y": {z: {template: {spec: {containers: [{image: b}]}}}}}}`,
			[]string{`typed spec.x["y\x00.z"].template.spec.containers[0].image a`, `typed spec["x\x00.y"].z.template.spec.containers[0].image b`},
		},
		{
			"both names in a map", `{apiVersion: example.com/v1, kind: Thing, spec: {image: {repository: evil/x, tag: latest, newName: good/x, newTag: "1"}}}`,
			[]string{"generic spec.image.newTag good/x:1", "generic spec.image.tag evil/x:latest"},
		},
		{
			"NVIDIA ClusterPolicy", `{apiVersion: nvidia.com/v1, kind: ClusterPolicy, spec: {driver: {repository: nvcr.io/nvidia, image: driver, version: "535"}, toolkit: {repository: nvcr.io/nvidia, image: tk, version: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}}`,
			[]string{"generic spec.driver.version nvcr.io/nvidia/driver:535", "generic spec.toolkit.version nvcr.io/nvidia/tk@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
		},
		{
			"OpenShift BuildConfig", `{apiVersion: build.openshift.io/v1, kind: BuildConfig, spec: {strategy: {dockerStrategy: {from: {kind: DockerImage, name: "mysql:1"}}}, source: {images: [{from: {kind: ImageStreamTag, name: "mysql:1"}}]}, output: {to: {kind: DockerImage, name: "r.io/a/b:1"}}}}`,
			[]string{"generic spec.strategy.dockerStrategy.from.name mysql:1", "sweep spec.output.to.name r.io/a/b:1"},
		},
		{
			"NVIDIA's fields elsewhere", `{apiVersion: example.com/v1, kind: Thing, spec: {x: {repository: r.io/a, image: evil, version: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}}`,
			[]string{"generic spec.x.image evil"},
		},
		{
			"OpenShift's words on an image map", `{apiVersion: example.com/v1, kind: Thing, spec: {image: {kind: DockerImage, name: "good/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", repository: evil/x}}}`,
			[]string{"generic spec.image.name good/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "generic spec.image.repository evil/x"},
		},
		{
			"k3s HelmChart", "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nspec:\n  valuesContent: |\n    image: {repository: a/b, tag: \"1\"}\n",
			[]string{"nested spec.valuesContent#0.image.tag a/b:1"},
		},
		{
			"injection annotations", `{apiVersion: batch/v1, kind: CronJob, spec: {jobTemplate: {spec: {template: {metadata: {annotations: {dapr.io/sidecar-image: daprd, inject.example.com/image: "a/b:1", note.example.com/image: logo}}}}}}}`,
			[]string{`typed spec.jobTemplate.spec.template.metadata.annotations["dapr.io/sidecar-image"] daprd`, `generic spec.jobTemplate.spec.template.metadata.annotations["inject.example.com/image"] a/b:1`},
		},
		{
			"RELATED_IMAGE without a registry", `{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: [{env: [{name: RELATED_IMAGE_A, value: nginx}, {name: MY_IMAGE, value: logo}]}]}}}}`,
			[]string{"generic spec.template.spec.containers[0].env[0].value nginx"},
		},
		{
			"Kyverno generate", `{apiVersion: kyverno.io/v1, kind: ClusterPolicy, spec: {rules: [{validate: {pattern: {spec: {containers: [{image: "*:*"}]}}}}, {generate: {apiVersion: v1, kind: Pod, data: {spec: {containers: [{image: a}]}}, foreach: [{apiVersion: batch/v1, kind: Job, data: {spec: {template: {spec: {containers: [{image: b}]}}}}}]}}]}}`,
			[]string{"typed spec.rules[1].generate.data.spec.containers[0].image a", "typed spec.rules[1].generate.foreach[0].data.spec.template.spec.containers[0].image b"},
		},
		{
			"Gatekeeper Assign", `{apiVersion: mutations.gatekeeper.sh/v1, kind: Assign, spec: {location: 'spec.containers[name:*].image', parameters: {assign: {value: nginx}}}}`,
			[]string{"typed spec.parameters.assign.value nginx"},
		},
		{
			"Gatekeeper Assign of something else", `{apiVersion: mutations.gatekeeper.sh/v1, kind: Assign, spec: {location: 'spec.containers[name:*].imagePullPolicy', parameters: {assign: {value: Always}}}}`,
			nil,
		},
		{
			"Gatekeeper AssignImage", `{apiVersion: mutations.gatekeeper.sh/v1alpha1, kind: AssignImage, spec: {parameters: {assignDomain: r.io, assignPath: a/b, assignTag: ":1"}}}`,
			[]string{"typed spec.parameters.assignTag r.io/a/b:1"},
		},
		{"Gatekeeper AssignImage that moves the registry", `{apiVersion: mutations.gatekeeper.sh/v1alpha1, kind: AssignImage, spec: {parameters: {assignDomain: r.io}}}`, nil},

		// False friends.
		{"PersistentVolume rbd", `{apiVersion: v1, kind: PersistentVolume, spec: {rbd: {image: kubernetes-dynamic-pvc, pool: rbd}}}`, nil},
		{"VolumeAttachment rbd", `{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, spec: {source: {inlineVolumeSpec: {rbd: {image: device}}}}}`, nil},
		{"CustomResourceDefinition", `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, spec: {versions: [{schema: {openAPIV3Schema: {properties: {image: {type: string, default: "a/b:1"}}}}}]}}`, nil},
		{"policies", `{apiVersion: policy.sigstore.dev/v1beta1, kind: ClusterImagePolicy, spec: {images: [{glob: "ghcr.io/acme/*"}], image: "ghcr.io/a/b:1"}}`, nil},
		{"Flux ImageRepository", `{apiVersion: image.toolkit.fluxcd.io/v1beta2, kind: ImageRepository, spec: {image: ghcr.io/a/b}}`, nil},
		{"status", `{apiVersion: v1, kind: Node, status: {images: [{names: ["gcr.io/a/b:1"]}]}}`, nil},
		{"pictures", `{apiVersion: console.openshift.io/v1, kind: ConsoleLink, spec: {image: "data:image/png;base64,AAAA", logoImage: "https://example.com/a.png", iconImage: icon.svg, backgroundImage: /static/a}}`, nil},
		{"API groups, topology keys, paths, CIDRs", `{apiVersion: apps/v1, kind: Thing, spec: {ref: {apiVersion: apps/v1}, topologyKey: topology.kubernetes.io/zone, cidr: 10.0.0.0/8, mount: "/etc/ssl:/etc/ssl", url: "https://a.b/c:1"}}`, nil},
		{
			"ConfigMap with a key named image", `{apiVersion: v1, kind: ConfigMap, data: {image: big, otherImage: "ghcr.io/a/b:1"}}`,
			[]string{"generic data.otherImage ghcr.io/a/b:1"},
		},
		{"labels", `{apiVersion: v1, kind: Service, metadata: {labels: {image: web}}}`, nil},
		{"last applied", `{apiVersion: v1, kind: Service, metadata: {annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"image":"a/b:1"}]}}'}}}`, nil},
		{"a Secret's own words", `{apiVersion: v1, kind: Secret, stringData: {pull: "ghcr.io/private/name:1"}}`, nil},
		{"ssh target and e-mail", `{apiVersion: example.com/v1, kind: Thing, spec: {target: deploy@build, owner: me@example.com}}`, nil},
		{"chart version", `{apiVersion: source.toolkit.fluxcd.io/v1, kind: HelmChart, spec: {chart: podinfo, version: 6.x, repository: "https://a.b/c", tag: "1"}}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := found(t, tt.manifest)
			slices.Sort(got)
			want := slices.Clone(tt.want)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
		})
	}
}

func TestFindConfiguredRules(t *testing.T) {
	const thing = `
apiVersion: example.com/v1
kind: Thing
metadata: {name: x, namespace: lab}
spec:
  runtime: {repo: ghcr.io/a/runtime, version: "3", hash: ""}
  command: run ghcr.io/a/tool:2 --fast
  image: not-an-image
  versions: {a: "ghcr.io/a/v:1", b: "ghcr.io/a/v:2"}
`
	rules := []Rule{
		{Match: Match{Group: "example.com", Kind: "Thing"}, Path: "spec.runtime", Parts: &Parts{Repository: "repo", Tag: "version", Digest: "hash"}},
		{Match: Match{Kind: "Th*"}, Path: "spec.command", Regexp: `^run (\S+)`},
		{Match: Match{Namespace: "lab"}, Path: "spec.image", Action: ActionIgnore},
		{Match: Match{Name: "x"}, Path: "spec.versions.*"},
		{Match: Match{Name: "y"}, Path: "spec"}, // another object's
	}
	got, _ := found(t, thing, rules...)
	want := []string{
		"configured spec.runtime.version ghcr.io/a/runtime:3",
		"configured spec.command ghcr.io/a/tool:2",
		"configured spec.versions.a ghcr.io/a/v:1",
		"configured spec.versions.b ghcr.io/a/v:2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// A file of 90 KB that is nothing but braces must not cost gigabytes, and what
// nobody looked at is no pass.
func TestFindDeep(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000)
	for name, manifest := range map[string]string{
		"object": `{"apiVersion":"example.com/v1","kind":"Thing","spec":` + deep + `}`,
		"text":   fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","data":{"x":%q}}`, `{"apiVersion":"v1","kind":"Pod","spec":`+deep+`}`),
	} {
		got, _ := found(t, manifest)
		if len(got) != 1 || !strings.Contains(got[0], "a value") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// An ignored field still may not hold a placeholder: it would reach the cluster.
func TestFindIgnoreSpares(t *testing.T) {
	got, _ := found(t, `{apiVersion: example.com/v1, kind: Thing, spec: {image: "a/b@build"}}`, Rule{Path: "spec.image", Action: ActionIgnore})
	if len(got) != 1 {
		t.Errorf("an ignored symbolic reference is not found: %v", got)
	}
}

func TestFindWarnings(t *testing.T) {
	deep := "image: \"a/b:1\""
	for range maxNesting + 2 {
		deep = "apiVersion: v1\nkind: ConfigMap\ndata:\n  x: |\n    " + strings.ReplaceAll(deep, "\n", "\n    ")
	}
	for name, tt := range map[string]struct{ manifest, want string }{
		"unreadable": {"apiVersion: v1\nkind: ConfigMap\ndata:\n  x: |\n    apiVersion: v1\n    kind: {{ .Kind }}\n    image: a/b:1\n", "not readable as YAML"},
		"too deep":   {deep, "nested more than"},
		"in a text":  {"apiVersion: v1\nkind: ConfigMap\ndata:\n  x: |\n    run ghcr.io/a/b@build\n    now\n", "longer text"},
	} {
		t.Run(name, func(t *testing.T) {
			_, warnings := found(t, tt.manifest)
			if len(warnings) != 1 || !strings.Contains(warnings[0], tt.want) {
				t.Errorf("warnings %q, want one with %q", warnings, tt.want)
			}
		})
	}
}

func TestPatterns(t *testing.T) {
	for _, bad := range []string{"", "a..b", "a[0]", `a["b`, "a[", "[]"} {
		if _, err := parsePattern(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	path := Path{"metadata", "annotations", "a.b/c", 3, "x-y", Inside(1), "image"}
	if got, want := path.String(), `metadata.annotations["a.b/c"][3].x-y#1.image`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := path.Outer().String(); got != `metadata.annotations["a.b/c"][3].x-y` {
		t.Errorf("Outer is %s", got)
	}
}
