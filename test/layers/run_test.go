package layers

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/pin-cmp/pin-cmp/build/layers"
	"github.com/pin-cmp/pin-cmp/internal/trialregistry"
)

// system is a base as a distribution makes it: /bin is a link, /tmp is for all,
// /usr/bin is nobody's to write.
func system(t *testing.T, docker bool, p v1.Platform) v1.Image {
	t.Helper()
	image, mediaType := empty.Image, types.DockerLayer
	if !docker {
		image, mediaType = mutate.ConfigMediaType(mutate.MediaType(image, types.OCIManifestSchema1), types.OCIConfigJSON), types.OCILayer
	}
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Env: []string{"BASE=yes", "PORT=1"}, Cmd: []string{"sh"}, User: "root"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "usr/", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "usr/bin/", Mode: 0o555, Uid: 3, Gid: 4},
		{Typeflag: tar.TypeSymlink, Name: "bin", Linkname: "usr/bin", Mode: 0o777},
		{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777},
		{Typeflag: tar.TypeDir, Name: "srv/", Mode: 0o751, Uid: 5, Gid: 6},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithMediaType(mediaType))
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.AppendLayers(image, l)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// said is what the program says in an image on the base, as uid 65532.
const said = `65532 65531 /srv <nil> [--port 8080] 8080 yes
/tmp 41777 0:0
/usr 40755 0:0
/usr/bin 40555 3:4
/bin 120777 0:0
/srv 40751 5:6
/srv/www 40755 12:34
/srv/www/motd 100644 12:34
/opt/new/dir 40755 0:0
hello <nil>
`

// onABase builds the component.
func onABase(t *testing.T, docker bool) *layers.Artifact {
	t.Helper()
	config, r := component, request(checkout(t, 0o644))
	config.Base = "ghcr.io/acme/system"
	r.Base = &layers.Base{Name: config.Base, Image: system(t, docker, amd64)}
	return build(t, config, r)
}

func TestValidate(t *testing.T) {
	for _, docker := range []bool{true, false} {
		if err := validate.Image(onABase(t, docker).Image()); err != nil {
			t.Error(err)
		}
		config, r := component, request(checkout(t, 0o644))
		config.Base = "ghcr.io/acme/system"
		r.Platforms = []string{"linux/amd64", "linux/arm64", "linux/arm/v7"}
		index := v1.ImageIndex(empty.Index)
		if docker {
			index = mutate.IndexMediaType(index, types.DockerManifestList)
		}
		for _, text := range r.Platforms {
			p, err := v1.ParsePlatform(text)
			if err != nil {
				t.Fatal(err)
			}
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: system(t, docker, *p), Descriptor: v1.Descriptor{Platform: p}})
		}
		r.Base = &layers.Base{Name: config.Base, Index: index}
		if err := validate.Index(build(t, config, r).Index()); err != nil {
			t.Error(err)
		}
	}
	config, r := component, request(checkout(t, 0o644))
	if err := validate.Image(build(t, config, r).Image()); err != nil {
		t.Error(err)
	}
	r.Platforms = []string{"linux/amd64", "linux/arm64"}
	if err := validate.Index(build(t, config, r).Index()); err != nil {
		t.Error(err)
	}
}

// The image is unpacked layer by layer, and run in a root of its own as the user
// and in the directory that it names.
func TestChroot(t *testing.T) {
	for _, docker := range []bool{true, false} {
		image := onABase(t, docker).Image()
		root := filepath.Join(t.TempDir(), "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		all, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range all {
			content, err := l.Uncompressed()
			if err != nil {
				t.Fatal(err)
			}
			// As containerd does: a link on the way to a file is followed.
			unpack := exec.Command("tar", "-xpf", "-", "--numeric-owner", "--keep-directory-symlink", "-C", root)
			unpack.Stdin = content
			if out, err := unpack.CombinedOutput(); err != nil {
				t.Fatalf("%v %s", err, out)
			}
			_ = content.Close()
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(config.Config.Entrypoint[0], config.Config.Cmd...)
		cmd.Path = config.Config.Entrypoint[0] // in the new root
		cmd.Err = nil
		cmd.Dir, cmd.Env = config.Config.WorkingDir, config.Config.Env
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65531}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("this test changes the root, so it needs root: %v %s", err, out)
		}
		if string(out) != said {
			t.Errorf("%s\nnot\n%s", out, said)
		}
	}
}

// Debian's buildah pulls the image and runs it.
func TestBuildah(t *testing.T) {
	registry, err := trialregistry.Start(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = registry.Close() }()
	for _, docker := range []bool{true, false} {
		a := onABase(t, docker)
		tag, err := name.ParseReference(registry.Addr + "/acme/web:" + map[bool]string{true: "docker", false: "oci"}[docker])
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(tag, a.Image()); err != nil {
			t.Fatal(err)
		}
		store := t.TempDir()
		buildah := func(args ...string) string {
			t.Helper()
			args = append([]string{"--storage-driver", "vfs", "--root", filepath.Join(store, "root"), "--runroot", filepath.Join(store, "run")}, args...)
			cmd := exec.Command("buildah", args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("buildah %s: %v\n%s", strings.Join(args, " "), err, &stderr)
			}
			return string(out)
		}
		container := strings.TrimSpace(buildah("from", "--tls-verify=false", tag.Context().Digest(a.Digest().String()).String()))
		var inspected struct {
			FromImageDigest string
			OCIv1           struct{ Config v1.Config }
		}
		if err := json.Unmarshal([]byte(buildah("inspect", container)), &inspected); err != nil {
			t.Fatal(err)
		}
		if inspected.FromImageDigest != a.Digest().String() {
			t.Errorf("buildah pulled %s, not %s", inspected.FromImageDigest, a.Digest())
		}
		config := inspected.OCIv1.Config
		if config.Labels["team"] != "shop" || len(config.ExposedPorts) != 1 {
			t.Errorf("%+v", config)
		}
		// The user, the directory and the environment are from the image.
		out := buildah(append([]string{"run", "--isolation", "chroot", container, "--"}, append(config.Entrypoint, config.Cmd...)...)...)
		if out != said {
			t.Errorf("%s\nnot\n%s", out, said)
		}
		buildah("rm", container)
		buildah("rmi", "--all")
	}
}
