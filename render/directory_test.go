package render

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"
)

func utf16Text(s string, big bool) string {
	var b strings.Builder
	for _, u := range append([]uint16{0xfeff}, utf16.Encode([]rune(s))...) {
		if big {
			b.WriteByte(byte(u >> 8))
			b.WriteByte(byte(u))
		} else {
			b.WriteByte(byte(u))
			b.WriteByte(byte(u >> 8))
		}
	}
	return b.String()
}

// TestDirectory has one case for each rule of Argo CD's for a directory of
// manifests.
func TestDirectory(t *testing.T) {
	list := "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: one}}\n- {apiVersion: v1, kind: Secret, metadata: {name: two}}\n"
	for _, test := range []struct {
		name    string
		files   map[string]string
		options DirectoryOptions
		want    string // kind/name of the objects in order
		err     string // part of the error
		is      error
	}{
		{
			name:  "yaml, yml and json count, in lexical order",
			files: map[string]string{"app/c.json": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}`, "app/b.yml": configMap("b"), "app/a.yaml": configMap("a"), "app/d.txt": configMap("d"), "app/e.YAML": configMap("e")},
			want:  "ConfigMap/a ConfigMap/b ConfigMap/c",
		},
		{
			name:  "subdirectories are left out",
			files: map[string]string{"app/a.yaml": configMap("a"), "app/sub/b.yaml": configMap("b")},
			want:  "ConfigMap/a",
		},
		{
			name:    "recurse reads them, hidden ones too",
			files:   map[string]string{"app/b.yaml": configMap("b"), "app/a/x.yaml": configMap("x"), "app/.hidden/h.yaml": configMap("h"), "app/.h.yaml": configMap("hf")},
			options: DirectoryOptions{Recurse: true},
			want:    "ConfigMap/hf ConfigMap/h ConfigMap/x ConfigMap/b",
		},
		{
			name:  "files outside of the application do not count",
			files: map[string]string{"app/a.yaml": configMap("a"), "other/b.yaml": configMap("b"), "c.yaml": configMap("c")},
			want:  "ConfigMap/a",
		},
		{
			name:    "include matches the path relative to the application",
			files:   map[string]string{"app/a.yaml": configMap("a"), "app/b.yaml": configMap("b")},
			options: DirectoryOptions{Include: "a.*"},
			want:    "ConfigMap/a",
		},
		{
			name:    "a star crosses slashes",
			files:   map[string]string{"app/x/y/a.yaml": configMap("a"), "app/b.yaml": configMap("b")},
			options: DirectoryOptions{Recurse: true, Include: "x*.yaml"},
			want:    "ConfigMap/a",
		},
		{
			name:    "exclude wins over include",
			files:   map[string]string{"app/a.yaml": configMap("a"), "app/b.yaml": configMap("b")},
			options: DirectoryOptions{Include: "*", Exclude: "b*"},
			want:    "ConfigMap/a",
		},
		{
			name:    "alternatives",
			files:   map[string]string{"app/a.yaml": configMap("a"), "app/b.yaml": configMap("b"), "app/c.yaml": configMap("c")},
			options: DirectoryOptions{Exclude: "{a.yaml,c.yaml}"},
			want:    "ConfigMap/b",
		},
		{
			name:    "a pattern that does not compile",
			files:   map[string]string{"app/a.yaml": configMap("a")},
			options: DirectoryOptions{Exclude: "[a"},
			err:     `directory.exclude: "[a" is not a glob pattern`,
		},
		{
			name:  "the marker skips a file",
			files: map[string]string{"app/a.yaml": configMap("a"), "app/b.yaml": "# +argocd:skip-file-rendering\n" + configMap("b")},
			want:  "ConfigMap/a",
		},
		{
			name:  "the marker skips a file that does not parse, and jsonnet",
			files: map[string]string{"app/a.yaml": configMap("a"), "app/b.yaml": "# +argocd:skip-file-rendering\napiVersion: kind: metadata:", "app/c.jsonnet": "// +argocd:skip-file-rendering"},
			want:  "ConfigMap/a",
		},
		{
			name:  "several documents, empty and comment-only ones",
			files: map[string]string{"app/a.yaml": "# head\n---\n" + configMap("a") + "---\n---\n# nothing\n---\n" + configMap("b") + "---\nnull\n--- # comment\n" + configMap("c")},
			want:  "ConfigMap/a ConfigMap/b ConfigMap/c",
		},
		{
			name:  "a list is replaced by its items",
			files: map[string]string{"app/a.yaml": list},
			want:  "Secret/one Secret/two",
		},
		{
			name:  "any object with items is a list",
			files: map[string]string{"app/a.yaml": "apiVersion: x/v1\nkind: Whatever\nmetadata: {name: w}\nspec: {}\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: one}}\n"},
			want:  "Secret/one",
		},
		{
			name:  "a list of null is nothing",
			files: map[string]string{"app/a.yaml": configMap("a"), "app/b.yaml": "apiVersion: v1\nkind: ConfigMapList\nitems: null\n"},
			want:  "ConfigMap/a",
		},
		{
			name:  "items null beside a spec is an object",
			files: map[string]string{"app/a.yaml": "apiVersion: v1\nkind: Odd\nmetadata: {name: a}\nspec: {}\nitems: null\n"},
			want:  "Odd/a",
		},
		{
			name:  "lists in lists are not taken apart",
			files: map[string]string{"app/a.yaml": "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items: []\n"},
			want:  "List/",
		},
		{
			name:  "an item that is no object",
			files: map[string]string{"app/a.yaml": "apiVersion: v1\nkind: List\nitems: [1]\n"},
			err:   "app/a.yaml:1: items[0] of the List is not an object",
		},
		{
			name:  "an item without a kind",
			files: map[string]string{"app/a.yaml": "apiVersion: v1\nkind: List\nitems: [{metadata: {name: x}}]\n"},
			err:   "app/a.yaml:1: the object has no kind",
		},
		{
			name:  "YAML that is no manifest is passed over",
			files: map[string]string{"app/a.yaml": configMap("a"), "app/values.yaml": "image: nginx\n", "app/t.yaml": "{{ range }}\n", "app/seq.yaml": "- 1\n"},
			want:  "ConfigMap/a",
		},
		{
			name:  "broken YAML that looks like a manifest",
			files: map[string]string{"app/a.yaml": "\n\napiVersion: v1\nkind: X\nmetadata:\n  name: a\n bad\n"},
			err:   "app/a.yaml:7: invalid YAML: ",
		},
		{
			name:  "broken YAML after a good document",
			files: map[string]string{"app/a.yaml": configMap("a") + "---\nx: 1\ny: [\n"},
			err:   "app/a.yaml:8: invalid YAML: did not find expected",
		},
		{
			name:  "an object without a kind after a good document",
			files: map[string]string{"app/a.yaml": configMap("a") + "---\n# second\nx: 1\n"},
			err:   "app/a.yaml:7: the object has no kind, so Argo CD cannot apply it",
		},
		{
			name:  "an invalid separator",
			files: map[string]string{"app/a.yaml": configMap("a") + "--- x\n" + configMap("b")},
			err:   "invalid Yaml document separator: x",
		},
		{
			name:  "JSON with two objects",
			files: map[string]string{"app/a.json": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}` + "\n" + `{"apiVersion":"v1","kind":"ConfigMap"}`},
			err:   "app/a.json:2: there is more than one object in the file; keep one object in a .json file, or use a List or YAML",
		},
		{
			name:  "JSON of an OCI image, which Argo CD lets pass here and refuses later",
			files: map[string]string{"app/a.json": `{"schemaVersion":2,"config":{},"layers":[]}`},
			err:   "app/a.json:1: the object has no kind, so Argo CD cannot apply it",
		},
		{
			name:  "JSON that is broken",
			files: map[string]string{"app/a.json": "{\n\"kind\": \"X\",\n]"},
			err:   "app/a.json:3: invalid JSON: invalid character ']'",
		},
		{
			name:  "JSON that is empty",
			files: map[string]string{"app/a.json": ""},
			err:   "app/a.json:1: invalid JSON: the file ends too early",
		},
		{
			name:  "a list in JSON",
			files: map[string]string{"app/a.json": `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Secret","metadata":{"name":"one"}}]}`},
			want:  "Secret/one",
		},
		{
			name:  "several JSON objects in a YAML file",
			files: map[string]string{"app/a.yaml": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}` + "\n" + `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}` + "\n"},
			want:  "ConfigMap/a ConfigMap/b",
		},
		{
			name:  "JSON, then YAML, in a YAML file",
			files: map[string]string{"app/a.yaml": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}` + "\n---\n" + configMap("b")},
			want:  "ConfigMap/a ConfigMap/b",
		},
		{
			name:  "UTF-16 and a byte order mark",
			files: map[string]string{"app/a.yaml": utf16Text(configMap("ä"), false), "app/b.yaml": utf16Text(configMap("b"), true), "app/c.yaml": "\ufeff" + configMap("c"), "app/d.json": "\ufeff" + `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d"}}`},
			want:  "ConfigMap/ä ConfigMap/b ConfigMap/c ConfigMap/d",
		},
		{
			name:  "CRLF",
			files: map[string]string{"app/a.yaml": strings.ReplaceAll(configMap("a")+"---\n"+configMap("b"), "\n", "\r\n")},
			want:  "ConfigMap/a ConfigMap/b",
		},
		{
			name:  "a symbolic link inside the checkout",
			files: map[string]string{"app/a.yaml": "-> ../shared/x.yaml", "shared/x.yaml": configMap("x")},
			want:  "ConfigMap/x",
		},
		{
			name:  "a symbolic link through another directory",
			files: map[string]string{"app/a.yaml": "-> ../link/x.yaml", "link": "-> deep/shared", "deep/shared/x.yaml": configMap("x")},
			want:  "ConfigMap/x",
		},
		{
			name:  "a symbolic link to a directory is not entered",
			files: map[string]string{"app/a.yaml": configMap("a"), "app/sub": "-> ../shared", "app/d.yaml": "-> ../shared", "shared/x.yaml": configMap("x")},
			want:  "ConfigMap/a", options: DirectoryOptions{Recurse: true},
		},
		{
			name:  "a dangling symbolic link is skipped",
			files: map[string]string{"app/a.yaml": configMap("a"), "app/b.yaml": "-> nothing.yaml"},
			want:  "ConfigMap/a",
		},
		{
			name:  "a symbolic link out of the checkout",
			files: map[string]string{"app/a.yaml": configMap("a"), "app/b.yaml": "-> ../../etc/passwd"},
			err:   "app/b.yaml: the symbolic link points to ../../etc/passwd, which is outside the checkout", is: ErrOutside,
		},
		{
			name:  "an absolute symbolic link",
			files: map[string]string{"app/b.yaml": "-> /etc/passwd"},
			err:   "app/b.yaml: the symbolic link points to /etc/passwd, which is outside the checkout", is: ErrOutside,
		},
		{
			name:  "a symbolic link to itself",
			files: map[string]string{"app/a.yaml": "-> b.yaml", "app/b.yaml": "-> a.yaml"},
			err:   "the symbolic link leads to itself", is: ErrOutside,
		},
		{
			name:  "jsonnet is not passed over in silence",
			files: map[string]string{"app/a.yaml": configMap("a"), "app/b.jsonnet": "{}"},
			err:   "app/b.jsonnet: jsonnet files are not rendered yet", is: ErrUnsupported,
		},
		{
			name:  "excluded jsonnet is",
			files: map[string]string{"app/a.yaml": configMap("a"), "app/b.jsonnet": "{}"}, options: DirectoryOptions{Exclude: "*.jsonnet"},
			want: "ConfigMap/a",
		},
		{
			name:  "more than 10M together",
			files: map[string]string{"app/a.yaml": configMap("a") + strings.Repeat("# filler\n", 600_000), "app/b.yaml": configMap("b") + strings.Repeat("# filler\n", 600_000)},
			err:   "app/b.yaml: the manifests of the application are larger than 10M together", is: ErrLimit,
		},
		{
			name:  "one file of more than 10 MiB",
			files: map[string]string{"app/a.yaml": strings.Repeat("# filler\n", 1_200_000)},
			err:   "app/a.yaml: the file is larger than 10 MiB", is: ErrLimit,
		},
		{
			name:  "an alias bomb",
			files: map[string]string{"app/a.yaml": bomb()},
			err:   "app/a.yaml:11: the YAML aliases here expand to more than 1000000 values", is: ErrLimit,
		},
		{
			name:  "nothing at all",
			files: map[string]string{"app/README.md": "x"},
			err:   "there is no .yaml, .yml or .json file with an object in it", is: ErrNoObjects,
		},
		{
			name:  "nothing but subdirectories",
			files: map[string]string{"app/sub/a.yaml": configMap("a")},
			err:   "there is nothing but 1 subdirectory: set directory.recurse to read them", is: ErrNoObjects,
		},
		{
			name:  "nothing that is included",
			files: map[string]string{"app/a.yaml": configMap("a"), "app/b.yaml": configMap("b")}, options: DirectoryOptions{Include: "./*"},
			err: "2 files were left out by include, exclude or", is: ErrNoObjects,
		},
		{
			name:  "nothing but other YAML",
			files: map[string]string{"app/values.yaml": "a: b\n"},
			err:   "1 file was passed over because nothing in there looks like a Kubernetes object", is: ErrNoObjects,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := Application{Checkout: checkoutOf(t, test.files), Path: "app", Options: Options{Directory: &test.options}}
			result, err := InProcess{}.Render(context.Background(), app)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got error %v, want %q", err, test.err)
				}
				if test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("the error is no %v: %v", test.is, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := names(result); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			// The same from a disk.
			app.Checkout = directoryOf(t, test.files)
			onDisk, err := InProcess{}.Render(context.Background(), app)
			if err != nil {
				t.Fatal(err)
			}
			if text(onDisk) != text(result) {
				t.Errorf("from a directory:\n%s\nfrom memory:\n%s", text(onDisk), text(result))
			}
		})
	}
}

// bomb is a manifest whose aliases expand to 10^9 values.
func bomb() string {
	var b strings.Builder
	b.WriteString(configMap("bomb") + "data:\n  a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 9; i++ {
		fmt.Fprintf(&b, "  a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), i-1)
	}
	return b.String()
}

func TestDirectorySources(t *testing.T) {
	checkout := checkoutOf(t, map[string]string{
		"app/a.yaml": "# head\n---\n" + configMap("a") + "---\n# only a comment\n---\n" + configMap("b"),
		"app/b.yaml": "\n---\n" + configMap("c") + "---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: one}}\n- {apiVersion: v1, kind: Secret, metadata: {name: two}}\n",
		"app/c.json": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d"}}`,
		"app/d.yaml": "-> ../shared/x.yaml", "shared/x.yaml": configMap("x"),
	})
	result, err := InProcess{}.Render(context.Background(), Application{Checkout: checkout, Path: "app"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, m := range result.Manifests {
		got = append(got, fmt.Sprintf("%s %v", strings.Fields(names(result))[i], m.Source))
	}
	want := []string{
		"ConfigMap/a {app/a.yaml 1 -1}", "ConfigMap/b {app/a.yaml 3 -1}",
		"ConfigMap/c {app/b.yaml 1 -1}", "Secret/one {app/b.yaml 2 0}", "Secret/two {app/b.yaml 2 1}",
		"ConfigMap/d {app/c.json 0 -1}", "ConfigMap/x {app/d.yaml 0 -1}",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := strings.Join(result.Files, " "); got != "app/a.yaml app/b.yaml app/c.json shared/x.yaml" {
		t.Errorf("files read: %s", got)
	}
}
