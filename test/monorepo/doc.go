// Package monorepo holds the tests of pin-cmp as an engineer uses it: the built
// program, on clones of examples/monorepo, against Debian's docker-registry with
// TLS and passwords. They need that, git, Go, gcc with the static part of the C
// library, and root, for chroot and a small disk; without one of them they fail.
package monorepo

import (
	// The program under test is built from these. Named here, a change in one of
	// them is a change of this package for the go command, which would repeat an
	// old result otherwise.
	_ "github.com/pin-cmp/pin-cmp/build"
	_ "github.com/pin-cmp/pin-cmp/render"
	_ "github.com/pin-cmp/pin-cmp/rewrite"
	_ "github.com/pin-cmp/pin-cmp/verify"
)
