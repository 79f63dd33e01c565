// Package argocd reads what Argo CD tells a config management plugin about an
// application: the environment and the plugin parameters.
//
// Sources: docs/operator-manual/config-management-plugins.md of Argo CD, and
// reposerver/repository/repository.go (newEnv, getPluginEnvs) of v2.14 and
// v3.5, which agree but for ARGOCD_APP_PROJECT_NAME (3.0 and later) and empty
// values (dropped before 3.0).
package argocd

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/pin-cmp/pin-cmp/render"
)

// Request is what Argo CD wants rendered.
type Request struct {
	// Name and Project are the Application's; empty outside Argo CD.
	Name, Project string
	// SourcePath is spec.source.path, "" if unknown. It leads from the root of
	// the repository to the application's directory.
	SourcePath string
	// Options are the source's, from the plugin parameters.
	Options render.Options
}

// Parameters of the plugin: each holds, as a YAML string, the native block of
// the same name in spec.source, so that moving an Application over is copy and
// paste.
const (
	ParameterKustomize = "kustomize"
	ParameterDirectory = "directory"
	ParameterHelm      = "helm"
)

// buildEnv are the variables that Argo CD substitutes in options, and no
// others (newEnv; KUBE_* are the plugin's own).
var buildEnv = []string{
	"ARGOCD_APP_NAME", "ARGOCD_APP_NAMESPACE", "ARGOCD_APP_PROJECT_NAME", "ARGOCD_APP_REVISION",
	"ARGOCD_APP_REVISION_SHORT", "ARGOCD_APP_REVISION_SHORT_8", "ARGOCD_APP_SOURCE_PATH",
	"ARGOCD_APP_SOURCE_REPO_URL", "ARGOCD_APP_SOURCE_TARGET_REVISION",
}

// ParameterError is a mistake in the Application's plugin parameters.
type ParameterError struct {
	// Name is the parameter's, "" if all of them are unreadable.
	Name string
	Err  error
}

// Error names the parameter in the Application.
func (e *ParameterError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("ARGOCD_APP_PARAMETERS: %v", e.Err)
	}
	return fmt.Sprintf("spec.source.plugin.parameters, %s: %v", e.Name, e.Err)
}

// Unwrap returns the cause.
func (e *ParameterError) Unwrap() error { return e.Err }

// ReadRequest reads a request from an environment, "NAME=value" each, later
// entries winning as they do in a process. The error is a *[ParameterError].
func ReadRequest(environ []string) (Request, error) {
	env := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	r := Request{
		Name:       env["ARGOCD_APP_NAME"],
		Project:    env["ARGOCD_APP_PROJECT_NAME"],
		SourcePath: env["ARGOCD_APP_SOURCE_PATH"],
		Options:    render.Options{Env: map[string]string{}},
	}
	for _, name := range buildEnv {
		if value, ok := env[name]; ok {
			r.Options.Env[name] = value
		}
	}
	if err := readParameters(&r.Options, env["ARGOCD_APP_PARAMETERS"]); err != nil {
		return Request{}, err
	}
	return r, nil
}

// parameter is one of spec.source.plugin.parameters.
type parameter struct {
	Name   string            `json:"name"`
	String *string           `json:"string"`
	Array  []string          `json:"array"`
	Map    map[string]string `json:"map"`
}

// readParameters reads ARGOCD_APP_PARAMETERS, which is "null" for a plugin
// block without parameters and unset without a block.
func readParameters(options *render.Options, text string) error {
	if text == "" {
		return nil
	}
	var parameters []parameter
	if err := json.Unmarshal([]byte(text), &parameters); err != nil {
		return &ParameterError{Err: plainWords(err)}
	}
	seen := map[string]bool{}
	for _, p := range parameters {
		if seen[p.Name] {
			return &ParameterError{p.Name, errors.New("is there twice")}
		}
		seen[p.Name] = true
		if err := p.apply(options); err != nil {
			return &ParameterError{p.Name, err}
		}
	}
	if options.Kustomize != nil && options.Directory != nil {
		return &ParameterError{ParameterKustomize, errors.New("stands beside directory; an application is rendered by one tool")}
	}
	return nil
}

// apply sets the option that the parameter is for.
func (p parameter) apply(options *render.Options) error {
	if !slices.Contains([]string{ParameterKustomize, ParameterDirectory, ParameterHelm}, p.Name) {
		return fmt.Errorf("is no parameter of pin-cmp; there are %s and %s", ParameterKustomize, ParameterDirectory)
	}
	if p.String == nil {
		return fmt.Errorf("must be a string that holds the YAML of spec.source.%s", p.Name)
	}
	switch p.Name {
	case ParameterKustomize:
		options.Type, options.Kustomize = render.Kustomize, &render.KustomizeOptions{}
		return strict(*p.String, options.Kustomize)
	case ParameterDirectory:
		options.Type, options.Directory = render.Directory, &render.DirectoryOptions{}
		return strict(*p.String, options.Directory)
	default:
		return fmt.Errorf("helm applications: %w", render.ErrUnsupported)
	}
}

// strict decodes YAML and refuses fields that Argo CD does not have, letter for
// letter: a typo would otherwise be an option that silently does nothing.
func strict(text string, into any) error {
	// The decoder reads the first document and would not say that there is more.
	if separator.MatchString(text) {
		return errors.New("holds a line of --- or ..., which ends a YAML document; a parameter is one document")
	}
	converted, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return plainWords(err)
	}
	mistakes, err := kjson.UnmarshalStrict(converted, into)
	if err != nil {
		return plainWords(err)
	}
	for _, mistake := range mistakes {
		return mistake // one is enough to look at, and fits a line
	}
	return nil
}

// plainWords takes Go's own words out of a decoder's error.
func plainWords(err error) error {
	text := err.Error()
	for _, prefix := range []string{"yaml: ", "json: ", "unmarshal errors:"} {
		text = strings.TrimSpace(strings.TrimPrefix(text, prefix))
	}
	if m := wrongType.FindStringSubmatch(text); m != nil {
		_, field, _ := strings.Cut(m[2], ".")
		if field == "" {
			return fmt.Errorf("%s is not what belongs here", m[1])
		}
		return fmt.Errorf("%s: %s is not what belongs here", field, m[1])
	}
	return errors.New(text)
}

var wrongType = regexp.MustCompile(`cannot unmarshal (.+) into Go (?:value|struct field (\S+)) of type`)

var separator = regexp.MustCompile(`(?m)^(?:---|\.\.\.)(?:\s|$)`)

// Root returns the repository's root and the application's path in it, for the
// application's directory. Argo CD hands over the whole repository or, with
// manifest-generate-paths, a directory above the application, in a place of its
// own: what the end of dir and the end of spec.source.path have in common lies
// in the repository, and nothing above it is ever looked at.
func (r Request) Root(dir string) (root, app string) {
	dir = path.Clean(dir)
	have := strings.Split(strings.Trim(dir, "/"), "/")
	want := strings.Split(strings.Trim(path.Clean(r.SourcePath), "/"), "/")
	if r.SourcePath == "" || path.Clean(r.SourcePath) == "." {
		return dir, "."
	}
	common := 0
	for common < len(want) && common < len(have)-1 && have[len(have)-1-common] == want[len(want)-1-common] {
		common++
	}
	if common == 0 {
		return dir, "."
	}
	return "/" + strings.Join(have[:len(have)-common], "/"), strings.Join(have[len(have)-common:], "/")
}
