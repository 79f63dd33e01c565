// Package forge drives internal/forge against a real Gitea, built from the module
// in gitea/, with our own client and with Debian's gh. It is a module of its own,
// because the main module's tests need nothing but Go and git. It needs a C
// compiler (Gitea's SQLite), git and gh; without them it fails. The first build of
// Gitea takes minutes; Go's build cache keeps it.
package forge
