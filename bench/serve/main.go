// Command serve measures pin-cmp serve over its socket, driven as
// argocd-repo-server drives it: a gzipped tar of the repository in a temporary
// file, sent in pieces of 1024 bytes.
//
//	go run ./bench/serve [-rounds 30] [-many 10000]
//
// It compares, in turns,
//
//   - a generate of a repository of 5,000 files with the client's own tar and
//     send of it, to a server that reads the stream and does nothing;
//   - a generate of an overlay of 2 and of 500 resources, its digests known,
//     with the kustomize CLI alone on the same directory: no server, no archive,
//     no verification.
//
// Then it prints the memory of the server and of its waiting children: when it
// has started, and when it has done all that. With -many it makes that many
// requests in a row, and 64 at once, and prints the memory on the way.
package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pin-cmp/pin-cmp/internal/plugin/pluginpb"
	"github.com/pin-cmp/pin-cmp/internal/trialregistry"
)

func main() {
	rounds := flag.Int("rounds", 30, "requests of each kind")
	many := flag.Int("many", 0, "requests in a row")
	drain := flag.String("drain", "", "only read streams, at this socket")
	flag.Parse()
	var err error
	if *drain != "" {
		err = drainAt(*drain)
	} else {
		err = compare(*rounds, *many)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// drainer is a plugin that reads streams and does nothing.
type drainer struct {
	pluginpb.UnimplementedConfigManagementPluginServiceServer
}

func (drainer) GenerateManifest(stream grpc.ClientStreamingServer[pluginpb.AppStreamRequest, pluginpb.ManifestResponse]) error {
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return stream.SendAndClose(&pluginpb.ManifestResponse{})
		} else if err != nil {
			return err
		}
	}
}

func drainAt(socket string) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	pluginpb.RegisterConfigManagementPluginServiceServer(server, drainer{})
	return server.Serve(listener)
}

func compare(rounds, many int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	registry, err := trialregistry.Start(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = registry.Close() }()
	image, err := push(registry.Addr)
	if err != nil {
		return err
	}
	gate, cli := filepath.Join(dir, "pin-cmp"), filepath.Join(dir, "kustomize")
	if err := build(dir, gate, cli); err != nil {
		return err
	}
	large, small, big := filepath.Join(dir, "large"), filepath.Join(dir, "small"), filepath.Join(dir, "many")
	for _, r := range []struct {
		root             string
		resources, files int
	}{{large, 2, 5000}, {small, 2, 0}, {big, 500, 0}} {
		if err := repository(r.root, image, r.resources, r.files); err != nil {
			return err
		}
	}
	policy := filepath.Join(dir, "policy.yaml")
	text := fmt.Sprintf("apiVersion: pin-cmp/v1\nkind: Policy\nregistries: {plainHTTP: [%q]}\npresence: {cacheDir: %s}\n", registry.Addr, filepath.Join(dir, "cache"))
	config := "kind: ConfigManagementPlugin\nmetadata: {name: p}\n"
	if err := errors.Join(os.WriteFile(policy, []byte(text), 0o644), os.WriteFile(filepath.Join(dir, "plugin.yaml"), []byte(config), 0o644)); err != nil {
		return err
	}

	served, drained := filepath.Join(dir, "p.sock"), filepath.Join(dir, "d.sock")
	server := exec.CommandContext(ctx, gate, "serve", "--quiet", "--config-dir", dir, "--socket-dir", dir, "--policy", policy)
	server.Stderr = io.Discard // one line for each request
	if err := run(server, served); err != nil {
		return err
	}
	defer end(server)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	reader := exec.CommandContext(ctx, self, "-drain", drained)
	if err := run(reader, drained); err != nil {
		return err
	}
	defer end(reader)
	idle := memory(server.Process.Pid)

	fmt.Printf("%-46s %9s %9s %6s\n", "", "pin-cmp", "against", "ratio")
	for _, c := range []struct {
		what    string
		ours    func() error
		against func() error
	}{
		{
			"5,000 files, against the client's tar and send",
			func() error { return generate(ctx, served, large, true) },
			func() error { return generate(ctx, drained, large, false) },
		},
		{
			"2 resources, against the kustomize CLI alone",
			func() error { return generate(ctx, served, small, true) },
			func() error { return exec.CommandContext(ctx, cli, "build", filepath.Join(small, "app")).Run() },
		},
		{
			"500 resources, against the kustomize CLI alone",
			func() error { return generate(ctx, served, big, true) },
			func() error { return exec.CommandContext(ctx, cli, "build", filepath.Join(big, "app")).Run() },
		},
	} {
		var ours, against []time.Duration
		for i := range rounds + 2 {
			a, err := clock(c.ours)
			if err != nil {
				return fmt.Errorf("%s: %w", c.what, err)
			}
			b, err := clock(c.against)
			if err != nil {
				return fmt.Errorf("%s: %w", c.what, err)
			}
			if i >= 2 { // the first ones warm up
				ours, against = append(ours, a), append(against, b)
			}
		}
		a, b := median(ours), median(against)
		fmt.Printf("%-46s %7.1fms %7.1fms %6.2f\n", c.what, ms(a), ms(b), float64(a)/float64(b))
	}
	fmt.Printf("memory, started: %s\n", idle)
	settle()
	fmt.Printf("memory, afterwards: %s\n", memory(server.Process.Pid))
	for i := range many {
		if err := generate(ctx, served, small, true); err != nil {
			return fmt.Errorf("request %d: %w", i, err)
		}
		if (i+1)%max(1, many/5) == 0 {
			fmt.Printf("memory after %d requests in a row: %s\n", i+1, memory(server.Process.Pid))
		}
	}
	if many == 0 {
		return nil
	}
	began, ended := time.Now(), make(chan error)
	for range 64 {
		go func() { ended <- generate(ctx, served, small, true) }()
	}
	for range 64 {
		err = errors.Join(err, <-ended)
	}
	fmt.Printf("64 requests at once: %.0f ms\n", ms(time.Since(began)))
	settle()
	fmt.Printf("memory, idle again: %s\n", memory(server.Process.Pid))
	return err
}

func push(host string) (string, error) {
	ref, err := name.NewRepository(host+"/acme/web", name.Insecure)
	if err != nil {
		return "", err
	}
	digest, err := empty.Image.Digest()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s@%s", ref.Name(), digest), remote.Write(ref.Digest(digest.String()), empty.Image)
}

func build(dir, gate, cli string) error {
	for _, args := range [][]string{
		{"build", "-trimpath", "-ldflags=-s -w", "-o", gate, "./cmd/pin-cmp"},
		{"build", "-C", "test/kustomize", "-trimpath", "-ldflags=-s -w", "-o", cli, "sigs.k8s.io/kustomize/kustomize/v5"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return os.MkdirAll(filepath.Join(dir, "cache"), 0o700)
}

// repository writes an application of so many Deployments among other files.
func repository(root, image string, resources, files int) error {
	put := func(name, text string) error {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		return os.WriteFile(file, []byte(text), 0o644)
	}
	repo, digest, _ := strings.Cut(image, "@")
	kustomization := fmt.Sprintf("namePrefix: p-\nimages: [{name: web, newName: %s, digest: %q}]\nresources:\n", repo, digest)
	for i := range resources {
		text := fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web%d}\nspec:\n  selector: {matchLabels: {app: web%d}}\n  template:\n    metadata: {labels: {app: web%d}}\n    spec: {containers: [{name: web, image: web}]}\n", i, i, i)
		kustomization += fmt.Sprintf("- d%d.yaml\n", i)
		if err := put(fmt.Sprintf("app/d%d.yaml", i), text); err != nil {
			return err
		}
	}
	for i := range files {
		var b strings.Builder
		for line := range 30 {
			fmt.Fprintf(&b, "key%d: value %d of file %d, %x\n", line, line*i, i, sha256.Sum256([]byte{byte(line), byte(i), byte(i >> 8)}))
		}
		if err := put(fmt.Sprintf("other/%d/%d.yaml", i%100, i), b.String()[:1300]); err != nil {
			return err
		}
	}
	return put("app/kustomization.yaml", kustomization)
}

// generate packs and sends a repository as util/cmp/stream.go of Argo CD does.
func generate(ctx context.Context, socket, root string, wanted bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	archive, err := os.CreateTemp("", "bench-archive")
	if err != nil {
		return err
	}
	defer func() {
		_ = archive.Close()
		_ = os.Remove(archive.Name())
	}()
	hash := sha256.New()
	if err := pack(io.MultiWriter(archive, hash), root); err != nil {
		return err
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return err
	}
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(100<<20)))
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	stream, err := pluginpb.NewConfigManagementPluginServiceClient(connection).GenerateManifest(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&pluginpb.AppStreamRequest{Request: &pluginpb.AppStreamRequest_Metadata{Metadata: &pluginpb.ManifestRequestMetadata{
		AppRelPath: "app", Checksum: hex.EncodeToString(hash.Sum(nil)),
	}}}); err != nil {
		return err
	}
	for piece := make([]byte, 1024); ; {
		n, err := archive.Read(piece)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&pluginpb.AppStreamRequest{Request: &pluginpb.AppStreamRequest_File{File: &pluginpb.File{Chunk: piece[:n]}}}); err != nil {
			return err
		}
	}
	response, err := stream.CloseAndRecv()
	if err == nil && wanted && len(response.GetManifests()) == 0 {
		err = errors.New("no manifests")
	}
	return err
}

func pack(to io.Writer, root string) error {
	zipped := gzip.NewWriter(to)
	w := tar.NewWriter(zipped)
	err := filepath.Walk(root, func(file string, info fs.FileInfo, err error) error {
		if err != nil {
			return err
		}
		header, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		if header.Name, err = filepath.Rel(root, file); err != nil {
			return err
		}
		if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, f)
		return errors.Join(err, f.Close())
	})
	return errors.Join(err, w.Close(), zipped.Close())
}

// run starts a server and waits for its socket.
func run(cmd *exec.Cmd, socket string) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	for range 5000 {
		if _, err := os.Lstat(socket); err == nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("%s: no socket", filepath.Base(cmd.Path))
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// settle waits until an idle server has given back what it does not need.
func settle() { time.Sleep(15 * time.Second) }

func clock(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// memory says what a process and its children take: each one's resident set,
// and their share of it where pages are shared (PSS), which adds up.
func memory(pid int) string {
	pids := []int{pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	var resident []string
	share := 0
	for _, pid := range pids {
		resident = append(resident, fmt.Sprintf("%d", field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")>>10))
		share += field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:")
	}
	return fmt.Sprintf("%d MiB together (resident: %s MiB)", share>>10, strings.Join(resident, " + "))
}

// field returns a number of KiB in a file of /proc.
func field(file, name string) int {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			n, _ := strconv.Atoi(fields[1])
			return n
		}
	}
	return 0
}
