package kustomize

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/TomOnTime/utfutil"
	"github.com/pin-cmp/pin-cmp/render"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// minimumDirectories is how many directories must agree for the comparison to
// mean anything.
const minimumDirectories = 100

// TestSameObjects renders every directory of the modules that holds YAML or
// JSON as a Directory application, and wants the objects of Argo CD's rules,
// or a failure where they fail.
func TestSameObjects(t *testing.T) {
	var same, fail int
	for _, module := range modules {
		root := download(t, module)
		checkout, err := render.OpenDir(root)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = checkout.Close() }()
		for _, dir := range manifestDirectories(t, checkout) {
			want, wantErr := argoObjects(filepath.Join(root, dir))
			result, err := (&render.Isolated{}).Render(context.Background(), render.Application{
				Checkout: checkout, Path: dir, Options: render.Options{Type: render.Directory},
			})
			switch {
			case errors.Is(err, render.ErrUnsupported):
			case errors.Is(err, render.ErrNoObjects) && wantErr == nil && len(want) == 0, err != nil && wantErr != nil:
				fail++
			case err != nil || wantErr != nil:
				t.Errorf("%s %s: got error %v, Argo CD's rules give %v", module, dir, err, wantErr)
			default:
				var got []string
				for _, manifest := range result.Manifests {
					text, err := json.Marshal(manifest.Object)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, string(text))
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s %s: got\n%s\nwant\n%s", module, dir, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
				same++
			}
		}
	}
	t.Logf("%d directories with the same objects, %d that both refuse", same, fail)
	if same < minimumDirectories {
		t.Errorf("%d directories agreed, want at least %d", same, minimumDirectories)
	}
}

func manifestDirectories(t *testing.T, checkout fs.FS) []string {
	t.Helper()
	var dirs []string
	err := fs.WalkDir(checkout, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && manifestFile.MatchString(entry.Name()) {
			dirs = append(dirs, filepath.ToSlash(filepath.Dir(name)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

var manifestFile = regexp.MustCompile(`^.*\.(yaml|yml|json|jsonnet)$`)

var errRefused = errors.New("refused")

// argoObjects are the JSON texts of the objects that Argo CD's repo-server
// (reposerver/repository/repository.go, findManifests and the end of
// GenerateManifests) makes of a directory without options. An object without a
// kind, which only its controller refuses, is refused here.
func argoObjects(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	size := int64(0)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || !manifestFile.MatchString(entry.Name()) {
			continue
		}
		text, err := utfutil.ReadFile(filepath.Join(dir, entry.Name()), utfutil.UTF8)
		if err != nil {
			return nil, err
		}
		if bytes.Contains(text, []byte("+argocd:skip-file-rendering")) {
			continue
		}
		if size += info.Size(); size > 10_000_000 {
			return nil, errRefused
		}
		if strings.HasSuffix(entry.Name(), ".json") {
			var u unstructured.Unstructured
			decoder := json.NewDecoder(bytes.NewReader(text))
			if decoder.Decode(&u) != nil || decoder.More() {
				return nil, errRefused
			}
			objects = append(objects, &u)
			continue
		}
		found, err := split(text)
		if err != nil && (len(found) > 0 || bytes.Contains(text, []byte("apiVersion:")) &&
			bytes.Contains(text, []byte("kind:")) && bytes.Contains(text, []byte("metadata:"))) {
			return nil, err
		}
		objects = append(objects, found...)
	}
	var texts []string
	for _, object := range objects {
		targets := []*unstructured.Unstructured{object}
		if object.IsList() {
			targets = nil
			err := object.EachListItem(func(item runtime.Object) error {
				targets = append(targets, item.(*unstructured.Unstructured))
				return nil
			})
			if err != nil {
				return nil, err
			}
		} else if items, ok := object.Object["items"]; ok && items == nil && object.Object["spec"] == nil && object.Object["status"] == nil {
			continue
		}
		for _, target := range targets {
			if target.GetKind() == "" {
				return nil, errRefused
			}
			text, err := json.Marshal(target.Object)
			if err != nil {
				return nil, err
			}
			texts = append(texts, string(text))
		}
	}
	return texts, nil
}

func split(text []byte) ([]*unstructured.Unstructured, error) {
	decoder := kubeyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	var objects []*unstructured.Unstructured
	for {
		u := &unstructured.Unstructured{}
		if err := decoder.Decode(&u); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return objects, err
		}
		if u != nil {
			objects = append(objects, u)
		}
	}
}
