package rewrite

import (
	"fmt"
	"regexp"
	"strconv"
)

// versionRE is a semantic version as tags have it: with or without a v, with or
// without a pre-release.
var versionRE = regexp.MustCompile(`^(v?)(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)

// next returns the version after a tag: 1.4.0 for 1.3.9 and minor. A
// pre-release counts as before its version: 1.4.0-rc.1 and patch is 1.4.0.
func next(tag, bump string) (string, error) {
	m := versionRE.FindStringSubmatch(tag)
	if m == nil {
		return "", fmt.Errorf("%q is no semantic version, so nothing can be added to it; write 1.3.9@build+%s", tag, bump)
	}
	var parts [3]uint64
	for i := range parts {
		n, err := strconv.ParseUint(m[2+i], 10, 63)
		if err != nil {
			return "", fmt.Errorf("%q is no semantic version: %s is too large", tag, m[2+i])
		}
		parts[i] = n
	}
	switch {
	case bump == "major":
		parts = [3]uint64{parts[0] + 1, 0, 0}
	case bump == "minor":
		parts = [3]uint64{parts[0], parts[1] + 1, 0}
	case m[5] == "":
		parts[2]++
	}
	return fmt.Sprintf("%s%d.%d.%d", m[1], parts[0], parts[1], parts[2]), nil
}
