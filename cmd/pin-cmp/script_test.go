package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pin-cmp/pin-cmp/internal/trialregistry"
	"github.com/pin-cmp/pin-cmp/render"
)

func TestMain(m *testing.M) {
	render.ChildMain()
	testscript.Main(m, map[string]func(){"pin-cmp": main, "build-image": buildImage})
}

// buildImage is the build command of the scripts' components: it pushes an image
// that holds the file "source" to $PIN_IMAGE, and reports its digest.
func buildImage() {
	source, err := os.ReadFile("source")
	if err == nil {
		var digest string
		digest, err = pushTo(os.Getenv("PIN_IMAGE"), string(source))
		if err == nil {
			err = os.WriteFile(os.Getenv("PIN_DIGEST_FILE"), []byte(digest+"\n"), 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pushTo(repository, content string) (string, error) {
	ref, err := name.NewRepository(repository, name.Insecure)
	if err != nil {
		return "", err
	}
	layer := static.NewLayer([]byte(content), types.OCIUncompressedLayer)
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	if err != nil {
		return "", err
	}
	digest, err := image.Digest()
	if err != nil {
		return "", err
	}
	return digest.String(), remote.Write(ref.Digest(digest.String()), image)
}

// TestScripts runs the command line as a person would. Beside testscript's own
// commands there are
//
//	exit N command…   run a command that must end with status N
//	push VAR repo     push an image to $REGISTRY/repo, its digest into $VAR
//	index VAR repo os/arch…   the same for an index of these platforms
//	expand file to…   copy a file, its $VARIABLES replaced by their values
//	big file bytes    write a file of that size
//
// $REGISTRY is a registry of the script's own, over plain HTTP.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			registry, err := trialregistry.Start(t.Context(), "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Defer(func() {
				if err := registry.Close(); err != nil {
					t.Error(err)
				}
			})
			env.Setenv("REGISTRY", registry.Addr)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CACHE_HOME", env.WorkDir+"/.cache")
			env.Setenv("GIT_CONFIG_GLOBAL", env.WorkDir+"/.gitconfig")
			env.Setenv("GIT_CONFIG_NOSYSTEM", "1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit": exitWith, "push": pushImage, "index": pushIndex, "expand": expandFile, "big": bigFile,
		},
	})
}

func exitWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit N command…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var status *exec.ExitError
		if !errors.As(err, &status) {
			ts.Fatalf("%v", err)
		}
		code = status.ExitCode()
	}
	if code != want {
		ts.Fatalf("%s ended with %d, not %d", strings.Join(args[1:], " "), code, want)
	}
}

func pushImage(ts *testscript.TestScript, _ bool, args []string) {
	image := imageOf(ts, args[1])
	ts.Check(remote.Write(reference(ts, args[1]), image))
	setDigest(ts, args[0], image)
}

func pushIndex(ts *testscript.TestScript, _ bool, args []string) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range args[2:] {
		p, err := v1.ParsePlatform(platform)
		ts.Check(err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        imageOf(ts, args[1]+platform),
			Descriptor: v1.Descriptor{Platform: p},
		})
	}
	ts.Check(remote.WriteIndex(reference(ts, args[1]), index))
	setDigest(ts, args[0], index)
}

func imageOf(ts *testscript.TestScript, content string) v1.Image {
	layer := static.NewLayer([]byte(content), types.OCIUncompressedLayer)
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	ts.Check(err)
	return image
}

func reference(ts *testscript.TestScript, repository string) name.Reference {
	ref, err := name.ParseReference(ts.Getenv("REGISTRY")+"/"+repository, name.Insecure)
	ts.Check(err)
	return ref
}

func setDigest(ts *testscript.TestScript, variable string, manifest interface{ Digest() (v1.Hash, error) }) {
	digest, err := manifest.Digest()
	ts.Check(err)
	ts.Setenv(variable, digest.String())
}

func expandFile(ts *testscript.TestScript, _ bool, args []string) {
	content := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	for _, to := range args[1:] {
		ts.Check(os.WriteFile(ts.MkAbs(to), []byte(content), 0o644))
	}
}

func bigFile(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	line := "# " + strings.Repeat("x", 97) + "\n"
	text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big}\n%s", strings.Repeat(line, size/len(line)))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}
