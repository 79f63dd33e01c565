package presence

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// platform is what a node runs, in the words of an index.
type platform struct{ os, arch, variant string }

func (p platform) String() string {
	if p.variant == "" {
		return p.os + "/" + p.arch
	}
	return p.os + "/" + p.arch + "/" + p.variant
}

// parsePlatform reads os/arch[/variant].
func parsePlatform(s string) (platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") || strings.ContainsAny(s, " \t\n,") {
		return platform{}, fmt.Errorf("%q is not a platform; write it as os/arch or os/arch/variant, like linux/amd64 or linux/arm/v7", s)
	}
	return normalPlatform(parts[0], parts[1], strings.Join(parts[2:], "")), nil
}

// normalPlatform gives equal platforms one spelling, as containerd does
// (github.com/containerd/platforms, database.go, normalizeArch).
func normalPlatform(os, arch, variant string) platform {
	os, arch, variant = strings.ToLower(os), strings.ToLower(arch), strings.ToLower(variant)
	if os == "macos" {
		os = "darwin"
	}
	switch arch {
	case "i386":
		arch, variant = "386", ""
	case "x86_64", "x86-64", "amd64":
		arch = "amd64"
		if variant == "v1" {
			variant = ""
		}
	case "aarch64", "arm64":
		arch = "arm64"
		switch variant {
		case "8", "v8", "v8.0":
			variant = ""
		case "9", "9.0", "v9.0":
			variant = "v9"
		}
	case "armhf":
		arch, variant = "arm", "v7"
	case "armel":
		arch, variant = "arm", "v6"
	case "arm":
		switch variant {
		case "", "7":
			variant = "v7"
		case "5", "6", "8":
			variant = "v" + variant
		}
	}
	return platform{os, arch, variant}
}

// runs lists what a node of platform p takes from an index, best first, as
// containerd does (github.com/containerd/platforms, compare.go,
// platformVector).
func (p platform) runs() []platform {
	list := []platform{p}
	older := func(arch string, from, to int) {
		for v := from - 1; v >= to; v-- {
			list = append(list, normalPlatform(p.os, arch, "v"+strconv.Itoa(v)))
		}
	}
	switch p.arch {
	case "amd64":
		if v, err := strconv.Atoi(strings.TrimPrefix(p.variant, "v")); err == nil {
			older("amd64", v, 1)
		}
		list = append(list, platform{p.os, "386", ""})
	case "arm":
		if v, err := strconv.Atoi(strings.TrimPrefix(p.variant, "v")); err == nil {
			older("arm", v, 5)
		}
	case "arm64":
		if p.variant != "" {
			list = append(list, platform{p.os, "arm64", ""})
		}
		older("arm", 9, 5)
	}
	return list
}

// in returns the manifests that nodes of platform p would pull: all that are
// equally good, since an index may hold one for each Windows version. Entries
// without a platform don't count; attestations say unknown/unknown and so match
// nothing.
func (p platform) in(index *v1.IndexManifest) []v1.Descriptor {
	for _, want := range p.runs() {
		var found []v1.Descriptor
		for _, d := range index.Manifests {
			if d.Platform == nil || normalPlatform(d.Platform.OS, d.Platform.Architecture, d.Platform.Variant) != want {
				continue
			}
			if !slices.ContainsFunc(found, func(f v1.Descriptor) bool { return f.Digest == d.Digest }) {
				found = append(found, d)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// askPlatforms finds out whether what an index promises for the required
// platforms is there. Registries' clean-ups delete such manifests, which carry
// no tag, and leave the index: then it resolves, and the pull fails.
func (r *Remote) askPlatforms(ctx context.Context, s *session, repo name.Repository, m manifest) (Result, error) {
	if !kindOf(m).IsIndex() {
		return Result{Verdict: Present}, nil
	}
	index := parseIndex(m.body)
	if index == nil {
		return Result{Verdict: Absent, Reason: "the index is not valid JSON of its kind"}, nil
	}
	type child struct {
		platform platform
		digest   string
	}
	var children []child
	for _, p := range r.platforms {
		found := p.in(index)
		if len(found) == 0 {
			return Result{Verdict: Absent, Reason: "index has no " + p.String()}, nil
		}
		for _, d := range found {
			if !isDigest(d.Digest.String()) {
				return Result{Verdict: Absent, Reason: fmt.Sprintf("index names %s by %s, which is not a sha256 digest", p, d.Digest)}, nil
			}
			if !slices.ContainsFunc(children, func(c child) bool { return c.digest == d.Digest.String() }) {
				children = append(children, child{p, d.Digest.String()})
			}
		}
	}
	type outcome struct {
		result Result
		err    error
	}
	outcomes := make([]chan outcome, len(children))
	for i, c := range children {
		outcomes[i] = make(chan outcome, 1)
		go func() {
			_, result, err := r.head(ctx, s, repo.Digest(c.digest))
			outcomes[i] <- outcome{result, err}
		}()
	}
	// What is known for certain goes before what could not be found out.
	worst := Result{Verdict: Present}
	var unknown error
	for i, c := range children {
		o := <-outcomes[i]
		switch {
		case o.err != nil:
			if unknown == nil {
				unknown = o.err
			}
		case rank(o.result.Verdict) > rank(worst.Verdict):
			worst = o.result
			worst.Reason = fmt.Sprintf("index lists %s as %s: %s", c.platform, c.digest, o.result.Reason)
		}
	}
	if unknown != nil && worst.Verdict == Present {
		return Result{}, unknown
	}
	return worst, nil
}

// parseIndex returns nil for what is no index, whatever its digest.
func parseIndex(body []byte) *v1.IndexManifest {
	index, err := v1.ParseIndexManifest(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	return index
}

// rank orders verdicts by how much they say against an image.
func rank(v Verdict) int {
	return slices.Index([]Verdict{Present, Unchecked, Unreachable, Throttled, Denied, Absent}, v)
}
