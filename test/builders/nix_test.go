package builders

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// What nixpkgs' dockerTools make, made without nixpkgs: an archive, and a script
// that prints one. The store is our own, and nothing is asked of the network.
const nixFile = `{
  image = derivation {
    name = "image.tar"; system = builtins.currentSystem; builder = "/bin/sh";
    args = [ "-c" "/bin/cat ${./image.tar} > $out" ];
  };
  stream = derivation {
    name = "stream"; system = builtins.currentSystem; builder = "/bin/sh";
    args = [ "-c" "echo '#!/bin/sh' > $out; echo 'exec /bin/cat ${./image.tar}' >> $out; /bin/chmod +x $out" ];
  };
  copyTo = derivation {
    name = "copy-to"; system = builtins.currentSystem; builder = "/bin/sh";
    args = [ "-c" "/bin/mkdir -p $out/bin; echo '#!/bin/sh' > $out/bin/copy-to; echo 'exec skopeo --insecure-policy copy docker-archive:${./image.tar} \"$@\"' >> $out/bin/copy-to; /bin/chmod +x $out/bin/copy-to" ];
  };
  broken = derivation { name = "broken"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "exit 7" ]; };
  directory = derivation { name = "directory"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "/bin/mkdir $out" ]; };
}
`

func TestNix(t *testing.T) {
	h := newHub(t)
	dir := t.TempDir()
	for _, name := range []string{"STORE", "STATE", "LOG", "CONF"} {
		t.Setenv("NIX_"+name+"_DIR", filepath.Join(dir, name))
	}
	t.Setenv("HOME", dir)
	t.Setenv("NIX_CONFIG", "sandbox = false\nbuild-users-group =\nsubstituters =\n")
	t.Cleanup(func() { // the store is read-only
		_ = filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				return os.Chmod(name, 0o700)
			}
			return nil
		})
	})
	layer, err := random.Layer(1000, "application/vnd.docker.image.rootfs.diff.tar.gzip")
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	r := newRepository(t, map[string]string{"web/default.nix": nixFile})
	if err := tarball.WriteToFile(filepath.Join(r.top, "web/image.tar"), name.MustParseReference("example.com/x:y"), image); err != nil {
		t.Fatal(err)
	}
	want, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range []string{"attribute: image", "attribute: stream", "copyTo: copyTo"} {
		request := r.request(h.host, "", "nix: {"+section+", options: [-f, .]}")
		for _, pushed := range h.images(built(t, request)) {
			if got, err := pushed.ConfigName(); err != nil || got != want {
				t.Errorf("%s: %s, not %s; %v", section, got, want, err)
			}
		}
	}
	for section, text := range map[string]string{
		"attribute: broken":    "web/pin.yaml:1: the build of web failed: nix ended with exit status 1",
		"attribute: directory": "web/pin.yaml:1: nix build directory made no archive of an image; build one with dockerTools, or use copyTo with nix2container",
	} {
		request := r.request(h.host, "", "nix: {"+section+", options: [-f, .]}")
		if _, err := request.Component.Recipe.Build(t.Context(), request); err == nil || err.Error() != text {
			t.Errorf("%s: %v\n%s", section, err, request.Log)
		}
	}
}
