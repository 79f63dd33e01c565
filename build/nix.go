package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/process"
)

// Nix builds an image with nix and pushes it with skopeo: the archive that
// dockerTools.buildImage and buildLayeredImage of nixpkgs make, or what the script
// prints that streamLayeredImage makes. nix2container makes neither; its copyTo is
// run instead.
//
// What the image starts from is in the flake and its lock file, which have to be
// among the inputs.
type Nix struct {
	// Attribute is what is built, .#image.
	Attribute string `yaml:"attribute"`
	// CopyTo is a program that is run instead, .#image.copyTo: it is given the
	// arguments of skopeo copy but for the source.
	CopyTo string `yaml:"copyTo"`
	// Options are flags of nix build or nix run, --accept-flake-config.
	Options []string `yaml:"options"`
}

var _ Recipe = (*Nix)(nil)

// Check implements [Recipe].
func (n *Nix) Check(Component) error {
	for _, value := range []string{n.Attribute, n.CopyTo} {
		if strings.HasPrefix(value, "-") || strings.ContainsAny(value, "\r\n\x00") {
			return fmt.Errorf("build.nix: %q is no attribute, as in .#image", value)
		}
	}
	if (n.Attribute == "") == (n.CopyTo == "") {
		return errors.New("build.nix has one of attribute, as in .#image, and copyTo, as in .#image.copyTo")
	}
	return checkOptions("build.nix", n.Options, []string{"--", "--json", "--no-link", "--out-link", "-o", "--print-out-paths"})
}

// Program implements [Recipe].
func (n *Nix) Program() Program { return Program{Name: "nix", Get: "https://nixos.org/download"} }

// Bases implements [Recipe].
func (n *Nix) Bases(Component, func(string) ([]byte, error)) ([]Base, error) { return nil, nil }

// Build implements [Builder].
func (n *Nix) Build(ctx context.Context, request Request) (string, error) {
	scratch, remove, err := request.scratch()
	if err != nil {
		return "", err
	}
	defer remove()
	digestFile := filepath.Join(scratch, "digest")
	copied := []string{"--digestfile=" + digestFile}
	if request.plainHTTP() {
		copied = append(copied, "--dest-tls-verify=false")
	}
	features := []string{"--extra-experimental-features", "nix-command flakes"}
	if n.CopyTo != "" {
		args := append(append([]string{"run"}, features...), n.Options...)
		args = append(append(args, n.CopyTo, "--"), copied...)
		if err := request.run(ctx, nil, nil, "nix", append(args, "docker://"+request.tagged())...); err != nil {
			return "", err
		}
		return request.digestIn(digestFile, n.CopyTo, "into its --digestfile")
	}
	args := append(append([]string{"build", "--json", "--no-link"}, features...), n.Options...)
	printed := &bytes.Buffer{}
	if err := request.run(ctx, printed, nil, "nix", append(args, n.Attribute)...); err != nil {
		return "", err
	}
	archive, err := n.archive(ctx, request, printed.Bytes(), scratch)
	if err != nil {
		return "", err
	}
	// Nothing has signed what was just built here.
	args = append([]string{"--insecure-policy", "copy"}, copied...)
	if err := request.run(ctx, nil, nil, "skopeo", append(args, "docker-archive:"+archive, "docker://"+request.tagged())...); err != nil {
		return "", err
	}
	return request.digestIn(digestFile, "skopeo", "into its --digestfile")
}

// archive returns the archive that was built. A script that prints one is run.
//
// What nix build --json prints is a list of derivations with their outputs, for as
// long as there is that flag (2.4); --print-out-paths is younger.
func (n *Nix) archive(ctx context.Context, request Request, printed []byte, scratch string) (string, error) {
	var derivations []struct {
		Outputs map[string]string `json:"outputs"`
	}
	if err := json.Unmarshal(printed, &derivations); err != nil || len(derivations) != 1 || derivations[0].Outputs["out"] == "" {
		return "", request.mistake("nix build %s made no single output; it is to be one image", n.Attribute)
	}
	built := derivations[0].Outputs["out"]
	info, err := os.Stat(built)
	if err != nil || !filepath.IsAbs(built) {
		return "", request.mistake("nix build %s made %q, which is not there", n.Attribute, built)
	}
	switch {
	case !info.Mode().IsRegular():
		return "", request.mistake("nix build %s made no archive of an image; build one with dockerTools, or use copyTo with nix2container", n.Attribute)
	case info.Mode()&0o111 == 0:
		return built, nil
	}
	streamed := filepath.Join(scratch, "image.tar")
	file, err := os.OpenFile(streamed, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("make a temporary file: %w", err)
	}
	cmd := process.Command(ctx, built)
	cmd.Dir = request.dir()
	cmd.Stdout, cmd.Stderr = file, request.Log
	err = process.Run(ctx, cmd)
	if closed := file.Close(); err == nil && closed != nil {
		return "", fmt.Errorf("write a temporary file: %w", closed)
	}
	if err != nil {
		return "", request.Component.failed(ctx, "the script that "+n.Attribute+" is", err)
	}
	return streamed, nil
}
