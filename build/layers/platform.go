package layers

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

var platformRE = regexp.MustCompile(`^([a-z0-9_.-]+)/([a-z0-9_.-]+)(?:/([a-z0-9_.-]+))?$`)

// parsePlatforms reads the platforms to build for, at least one.
func parsePlatforms(list []string) ([]v1.Platform, error) {
	if len(list) == 0 {
		list = []string{"linux/amd64"}
	}
	var platforms []v1.Platform
	for _, text := range list {
		match := platformRE.FindStringSubmatch(text)
		if match == nil {
			return nil, fmt.Errorf("platform %q is not written as linux/arm64 or linux/arm/v7", text)
		}
		if match[1] != "linux" {
			return nil, fmt.Errorf("platform %s: the layers builder makes images for linux alone; use another builder", text)
		}
		p := normal(v1.Platform{OS: match[1], Architecture: match[2], Variant: match[3]})
		if slices.ContainsFunc(platforms, p.Equals) {
			return nil, fmt.Errorf("platform %s is listed twice", p)
		}
		platforms = append(platforms, p)
	}
	return platforms, nil
}

// normal writes a platform as the registries' clients do (containerd's
// platforms.Normalize): an architecture by Go's name, a variant that is the
// architecture's first left out, and arm with one always.
func normal(p v1.Platform) v1.Platform {
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	switch p.Architecture + "/" + p.Variant {
	case "amd64/v1", "arm64/v8", "arm64/8":
		p.Variant = ""
	case "arm/":
		p.Variant = "v7"
	case "arm/5", "arm/6", "arm/7", "arm/8":
		p.Variant = "v" + p.Variant
	}
	return v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

// variants are the variants of an architecture's processors that run what the
// later ones in the list don't need: a v7 runs v6.
var variants = map[string][]string{
	"amd64": {"", "v2", "v3", "v4"},
	"arm":   {"v5", "v6", "v7", "v8"},
	"arm64": {"", "v9"},
}

// fitness says how well an image for have runs on want: 0 not at all, and more
// the closer it is.
func fitness(want, have v1.Platform) int {
	want, have = normal(want), normal(have)
	if want.OS != have.OS || want.Architecture != have.Architecture {
		return 0
	}
	order := variants[want.Architecture]
	wanted, had := slices.Index(order, want.Variant), slices.Index(order, have.Variant)
	switch {
	case want.Variant == have.Variant:
		return len(order) + 2
	case had >= 0 && had < wanted:
		return had + 1
	}
	return 0
}

// goVariables are Go's own names for a platform. Those of other architectures are
// empty, which is Go's default, so that the user's environment has no say.
func goVariables(p v1.Platform) [][2]string {
	var amd64, arm, arm64 string
	number := strings.TrimPrefix(p.Variant, "v")
	switch p.Architecture {
	case "amd64":
		amd64 = "v" + cmp.Or(number, "1")
	case "arm":
		if arm = number; arm == "8" {
			arm = "7" // the highest that Go knows for 32 bits
		}
	case "arm64":
		if arm64 = "v" + cmp.Or(number, "8"); !strings.Contains(arm64, ".") {
			arm64 += ".0"
		}
	}
	return [][2]string{{"GOOS", p.OS}, {"GOARCH", p.Architecture}, {"GOAMD64", amd64}, {"GOARM", arm}, {"GOARM64", arm64}}
}
