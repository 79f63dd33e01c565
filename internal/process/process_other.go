//go:build !unix

package process

import "os/exec"

// together does nothing here: the context's end kills cmd alone.
func together(*exec.Cmd) {}

// killRest does nothing here.
func killRest(*exec.Cmd) {}
