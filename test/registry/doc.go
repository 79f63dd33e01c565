// Package registry holds the tests of verify/presence against a registry that
// is in use: Debian's docker-registry, with TLS and passwords. It is a module of
// its own, because the main module's tests need nothing but Go and git.
package registry
