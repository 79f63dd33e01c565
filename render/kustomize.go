package render

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kustomize/v5/commands/edit"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/yaml"
)

// KustomizeOptions are the native block spec.source.kustomize. Each is an edit
// of the application's kustomization, made before it is built, in the order of
// the fields here: a later one sees what an earlier one wrote.
type KustomizeOptions struct {
	NamePrefix string `json:"namePrefix,omitempty"`
	NameSuffix string `json:"nameSuffix,omitempty"`
	// Images are [old=]name[:tag][@digest]. Variables are substituted.
	Images   []string           `json:"images,omitempty"`
	Replicas []KustomizeReplica `json:"replicas,omitempty"`
	// CommonLabels go to all objects and selectors. Variables are substituted
	// in the values.
	CommonLabels map[string]string `json:"commonLabels,omitempty"`
	// ForceCommonLabels overwrites labels that the kustomization sets; without
	// it that is an error.
	ForceCommonLabels bool `json:"forceCommonLabels,omitempty"`
	// LabelWithoutSelector leaves selectors alone.
	LabelWithoutSelector bool `json:"labelWithoutSelector,omitempty"`
	// LabelIncludeTemplates labels pod templates too; with LabelWithoutSelector
	// only.
	LabelIncludeTemplates     bool              `json:"labelIncludeTemplates,omitempty"`
	CommonAnnotations         map[string]string `json:"commonAnnotations,omitempty"`
	ForceCommonAnnotations    bool              `json:"forceCommonAnnotations,omitempty"`
	CommonAnnotationsEnvsubst bool              `json:"commonAnnotationsEnvsubst,omitempty"`
	Namespace                 string            `json:"namespace,omitempty"`
	// Patches are appended to the kustomization's own.
	Patches []KustomizePatch `json:"patches,omitempty"`
	// Components are directories relative to the application's.
	Components []string `json:"components,omitempty"`
	// IgnoreMissingComponents leaves out those that do not exist.
	IgnoreMissingComponents bool `json:"ignoreMissingComponents,omitempty"`

	// Version picks one of Argo CD's kustomize binaries. There is one version
	// here, the library's: accepted, without effect.
	Version string `json:"version,omitempty"`
	// KubeVersion and APIVersions go to the Helm charts of a kustomization,
	// which are not rendered yet: accepted, without effect.
	KubeVersion string   `json:"kubeVersion,omitempty"`
	APIVersions []string `json:"apiVersions,omitempty"`
}

// KustomizeReplica sets the replicas of the workload of that name.
type KustomizeReplica struct {
	Name string `json:"name"`
	// Count is a whole number, or one in quotes.
	Count json.Number `json:"count"`
}

// KustomizePatch is a strategic merge or JSON patch, inline or in a file.
type KustomizePatch struct {
	Path    string           `json:"path,omitempty"`
	Patch   string           `json:"patch,omitempty"`
	Target  *KustomizeTarget `json:"target,omitempty"`
	Options map[string]bool  `json:"options,omitempty"`
}

// KustomizeTarget selects the objects of a patch.
type KustomizeTarget struct {
	Group              string `json:"group,omitempty"`
	Version            string `json:"version,omitempty"`
	Kind               string `json:"kind,omitempty"`
	Name               string `json:"name,omitempty"`
	Namespace          string `json:"namespace,omitempty"`
	AnnotationSelector string `json:"annotationSelector,omitempty"`
	LabelSelector      string `json:"labelSelector,omitempty"`
}

// buildOptions are those of kustomize build. They belong to whoever runs the
// sidecar, as argocd-cm's kustomize.buildOptions does, never to a repository.
type buildOptions struct {
	// anyFile lifts the rule that a kustomization reads files of its own
	// directory only (--load-restrictor=LoadRestrictionsNone). The checkout
	// still bounds it.
	anyFile bool
}

func renderKustomize(
	ctx context.Context, c *checkout, dir string, options *KustomizeOptions, env map[string]string, build buildOptions,
) (*Result, error) {
	k := &kustomization{
		checkout: c, dir: dir, env: env, build: build,
		fs: &kustomizeFS{checkout: c, cwd: dir, written: map[string][]byte{}},
	}
	if err := k.edit(options); err != nil {
		return nil, err
	}
	graph := &kustomizeGraph{fs: k.fs, anyFile: build.anyFile, seen: map[string]bool{}}
	if err := graph.walk(dir, nil, nil); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	manifests, err := k.run()
	if err != nil {
		return nil, err
	}
	if len(manifests) == 0 {
		return nil, &Error{
			File: k.file(), Message: "the kustomization has no objects; Argo CD would delete everything the application owns",
			Fix: "list at least one resource that is not removed again", Err: ErrNoObjects,
		}
	}
	return &Result{Type: Kustomize, Manifests: manifests, Files: c.files(), Warnings: graph.warnings}, nil
}

// kustomization is one build.
type kustomization struct {
	checkout *checkout
	dir      string
	env      map[string]string
	build    buildOptions
	fs       *kustomizeFS
}

// file is the kustomization file of the application, or its directory.
func (k *kustomization) file() string {
	if name := findKustomization(k.fs, k.dir); name != "" {
		return path.Join(k.dir, name)
	}
	return k.dir
}

// explain is the useful part of an error of kustomize.
func (k *kustomization) explain(err error) *Error {
	e := kustomizeError(err, k.file())
	if name := findKustomization(k.fs, e.File); name != "" {
		e.File = path.Join(e.File, name)
	}
	return e
}

// findKustomization is the name of dir's kustomization file, "" without one.
func findKustomization(f *kustomizeFS, dir string) string {
	for _, name := range kustomizationNames() {
		if f.Exists(path.Join(kustomizeRoot, dir, name)) {
			return name
		}
	}
	return ""
}

// edit makes the edits that Argo CD makes (util/kustomize/kustomize.go, Build),
// with the commands of kustomize itself.
func (k *kustomization) edit(o *KustomizeOptions) error {
	if o == nil {
		return nil
	}
	type step struct {
		option string
		args   []string
	}
	var steps []step
	if o.NamePrefix != "" {
		steps = append(steps, step{"namePrefix", []string{"set", "nameprefix", "--", o.NamePrefix}})
	}
	if o.NameSuffix != "" {
		steps = append(steps, step{"nameSuffix", []string{"set", "namesuffix", "--", o.NameSuffix}})
	}
	if len(o.Images) > 0 {
		args := []string{"set", "image", "--"}
		for _, image := range o.Images {
			args = append(args, k.substitute(image))
		}
		steps = append(steps, step{"images", args})
	}
	if len(o.Replicas) > 0 {
		args := []string{"set", "replicas", "--"}
		for _, replica := range o.Replicas {
			count, err := strconv.Atoi(replica.Count.String())
			if err != nil {
				return &Error{
					Message: fmt.Sprintf("kustomize.replicas: the count %q of %s is not a whole number", replica.Count, replica.Name),
					Fix:     "use a number such as 3",
				}
			}
			args = append(args, fmt.Sprintf("%s=%d", replica.Name, count))
		}
		steps = append(steps, step{"replicas", args})
	}
	if len(o.CommonLabels) > 0 {
		args := []string{"add", "label"}
		args = appendFlag(args, o.ForceCommonLabels, "--force")
		args = appendFlag(args, o.LabelWithoutSelector, "--without-selector")
		args = appendFlag(args, o.LabelIncludeTemplates, "--include-templates")
		steps = append(steps, step{"commonLabels", k.appendPairs(args, o.CommonLabels, true)})
	}
	if len(o.CommonAnnotations) > 0 {
		args := appendFlag([]string{"add", "annotation"}, o.ForceCommonAnnotations, "--force")
		steps = append(steps, step{"commonAnnotations", k.appendPairs(args, o.CommonAnnotations, o.CommonAnnotationsEnvsubst)})
	}
	if o.Namespace != "" {
		steps = append(steps, step{"namespace", []string{"set", "namespace", "--", o.Namespace}})
	}
	for _, s := range steps {
		if err := k.runEdit(s.option, s.args); err != nil {
			return err
		}
	}
	if len(o.Patches) > 0 {
		if err := k.addPatches(o.Patches); err != nil {
			return err
		}
	}
	return k.addComponents(o)
}

func appendFlag(args []string, set bool, flag string) []string {
	if set {
		return append(args, flag)
	}
	return args
}

func (k *kustomization) appendPairs(args []string, pairs map[string]string, substitute bool) []string {
	args = append(args, "--")
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		value := pairs[key]
		if substitute {
			value = k.substitute(value)
		}
		args = append(args, key+":"+value)
	}
	return args
}

// substitute replaces $NAME and ${NAME} by Argo CD's build environment, names
// it does not have by nothing, and $$ by $.
func (k *kustomization) substitute(s string) string {
	return os.Expand(s, func(name string) string {
		if name == "$" {
			return "$"
		}
		return k.env[name]
	})
}

func (k *kustomization) runEdit(option string, args []string) error {
	if name := findKustomization(k.fs, k.dir); name == "" {
		return noKustomization(k.dir)
	}
	deps := provider.NewDefaultDepProvider()
	cmd := edit.NewCmdEdit(k.fs, deps.GetFieldValidator(), deps.GetResourceFactory(), io.Discard)
	cmd.SetArgs(args)
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if err := cmd.Execute(); err != nil {
		if k.fs.fault != nil {
			return k.fs.fault
		}
		e := k.explain(err)
		e.Message = "kustomize." + option + ": " + e.Message
		return e
	}
	return nil
}

// addPatches appends patches to the kustomization's own. There is no command
// for it; Argo CD rewrites the file too.
func (k *kustomization) addPatches(patches []KustomizePatch) error {
	name := findKustomization(k.fs, k.dir)
	if name == "" {
		return noKustomization(k.dir)
	}
	file := path.Join(k.dir, name)
	text, err := k.fs.ReadFile(path.Join(kustomizeRoot, file))
	if err != nil {
		return err
	}
	var content map[string]any
	if err := yaml.Unmarshal(text, &content); err != nil {
		message, line := yamlErrorText(err.Error())
		return &Error{File: file, Line: line, Message: "invalid YAML: " + message}
	}
	if content == nil {
		content = map[string]any{}
	}
	list, isList := content["patches"].([]any)
	if old, ok := content["patches"]; ok && !isList {
		return &Error{
			File: file, Message: fmt.Sprintf("patches is not a list but %T, so kustomize.patches cannot be added to it", old),
			Fix: "make it a list",
		}
	}
	for _, patch := range patches {
		list = append(list, patch)
	}
	content["patches"] = list
	if text, err = yaml.Marshal(content); err != nil {
		return &Error{File: file, Message: "kustomize.patches: " + err.Error()}
	}
	return k.fs.WriteFile(path.Join(kustomizeRoot, file), text)
}

func (k *kustomization) addComponents(o *KustomizeOptions) error {
	args := []string{"add", "component", "--"}
	for _, component := range o.Components {
		if looksRemote(component) {
			return remoteError("", 0, "kustomize.components", component)
		}
		if o.IgnoreMissingComponents && !k.fs.Exists(component) {
			continue
		}
		args = append(args, component)
	}
	if len(args) == 3 {
		return nil
	}
	return k.runEdit("components", args)
}

// run builds the edited kustomization as `kustomize build` does.
func (k *kustomization) run() ([]Manifest, error) {
	// The CLI's default is Unspecified, the library's is not.
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified
	if k.build.anyFile {
		options.LoadRestrictions = types.LoadRestrictionsNone
	}
	// A schema that one kustomization names stays for the next one in the
	// process (kustomize issue 4824).
	openapi.ResetOpenAPI()
	resources, err := krusty.MakeKustomizer(options).Run(k.fs, path.Join(kustomizeRoot, k.dir))
	if k.fs.fault != nil {
		return nil, k.fs.fault
	}
	if err != nil {
		return nil, k.explain(err)
	}
	manifests := make([]Manifest, 0, resources.Size())
	for _, resource := range resources.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			return nil, k.explain(err)
		}
		manifest, err := kustomizeManifest(text, resource.CurId().String(), k.file())
		if err != nil {
			return nil, err
		}
		manifests = append(manifests, manifest...)
	}
	return manifests, nil
}

// kustomizeManifest makes a manifest of one object of kustomize's output. Argo
// CD replaces an object that holds items by the items; kustomize has done so
// for most.
func kustomizeManifest(text []byte, id, file string) ([]Manifest, error) {
	if bytes.HasPrefix(text, []byte("---")) || bytes.Contains(text, []byte("\n---")) {
		return nil, &Error{File: file, Message: fmt.Sprintf("a line of the object %s starts with ---, which separates documents", id)}
	}
	source := Source{Item: -1}
	if mayHoldItems(text) {
		object, err := decodeObject(text)
		if err != nil {
			return nil, &Error{File: file, Message: fmt.Sprintf("the object %s: %v", id, err)}
		}
		if items, has := object["items"]; has {
			if _, isList := items.([]any); isList || items == nil {
				return flatten(source, object, 0)
			}
		}
	}
	return []Manifest{{YAML: text, Source: source}}, nil
}

// mayHoldItems is false for nearly all objects, which saves decoding them here.
func mayHoldItems(text []byte) bool {
	return bytes.HasPrefix(text, []byte("items:")) || bytes.Contains(text, []byte("\nitems:"))
}

func noKustomization(dir string) error {
	return &Error{
		File: dir, Message: "there is no kustomization.yaml, kustomization.yml or Kustomization",
		Fix: "add one, or render the application as a Directory",
	}
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
