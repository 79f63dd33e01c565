// Package builders holds the tests that build images with the tools that people
// have: buildah, podman, docker buildx with a BuildKit daemon, ko, nix with skopeo.
// It also compares what package dockerfile reads with what BuildKit's own parser
// does. It is a module of its own: the main module's tests need nothing but Go and
// git, and its dependencies are not to be those of BuildKit.
//
// buildah, podman, skopeo, nix, docker and runc have to be installed; where one is
// missing, its tests fail. ko, buildx and buildkitd are built from this module. All
// of it needs root, or a user that the kernel lets do what containers need.
package builders
