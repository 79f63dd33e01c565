package gate

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Applications returns the directories at and below dir that look like
// applications, sorted: those with a kustomization (components aside, which
// are parts of others), and those with manifests that no kustomization above
// them could own. Charts are listed too, so that a caller can say that they
// were met; what lies below a chart is its own.
func Applications(checkout fs.FS, dir string) ([]string, error) {
	var found []string
	err := fs.WalkDir(checkout, dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() {
			return nil
		}
		if name != dir && (entry.Name() == ".git" || entry.Name() == "node_modules") {
			return fs.SkipDir
		}
		entries, err := fs.ReadDir(checkout, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		switch kindOf(checkout, name, entries) {
		case chart:
			found = append(found, name)
			return fs.SkipDir
		case kustomization:
			found = append(found, name)
		case manifests:
			if !slices.ContainsFunc(found, func(above string) bool { return below(name, above) && hasKustomization(checkout, above) }) {
				found = append(found, name)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for applications: %w", err)
	}
	slices.Sort(found)
	return found, nil
}

// What a directory holds, as far as an application goes.
type holding int

const (
	nothing holding = iota
	manifests
	kustomization
	component // or any other part of a kustomization
	chart
)

func kindOf(checkout fs.FS, dir string, entries []fs.DirEntry) holding {
	holds := nothing
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		switch entry.Name() {
		case "kustomization.yaml", "kustomization.yml", "Kustomization":
			if contains(checkout, path.Join(dir, entry.Name()), "kind: Component") {
				return component
			}
			return kustomization
		case "Chart.yaml":
			holds = chart
		}
		if holds == nothing && isManifest(checkout, path.Join(dir, entry.Name())) {
			holds = manifests
		}
	}
	return holds
}

func hasKustomization(checkout fs.FS, dir string) bool {
	entries, err := fs.ReadDir(checkout, dir)
	return err == nil && kindOf(checkout, dir, entries) == kustomization
}

// below tells whether dir is inside above.
func below(dir, above string) bool {
	return above == "." && dir != "." || strings.HasPrefix(dir, above+"/")
}

func isManifest(checkout fs.FS, name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml":
		return contains(checkout, name, "apiVersion:") && contains(checkout, name, "kind:")
	}
	return false
}

func contains(checkout fs.FS, name, text string) bool {
	content, err := fs.ReadFile(checkout, name)
	return err == nil && bytes.Contains(content, []byte(text))
}
