package render

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"
)

// kustomizeGraph walks the kustomizations that an application is made of before
// kustomize does: to refuse what would be fetched or run, and to say which line
// of which file is wrong where kustomize's own error is a chain of attempts.
// Whatever it does not know of is left to kustomize.
type kustomizeGraph struct {
	fs *kustomizeFS
	// anyFile is buildOptions.anyFile.
	anyFile  bool
	seen     map[string]bool
	warnings []string
}

// kustomizeNode is one kustomization on the way from the application.
type kustomizeNode struct {
	dir  string
	file string
	// text is the file as the author wrote it, before any edit.
	text []byte
	root *yaml.Node
}

// walk visits the kustomization in dir, named by ref on the last of the stack.
func (g *kustomizeGraph) walk(dir string, stack []*kustomizeNode, from *reference) error {
	for i, visited := range stack {
		if visited.dir == dir || inDir(visited.dir, dir) {
			return cycleError(dir, stack[i:], from)
		}
	}
	if g.seen[dir] {
		return nil
	}
	g.seen[dir] = true

	var names []string
	for _, name := range kustomizationNames() {
		if g.fs.Exists(path.Join(kustomizeRoot, dir, name)) {
			names = append(names, name)
		}
	}
	switch {
	case len(names) == 0 && from != nil:
		return from.error(fmt.Sprintf("%s has no kustomization.yaml", from.value),
			"add one there, or list the files of that directory")
	case len(names) == 0:
		return noKustomization(dir)
	case len(names) > 1:
		return &Error{
			File: dir, Message: "there are several kustomization files: " + strings.Join(names, ", "),
			Fix: "keep one",
		}
	}
	node := &kustomizeNode{dir: dir, file: path.Join(dir, names[0])}
	edited, err := g.fs.ReadFile(path.Join(kustomizeRoot, node.file))
	if err != nil {
		return g.readError(node.file, err)
	}
	if node.text, err = g.fs.checkout.readFile(node.file); err != nil {
		return g.readError(node.file, err)
	}
	var k types.Kustomization
	if err := k.Unmarshal(edited); err != nil {
		return node.malformed(err)
	}
	for _, warning := range *k.CheckDeprecatedFields() {
		warning = strings.TrimPrefix(warning, "# Warning: ")
		g.warnings = append(g.warnings, node.file+": "+strings.TrimSuffix(strings.TrimSpace(warning), "."))
	}
	k.FixKustomization()
	if err := k.CheckEmpty(); err != nil {
		return &Error{
			File: node.file, Line: 1, Message: "the kustomization is empty",
			Fix: "list a resource in it, or take it out of the application",
		}
	}
	if errs := k.EnforceFields(); len(errs) > 0 {
		line := node.find("kind", "")
		if strings.HasPrefix(errs[0], "apiVersion") {
			line = node.find("apiVersion", "")
		}
		return &Error{File: node.file, Line: line, Message: strings.Join(errs, ", "), Fix: "correct it, or leave both fields out"}
	}
	return g.check(node, &k, append(slices.Clone(stack), node))
}

func (g *kustomizeGraph) readError(file string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{File: file, Message: "cannot be read: " + cause(err).Error()}
}

// check looks at everything that a kustomization refers to.
func (g *kustomizeGraph) check(node *kustomizeNode, k *types.Kustomization, stack []*kustomizeNode) error {
	if len(k.HelmCharts) > 0 {
		field := "helmCharts"
		if node.find("helmChartInflationGenerator", "") > 0 {
			field = "helmChartInflationGenerator"
		}
		return &Error{
			File: node.file, Line: node.find(field, ""), Message: field + ": Helm charts in a kustomization are not rendered yet",
			Fix: "commit the chart's output (helm template) as a resource, or keep this application on Argo CD's own rendering", Err: ErrUnsupported,
		}
	}
	for _, list := range []struct {
		field    string
		values   []string
		kind     int
		required bool
	}{
		{"resources", k.Resources, fileOrBase, true},
		{"components", k.Components, baseOnly, true},
		{"configurations", k.Configurations, fileOnly, true},
		{"crds", k.Crds, fileOnly, true},
		{"openapi", openAPIPaths(k), fileOnly, true},
		{"patches", patchPaths(k.Patches), fileOnly, true},
		{"patchesJson6902", patchPaths(k.PatchesJson6902), fileOnly, true}, //nolint:staticcheck // deprecated, and in use
		{"replacements", replacementPaths(k), fileOnly, true},
		{"patchesStrategicMerge", mergePatches(k), fileOnly, false},
		{"configMapGenerator", generatorFiles(k), fileOnly, true},
	} {
		for _, value := range list.values {
			ref := &reference{node: node, field: list.field, value: value}
			if list.field == "configMapGenerator" && node.find(list.field, value) == 0 {
				ref.field = "secretGenerator"
			}
			if err := g.follow(ref, list.kind, list.required, stack); err != nil {
				return err
			}
		}
	}
	for _, plugins := range []struct {
		field  string
		values []string
	}{{"generators", k.Generators}, {"transformers", k.Transformers}, {"validators", k.Validators}} {
		for _, value := range plugins.values {
			if err := g.checkPlugin(&reference{node: node, field: plugins.field, value: value}, stack); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	fileOnly = iota
	baseOnly
	fileOrBase
)

func openAPIPaths(k *types.Kustomization) []string {
	if p := k.OpenAPI["path"]; p != "" {
		return []string{p}
	}
	return nil
}

func patchPaths(patches []types.Patch) []string {
	var paths []string
	for _, p := range patches {
		if p.Path != "" {
			paths = append(paths, p.Path)
		}
	}
	return paths
}

func replacementPaths(k *types.Kustomization) []string {
	var paths []string
	for _, r := range k.Replacements {
		if r.Path != "" {
			paths = append(paths, r.Path)
		}
	}
	return paths
}

// mergePatches are the entries that are no inline patch.
func mergePatches(k *types.Kustomization) []string {
	var paths []string
	for _, p := range k.PatchesStrategicMerge { //nolint:staticcheck // deprecated, and in use
		if !strings.Contains(string(p), "\n") {
			paths = append(paths, string(p))
		}
	}
	return paths
}

func generatorFiles(k *types.Kustomization) []string {
	var paths []string
	add := func(sources types.KvPairSources) {
		for _, file := range sources.FileSources {
			if _, value, ok := strings.Cut(file, "="); ok {
				file = value
			}
			paths = append(paths, file)
		}
		paths = append(paths, sources.EnvSources...)
	}
	for _, c := range k.ConfigMapGenerator {
		add(c.KvPairSources)
	}
	for _, s := range k.SecretGenerator {
		add(s.KvPairSources)
	}
	return paths
}

// reference is an entry of a kustomization.
type reference struct {
	node  *kustomizeNode
	field string
	value string
}

func (r *reference) error(message, fix string) *Error {
	file, line := r.node.file, r.node.find(r.field, r.value)
	if line == 0 {
		// It is not in the file: the application's options put it there.
		return &Error{File: file, Message: "kustomize." + r.field + " of the application: " + message, Fix: fix}
	}
	return &Error{File: file, Line: line, Message: r.field + ": " + message, Fix: fix}
}

// follow checks what a reference leads to, and walks on if that is a base.
func (g *kustomizeGraph) follow(ref *reference, kind int, required bool, stack []*kustomizeNode) error {
	if isHTTP(ref.value) {
		return remoteError(ref.node.file, ref.node.find(ref.field, ref.value), ref.field, ref.value)
	}
	if path.IsAbs(ref.value) {
		if !required {
			return nil
		}
		return ref.error(ref.value+" is an absolute path", "use a path relative to the kustomization")
	}
	target, info, err := g.fs.resolve(path.Join(kustomizeRoot, ref.node.dir, ref.value))
	isFile := err == nil && !info.IsDir()
	if kind != fileOnly && !isFile && looksRemote(ref.value) {
		return remoteError(ref.node.file, ref.node.find(ref.field, ref.value), ref.field, ref.value)
	}
	var e *Error
	switch {
	case err != nil && !required:
		return nil
	case isMissing(err):
		return ref.error(ref.value+" does not exist", "paths are relative to "+ref.node.dir+"; check the spelling, and that the file is committed")
	case errors.As(err, &e):
		found := ref.error(ref.value+": "+e.Message, e.Fix)
		if e.File != "" {
			found.Message = ref.field + ": " + e.File + ": " + e.Message
		}
		found.Err = e.Err
		return found
	case err != nil:
		return ref.error(ref.value+": "+cause(err).Error(), "")
	case isFile && kind == baseOnly:
		return ref.error(ref.value+" is a file", "name the directory of a kustomization")
	case isFile && required && !g.anyFile && !inDir(target, ref.node.dir):
		return ref.error(ref.value+" is outside of the kustomization's directory "+ref.node.dir,
			"a kustomization reads files of its own directory only: move the file there, or list the directory that holds it, with a kustomization.yaml of its own")
	case isFile && info.Size() > maxFile:
		return tooLarge(target)
	case !isFile && kind == fileOnly && required:
		return ref.error(ref.value+" is a directory", "name a file")
	case !isFile && kind != fileOnly:
		return g.walk(target, stack, ref)
	}
	return nil
}

// inDir says whether a path is in or below a directory.
func inDir(name, dir string) bool {
	return dir == "." || strings.HasPrefix(name, dir+"/")
}

// checkPlugin refuses a generator, transformer or validator that is not built
// into kustomize: it would be a program or a container to run.
func (g *kustomizeGraph) checkPlugin(ref *reference, stack []*kustomizeNode) error {
	if inline := parseDocuments([]byte(ref.value)); len(inline) > 0 && inline[0].Kind == yaml.MappingNode {
		line := ref.node.find(ref.field, ref.value)
		for _, config := range inline {
			if err := checkPluginConfig(config, ref.node.file, line, ref.field); err != nil {
				return err
			}
		}
		return nil
	}
	if err := g.follow(ref, fileOrBase, true, stack); err != nil {
		return err
	}
	target, info, err := g.fs.resolve(path.Join(kustomizeRoot, ref.node.dir, ref.value))
	if err != nil {
		return g.readError(ref.node.file, err)
	}
	if info.IsDir() {
		return nil
	}
	text, err := g.fs.ReadFile(path.Join(kustomizeRoot, target))
	if err != nil {
		return g.readError(target, err)
	}
	for _, config := range parseDocuments(text) {
		if err := checkPluginConfig(config, target, config.Line, ref.field); err != nil {
			return err
		}
	}
	return nil
}

func checkPluginConfig(config *yaml.Node, file string, line int, field string) error {
	kind, version := scalarField(config, "kind"), scalarField(config, "apiVersion")
	switch {
	case version != "builtin":
		return &Error{
			File: file, Line: line, Message: fmt.Sprintf("%s: %s is a plugin, which would run a program of its own", field, kind),
			Fix: "commit what the plugin makes as resources or patches; Argo CD refuses plugins too unless its administrator enables them",
		}
	case kind == "HelmChartInflationGenerator":
		return &Error{
			File: file, Line: line, Message: field + ": Helm charts in a kustomization are not rendered yet",
			Fix: "commit the chart's output (helm template) as a resource, or keep this application on Argo CD's own rendering", Err: ErrUnsupported,
		}
	}
	if remote := remoteScalar(config); remote != nil {
		return remoteError(file, max(line, 0), field, remote.Value)
	}
	return nil
}

// remoteScalar finds a path of a built-in plugin that would be fetched.
func remoteScalar(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(node.Content); i += 2 {
			switch node.Content[i].Value {
			case "path", "paths", "files", "envs", "env":
				for _, leaf := range append([]*yaml.Node{node.Content[i+1]}, node.Content[i+1].Content...) {
					if _, value, ok := strings.Cut(leaf.Value, "="); isHTTP(leaf.Value) || ok && isHTTP(value) {
						return leaf
					}
				}
			}
		}
	}
	for _, child := range node.Content {
		if found := remoteScalar(child); found != nil {
			return found
		}
	}
	return nil
}

// parseDocuments returns the roots of the YAML documents that parse.
func parseDocuments(text []byte) []*yaml.Node {
	var roots []*yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var node yaml.Node
		if err := decoder.Decode(&node); err != nil {
			return roots
		}
		if len(node.Content) > 0 {
			roots = append(roots, node.Content[0])
		}
	}
}

func scalarField(node *yaml.Node, key string) string {
	if value := mapValue(node, key); value != nil && value.Kind == yaml.ScalarNode {
		return value.Value
	}
	return ""
}

func mapValue(node *yaml.Node, key string) *yaml.Node {
	if node != nil && node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// find is the line of value under the top-level field, or the line of the
// field itself if value is "". 0 if the author's file does not have it.
func (n *kustomizeNode) find(field, value string) int {
	if n.root == nil {
		n.root = &yaml.Node{}
		if roots := parseDocuments(n.text); len(roots) > 0 {
			n.root = roots[0]
		}
	}
	if n.root.Kind != yaml.MappingNode {
		return 0
	}
	fields := []string{field}
	switch field {
	case "resources":
		fields = append(fields, "bases")
	case "patches":
		// `kustomize edit` moves these there.
		fields = append(fields, "patchesJson6902", "patchesStrategicMerge")
	}
	for i := 0; i+1 < len(n.root.Content); i += 2 {
		key := n.root.Content[i]
		// kustomize decodes through JSON, whose keys are case-insensitive.
		if !slices.ContainsFunc(fields, func(f string) bool { return strings.EqualFold(f, key.Value) }) {
			continue
		}
		if value == "" {
			return key.Line
		}
		if line := scalarLine(n.root.Content[i+1], value); line > 0 {
			return line
		}
	}
	return 0
}

func scalarLine(node *yaml.Node, value string) int {
	if node.Kind == yaml.ScalarNode {
		if node.Value == value || strings.HasSuffix(node.Value, "="+value) {
			return node.Line
		}
		return 0
	}
	for _, child := range node.Content {
		if line := scalarLine(child, value); line > 0 {
			return line
		}
	}
	return 0
}

// malformed explains a kustomization that does not parse.
func (n *kustomizeNode) malformed(err error) error {
	unknownField := regexp.MustCompile(`unknown field "([^"]+)"`)
	wrongType := regexp.MustCompile(`cannot unmarshal (\S+) into Go (?:struct field Kustomization\.(\S+) of type|value of type) \S+`)
	text := strings.TrimPrefix(err.Error(), "invalid Kustomization: ")
	e := &Error{File: n.file}
	if m := unknownField.FindStringSubmatch(text); m != nil {
		e.Line = keyLine(parseDocuments(n.text), m[1])
		e.Message = fmt.Sprintf("kustomize knows no field %q here", m[1])
		e.Fix = "check the spelling and the indentation"
		return e
	}
	if m := wrongType.FindStringSubmatch(text); m != nil {
		if m[2] != "" {
			e.Line = n.find(strings.Split(m[2], ".")[0], "")
			e.Message = fmt.Sprintf("the field %s has the wrong type: a YAML %s", m[2], m[1])
		} else {
			e.Line = 1
			e.Message = "the file is not a mapping but a YAML " + m[1]
		}
		e.Fix = "see kustomize's reference of the field"
		return e
	}
	message, line := yamlErrorText(text)
	e.Line, e.Message, e.Fix = line, "invalid YAML: "+message, "correct the kustomization"
	return e
}

// keyLine is the line of the first key of that name, anywhere.
func keyLine(nodes []*yaml.Node, key string) int {
	for _, node := range nodes {
		if node.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(node.Content); i += 2 {
				if node.Content[i].Value == key {
					return node.Content[i].Line
				}
			}
		}
		if line := keyLine(node.Content, key); line > 0 {
			return line
		}
	}
	return 0
}

func cycleError(dir string, loop []*kustomizeNode, from *reference) error {
	var way []string
	for _, node := range loop {
		way = append(way, node.dir)
	}
	way = append(way, dir)
	return from.error(fmt.Sprintf("%s is a cycle: %s", from.value, strings.Join(way, " -> ")),
		"a base can be neither the kustomization itself nor a directory above it; move what they share to a directory of its own")
}

func remoteError(file string, line int, field, value string) error {
	return &Error{
		File: file, Line: line, Message: fmt.Sprintf("%s: %s is remote, and a render fetches nothing", field, redactURL(value)),
		Fix: "vendor it: commit a copy of it to the repository, and name that", Err: ErrRemote,
	}
}

// redactURL takes a password out of a URL.
func redactURL(value string) string {
	if u, err := url.Parse(value); err == nil && u.User != nil {
		u.User = url.User("xxx")
		return u.String()
	}
	return value
}

// isHTTP says whether kustomize would fetch the path of a file (api
// internal/loader IsRemoteFile).
func isHTTP(value string) bool {
	u, err := url.Parse(value)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// looksRemote says whether kustomize would take the path of a base for a git
// repository (api internal/git NewRepoSpecFromURL). It errs towards yes for
// anything with a scheme.
func looksRemote(value string) bool {
	if isHTTP(value) {
		return true
	}
	lower := strings.ToLower(value)
	for _, scheme := range []string{"git::", "ssh://", "https://", "http://", "file://"} {
		if strings.HasPrefix(lower, scheme) {
			return true
		}
	}
	rest := value
	if user, host, ok := strings.Cut(value, "@"); ok && isGitUser(user) {
		rest = host
	}
	lower = strings.ToLower(rest)
	if rest == value && !strings.HasPrefix(lower, "github.com/") && !strings.HasPrefix(lower, "github.com:") {
		return false
	}
	rest, _, _ = strings.Cut(rest, "?")
	at := strings.IndexAny(rest, "/:")
	if at < 0 {
		return false
	}
	rest = rest[at+1:]
	return strings.Contains(rest, "_git/") || strings.Contains(rest, "//") ||
		strings.Contains(rest, ".git") || strings.Contains(rest, "/")
}

// isGitUser says whether a text is a letter, followed by letters, digits and
// dashes.
func isGitUser(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}
