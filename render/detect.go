package render

import (
	"fmt"
	"strings"
)

// kustomizationNames are the names that kustomize and Argo CD look for, in the
// order in which Argo CD picks the one to add patches to.
func kustomizationNames() []string {
	return []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}
}

// detect returns the tool of the application in directory dir.
//
// As in Argo CD (pkg/apis/application/v1alpha1/types.go ExplicitType,
// util/app/discovery/discovery.go Discover), a block of options forces its
// tool; without one the files of the directory decide, in lexical order, the
// last one that says anything. So kustomization.yaml beats Chart.yaml, but a
// Chart.yaml beats a file named "Kustomization" only if it is spelled to sort
// after it, which "Chart.yaml" is not and "my-Chart.yaml" is.
func detect(c *checkout, dir string, link bool, options Options) (Type, error) {
	explicit, err := explicitType(options)
	if err != nil || explicit != "" {
		return explicit, err
	}
	detected := Directory
	if link {
		// Argo CD's walk does not enter a directory that is a symbolic link.
		return detected, nil
	}
	entries, err := c.readDir(dir)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		if strings.HasSuffix(entry.Name(), "Chart.yaml") {
			detected = Helm
		}
		for _, name := range kustomizationNames() {
			if entry.Name() == name {
				detected = Kustomize
			}
		}
	}
	return detected, nil
}

func explicitType(options Options) (Type, error) {
	explicit := options.Type
	switch explicit {
	case "", Directory, Kustomize, Helm:
	default:
		return "", &Error{
			Message: fmt.Sprintf("the application type %q is unknown", explicit),
			Fix:     "use Directory, Kustomize or Helm",
		}
	}
	for _, block := range []struct {
		set bool
		is  Type
	}{{options.Kustomize != nil, Kustomize}, {options.Directory != nil, Directory}} {
		switch {
		case !block.set:
		case explicit == "":
			explicit = block.is
		case explicit != block.is:
			return "", &Error{
				Message: fmt.Sprintf("options for %s and for %s are both set", explicit, block.is),
				Fix:     "keep the block of the tool that renders the application",
			}
		}
	}
	return explicit, nil
}
