// Command layers measures the layers builder beside ko and crane append: the same
// Go program built and pushed, and a file that is there already put on a base and
// pushed. Each side is a process of its own that pushes to the same kind of
// registry, in memory on loopback, empty but for the base. The sides run in turn;
// the result are the medians of the wall time, and of the processor time of the
// process and those that it started, and their ratios.
//
//	go run ./bench/layers
//
// ko and crane are built from the versions in bench/layers/tools, or given with
// -ko and -crane.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pin-cmp/pin-cmp/build/layers"
	"github.com/pin-cmp/pin-cmp/internal/trialregistry"
)

func main() {
	runs := flag.Int("runs", 11, "runs of each side")
	ko := flag.String("ko", "", "ko's program (default: build it)")
	crane := flag.String("crane", "", "crane's program (default: build it)")
	flag.Parse()
	var err error
	if flag.Arg(0) == "side" {
		err = side(context.Background(), flag.Arg(1), flag.Arg(2), flag.Args()[3:])
	} else {
		err = measure(context.Background(), *runs, *ko, *crane)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// side is our side: it puts the file, or what the command writes, on the base in
// the registry and pushes that.
func side(ctx context.Context, registry, dir string, command []string) error {
	ref, err := name.ParseReference(registry + "/base:1")
	if err != nil {
		return err
	}
	base, err := remote.Image(ref, remote.WithContext(ctx))
	if err != nil {
		return err
	}
	config := layers.Config{Base: ref.Name(), Files: []layers.Copy{{From: "file", To: "/ko-app/web"}}}
	if len(command) > 0 {
		config.Command, config.Files[0] = command, layers.Copy{Out: "web", To: "/ko-app/web"}
		config.Entrypoint = []string{"/ko-app/web"}
	}
	a, err := layers.Build(ctx, config, layers.Request{
		Top: dir, Dir: ".", Files: []layers.File{{Path: "file", Mode: 0o100755}}, Base: &layers.Base{Name: ref.Name(), Image: base}, Log: os.Stderr,
	})
	if err != nil {
		return err
	}
	to, err := name.ParseReference(registry + "/web:1")
	if err != nil {
		return err
	}
	return remote.Write(to, a.Image(), remote.WithContext(ctx))
}

const program = `package main

import (
	"encoding/json"
	"net/http"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(r.Header) })
	_ = http.ListenAndServe(":8080", nil)
}
`

func measure(ctx context.Context, runs int, ko, crane string) error {
	dir, err := os.MkdirTemp("", "bench-layers-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if ko == "" || crane == "" {
		build := exec.Command("go", "build", "-C", "bench/layers/tools", "-o", dir+"/", "github.com/google/ko", "github.com/google/go-containerregistry/cmd/crane")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build ko and crane (run this at the top of the repository, or give -ko and -crane): %w", err)
		}
		ko, crane = filepath.Join(dir, "ko"), filepath.Join(dir, "crane")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	source := filepath.Join(dir, "source")
	for name, content := range map[string]string{"go.mod": "module example.com/web\n\ngo 1.24\n", "main.go": program} {
		if err := os.MkdirAll(source, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(source, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	// ko's own flags, so that both compile and link alike.
	goBuild := []string{"go", "build", "-buildvcs=false", "-trimpath", "-o", "$PIN_OUT/web", "."}
	if err := compare(ctx, "build a Go program and push it", "ko build", runs, func(registry string) (*exec.Cmd, *exec.Cmd) {
		theirs := exec.Command(ko, "build", "--bare", "--sbom=none", "--platform=linux/amd64", ".")
		theirs.Dir = source
		theirs.Env = append(os.Environ(), "KO_DOCKER_REPO="+registry+"/web", "KO_DEFAULTBASEIMAGE="+registry+"/base:1", "GOFLAGS=-buildvcs=false")
		return theirs, exec.Command(self, append([]string{"side", registry, source}, goBuild...)...)
	}); err != nil {
		return err
	}
	// A small and a large program to put on the base: the one above, and ko.
	small := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "small"), ".")
	small.Dir = source
	if out, err := small.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	for _, from := range []string{filepath.Join(dir, "small"), ko} {
		ready, err := os.MkdirTemp(dir, "ready-")
		if err != nil {
			return err
		}
		size, err := prepare(from, ready)
		if err != nil {
			return err
		}
		if err := compare(ctx, fmt.Sprintf("put a file of %d MiB on a base and push it", size>>20), "crane append", runs, func(registry string) (*exec.Cmd, *exec.Cmd) {
			return exec.Command(crane, "append", "-b", registry+"/base:1", "-f", filepath.Join(ready, "layer.tar"), "-t", registry+"/web:1"),
				exec.Command(self, "side", registry, ready)
		}); err != nil {
			return err
		}
	}
	return nil
}

// prepare copies a file, for us, and makes a tar archive of it, for crane.
func prepare(from, dir string) (int, error) {
	content, err := os.ReadFile(from)
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), content, 0o755); err != nil {
		return 0, err
	}
	archive, err := archiveOf(&tar.Header{Typeflag: tar.TypeReg, Name: "ko-app/web", Mode: 0o755, Size: int64(len(content))}, content)
	if err != nil {
		return 0, err
	}
	return len(content), os.WriteFile(filepath.Join(dir, "layer.tar"), archive, 0o644)
}

func archiveOf(header *tar.Header, content []byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	return b.Bytes(), w.Close()
}

// base is an image with as much as distroless static has: 2 MiB in a layer.
func base() (v1.Image, error) {
	noise := make([]byte, 2<<20)
	for i, x := 0, uint64(1); i < len(noise); i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		noise[i] = byte(x)
	}
	archive, err := archiveOf(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/zones", Mode: 0o644, Size: int64(len(noise))}, noise)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }, tarball.WithMediaType(types.DockerLayer))
	if err != nil {
		return nil, err
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(image, layer)
}

// compare runs the two sides in turn, after a run of each that does not count.
func compare(ctx context.Context, what, peer string, runs int, sides func(registry string) (theirs, ours *exec.Cmd)) error {
	image, err := base()
	if err != nil {
		return err
	}
	var took, cpu [2][]time.Duration
	var size [2]int64
	for run := range runs + 1 {
		for i := range 2 {
			registry, err := trialregistry.Start(ctx, "127.0.0.1:0")
			if err != nil {
				return err
			}
			at, err := name.ParseReference(registry.Addr + "/base:1")
			if err != nil {
				return err
			}
			if err := remote.Write(at, image); err != nil {
				return err
			}
			theirs, ours := sides(registry.Addr)
			cmd := []*exec.Cmd{theirs, ours}[i]
			began := time.Now()
			out, err := cmd.CombinedOutput()
			elapsed := time.Since(began)
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", cmd, err, out)
			}
			if size[i], err = pushed(registry.Addr); err != nil {
				return err
			}
			if run > 0 {
				took[i] = append(took[i], elapsed)
				cpu[i] = append(cpu[i], cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
			}
			if err := registry.Close(); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%s: %s %v, layers %v, ratio %.2f; processor %v, %v, ratio %.2f; the layer has %.1f and %.1f MiB\n", what, peer,
		median(took[0]), median(took[1]), ratio(took), median(cpu[0]), median(cpu[1]), ratio(cpu), float64(size[0])/(1<<20), float64(size[1])/(1<<20))
	return nil
}

// pushed returns the size of the layers over the base, having seen that they are
// there.
func pushed(registry string) (int64, error) {
	for _, tag := range []string{"1", "latest"} {
		ref, err := name.ParseReference(registry + "/web:" + tag)
		if err != nil {
			return 0, err
		}
		image, err := remote.Image(ref)
		if err != nil {
			if strings.Contains(err.Error(), "MANIFEST_UNKNOWN") {
				continue
			}
			return 0, err
		}
		manifest, err := image.Manifest()
		if err != nil {
			return 0, err
		}
		var size int64
		for _, l := range manifest.Layers[1:] {
			size += l.Size
		}
		return size, nil
	}
	return 0, fmt.Errorf("nothing was pushed to %s", registry)
}

func median(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)/2].Round(time.Millisecond)
}

func ratio(took [2][]time.Duration) float64 {
	return float64(median(took[1])) / float64(median(took[0]))
}
