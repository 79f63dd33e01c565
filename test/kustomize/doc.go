// Package kustomize compares pin-cmp's rendering with the kustomize CLI of the
// same version, over kustomizations of other projects. It is a module of its
// own, so that none of this is a dependency of pin-cmp.
package kustomize
