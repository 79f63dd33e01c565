// Package layers runs images of the layers builder for real, which needs root and
// Debian's buildah, and holds them against go-containerregistry's validation.
package layers
