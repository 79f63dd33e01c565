//go:build unix

package layers

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// checkout is a work tree whose files git is said to track.
type checkout struct {
	t     testing.TB
	top   string
	files []File
}

func newCheckout(t testing.TB) *checkout {
	t.Helper()
	return &checkout{t: t, top: t.TempDir()}
}

// write writes a file, and tracks it.
func (c *checkout) write(name, content string, mode uint32) {
	c.t.Helper()
	c.untracked(name, content)
	if err := os.Chmod(filepath.Join(c.top, name), os.FileMode(mode&0o777)); err != nil {
		c.t.Fatal(err)
	}
	c.files = append(c.files, File{Path: name, Mode: mode})
}

func (c *checkout) untracked(name, content string) {
	c.t.Helper()
	full := filepath.Join(c.top, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c *checkout) link(name, target string) {
	c.t.Helper()
	full := filepath.Join(c.top, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Symlink(target, full); err != nil {
		c.t.Fatal(err)
	}
	c.files = append(c.files, File{Path: name, Mode: gitLink})
}

// request is for the component in the directory app.
func (c *checkout) request() Request {
	if err := os.MkdirAll(filepath.Join(c.top, "app"), 0o755); err != nil {
		c.t.Fatal(err)
	}
	return Request{
		Top: c.top, Dir: "app", Image: "ghcr.io/acme/web", Files: c.files,
		Epoch: time.Date(2026, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600)), Source: "https://github.com/acme/shop", Revision: strings.Repeat("c", 40),
	}
}

// build builds, and checks that what was built holds together.
func build(t testing.TB, config Config, request Request) *Artifact {
	t.Helper()
	a, err := Build(context.Background(), config, request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	if a.Image() != nil {
		checkImage(t, a.Image())
		if digest, err := a.Image().Digest(); err != nil || digest != a.Digest() {
			t.Errorf("the image is %s, the artifact %s: %v", digest, a.Digest(), err)
		}
		return a
	}
	raw, err := a.Index().RawManifest()
	if err != nil || hashOf(raw) != a.Digest() {
		t.Errorf("the index is %s, the artifact %s: %v", hashOf(raw), a.Digest(), err)
	}
	for _, one := range imagesOf(t, a) {
		checkImage(t, one)
	}
	return a
}

// imagesOf are the images of an artifact, in order.
func imagesOf(t testing.TB, a *Artifact) []v1.Image {
	t.Helper()
	if a.Image() != nil {
		return []v1.Image{a.Image()}
	}
	manifest, err := a.Index().IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var images []v1.Image
	for _, d := range manifest.Manifests {
		one, err := a.Index().Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := one.RawManifest()
		if err != nil || hashOf(raw) != d.Digest || int64(len(raw)) != d.Size {
			t.Errorf("%s of %d bytes is %s of %d: %v", d.Digest, d.Size, hashOf(raw), len(raw), err)
		}
		images = append(images, one)
	}
	return images
}

func hashOf(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// checkImage compares digests, sizes and diff ids with the bytes, reading the
// layers twice and with the standard library.
func checkImage(t testing.TB, image v1.Image) {
	t.Helper()
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := image.RawConfigFile()
	if err != nil || hashOf(raw) != manifest.Config.Digest || int64(len(raw)) != manifest.Config.Size {
		t.Errorf("the configuration is %s: %v", hashOf(raw), err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != len(manifest.Layers) || len(layers) != len(config.RootFS.DiffIDs) {
		t.Fatalf("%d layers, %d in the manifest, %d in the configuration", len(layers), len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	for i, l := range layers {
		for range 2 {
			d := manifest.Layers[i]
			compressed := readAll(t, l.Compressed)
			if hashOf(compressed) != d.Digest || int64(len(compressed)) != d.Size {
				t.Errorf("layer %d is %s", i, hashOf(compressed))
			}
			g, err := gzip.NewReader(bytes.NewReader(compressed))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := io.ReadAll(g)
			if err != nil || hashOf(plain) != config.RootFS.DiffIDs[i] || !bytes.Equal(plain, readAll(t, l.Uncompressed)) {
				t.Errorf("layer %d is %s without compression: %v", i, hashOf(plain), err)
			}
		}
		if byDigest, err := image.LayerByDigest(manifest.Layers[i].Digest); err != nil || byDigest == nil {
			t.Error(err)
		}
		if byID, err := image.LayerByDiffID(config.RootFS.DiffIDs[i]); err != nil || byID == nil {
			t.Error(err)
		}
	}
}

func readAll(t testing.TB, open func() (io.ReadCloser, error)) []byte {
	t.Helper()
	r, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// found is a file in a tar archive.
type found struct {
	*tar.Header
	content string
}

func readTar(t testing.TB, r io.Reader) (names []string, files map[string]found) {
	t.Helper()
	archive := tar.NewReader(r)
	files = map[string]found{}
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return names, files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		files[h.Name] = found{h, string(content)}
	}
}

// layerOf reads a layer.
func layerOf(t testing.TB, image v1.Image, i int) (names []string, files map[string]found) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	return readTar(t, bytes.NewReader(readAll(t, layers[i].Uncompressed)))
}

// whole reads the image's file system.
func whole(t testing.TB, image v1.Image) map[string]found {
	t.Helper()
	r := mutate.Extract(image)
	defer func() { _ = r.Close() }()
	_, files := readTar(t, r)
	return files
}

func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, not %q", what, got, want)
	}
}

func TestFromTheRepository(t *testing.T) {
	c := newCheckout(t)
	c.write("app/static/index.html", "<html>", 0o100644)
	c.write("app/static/bin/run", "#!/bin/sh\n", 0o100755)
	c.write("app/static-not", "", 0o100644)
	c.link("app/static/latest", "bin/run")
	c.write("lib/rates.tsv", "EUR\t1\n", 0o100644)
	c.untracked("app/static/.env", "SECRET=1\n")
	c.untracked("app/static/cache/x", "x")
	image := build(t, Config{
		Files: []Copy{
			{From: "static", To: "/srv/www"},
			{From: "static", To: "/opt/"},
			{From: "static/.", To: "/"},
			{From: "../lib/rates.tsv", To: "/srv/rates.tsv", Mode: "0600"},
			{From: "../lib/rates.tsv", To: "/srv/www/"},
			{From: "..", To: "/all"},
		},
		Owner: "10:20",
	}, c.request()).Image()
	names, files := layerOf(t, image, 0)
	same(t, "layer 0", names, []string{"srv/", "srv/www/", "srv/www/bin/", "srv/www/bin/run", "srv/www/index.html", "srv/www/latest"})
	for name, want := range map[string]struct {
		mode     int64
		uid, gid int
		content  string
	}{
		"srv/":               {0o755, 0, 0, ""},
		"srv/www/":           {0o755, 10, 20, ""},
		"srv/www/bin/":       {0o755, 10, 20, ""},
		"srv/www/bin/run":    {0o755, 10, 20, "#!/bin/sh\n"},
		"srv/www/index.html": {0o644, 10, 20, "<html>"},
		"srv/www/latest":     {0o777, 10, 20, ""},
	} {
		f := files[name]
		if f.Mode != want.mode || f.Uid != want.uid || f.Gid != want.gid || f.content != want.content {
			t.Errorf("%s: mode %o, owner %d:%d, %q", name, f.Mode, f.Uid, f.Gid, f.content)
		}
		if !f.ModTime.Equal(time.Unix(0, 0)) || f.Uname != "" || f.Gname != "" || len(f.PAXRecords) > 0 {
			t.Errorf("%s: %v", name, f.Header)
		}
	}
	if files["srv/www/latest"].Linkname != "bin/run" {
		t.Error(files["srv/www/latest"].Linkname)
	}
	names, _ = layerOf(t, image, 1)
	same(t, "layer 1", names, []string{"opt/", "opt/static/", "opt/static/bin/", "opt/static/bin/run", "opt/static/index.html", "opt/static/latest"})
	names, _ = layerOf(t, image, 2)
	same(t, "layer 2", names, []string{"bin/", "bin/run", "index.html", "latest"})
	names, files = layerOf(t, image, 3)
	same(t, "layer 3", names, []string{"srv/", "srv/rates.tsv"})
	if f := files["srv/rates.tsv"]; f.Mode != 0o600 || f.content != "EUR\t1\n" {
		t.Errorf("%o %q", f.Mode, f.content)
	}
	names, files = layerOf(t, image, 4)
	same(t, "layer 4", names, []string{"srv/", "srv/www/", "srv/www/rates.tsv"})
	if f := files["srv/www/"]; f.Uid != 10 {
		t.Errorf("a directory of an earlier layer changes its owner: %d", f.Uid)
	}
	names, _ = layerOf(t, image, 5)
	same(t, "layer 5", names, []string{
		"all/", "all/app/", "all/app/static/", "all/app/static-not", "all/app/static/bin/", "all/app/static/bin/run",
		"all/app/static/index.html", "all/app/static/latest", "all/lib/", "all/lib/rates.tsv",
	})
}

func TestTimeOfTheCommit(t *testing.T) {
	c := newCheckout(t)
	c.write("app/index.html", "<html>", 0o100644)
	image := build(t, Config{Files: []Copy{{From: "index.html", To: "/srv/"}}, Mtime: "commit"}, c.request()).Image()
	_, files := layerOf(t, image, 0)
	for name, f := range files {
		if !f.ModTime.Equal(c.request().Epoch) {
			t.Errorf("%s: %v", name, f.ModTime)
		}
	}
}

// The configuration of an image from nothing.
func TestConfiguration(t *testing.T) {
	c := newCheckout(t)
	c.write("app/web", "", 0o100755)
	image := build(t, Config{
		Base: "scratch", Files: []Copy{{From: "web", To: "/usr/bin/web"}},
		Entrypoint: []string{"/usr/bin/web"}, Cmd: []string{"--port", "8080"},
		Env: map[string]string{"PORT": "8080", "A": "b=$C"}, User: "65532:65532", Workdir: "/srv",
		Labels: map[string]string{"team": "shop", labelSource: "https://acme.example"}, Ports: []string{"8080", "53/udp"},
	}, c.request()).Image()
	raw, err := image.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"architecture":"amd64","created":"2026-02-03T03:05:06Z",` +
		`"history":[{"created":"2026-02-03T03:05:06Z","created_by":"pin-cmp layers: from: web to: /usr/bin/web"}],"os":"linux",` +
		`"rootfs":{"type":"layers","diff_ids":["` + config.RootFS.DiffIDs[0].String() + `"]},` +
		`"config":{"Cmd":["--port","8080"],"Entrypoint":["/usr/bin/web"],"Env":["A=b=$C","PORT=8080"],` +
		`"Labels":{"org.opencontainers.image.created":"2026-02-03T03:05:06Z","org.opencontainers.image.revision":"` + strings.Repeat("c", 40) + `",` +
		`"org.opencontainers.image.source":"https://acme.example","team":"shop"},` +
		`"User":"65532:65532","WorkingDir":"/srv","ExposedPorts":{"53/udp":{},"8080/tcp":{}}}}`
	if string(raw) != want {
		t.Errorf("%s\nnot\n%s", raw, want)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.MediaType != types.OCIManifestSchema1 || manifest.Config.MediaType != types.OCIConfigJSON || manifest.Layers[0].MediaType != types.OCILayer {
		t.Errorf("media types: %+v", manifest)
	}
	if len(manifest.Annotations) != 4 || manifest.Annotations[labelSource] != "https://acme.example" || manifest.Annotations["team"] != "shop" {
		t.Errorf("annotations: %v", manifest.Annotations)
	}
}

// What a layer is made of is fixed: the same content is the same bytes with every
// version of Go, of this program and of its modules, or every image that was ever
// pinned would be another when it is built again. If this fails, something on the
// way changed; find out what, and whether it is worth that.
func TestGoldenDigest(t *testing.T) {
	c := newCheckout(t)
	// A text that compresses, across many blocks of the compressor.
	var text strings.Builder
	for i, x := 0, uint32(1); i < 200_000; i++ {
		x = x*1664525 + 1013904223
		text.WriteString([]string{"the ", "quick ", "brown ", "fox ", "jumps ", "over ", "lazy ", "dog\n"}[x>>29])
	}
	c.write("app/text", text.String(), 0o100644)
	c.write("app/run", "#!/bin/sh\n", 0o100755)
	c.link("app/link", "text")
	c.write("app/"+strings.Repeat("long/", 60)+"ünï\ncode", "x", 0o100644)
	request := c.request()
	request.Platforms = []string{"linux/amd64", "linux/arm64"}
	a := build(t, Config{
		Files: []Copy{{From: ".", To: "/srv"}, {From: "run", To: "/bin/"}}, Entrypoint: []string{"/bin/run"},
		Env: map[string]string{"A": "1"}, Labels: map[string]string{"team": "shop"}, Ports: []string{"80"}, Owner: "1:2",
	}, request)
	const (
		wantLayer = "sha256:39c85dc3c62683b0747c5065d00764e4cde65ac9e22b84ef8be29f25bef0c91a"
		wantIndex = "sha256:03467e918f583a94b16abaab1a350b8c50b0968407ffd78623189b5466489df5"
	)
	manifest, err := imagesOf(t, a)[0].Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if got := manifest.Layers[0].Digest.String(); got != wantLayer {
		t.Errorf("the layer is %s, not %s", got, wantLayer)
	}
	if got := a.Digest().String(); got != wantIndex {
		t.Errorf("the index is %s, not %s", got, wantIndex)
	}
}

// How the content reaches the compressor, and what it did before, has no influence
// on what it makes.
func TestCompressionDependsOnContentAlone(t *testing.T) {
	c := newCheckout(t)
	content := strings.Repeat("0123456789abcdef", 100_000)
	c.write("app/a", content, 0o100644)
	root, err := os.OpenRoot(c.top)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	p := placed{
		entry{kind: file, root: root, path: "app/a", shown: "a"},
		&tar.Header{Typeflag: tar.TypeReg, Name: "a", Format: tar.FormatPAX, ModTime: time.Unix(0, 0)},
	}
	digests := map[v1.Hash]bool{}
	for range 3 {
		b, err := newBlob(context.Background(), []placed{p})
		if err != nil {
			t.Fatal(err)
		}
		digests[b.digest] = true
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}
	// The same archive, written a few bytes at a time.
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	header := *p.header
	header.Size = int64(len(content))
	if err := w.WriteHeader(&header); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 7, 4096, 65535, 1 << 20} {
		var out bytes.Buffer
		squeeze := newSqueeze(t, &out)
		for rest := plain.Bytes(); len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := squeeze.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := squeeze.Close(); err != nil {
			t.Fatal(err)
		}
		digests[hashOf(out.Bytes())] = true
	}
	if len(digests) != 1 {
		t.Errorf("one archive, %d results", len(digests))
	}
}

// Two checkouts of one commit, by two people.
func TestSameDigest(t *testing.T) {
	config := Config{
		Command: []string{"sh", "-c", `umask; printf 'x\n' >"$PIN_OUT/web"; chmod +x "$PIN_OUT/web"; mkdir "$PIN_OUT/d"; for f in b a c ä Z; do echo $f >"$PIN_OUT/d/$f"; done; ls "$PIN_OUT/d" >"$PIN_OUT/list"; { date -d @0 2>/dev/null || date -r 0; } >"$PIN_OUT/date"; ln "$PIN_OUT/web" "$PIN_OUT/d/hard"`},
		Files: []Copy{
			{Out: "web", To: "/usr/bin/web"},
			{Out: "d", To: "/srv"},
			{Out: "list", To: "/"},
			{Out: "date", To: "/"},
			{From: "static", To: "/srv/www"},
		},
	}
	checkoutOf := func(order []string) *checkout {
		c := newCheckout(t)
		for _, name := range order {
			mode := uint32(0o100644)
			if name == "app/static/run" {
				mode = 0o100755
			}
			c.write(name, "content of "+name, mode)
		}
		return c
	}
	names := []string{"app/static/a", "app/static/b/c", "app/static/run", "app/static/A", "app/static/b.c"}
	one := checkoutOf(names)
	first := build(t, config, one.request())

	slices.Reverse(names)
	two := checkoutOf(names)
	for _, name := range names {
		full := filepath.Join(two.top, name)
		if err := os.Chtimes(full, time.Unix(5, 0), time.Unix(1e9, 0)); err != nil {
			t.Fatal(err)
		}
		// As a umask of 077, and a file system that knows no executable bit.
		if err := os.Chmod(full, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"app/static", "app/static/b"} {
		if err := os.Chmod(filepath.Join(two.top, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	two.untracked("app/static/.DS_Store", "untracked")
	for _, name := range []string{"TMPDIR", "HOME"} {
		t.Setenv(name, t.TempDir())
	}
	for name, value := range map[string]string{
		"LANG": "de_DE.UTF-8", "LC_ALL": "en_US.UTF-8", "TZ": "America/New_York", "GOFLAGS": "", "GOAMD64": "v3",
		"PIN_OUT": "/nowhere", "USER": "somebody", "SOURCE_DATE_EPOCH": "12345",
	} {
		t.Setenv(name, value)
	}
	withUmask(t, 0o077)
	second := build(t, config, two.request())
	if first.Digest() != second.Digest() {
		a, b := whole(t, first.Image()), whole(t, second.Image())
		for name := range a {
			if a[name].content != b[name].content || a[name].Mode != b[name].Mode {
				t.Errorf("%s: %q %o, %q %o", name, a[name].content, a[name].Mode, b[name].content, b[name].Mode)
			}
		}
		t.Errorf("%s and %s", first.Digest(), second.Digest())
	}
	la, err := first.Image().Layers()
	if err != nil {
		t.Fatal(err)
	}
	lb, err := second.Image().Layers()
	if err != nil {
		t.Fatal(err)
	}
	for i := range la {
		if !bytes.Equal(readAll(t, la[i].Compressed), readAll(t, lb[i].Compressed)) {
			t.Errorf("layer %d differs", i)
		}
	}
}

func TestPlatforms(t *testing.T) {
	c := newCheckout(t)
	c.write("app/static/a", "a", 0o100644)
	config := Config{
		Command: []string{"sh", "-c", `echo "$TARGETPLATFORM ${TARGETPLATFORM} $GOOS/$GOARCH $GOARM$GOARM64$GOAMD64 $CGO_ENABLED $1 $2" >"$PIN_OUT/p"`, "sh", "${TARGETARCH}-$TARGETVARIANT", "$NOT_OURS $$ $PIN_OUTPUT"},
		Files:   []Copy{{Out: "p", To: "/"}, {From: "static", To: "/static"}},
	}
	request := c.request()
	t.Setenv("GOARM", "5")
	request.Platforms = []string{"linux/arm64/v8", "linux/amd64", "linux/arm", "linux/arm/v6", "linux/amd64/v3", "linux/riscv64"}
	a := build(t, config, request)
	if a.Image() != nil {
		t.Fatal("an image for several platforms")
	}
	manifest, err := a.Index().IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms, contents []string
	shared := map[v1.Hash]bool{}
	for i, image := range imagesOf(t, a) {
		platforms = append(platforms, manifest.Manifests[i].Platform.String())
		_, files := layerOf(t, image, 0)
		contents = append(contents, files["p"].content)
		m, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		shared[m.Layers[1].Digest] = true
		config, err := image.ConfigFile()
		if err != nil || config.Platform().String() != platforms[i] {
			t.Errorf("%v: %v", config.Platform(), err)
		}
	}
	same(t, "platforms", platforms, []string{"linux/arm64", "linux/amd64", "linux/arm/v7", "linux/arm/v6", "linux/amd64/v3", "linux/riscv64"})
	tail := " $NOT_OURS $$ $PIN_OUTPUT\n"
	same(t, "contents", contents, []string{
		"linux/arm64 linux/arm64 linux/arm64 v8.0 0 arm64-" + tail,
		"linux/amd64 linux/amd64 linux/amd64 v1 0 amd64-" + tail,
		"linux/arm/v7 linux/arm/v7 linux/arm 7 0 arm-v7" + tail,
		"linux/arm/v6 linux/arm/v6 linux/arm 6 0 arm-v6" + tail,
		"linux/amd64/v3 linux/amd64/v3 linux/amd64 v3 0 amd64-v3" + tail,
		"linux/riscv64 linux/riscv64 linux/riscv64  0 riscv64-" + tail,
	})
	if len(shared) != 1 {
		t.Errorf("%d layers of the same files", len(shared))
	}
	if manifest.MediaType != types.OCIImageIndex || manifest.Annotations[labelSource] == "" {
		t.Errorf("%+v", manifest)
	}
	request.Platforms = []string{"linux/arm64"}
	one := build(t, config, request)
	if digest, err := one.Image().Digest(); err != nil || digest != manifest.Manifests[0].Digest {
		t.Errorf("alone it is %s, in the index %s: %v", digest, manifest.Manifests[0].Digest, err)
	}
	for _, bad := range []struct {
		list []string
		want string
	}{
		{[]string{"arm64"}, `platform "arm64" is not written as linux/arm64 or linux/arm/v7`},
		{[]string{"linux/arm/v7/x"}, `platform "linux/arm/v7/x" is not written as`},
		{[]string{"linux/amd64", "linux/x86_64"}, "platform linux/amd64 is listed twice"},
		{[]string{"windows/amd64"}, "platform windows/amd64: the layers builder makes images for linux alone"},
	} {
		request.Platforms = bad.list
		if _, err := Build(context.Background(), config, request); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%q: %v", bad.list, err)
		}
	}
}

// A command alone: what it wrote is the image.
func TestCommandAlone(t *testing.T) {
	c := newCheckout(t)
	a := build(t, Config{Command: []string{"sh", "-c", `mkdir -p "$PIN_OUT/usr/bin" "$PIN_OUT/var/empty"; echo >"$PIN_OUT/usr/bin/web"; ln -s web "$PIN_OUT/usr/bin/w"; ln -s /usr/bin/web "$PIN_OUT/abs"; ln -s usr/../usr "$PIN_OUT/up"`}}, c.request())
	names, files := layerOf(t, a.Image(), 0)
	same(t, "names", names, []string{"abs", "up", "usr/", "usr/bin/", "usr/bin/w", "usr/bin/web", "var/", "var/empty/"})
	if files["usr/bin/w"].Linkname != "web" || files["abs"].Linkname != "/usr/bin/web" || files["up"].Linkname != "usr/../usr" {
		t.Error("links")
	}
}

// Nothing is left in the directory for temporary files, and a closed artifact
// can't be read.
func TestClose(t *testing.T) {
	c := newCheckout(t)
	c.write("app/a", "a", 0o100644)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	config := Config{Command: []string{"sh", "-c", `mkdir -p "$PIN_OUT/ro/x"; chmod 0500 "$PIN_OUT/ro"; cp a "$PIN_OUT/a"`}, Files: []Copy{{Out: "a", To: "/a"}}}
	a, err := Build(context.Background(), config, c.request())
	if err != nil {
		t.Fatal(err)
	}
	layers, err := a.Image().Layers()
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, layers[0].Compressed)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error("closed twice:", err)
	}
	if _, err := layers[0].Uncompressed(); err == nil {
		t.Error("a closed layer can be read")
	}
	config.Command = []string{"sh", "-c", `exit 3`}
	if _, err := Build(context.Background(), config, c.request()); err == nil {
		t.Error("no error")
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
