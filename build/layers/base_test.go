//go:build unix

package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pin-cmp/pin-cmp/internal/trialregistry"
)

// tarLayer makes a layer of headers. Files hold their own name.
func tarLayer(t testing.TB, mediaType types.MediaType, headers ...tar.Header) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		h.Format = tar.FormatPAX
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, h.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithMediaType(mediaType))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dir(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, ModTime: time.Unix(1e9, 0)}
}

func reg(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755}
}

func sym(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}
}

// linuxImage is an image for a platform. Its types are Docker's, or OCI's.
func linuxImage(t testing.TB, docker bool, p v1.Platform, config v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	image := empty.Image
	if !docker {
		image = mutate.ConfigMediaType(mutate.MediaType(image, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: p.Architecture, Variant: p.Variant, Config: config, RootFS: v1.RootFS{Type: "layers"},
		DockerVersion: "17.06", Container: "abc", //nolint:staticcheck // as old images have it
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		if image, err = mutate.Append(image, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: "base"}}); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// system is a base like a distribution's, with merged /usr.
func system(t testing.TB, docker bool, p v1.Platform) v1.Image {
	mediaType := types.OCILayer
	if docker {
		mediaType = types.DockerLayer
	}
	secured := dir("./srv/", 0o750)
	secured.Uid, secured.Gid, secured.PAXRecords = 7, 8, map[string]string{"SCHILY.xattr.user.note": "kept"}
	return linuxImage(t, docker, p, v1.Config{
		Env: []string{"PATH=/usr/bin", "LANG=C"}, Entrypoint: []string{"/usr/bin/sh"}, Cmd: []string{"-l"}, User: "nobody", WorkingDir: "/srv",
		Labels:       map[string]string{"vendor": "acme", labelRevision: "the base's", labelBaseName: "the base's base"},
		ExposedPorts: map[string]struct{}{"22/tcp": {}}, StopSignal: "SIGINT", Hostname: "build", Image: "sha256:abc",
	},
		tarLayer(t, mediaType,
			dir("./", 0o755), dir("usr/", 0o755), dir("usr/bin/", 0o555), sym("bin", "usr/bin"), reg("usr/bin/sh"),
			dir("tmp/", 0o1777), secured, dir("var/", 0o755), sym("var/run", "/run"), sym("loop", "loop2"), sym("loop2", "/loop"),
			dir("gone/", 0o700), reg("gone/x"), dir("opaque/", 0o711), dir("opaque/old/", 0o700), reg("etc/passwd"),
		),
		tarLayer(t, mediaType, reg(".wh.gone"), dir("opaque/", 0o711), dir("opaque/new/", 0o700), reg("opaque/.wh..wh..opq")),
	)
}

func withBase(c *checkout, image v1.Image) (Config, Request) {
	request := c.request()
	request.Base = &Base{Name: "ghcr.io/acme/system:1", Image: image}
	return Config{Base: "ghcr.io/acme/system:1"}, request
}

// What is put on a base changes nothing of it beside.
func TestOnABase(t *testing.T) {
	for _, docker := range []bool{true, false} {
		c := newCheckout(t)
		c.write("app/web", "web", 0o100755)
		c.write("app/tree/bin/tool", "tool", 0o100755)
		c.write("app/tree/tmp/x", "x", 0o100644)
		c.write("app/tree/opaque/old/x", "x", 0o100644)
		c.write("app/tree/opaque/new/x", "x", 0o100644)
		config, request := withBase(c, system(t, docker, amd64))
		config.Files = []Copy{
			{From: "web", To: "/bin/web"},
			{From: "web", To: "/var/run/web/"},
			{From: "web", To: "/srv/a/b"},
			{From: "web", To: "/gone/web"},
			{From: "tree", To: "/"},
			{From: "tree/.", To: "/"},
			{From: "web", To: "/etc/passwd"},
		}
		config.Owner = "5:6"
		config.Entrypoint = []string{"/bin/web"}
		config.Env = map[string]string{"LANG": "de", "A": "1"}
		config.Ports = []string{"80"}
		config.Labels = map[string]string{"team": "shop"}
		image := build(t, config, request).Image()
		for i, want := range [][]string{
			{"usr/", "usr/bin/", "usr/bin/web"},
			{"run/", "run/web/", "run/web/web"},
			{"srv/", "srv/a/", "srv/a/b"},
			{"gone/", "gone/web"},
			{"tree/", "tree/bin/", "tree/bin/tool", "tree/opaque/", "tree/opaque/new/", "tree/opaque/new/x", "tree/opaque/old/", "tree/opaque/old/x", "tree/tmp/", "tree/tmp/x"},
			{"opaque/", "opaque/new/", "opaque/new/x", "opaque/old/", "opaque/old/x", "tmp/", "tmp/x", "usr/", "usr/bin/", "usr/bin/tool"},
			{"etc/", "etc/passwd"},
		} {
			names, _ := layerOf(t, image, 2+i)
			same(t, config.Files[i].To, names, want)
		}
		// The directories of the base are as they were, those of nobody root's.
		files := whole(t, image)
		for name, want := range map[string]struct {
			mode     int64
			uid, gid int
			seconds  int64
		}{
			"usr/bin": {0o555, 0, 0, 1e9}, "tmp": {0o1777, 0, 0, 1e9}, "srv": {0o750, 7, 8, 1e9}, "opaque": {0o711, 0, 0, 1e9}, "opaque/new": {0o700, 0, 0, 1e9},
			"opaque/old": {0o755, 5, 6, 0}, "gone": {0o755, 0, 0, 0}, "run": {0o755, 0, 0, 0}, "srv/a": {0o755, 0, 0, 0}, "srv/a/b": {0o755, 5, 6, 0}, "tree": {0o755, 5, 6, 0},
		} {
			f, ok := files[name]
			if !ok {
				f, ok = files[name+"/"]
			}
			if !ok || f.Mode != want.mode || f.Uid != want.uid || f.Gid != want.gid || f.ModTime.Unix() != want.seconds {
				t.Errorf("%s: %+v", name, f.Header)
			}
		}
		_, layer := layerOf(t, image, 4)
		if layer["srv/"].PAXRecords["SCHILY.xattr.user.note"] != "kept" {
			t.Errorf("attributes: %v", layer["srv/"].PAXRecords)
		}
		if f := files["bin"]; f.Header == nil || f.Linkname != "usr/bin" {
			t.Error("the link /bin is gone")
		}
		got, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		run := got.Config
		same(t, "env", run.Env, []string{"PATH=/usr/bin", "LANG=de", "A=1"})
		same(t, "entrypoint", run.Entrypoint, []string{"/bin/web"})
		same(t, "cmd", run.Cmd, nil)
		if run.User != "nobody" || run.WorkingDir != "/srv" || run.StopSignal != "SIGINT" || len(run.ExposedPorts) != 2 || run.Hostname != "" || run.Image != "" {
			t.Errorf("%+v", run)
		}
		if run.Labels["vendor"] != "acme" || run.Labels["team"] != "shop" || run.Labels[labelRevision] != request.Revision || run.Labels[labelBaseName] != "ghcr.io/acme/system:1" {
			t.Errorf("labels: %v", run.Labels)
		}
		digest, err := request.Base.digest()
		if err != nil || run.Labels[labelBaseDigest] != digest.String() {
			t.Errorf("labels: %v", run.Labels)
		}
		if len(got.History) != 9 || got.History[0].CreatedBy != "base" {
			t.Errorf("history: %v", got.History)
		}
		manifest, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		wantTypes := []types.MediaType{types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer, types.OCILayer}
		if docker {
			wantTypes = []types.MediaType{types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerLayer, types.DockerLayer}
		}
		if manifest.MediaType != wantTypes[0] || manifest.Config.MediaType != wantTypes[1] || manifest.Layers[0].MediaType != wantTypes[2] || manifest.Layers[8].MediaType != wantTypes[3] {
			t.Errorf("media types: %+v", manifest)
		}
		if docker != (len(manifest.Annotations) == 0) {
			t.Errorf("annotations: %v", manifest.Annotations)
		}
	}
}

// Without an entrypoint of its own an image runs what the base runs; a cmd alone
// are other arguments for it, and empty lists are none at all.
func TestEntrypointOfTheBase(t *testing.T) {
	c := newCheckout(t)
	c.write("app/web", "web", 0o100755)
	for _, x := range []struct{ entrypoint, cmd, wantEntrypoint, wantCmd []string }{
		{nil, nil, []string{"/usr/bin/sh"}, []string{"-l"}},
		{nil, []string{"-c"}, []string{"/usr/bin/sh"}, []string{"-c"}},
		{[]string{"web"}, nil, []string{"web"}, nil},
		{[]string{"web"}, []string{"x"}, []string{"web"}, []string{"x"}},
		{[]string{}, nil, nil, nil},
		{nil, []string{}, []string{"/usr/bin/sh"}, nil},
	} {
		config, request := withBase(c, system(t, true, amd64))
		config.Files, config.Entrypoint, config.Cmd = []Copy{{From: "web", To: "/usr/bin/"}}, x.entrypoint, x.cmd
		got, err := build(t, config, request).Image().ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		same(t, "entrypoint", got.Config.Entrypoint, x.wantEntrypoint)
		same(t, "cmd", got.Config.Cmd, x.wantCmd)
	}
}

func TestWrongPlaces(t *testing.T) {
	c := newCheckout(t)
	c.write("app/web", "web", 0o100755)
	c.write("app/data", "", 0o100644)
	c.write("app/twice/bin/x", "", 0o100644)
	c.write("app/twice/usr/bin/x", "", 0o100644)
	c.write("app/white/.wh.x", "", 0o100644)
	c.write("app/clash/etc/passwd/x", "", 0o100644)
	c.write("app/"+strings.Repeat("d/", 100)+"x", "", 0o100644)
	for _, x := range []struct {
		item Copy
		run  string
		want string
	}{
		{Copy{From: "web", To: "/usr/bin"}, "", "build.layers.files: to: /usr/bin: /usr/bin is a directory in the image, and app/web is none; to put it there, end in a slash"},
		{Copy{From: "web", To: "/bin"}, "", ""},
		{Copy{From: "web", To: "/usr/bin/sh/web"}, "", "build.layers.files: to: /usr/bin/sh/web: /usr/bin/sh is a file there"},
		{Copy{From: "clash/.", To: "/"}, "", "build.layers.files: to: /: /etc/passwd is a file there"},
		{Copy{From: "web", To: "/loop/web"}, "", "build.layers.files: to: /loop/web: symbolic links lead in a circle"},
		{Copy{From: "twice", To: "/"}, "", ""},
		{Copy{From: "twice/.", To: "/"}, "", "build.layers.files: to: /: app/twice/bin/x and app/twice/usr/bin/x would both be /usr/bin/x; leave one out"},
		{Copy{From: "white", To: "/x"}, "", `build.layers.files: to: /x: "/x/.wh.x": a name that begins with .wh. removes a file of the layers below, so it can't be put into an image`},
		{Copy{From: "d", To: "/" + strings.Repeat(strings.Repeat("a", 200)+"/", 20)}, "", "is longer than 4095 bytes"},
		{Copy{From: "web", To: "/web"}, "/wbe", "build.layers.entrypoint: /wbe is not in the image; put it there with files, or correct the path"},
		{Copy{From: "web", To: "/web"}, "/web/x", "build.layers.entrypoint: /web/x is not in the image: /web is a file there"},
		{Copy{From: "data", To: "/web"}, "/web", `build.layers.entrypoint: /web may not be executed, its mode is 0644; chmod +x it where it comes from, or give it mode: "0755"`},
		{Copy{From: "data", To: "/web", Mode: "0755"}, "/web", ""},
		{Copy{From: "web", To: "/usr/bin/web"}, "/bin", "build.layers.entrypoint: /bin is a directory of the image"},
		{Copy{From: "web", To: "/usr/bin/web"}, "/bin/web", ""},
		{Copy{From: "web", To: "/usr/bin/web"}, "/bin/sh", ""},
	} {
		config, request := withBase(c, system(t, false, amd64))
		config.Files = []Copy{x.item}
		if x.run != "" {
			config.Entrypoint = []string{x.run}
		}
		a, err := Build(context.Background(), config, request)
		if a != nil {
			_ = a.Close()
		}
		if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%+v: %v", x.item, err)
		}
	}
}

// indexOf joins images, as they are, with platforms.
func indexOf(docker bool, images map[string]v1.Image, order ...string) v1.ImageIndex {
	var index v1.ImageIndex = empty.Index
	if docker {
		index = mutate.IndexMediaType(index, types.DockerManifestList)
	}
	for _, text := range order {
		platform, _ := v1.ParsePlatform(text)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: images[text], Descriptor: v1.Descriptor{Platform: platform}})
	}
	return index
}

func TestBaseForPlatforms(t *testing.T) {
	c := newCheckout(t)
	c.write("app/web", "web", 0o100755)
	images := map[string]v1.Image{}
	order := []string{"linux/amd64", "linux/amd64/v3", "linux/arm/v6", "linux/arm64/v8", "unknown/unknown"}
	for _, text := range order {
		p, err := v1.ParsePlatform(text)
		if err != nil {
			t.Fatal(err)
		}
		images[text] = linuxImage(t, true, *p, v1.Config{Env: []string{"BASE=" + text}}, tarLayer(t, types.DockerLayer, reg("usr/bin/"+p.Architecture)))
	}
	request := c.request()
	request.Base = &Base{Name: "ghcr.io/acme/system", Index: indexOf(true, images, order...)}
	config := Config{Base: "ghcr.io/acme/system", Files: []Copy{{From: "web", To: "/web"}}}
	request.Platforms = []string{"linux/amd64/v4", "linux/amd64/v2", "linux/arm/v7", "linux/arm64"}
	a := build(t, config, request)
	if mediaType, err := a.Index().MediaType(); err != nil || mediaType != types.DockerManifestList {
		t.Errorf("%s %v", mediaType, err)
	}
	var bases []string
	for _, image := range imagesOf(t, a) {
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		bases = append(bases, config.Config.Env[0])
	}
	same(t, "bases", bases, []string{"BASE=linux/amd64/v3", "BASE=linux/amd64", "BASE=linux/arm/v6", "BASE=linux/arm64/v8"})

	request.Platforms = []string{"linux/arm64", "linux/arm/v5"}
	_, err := Build(context.Background(), config, request)
	want := "for linux/arm/v5: build.layers.base: ghcr.io/acme/system has no image for linux/arm/v5; it has linux/amd64, linux/amd64/v3, linux/arm/v6, linux/arm64/v8"
	if err == nil || err.Error() != want {
		t.Error(err)
	}
	request.Base = &Base{Image: images["linux/arm/v6"]}
	request.Platforms = nil
	_, err = Build(context.Background(), config, request)
	want = "build.layers.base: ghcr.io/acme/system is for linux/arm/v6, and the image is to be for linux/amd64; name the digest of an index that has it"
	if err == nil || err.Error() != want {
		t.Error(err)
	}
	request.Base = &Base{Index: indexOf(false, images, "unknown/unknown")}
	_, err = Build(context.Background(), config, request)
	want = "build.layers.base: ghcr.io/acme/system has no image for linux/amd64; it has none that it names"
	if err == nil || err.Error() != want {
		t.Error(err)
	}
}

// oddImage is an image with something changed.
type oddImage struct {
	v1.Image
	mediaType types.MediaType
	change    func(*v1.Manifest)
}

func (o oddImage) MediaType() (types.MediaType, error) {
	if o.mediaType != "" {
		return o.mediaType, nil
	}
	return o.Image.MediaType()
}

func (o oddImage) Manifest() (*v1.Manifest, error) {
	m, err := o.Image.Manifest()
	if err == nil && o.change != nil {
		m = m.DeepCopy()
		o.change(m)
	}
	return m, err
}

func TestWrongBases(t *testing.T) {
	c := newCheckout(t)
	c.write("app/web", "web", 0o100755)
	good := system(t, false, amd64)
	layer := func(mediaType types.MediaType) func(*v1.Manifest) {
		return func(m *v1.Manifest) {
			m.Layers[0].MediaType = mediaType
			m.Layers[0].Digest = hashOf(nil)
		}
	}
	digest, err := good.Digest()
	if err != nil {
		t.Fatal(err)
	}
	const other = "sha256:0123456789012345678901234567890123456789012345678901234567890123"
	for _, x := range []struct {
		reference string
		base      *Base
		want      string
	}{
		{"b", nil, "the caller of the layers builder has not got the base that build.layers.base names"},
		{"", &Base{Image: good}, "the caller of the layers builder has not got the base that build.layers.base names"},
		{"b", &Base{}, "the caller of the layers builder gives either an image or an index for the base"},
		{"b@" + other, &Base{Image: good}, "build.layers.base: b@" + other + " was asked for, and " + digest.String() + " was given"},
		{"b@" + digest.String(), &Base{Image: good}, ""},
		{"b", &Base{Image: oddImage{good, types.DockerManifestSchema1Signed, nil}}, "build.layers.base: b has the old manifest format, schema 1; pull it and push it again with a current tool, and use that"},
		{"b", &Base{Image: oddImage{good, "text/plain", nil}}, "build.layers.base: b is no image, but text/plain"},
		{"b", &Base{Image: oddImage{good, "", func(m *v1.Manifest) { m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json" }}}, "build.layers.base: b is no container image: its configuration is application/vnd.cncf.helm.config.v1+json"},
		{"b", &Base{Image: oddImage{good, "", layer(types.DockerForeignLayer)}}, "which may not be pushed to another registry (application/vnd.docker.image.rootfs.foreign.diff.tar.gzip)"},
		{"b", &Base{Image: oddImage{good, "", layer("application/x-tar+aes")}}, "of a kind that is not known: application/x-tar+aes"},
		{"b", &Base{Image: oddImage{good, "", func(m *v1.Manifest) { m.Layers = m.Layers[:1] }}}, "build.layers.base: b is broken: 1 layers, and its configuration knows of 2"},
		{"b", &Base{Image: linuxImage(t, true, amd64, v1.Config{OnBuild: []string{"RUN make"}})}, "build.layers.base: b has ONBUILD instructions"},
		{"b", &Base{Image: linuxImage(t, true, v1.Platform{}, v1.Config{})}, "is for linux, and the image is to be for linux/amd64"},
	} {
		request := c.request()
		request.Base = x.base
		a, err := Build(context.Background(), Config{Base: x.reference, Files: []Copy{{From: "web", To: "/web"}}}, request)
		if a != nil {
			_ = a.Close()
		}
		if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: %v, not %s", x.reference, err, x.want)
		}
	}
}

// A base with a layer that is not what its digest says, or no archive at all.
func TestBrokenLayer(t *testing.T) {
	c := newCheckout(t)
	c.write("app/web", "web", 0o100755)
	broken, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(strings.Repeat("no archive ", 100))), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	config, request := withBase(c, linuxImage(t, true, amd64, v1.Config{}, broken))
	config.Files = []Copy{{From: "web", To: "/web"}}
	_, err = Build(context.Background(), config, request)
	if err == nil || !strings.Contains(err.Error(), "read the base ghcr.io/acme/system:1: layer sha256:") || !errors.Is(err, tar.ErrHeader) {
		t.Error(err)
	}
}

// A base whose names alone would fill the memory.
func TestBaseOfTooManyNames(t *testing.T) {
	pr, pw := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		w := tar.NewWriter(pw)
		deep := strings.Repeat("d/", 2000)
		for {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: deep, Format: tar.FormatPAX}); err != nil {
				ended <- err
				return
			}
		}
	}()
	endless := endlessLayer{tarLayer(t, types.DockerLayer, reg("a")), pr}
	_, err := readNames(context.Background(), endless)
	if err == nil || err.Error() != "has more names than any image should" {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

type endlessLayer struct {
	v1.Layer
	content io.ReadCloser
}

func (l endlessLayer) Uncompressed() (io.ReadCloser, error) { return l.content, nil }

// Through a registry and back, on a base that comes from there. The names in its
// layers are read once.
func TestThroughARegistry(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	registry, err := trialregistry.Start(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = registry.Close() }()
	at, err := name.ParseReference(registry.Addr + "/acme/system:1")
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]v1.Image{"linux/amd64": system(t, false, amd64), "linux/arm64": system(t, false, v1.Platform{OS: "linux", Architecture: "arm64"})}
	if err := remote.WriteIndex(at, indexOf(false, images, "linux/amd64", "linux/arm64")); err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(at)
	if err != nil {
		t.Fatal(err)
	}
	c := newCheckout(t)
	c.write("app/web", "web", 0o100755)
	request := c.request()
	request.Base = &Base{Name: at.Name(), Index: index}
	request.Platforms = []string{"linux/amd64", "linux/arm64"}
	request.Cache = filepath.Join(t.TempDir(), "made", "when", "missing")
	config := Config{Base: at.Name(), Files: []Copy{{From: "web", To: "/bin/web"}}, Entrypoint: []string{"/bin/web"}}
	a := build(t, config, request)
	to, err := name.ParseReference(registry.Addr + "/acme/web:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(to, a.Index()); err != nil {
		t.Fatal(err)
	}
	back, err := remote.Index(to)
	if err != nil {
		t.Fatal(err)
	}
	if digest, err := back.Digest(); err != nil || digest != a.Digest() {
		t.Errorf("pushed as %s, there as %s: %v", a.Digest(), digest, err)
	}
	for _, image := range imagesOf(t, &Artifact{index: back}) {
		checkImage(t, image)
		if f := whole(t, image)["usr/bin/web"]; f.content != "web" {
			t.Errorf("%+v", f)
		}
	}
	cached, err := filepath.Glob(filepath.Join(request.Cache, "*"))
	if err != nil || len(cached) != 2 {
		t.Errorf("cached: %v %v", cached, err)
	}
	// With the cache, no layer is read.
	request.Base = &Base{Name: at.Name(), Index: unreadable{index}}
	if again := build2(t, config, request); again.Digest() != a.Digest() {
		t.Errorf("with the cache it is %s", again.Digest())
	}
	// A broken file of the cache is as none.
	for _, file := range cached {
		if err := os.WriteFile(file, []byte(`{"version":1,"layer":"x"`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Build(ctx, config, request); err == nil || !strings.Contains(err.Error(), "not to be read") {
		t.Error(err)
	}
	request.Base.Index = index
	if again := build2(t, config, request); again.Digest() != a.Digest() {
		t.Errorf("with a broken cache it is %s", again.Digest())
	}
}

// build2 builds, and does not read the layers.
func build2(t testing.TB, config Config, request Request) *Artifact {
	t.Helper()
	a, err := Build(context.Background(), config, request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// plainIndex has a name that is not that of a method.
type plainIndex = v1.ImageIndex

// unreadable is an index whose layers can't be read.
type unreadable struct{ plainIndex }

func (u unreadable) Image(h v1.Hash) (v1.Image, error) {
	image, err := u.plainIndex.Image(h)
	return unreadableImage{image}, err
}

type unreadableImage struct{ v1.Image }

func (u unreadableImage) Layers() ([]v1.Layer, error) {
	layers, err := u.Image.Layers()
	for i := range layers {
		layers[i] = unreadableLayer{layers[i]}
	}
	return layers, err
}

type unreadableLayer struct{ v1.Layer }

func (unreadableLayer) Compressed() (io.ReadCloser, error) {
	return nil, errors.New("not to be read")
}

func (unreadableLayer) Uncompressed() (io.ReadCloser, error) {
	return nil, errors.New("not to be read")
}
