//go:build !unix

package build

import "os/exec"

// killTogether does nothing here: the context's end kills cmd alone.
func killTogether(*exec.Cmd) {}
