package render

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Locator finds where in the checkout a rendered value comes from. It never
// guesses: of several places that could be it, one must be better than all
// others. Files are read when first needed. It is safe for concurrent use.
type Locator struct {
	checkout fs.FS
	result   *Result

	lock  sync.Mutex
	files map[string]*parsedFile
	// depth is that of each kustomization, once computed.
	depth map[string]int
}

// NewLocator makes a Locator of a result and the checkout it was rendered from.
func NewLocator(checkout fs.FS, result *Result) *Locator {
	return &Locator{checkout: checkout, result: result, files: map[string]*parsedFile{}}
}

// Locate returns the file, slash-separated in the checkout, and the 1-based
// line of the value at a path in a manifest of the result: string keys and int
// indexes from the object's root. For a value inside a text, such as a YAML
// file in a ConfigMap, the path is that of the text. Both are zero if the place
// is not known for certain.
//
// An object that a file holds as it is was rendered from there, so the path
// leads to the line. What kustomize made can come from an images entry of a
// kustomization, from a resource or patch of the object, or from any other file
// that was read, and is searched for in this order.
func (l *Locator) Locate(manifest int, path []any, value string) (file string, line int) {
	if manifest < 0 || manifest >= len(l.result.Manifests) {
		return "", 0
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	m := &l.result.Manifests[manifest]
	if m.Source.File != "" {
		return l.inSource(m.Source, path)
	}
	return l.search(m, path, value)
}

// parsedFile is a file as YAML nodes, by document of Kubernetes' decoder.
type parsedFile struct {
	documents []parsedDocument
}

type parsedDocument struct {
	// offset is what to add to a node's line to get the file's.
	offset int
	root   *yaml.Node
}

func (l *Locator) parse(name string) *parsedFile {
	if f, ok := l.files[name]; ok {
		return f
	}
	f := &parsedFile{}
	l.files[name] = f
	info, err := fs.Stat(l.checkout, name)
	if err != nil || info.Size() > maxFile {
		return f
	}
	data, err := fs.ReadFile(l.checkout, name)
	if err != nil {
		return f
	}
	text, err := decodeText(data)
	if err != nil {
		return f
	}
	for _, d := range splitDocuments(text) {
		parsed := parsedDocument{offset: d.line - 1}
		if roots := parseDocuments(d.text); len(roots) > 0 {
			parsed.root = roots[0]
		}
		f.documents = append(f.documents, parsed)
	}
	return f
}

// inSource follows the path in the object as its file has it.
func (l *Locator) inSource(source Source, path []any) (string, int) {
	f := l.parse(source.File)
	if source.Document >= len(f.documents) || f.documents[source.Document].root == nil {
		return source.File, 0
	}
	d := f.documents[source.Document]
	node := d.root
	if source.Item >= 0 {
		path = append([]any{"items", source.Item}, path...)
	}
	for _, step := range path {
		next := stepInto(node, step)
		if next == nil {
			// The object has more than the file shows: keys from a merge, say.
			// The line of what holds it is still true.
			break
		}
		node = next
	}
	// An alias has no text of its own to correct: the anchor has.
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return source.File, d.offset + node.Line
}

// stepInto is one step from a node, through aliases and merge keys.
func stepInto(node *yaml.Node, step any) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch step := step.(type) {
	case int:
		if node.Kind == yaml.SequenceNode && step >= 0 && step < len(node.Content) {
			return node.Content[step]
		}
	case string:
		return mapChild(node, step, 0)
	}
	return nil
}

// maxMerges bounds merge keys of merge keys.
const maxMerges = 20

func mapChild(node *yaml.Node, key string, depth int) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode || depth > maxMerges {
		return nil
	}
	var found *yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			found = node.Content[i+1] // of two equal keys the last one counts
		}
	}
	if found != nil {
		return found
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Tag != "!!merge" {
			continue
		}
		merged := []*yaml.Node{node.Content[i+1]}
		if merged[0].Kind == yaml.SequenceNode {
			merged = merged[0].Content
		}
		for _, m := range merged {
			if found := mapChild(m, key, depth+1); found != nil {
				return found
			}
		}
	}
	return nil
}

// place is a candidate.
type place struct {
	file string
	line int
	rank int
}

// The ranks of a place for a value that kustomize made, best first.
const (
	rankSameField  = iota // the same field of the same object
	rankSameObject        // somewhere in the same object
	rankAlikeField        // the same field of an object whose name a prefix or suffix was added to
	rankAlikeObject
	rankAnywhere
)

func (l *Locator) search(m *Manifest, path []any, value string) (string, int) {
	if value == "" {
		return "", 0
	}
	if file, line := l.imagesEntry(value); line > 0 {
		return file, line
	}
	var places []place
	for _, name := range l.result.Files {
		for _, d := range l.parse(name).documents {
			if d.root != nil {
				places = append(places, scalars(name, d, m, path, value)...)
			}
		}
	}
	return best(places)
}

// best is the one place of the best rank.
func best(places []place) (string, int) {
	var found *place
	several := false
	for i := range places {
		p := &places[i]
		switch {
		case found == nil || p.rank < found.rank:
			found, several = p, false
		case p.rank == found.rank && (p.file != found.file || p.line != found.line):
			several = true
		}
	}
	if found == nil || several {
		return "", 0
	}
	return found.file, found.line
}

// scalars are the places in a document that hold the value.
func scalars(file string, d parsedDocument, m *Manifest, path []any, value string) []place {
	if isKustomization(file) {
		return kustomizationScalars(file, d, m, path, value)
	}
	var places []place
	objects := []*yaml.Node{d.root}
	if items := mapValue(d.root, "items"); items != nil && items.Kind == yaml.SequenceNode {
		objects = items.Content
	}
	for _, object := range objects {
		places = append(places, objectScalars(file, d.offset, object, m, path, value)...)
	}
	return places
}

func objectScalars(file string, offset int, object *yaml.Node, m *Manifest, path []any, value string) []place {
	field, within := rankAnywhere, rankAnywhere
	switch like := compareObject(object, m); {
	case like == sameName:
		field, within = rankSameField, rankSameObject
	case like == alikeName:
		field, within = rankAlikeField, rankAlikeObject
	case isJSONPatch(object):
		// Its target is in the kustomization; it may well be this object.
		within = rankSameObject
	}
	var places []place
	if field != rankAnywhere {
		if exact := follow(object, path); exact != nil && exact.Kind == yaml.ScalarNode && exact.Value == value {
			return []place{{file, offset + exact.Line, field}}
		}
	}
	walkScalars(object, map[*yaml.Node]bool{}, func(node *yaml.Node) {
		if node.Value == value {
			places = append(places, place{file, offset + node.Line, within})
		}
	})
	return places
}

// kustomizationScalars looks into the inline patches of a kustomization, then
// at its other values.
func kustomizationScalars(file string, d parsedDocument, m *Manifest, path []any, value string) []place {
	var places []place
	walkScalars(d.root, map[*yaml.Node]bool{}, func(node *yaml.Node) {
		if node.Value == value {
			places = append(places, place{file, d.offset + node.Line, rankAnywhere})
			return
		}
		if node.Style&yaml.LiteralStyle == 0 || !strings.Contains(node.Value, value) {
			return
		}
		// A patch in a literal block: its first line is the one below the "|".
		for _, root := range parseDocuments([]byte(node.Value)) {
			places = append(places, objectScalars(file, d.offset+node.Line, root, m, path, value)...)
		}
	})
	return places
}

// follow is the node at a path, nil if there is none. Lists of a patch are
// merged by name, so an index of the result may be another one here.
func follow(node *yaml.Node, path []any) *yaml.Node {
	for _, step := range path {
		if node = stepInto(node, step); node == nil {
			return nil
		}
	}
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

func walkScalars(node *yaml.Node, seen map[*yaml.Node]bool, visit func(*yaml.Node)) {
	if node == nil || seen[node] {
		return
	}
	seen[node] = true
	if node.Kind == yaml.ScalarNode {
		visit(node)
	}
	for _, child := range node.Content {
		walkScalars(child, seen, visit)
	}
}

const (
	otherName = iota
	alikeName
	sameName
)

// compareObject says whether a node of a file can be the object of a manifest,
// or a patch of it: of the same kind, and of the same name or one that a prefix
// or suffix was added to.
func compareObject(node *yaml.Node, m *Manifest) int {
	kind, _ := m.Object["kind"].(string)
	if scalarField(node, "kind") != kind {
		return otherName
	}
	metadata, _ := m.Object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	switch from := scalarField(mapValue(node, "metadata"), "name"); {
	case from == "" || name == "":
		return otherName
	case from == name:
		return sameName
	case strings.HasPrefix(name, from) || strings.HasSuffix(name, from) || strings.Contains(name, "-"+from+"-"):
		return alikeName
	}
	return otherName
}

func isJSONPatch(node *yaml.Node) bool {
	return node.Kind == yaml.SequenceNode && len(node.Content) > 0 && mapValue(node.Content[0], "op") != nil
}

func isKustomization(file string) bool {
	return slices.Contains(kustomizationNames(), path.Base(file))
}

// imagesEntry finds the images entry of a kustomization that made an image
// reference, and in it the line of what decides: the digest, else the tag, else
// the new name.
func (l *Locator) imagesEntry(value string) (string, int) {
	var places []place
	for _, file := range l.result.Files {
		if !isKustomization(file) {
			continue
		}
		for _, d := range l.parse(file).documents {
			entries := mapValue(d.root, "images")
			if entries == nil || entries.Kind != yaml.SequenceNode {
				continue
			}
			for _, entry := range entries.Content {
				if line := imagesEntryLine(entry, value); line > 0 {
					// The outermost overlay is applied last.
					places = append(places, place{file, d.offset + line, l.depths()[path.Dir(file)]})
				}
			}
		}
	}
	return best(places)
}

// imagesEntryLine is the line in an images entry that made value, 0 if it did
// not.
func imagesEntryLine(entry *yaml.Node, value string) int {
	name, newName := scalarField(entry, "name"), scalarField(entry, "newName")
	tag, digest := scalarField(entry, "newTag"), scalarField(entry, "digest")
	if newName == "" {
		newName = name
	}
	if newName == "" {
		return 0
	}
	rest, ok := strings.CutPrefix(value, newName)
	if !ok || rest != "" && rest[0] != ':' && rest[0] != '@' {
		return 0
	}
	deciding := ""
	switch {
	case digest != "" && rest == suffixOf(tag, digest):
		deciding = "digest"
	case tag != "" && digest == "" && rest == suffixOf(tag, ""):
		deciding = "newTag"
	case tag == "" && digest == "" && newName != name:
		// The entry renames; tag and digest are those of the resource.
		deciding = "newName"
	default:
		return 0
	}
	return mapValue(entry, deciding).Line
}

func suffixOf(tag, digest string) string {
	suffix := ""
	if tag != "" {
		suffix = ":" + tag
	}
	if digest != "" {
		suffix += "@" + digest
	}
	return suffix
}

// depths are how many overlays stand between each kustomization that was read
// and the application's own, which no other refers to.
func (l *Locator) depths() map[string]int {
	if l.depth != nil {
		return l.depth
	}
	edges := map[string][]string{}
	referred := map[string]bool{}
	for _, file := range l.result.Files {
		if !isKustomization(file) {
			continue
		}
		dir := path.Dir(file)
		edges[dir] = nil
		for _, d := range l.parse(file).documents {
			for _, field := range []string{"resources", "bases", "components"} {
				list := mapValue(d.root, field)
				if list == nil {
					continue
				}
				for _, entry := range list.Content {
					to := path.Join(dir, entry.Value)
					edges[dir] = append(edges[dir], to)
					referred[to] = true
				}
			}
		}
	}
	depths := map[string]int{}
	var queue []string
	for dir := range edges {
		if !referred[dir] {
			depths[dir] = 0
			queue = append(queue, dir)
		}
	}
	for len(queue) > 0 {
		dir := queue[0]
		queue = queue[1:]
		for _, to := range edges[dir] {
			if _, is := edges[to]; !is {
				continue
			}
			if _, done := depths[to]; !done {
				depths[to] = depths[dir] + 1
				queue = append(queue, to)
			}
		}
	}
	l.depth = depths
	return depths
}
