package render

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/TomOnTime/utfutil"
	"github.com/gobwas/glob"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// DirectoryOptions are the native block spec.source.directory.
type DirectoryOptions struct {
	// Recurse reads the subdirectories too, hidden ones included.
	Recurse bool `json:"recurse,omitempty"`
	// Exclude and Include are glob patterns on the file's path relative to the
	// application's directory. A * matches slashes too. Exclude wins.
	Exclude string `json:"exclude,omitempty"`
	Include string `json:"include,omitempty"`
	// Jsonnet is accepted so that a native block can be copied whole.
	Jsonnet *JsonnetOptions `json:"jsonnet,omitempty"`
}

// JsonnetOptions are the native block spec.source.directory.jsonnet.
type JsonnetOptions struct {
	ExtVars []JsonnetVariable `json:"extVars,omitempty"`
	TLAs    []JsonnetVariable `json:"tlas,omitempty"`
	Libs    []string          `json:"libs,omitempty"`
}

// JsonnetVariable is an external variable or a top-level argument.
type JsonnetVariable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Code  bool   `json:"code,omitempty"`
}

const (
	// maxManifests bounds the manifests of a directory together, in bytes: the
	// default of argocd-repo-server's --max-combined-directory-manifests-size.
	maxManifests = 10_000_000
	// skipMarker anywhere in a file keeps it out of the application (Argo CD
	// 3.1 and later).
	skipMarker = "+argocd:skip-file-rendering"
)

// isManifestName is Argo CD's `^.*\.(yaml|yml|json|jsonnet)$`. A dot there is
// no newline.
func isManifestName(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json", ".jsonnet":
		return !strings.Contains(name, "\n")
	}
	return false
}

// directory renders a directory of YAML and JSON files by the rules of Argo
// CD's repo-server (reposerver/repository/repository.go, findManifests).
type directory struct {
	checkout *checkout
	// dir is the application's directory without symbolic links.
	dir              string
	options          DirectoryOptions
	include, exclude glob.Glob
	size             int64
	result           Result

	// What was seen and not used, for the message when nothing was.
	subdirectories, filtered, ignored int
}

func renderDirectory(ctx context.Context, c *checkout, dir string, link bool, options *DirectoryOptions) (*Result, error) {
	d := &directory{checkout: c, dir: dir, result: Result{Type: Directory}}
	if options != nil {
		d.options = *options
	}
	var err error
	if d.include, err = compileGlob("include", d.options.Include); err != nil {
		return nil, err
	}
	if d.exclude, err = compileGlob("exclude", d.options.Exclude); err != nil {
		return nil, err
	}
	if link {
		return nil, &Error{
			File: dir, Message: "the application's directory is reached through a symbolic link, and Argo CD reads no manifests through one",
			Fix: "point the application at the link's target", Err: ErrNoObjects,
		}
	}
	var files []string
	if err := d.walk(dir, &files); err != nil {
		return nil, err
	}
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := d.read(file); err != nil {
			return nil, err
		}
	}
	if len(d.result.Manifests) == 0 {
		return nil, d.nothing()
	}
	d.result.Files = c.files()
	return &d.result, nil
}

// compileGlob compiles a pattern without separators, as Argo CD does. Argo CD
// ignores a pattern that does not compile, so an exclude would then exclude
// nothing: an error here.
func compileGlob(name, pattern string) (glob.Glob, error) {
	if pattern == "" {
		return nil, nil
	}
	g, err := glob.Compile(pattern)
	if err != nil {
		return nil, &Error{
			Message: fmt.Sprintf("directory.%s: %q is not a glob pattern: %v", name, pattern, err),
			Fix:     "use *, ?, [a-z] and {a,b}; * matches slashes too",
		}
	}
	return g, nil
}

// walk collects the manifest files of dir in lexical order.
func (d *directory) walk(dir string, files *[]string) error {
	entries, err := d.checkout.readDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		if entry.IsDir() {
			if !d.options.Recurse {
				d.subdirectories++
				continue
			}
			if err := d.walk(name, files); err != nil {
				return err
			}
			continue
		}
		use, err := d.candidate(name)
		if err != nil {
			return err
		}
		if use {
			*files = append(*files, name)
		}
	}
	return nil
}

// candidate says whether the file counts, by everything but its YAML.
func (d *directory) candidate(name string) (bool, error) {
	if !isManifestName(path.Base(name)) {
		return false, nil
	}
	_, info, err := d.checkout.resolve(name)
	if errors.Is(err, fs.ErrNotExist) {
		d.warn(name, "the symbolic link leads to nothing; skipped, as Argo CD does")
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		d.warn(name, "not a regular file; skipped, as Argo CD does")
		return false, nil
	}
	relative := d.relative(name)
	if d.exclude != nil && d.exclude.Match(relative) || d.include != nil && !d.include.Match(relative) {
		d.filtered++
		return false, nil
	}
	text, err := d.readText(name)
	if err != nil {
		return false, err
	}
	if bytes.Contains(text, []byte(skipMarker)) {
		d.filtered++
		return false, nil
	}
	if strings.HasSuffix(name, ".jsonnet") {
		return false, &Error{
			File: name, Message: "jsonnet files are not rendered yet",
			Fix: "leave the file out with directory.exclude, or keep this application on Argo CD's own rendering", Err: ErrUnsupported,
		}
	}
	d.size += info.Size()
	if d.size > maxManifests {
		return false, &Error{
			File:    name,
			Message: "the manifests of the application are larger than 10M together, Argo CD's own limit",
			Fix:     "split the application, or leave files out with directory.exclude", Err: ErrLimit,
		}
	}
	return true, nil
}

func (d *directory) warn(name, what string) {
	d.result.Warnings = append(d.result.Warnings, name+": "+what)
}

func (d *directory) relative(name string) string {
	if d.dir == "." {
		return name
	}
	return strings.TrimPrefix(name, d.dir+"/")
}

// readText returns the file as UTF-8, whichever UTF its byte order mark says.
func (d *directory) readText(name string) ([]byte, error) {
	data, err := d.checkout.readFile(name)
	if err != nil {
		return nil, err
	}
	return decodeText(data)
}

func decodeText(data []byte) ([]byte, error) {
	return io.ReadAll(utfutil.BytesReader(data, utfutil.UTF8))
}

func (d *directory) read(name string) error {
	text, err := d.readText(name)
	if err != nil {
		return err
	}
	if strings.HasSuffix(name, ".json") {
		return d.readJSON(name, text)
	}
	return d.readYAML(name, text)
}

// readJSON reads a file that holds exactly one object. Argo CD lets an object
// without a kind pass here if it could be the manifest of an OCI image
// (repository.go:2056), and its controller then refuses it; both ends are this
// error.
func (d *directory) readJSON(name string, text []byte) error {
	var u unstructured.Unstructured
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&u); err != nil {
		if u.Object != nil && u.GetKind() == "" {
			return noKind(name, 1)
		}
		return &Error{
			File: name, Line: jsonErrorLine(text, err), Message: "invalid JSON: " + jsonErrorText(err),
			Fix: "a .json file must hold exactly one Kubernetes object; leave it out with directory.exclude if it is something else",
		}
	}
	if decoder.More() {
		return &Error{
			File: name, Line: lineAt(text, int(decoder.InputOffset())) + 1,
			Message: "there is more than one object in the file",
			Fix:     "keep one object in a .json file, or use a List or YAML",
		}
	}
	return d.add(Source{File: name, Item: -1}, u.Object, 1)
}

func jsonErrorText(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the file ends too early"
	}
	return err.Error()
}

func jsonErrorLine(text []byte, err error) int {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return lineAt(text, int(syntax.Offset)) + 1
	}
	return 1
}

// lineAt is the 0-based line of a byte offset.
func lineAt(text []byte, offset int) int {
	return bytes.Count(text[:min(max(offset, 0), len(text))], []byte("\n"))
}

func (d *directory) readYAML(name string, text []byte) error {
	if err := checkBombs(name, text); err != nil {
		return err
	}
	decoder := kubeyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	type parsed struct {
		document int
		object   map[string]any
	}
	var objects []parsed
	for document := 0; ; document++ {
		u := &unstructured.Unstructured{}
		err := decoder.Decode(&u)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			// The rule of repository.go:2068: an error counts if the file has
			// shown itself to hold manifests, by a document before this one or
			// by its words. Anything else is somebody else's YAML.
			if len(objects) == 0 && !looksLikeManifest(text) {
				d.ignored++
				return nil
			}
			return yamlError(name, text, document, err)
		}
		if u == nil {
			continue
		}
		objects = append(objects, parsed{document, u.Object})
	}
	for _, o := range objects {
		source := Source{File: name, Document: o.document, Item: -1}
		if err := d.add(source, o.object, documentLine(text, o.document)); err != nil {
			return err
		}
	}
	return nil
}

func looksLikeManifest(text []byte) bool {
	for _, word := range []string{"apiVersion:", "kind:", "metadata:"} {
		if !bytes.Contains(text, []byte(word)) {
			return false
		}
	}
	return true
}

func yamlError(name string, text []byte, document int, err error) error {
	start := documentLine(text, document)
	if strings.Contains(err.Error(), "Object 'Kind' is missing") {
		return noKind(name, start)
	}
	message, line := yamlErrorText(err.Error())
	if documents := splitDocuments(text); line > 0 && document < len(documents) {
		start = documents[document].line + line - 1
	}
	return &Error{
		File: name, Line: start, Message: "invalid YAML: " + message,
		Fix: "correct it; a file that holds no manifests can be left out with directory.exclude",
	}
}

// yamlErrorText is the message of a YAML error without the prefixes of the
// libraries it went through, and the line it names, 0 if none.
func yamlErrorText(text string) (message string, line int) {
	for _, prefix := range []string{"error converting YAML to JSON: ", "error unmarshaling JSON: ", "while decoding JSON: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	withLine := regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\s*)?line (\d+): `)
	if at := withLine.FindStringSubmatchIndex(text); at != nil {
		line, _ = strconv.Atoi(text[at[2]:at[3]])
		text = text[at[1]:]
	}
	text = strings.TrimPrefix(text, "yaml: ")
	if line > 0 && strings.HasPrefix(text, "did not find expected") {
		// The library counts the lines of its parser's errors from 0, those of
		// its scanner's from 1 (go.yaml.in/yaml decode.go, fail).
		line++
	}
	return strings.Join(strings.Fields(text), " "), line
}

func noKind(name string, line int) error {
	return &Error{
		File: name, Line: line, Message: "the object has no kind, so Argo CD cannot apply it",
		Fix: "add apiVersion and kind, or leave the file out with directory.exclude",
	}
}

// add appends an object, or the items of a List.
func (d *directory) add(source Source, object map[string]any, line int) error {
	manifests, err := flatten(source, object, line)
	if err != nil {
		return err
	}
	d.result.Manifests = append(d.result.Manifests, manifests...)
	return nil
}

// flatten makes manifests of an object as GenerateManifests does: an object
// with a list of items is replaced by them, whatever its kind; one whose items
// are null, and that has neither spec nor status, by nothing.
func flatten(source Source, object map[string]any, line int) ([]Manifest, error) {
	items, has := object["items"]
	list, isList := items.([]any)
	if !isList {
		_, spec := object["spec"]
		_, status := object["status"]
		if has && items == nil && !spec && !status {
			return nil, nil
		}
		manifest, err := encodeManifest(source, object, line)
		if err != nil {
			return nil, err
		}
		return []Manifest{manifest}, nil
	}
	manifests := make([]Manifest, 0, len(list))
	for i, item := range list {
		source.Item = i
		child, ok := item.(map[string]any)
		if !ok {
			return nil, &Error{
				File: source.File, Line: line,
				Message: fmt.Sprintf("items[%d] of the %v is not an object", i, object["kind"]),
				Fix:     "a List holds objects only",
			}
		}
		manifest, err := encodeManifest(source, child, line)
		if err != nil {
			return nil, err
		}
		manifests = append(manifests, manifest)
	}
	return manifests, nil
}

func encodeManifest(source Source, object map[string]any, line int) (Manifest, error) {
	if kind, _ := object["kind"].(string); kind == "" {
		return Manifest{}, noKind(source.File, line)
	}
	text, back, err := encodeObject(object)
	if err != nil {
		return Manifest{}, &Error{File: source.File, Line: line, Message: err.Error()}
	}
	return Manifest{YAML: text, Object: back, Source: source}, nil
}

// nothing explains why a directory rendered to no object.
func (d *directory) nothing() error {
	e := &Error{
		File: d.dir, Message: "the application has no objects; Argo CD would delete everything it owns",
		Err: ErrNoObjects,
	}
	switch {
	case d.filtered > 0:
		e.Fix = fmt.Sprintf("%s left out by include, exclude or %s: check the patterns, which match the path relative to the application's directory",
			count(d.filtered, "file was", "files were"), skipMarker)
	case d.ignored > 0:
		e.Fix = fmt.Sprintf("%s passed over because nothing in there looks like a Kubernetes object",
			count(d.ignored, "file was", "files were"))
	case d.subdirectories > 0:
		e.Fix = fmt.Sprintf("there is nothing but %s: set directory.recurse to read them", count(d.subdirectories, "subdirectory", "subdirectories"))
	default:
		e.Fix = "there is no .yaml, .yml or .json file with an object in it: check the application's path"
	}
	return e
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
