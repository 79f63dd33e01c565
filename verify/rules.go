package verify

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/gobwas/glob"
)

// Action is what a rule does with the values its path names.
type Action string

// The actions.
const (
	// ActionImage: the value is an image reference and must be a digest.
	ActionImage Action = "image"
	// ActionYAML: the value is a string that holds YAML or JSON, to be searched
	// like an object.
	ActionYAML Action = "yaml"
	// ActionIgnore: the value is no image reference, whatever its key or shape.
	ActionIgnore Action = "ignore"
)

// Match selects objects. Every field is a glob in which * stands for anything;
// an empty field matches all.
type Match struct {
	// Group is the API group, "core" for the one without a name.
	Group     string `yaml:"group,omitempty"`
	Kind      string `yaml:"kind,omitempty"`
	Name      string `yaml:"name,omitempty"`
	Namespace string `yaml:"namespace,omitempty"`
}

// Parts names the fields that together make a reference, relative to the
// rule's path. Repository is required; a digest without "sha256:" gets it.
type Parts struct {
	Registry   string `yaml:"registry,omitempty"`
	Repository string `yaml:"repository,omitempty"`
	Tag        string `yaml:"tag,omitempty"`
	Digest     string `yaml:"digest,omitempty"`
}

// Rule tells where a kind of object names images.
type Rule struct {
	Match Match `yaml:"match"`
	// Path is spec.foo[*].image; [*] is every item of a list, * every key of a
	// map, ["a.b/c"] a key that needs quotes.
	Path string `yaml:"path"`
	// Parts is set where Path names a map that holds the reference in pieces.
	Parts *Parts `yaml:"parts,omitempty"`
	// Regexp picks the reference out of a longer string: its first group, or
	// all of it. A string that does not match holds no reference.
	Regexp string `yaml:"regexp,omitempty"`
	// Action is ActionImage if empty.
	Action Action `yaml:"action,omitempty"`
}

// A rule that is ready for use.
type compiledRule struct {
	match      compiledMatch
	path       pattern
	registry   pattern
	repository pattern
	tag        pattern
	digest     pattern
	regexp     *regexp.Regexp
	action     Action
	tier       Tier
}

type compiledMatch struct{ group, kind, name, namespace glob.Glob }

func compileGlob(s string) (glob.Glob, error) {
	if s == "" {
		s = "*"
	}
	return glob.Compile(s)
}

func (m Match) compile() (compiledMatch, error) {
	var c compiledMatch
	var errs [4]error
	c.group, errs[0] = compileGlob(m.Group)
	c.kind, errs[1] = compileGlob(m.Kind)
	c.name, errs[2] = compileGlob(m.Name)
	c.namespace, errs[3] = compileGlob(m.Namespace)
	return c, errors.Join(errs[:]...)
}

func (m compiledMatch) matches(o identity) bool {
	group := o.group
	if group == "" {
		group = "core"
	}
	return m.group.Match(group) && m.kind.Match(o.kind) && m.name.Match(o.name) && m.namespace.Match(o.namespace)
}

func (r Rule) compile(tier Tier) (compiledRule, error) {
	c := compiledRule{action: r.Action, tier: tier}
	if c.action == "" {
		c.action = ActionImage
	}
	switch c.action {
	case ActionImage, ActionYAML, ActionIgnore:
	default:
		return c, fmt.Errorf("action %q is none of image, yaml, ignore", r.Action)
	}
	var err error
	if c.match, err = r.Match.compile(); err != nil {
		return c, fmt.Errorf("match: %w", err)
	}
	if c.path, err = parsePattern(r.Path); err != nil {
		return c, err
	}
	if r.Regexp != "" {
		if c.regexp, err = regexp.Compile(r.Regexp); err != nil {
			return c, fmt.Errorf("regexp: %w", err)
		}
	}
	if r.Parts == nil {
		return c, nil
	}
	if r.Parts.Repository == "" {
		return c, errors.New("parts: repository is required")
	}
	for _, part := range []struct {
		expression string
		pattern    *pattern
	}{
		{r.Parts.Registry, &c.registry},
		{r.Parts.Repository, &c.repository},
		{r.Parts.Tag, &c.tag},
		{r.Parts.Digest, &c.digest},
	} {
		if part.expression == "" {
			continue
		}
		if *part.pattern, err = parsePattern(part.expression); err != nil {
			return c, fmt.Errorf("parts: %w", err)
		}
	}
	return c, nil
}

// pods are the places of a PodSpec, by API group and kind: the complete list
// of Kubernetes 1.36 (read off the types of k8s.io/api by reflection), then
// the custom resources that embed one.
var pods = []struct{ group, kinds, path string }{
	{"core", "Pod", "spec"},
	{"core", "PodTemplate", "template.spec"},
	{"core", "ReplicationController", "spec.template.spec"},
	{"apps", "Deployment StatefulSet DaemonSet ReplicaSet", "spec.template.spec"},
	{"extensions", "Deployment DaemonSet ReplicaSet", "spec.template.spec"},
	{"batch", "Job", "spec.template.spec"},
	{"batch", "CronJob", "spec.jobTemplate.spec.template.spec"},

	{"argoproj.io", "Rollout", "spec.template.spec"},
	{"argoproj.io", "AnalysisTemplate ClusterAnalysisTemplate", "spec.metrics[*].provider.job.spec.template.spec"},
	{"serving.knative.dev", "Service Configuration", "spec.template.spec"},
	{"serving.knative.dev", "Revision", "spec"},
	{"keda.sh", "ScaledJob", "spec.jobTargetRef.template.spec"},
	{"batch.volcano.sh", "Job", "spec.tasks[*].template.spec"},
	{"kubeflow.org", "*", "spec.*.*.template.spec"}, // spec.tfReplicaSpecs.Worker.template
	{"jobset.x-k8s.io", "JobSet", "spec.replicatedJobs[*].template.spec.template.spec"},
	{"leaderworkerset.x-k8s.io", "LeaderWorkerSet", "spec.leaderWorkerTemplate.*.spec"},
	{"apps.openshift.io", "DeploymentConfig", "spec.template.spec"},
	{"apps.kruise.io", "*", "spec.template.spec"},
}

// podImages are the image references of a PodSpec. There are no others: rbd
// volumes have a key "image" too, and it names a block device.
var podImages = []string{
	"initContainers[*].image",
	"containers[*].image",
	"ephemeralContainers[*].image",
	"volumes[*].image.reference",
}

// fields are image references outside a PodSpec, by API group and kind.
var fields = []struct{ group, kinds, paths string }{
	{
		"argoproj.io", "Workflow WorkflowTemplate ClusterWorkflowTemplate",
		"spec.templates[*].container.image spec.templates[*].script.image spec.templates[*].containerSet.containers[*].image " +
			"spec.templates[*].initContainers[*].image spec.templates[*].sidecars[*].image spec.templateDefaults.container.image",
	},
	{
		"argoproj.io", "CronWorkflow",
		"spec.workflowSpec.templates[*].container.image spec.workflowSpec.templates[*].script.image " +
			"spec.workflowSpec.templates[*].containerSet.containers[*].image spec.workflowSpec.templates[*].initContainers[*].image " +
			"spec.workflowSpec.templates[*].sidecars[*].image",
	},
	{"tekton.dev", "Task ClusterTask", "spec.steps[*].image spec.sidecars[*].image spec.stepTemplate.image"},
	{"tekton.dev", "TaskRun", "spec.taskSpec.steps[*].image spec.taskSpec.sidecars[*].image spec.taskSpec.stepTemplate.image spec.taskRef.bundle"},
	{"tekton.dev", "Pipeline", "spec.tasks[*].taskSpec.steps[*].image spec.tasks[*].taskSpec.sidecars[*].image spec.tasks[*].taskRef.bundle spec.finally[*].taskSpec.steps[*].image"},
	{"tekton.dev", "PipelineRun", "spec.pipelineSpec.tasks[*].taskSpec.steps[*].image spec.pipelineSpec.tasks[*].taskSpec.sidecars[*].image spec.pipelineRef.bundle"},
	{"monitoring.coreos.com", "Prometheus PrometheusAgent Alertmanager ThanosRuler", "spec.image spec.thanos.image spec.containers[*].image spec.initContainers[*].image"},
	{"postgresql.cnpg.io", "Cluster", "spec.imageName"},
	{"postgresql.cnpg.io", "ImageCatalog ClusterImageCatalog", "spec.images[*].image"},
	{"acid.zalan.do", "postgresql OperatorConfiguration", "spec.dockerImage configuration.docker_image"},
	{"pkg.crossplane.io", "Provider Configuration Function", "spec.package"},
	{"operators.coreos.com", "ClusterServiceVersion", "spec.relatedImages[*].image"},
	{"operators.coreos.com", "CatalogSource", "spec.image"},
	{"trident.netapp.io", "TridentOrchestrator", "spec.tridentImage spec.autosupportImage"},
	{"opentelemetry.io", "OpenTelemetryCollector", "spec.image spec.targetAllocator.image"},
	{"opentelemetry.io", "Instrumentation", "spec.*.image"},
}

// annotations that name an image, in any object or pod template.
var annotations = []string{
	"sidecar.istio.io/proxyImage",
	"vault.hashicorp.com/agent-image",
	"config.linkerd.io/proxy-image",
	"config.linkerd.io/init-image",
	"config.linkerd.io/debug-image",
	"dapr.io/sidecar-image",
	"containerImage",
}

// special are the rules that take a reference apart or out of something.
var special = []Rule{
	// A scheme before the reference: nothing else there is one.
	{Match: Match{Group: "cdi.kubevirt.io", Kind: "DataVolume"}, Path: "spec.source.registry.url", Regexp: `^(?:docker|oci)://(.+)$`},
	{Match: Match{Group: "source.toolkit.fluxcd.io", Kind: "OCIRepository"}, Path: "spec", Parts: &Parts{Repository: "url", Tag: "ref.tag", Digest: "ref.digest"}},
	// Deprecated fields of the Prometheus operator that win over none.
	{Match: Match{Group: "monitoring.coreos.com"}, Path: "spec", Parts: &Parts{Repository: "baseImage", Tag: "tag", Digest: "sha"}},
	{Match: Match{Group: "image.openshift.io", Kind: "ImageStream"}, Path: "spec.tags[*].from.name", Regexp: `^([^:@]+/.+)$`},
	// Argo CD Applications rendered by an app of apps. An entry without tag and
	// digest only renames, and what it renames is in the child application.
	{Match: Match{Group: "argoproj.io", Kind: "Application"}, Path: "spec.source.kustomize.images[*]", Regexp: kustomizeImage},
	{Match: Match{Group: "argoproj.io", Kind: "Application"}, Path: "spec.sources[*].kustomize.images[*]", Regexp: kustomizeImage},
	{Match: Match{Group: "argoproj.io", Kind: "ApplicationSet"}, Path: "spec.template.spec.source.kustomize.images[*]", Regexp: kustomizeImage},
	{Match: Match{Group: "argoproj.io", Kind: "ApplicationSet"}, Path: "spec.template.spec.sources[*].kustomize.images[*]", Regexp: kustomizeImage},
	{Match: Match{Group: "argoproj.io", Kind: "Application"}, Path: "spec.source.helm.values", Action: ActionYAML},
	{Match: Match{Group: "argoproj.io", Kind: "Application"}, Path: "spec.sources[*].helm.values", Action: ActionYAML},
	{Match: Match{Group: "argoproj.io", Kind: "ApplicationSet"}, Path: "spec.template.spec.source.helm.values", Action: ActionYAML},
	{Match: Match{Group: "argoproj.io", Kind: "ApplicationSet"}, Path: "spec.template.spec.sources[*].helm.values", Action: ActionYAML},
	{Match: Match{Group: "helm.cattle.io"}, Path: "spec.valuesContent", Action: ActionYAML},
	// Block devices of Ceph, which have a key "image".
	{Match: Match{Group: "core", Kind: "PersistentVolume"}, Path: "spec.rbd.image", Action: ActionIgnore},
	{Match: Match{Group: "storage.k8s.io", Kind: "VolumeAttachment"}, Path: "spec.source.inlineVolumeSpec.rbd.image", Action: ActionIgnore},
}

// kustomizeImage takes the new image out of [old=]name[:tag][@digest].
const kustomizeImage = `^(?:[^=]*=)?(.+(?::[^/@]+|@.+))$`

// builtin are the typed rules, compiled once, by the kind they are for; those
// for any kind are under "*". A mistake in the tables above is a mistake of
// this program, so it panics; the tests compile them all.
var builtin = sync.OnceValue(func() map[string][]compiledRule {
	var rules []Rule
	for _, p := range pods {
		for kind := range strings.FieldsSeq(p.kinds) {
			for _, image := range podImages {
				rules = append(rules, Rule{Match: Match{Group: p.group, Kind: kind}, Path: p.path + "." + image})
			}
		}
	}
	for _, f := range fields {
		for kind := range strings.FieldsSeq(f.kinds) {
			for path := range strings.FieldsSeq(f.paths) {
				rules = append(rules, Rule{Match: Match{Group: f.group, Kind: kind}, Path: path})
			}
		}
	}
	for _, annotation := range annotations {
		for _, at := range []string{"metadata", "spec.template.metadata", "spec.jobTemplate.spec.template.metadata"} {
			rules = append(rules, Rule{Path: fmt.Sprintf("%s.annotations[%q]", at, annotation)})
		}
	}
	rules = append(rules, special...)
	byKind := map[string][]compiledRule{}
	for _, rule := range rules {
		compiled, err := rule.compile(Typed)
		if err != nil {
			panic(fmt.Sprintf("verify: built-in rule %s: %v", rule.Path, err))
		}
		kind := rule.Match.Kind
		if kind == "" {
			kind = "*"
		}
		byKind[kind] = append(byKind[kind], compiled)
	}
	return byKind
})

// dataKinds are objects that talk about images without running them: schemas
// and policies. Only symbolic references are looked for in them.
var dataKinds = []struct{ group, kind string }{
	{"apiextensions.k8s.io", "CustomResourceDefinition"},
	{"admissionregistration.k8s.io", "*"},
	{"kyverno.io", "*"},
	{"policies.kyverno.io", "*"},
	{"policy.sigstore.dev", "*"},
	{"templates.gatekeeper.sh", "*"},
	{"constraints.gatekeeper.sh", "*"},
	{"mutations.gatekeeper.sh", "*"},
	{"image.toolkit.fluxcd.io", "*"},
	{"argocd-image-updater.argoproj.io", "*"},
}

// isData tells whether o is one of dataKinds.
func isData(o identity) bool {
	for _, d := range dataKinds {
		if o.group == d.group && (d.kind == "*" || o.kind == d.kind) {
			return true
		}
	}
	return false
}
