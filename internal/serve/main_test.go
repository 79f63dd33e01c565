package serve

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pin-cmp/pin-cmp/internal/plugin"
	"github.com/pin-cmp/pin-cmp/internal/plugin/pluginpb"
	"github.com/pin-cmp/pin-cmp/internal/trialregistry"
	"github.com/pin-cmp/pin-cmp/render"
)

func TestMain(m *testing.M) {
	render.ChildMain()
	os.Exit(m.Run())
}

// world is a server at a real socket and a registry for it.
type world struct {
	registry *trialregistry.Registry
	server   *Server
	socket   string
	dir      string
	policy   string
	log      *logBuffer
	stop     func() error
}

// logBuffer is the server's log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start starts a server with the options, at most changed by change.
func start(t testing.TB, change func(*Options)) *world {
	t.Helper()
	registry, err := trialregistry.Start(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = registry.Close() })
	// The path of a socket is short, that of a test's directory is not.
	dir, err := os.MkdirTemp("", "pin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{registry: registry, dir: dir, policy: filepath.Join(dir, "policy.yaml"), log: &logBuffer{}}
	w.writePolicy(t, "")
	o := Options{
		Config: plugin.Config{Name: "pin-cmp"}, SocketDir: dir, PolicyFile: w.policy,
		Log: slog.New(slog.NewJSONHandler(w.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	if w.server, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.server.Run(ctx) }()
	w.socket = filepath.Join(o.SocketDir, "pin-cmp.sock")
	w.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
	for {
		if _, err := os.Lstat(w.socket); err == nil {
			return w
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the server did not start: %v", err)
		default:
		}
	}
}

// writePolicy replaces the policy file as a ConfigMap's update does.
func (w *world) writePolicy(t testing.TB, more string) {
	t.Helper()
	text := fmt.Sprintf("apiVersion: pin-cmp/v1\nkind: Policy\nregistries: {plainHTTP: [%q]}\n%s", w.registry.Addr, more)
	if !strings.Contains(more, "presence:") {
		text += fmt.Sprintf("presence: {cacheDir: %s, timeout: 5s}\n", filepath.Join(w.dir, "cache"))
	}
	if err := os.WriteFile(w.policy+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(w.policy+".new", w.policy); err != nil {
		t.Fatal(err)
	}
}

// push puts an image into the registry and returns its reference by digest.
func (w *world) push(t testing.TB) string {
	t.Helper()
	const repository = "acme/web"
	layer := static.NewLayer([]byte("1"), types.OCIUncompressedLayer)
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewRepository(w.registry.Addr+"/"+repository, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref.Digest(digest.String()), image); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s/%s@%s", w.registry.Addr, repository, digest)
}

// dial connects as argocd-repo-server does: once for each request.
func (w *world) dial(t testing.TB) pluginpb.ConfigManagementPluginServiceClient {
	t.Helper()
	client, hangUp := w.connect(t)
	t.Cleanup(hangUp)
	return client
}

// connect connects until the second result is called.
func (w *world) connect(t testing.TB) (pluginpb.ConfigManagementPluginServiceClient, func()) {
	t.Helper()
	connection, err := grpc.NewClient("unix://"+w.socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(DefaultMaxMessage), grpc.MaxCallSendMsgSize(DefaultMaxMessage)))
	if err != nil {
		t.Fatal(err)
	}
	return pluginpb.NewConfigManagementPluginServiceClient(connection), func() { _ = connection.Close() }
}

// sent is a request as a repo-server sends it.
type sent struct {
	metadata *pluginpb.ManifestRequestMetadata
	archive  []byte
	chunk    int
}

// request packs files for an application at path.
func request(t testing.TB, path string, files map[string]string, env ...string) *sent {
	t.Helper()
	return archived(path, pack(t, files), env...)
}

func archived(path string, archive []byte, env ...string) *sent {
	sum := sha256.Sum256(archive)
	s := &sent{archive: archive, chunk: 1024, metadata: &pluginpb.ManifestRequestMetadata{
		AppName: filepath.Base(path), AppRelPath: path, Checksum: hex.EncodeToString(sum[:]), Size: int64(len(archive)),
	}}
	for _, entry := range append([]string{"ARGOCD_APP_NAME=demo", "ARGOCD_APP_SOURCE_PATH=" + path}, env...) {
		name, value, _ := strings.Cut(entry, "=")
		s.metadata.Env = append(s.metadata.Env, &pluginpb.EnvEntry{Name: name, Value: value})
	}
	return s
}

// pack makes the archive of a checkout; a content that starts with "-> " is a
// symbolic link.
func pack(t testing.TB, files map[string]string) []byte {
	t.Helper()
	return packed(t, func(w *tar.Writer) {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg}
			if target, ok := strings.CutPrefix(files[name], "-> "); ok {
				header.Typeflag, header.Linkname, header.Size = tar.TypeSymlink, target, 0
			}
			put(t, w, header, files[name])
		}
	})
}

func put(t testing.TB, w *tar.Writer, header *tar.Header, content string) {
	t.Helper()
	if err := w.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if header.Typeflag != tar.TypeReg {
		return
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
}

func packed(t testing.TB, fill func(*tar.Writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	w := tar.NewWriter(zipped)
	fill(w)
	if err := errors.Join(w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type sender interface {
	Send(*pluginpb.AppStreamRequest) error
}

// send sends the request as util/cmp/stream.go of Argo CD does: the metadata,
// then pieces of 1024 bytes. Its error is that of sending, which Argo CD shows
// in place of the answer.
func (s *sent) send(stream sender) error {
	if s.metadata != nil {
		if err := stream.Send(&pluginpb.AppStreamRequest{Request: &pluginpb.AppStreamRequest_Metadata{Metadata: s.metadata}}); err != nil {
			return fmt.Errorf("sending the metadata: %w", err)
		}
	}
	for piece := range slices.Chunk(s.archive, s.chunk) {
		if err := stream.Send(file(piece)); err != nil {
			return fmt.Errorf("sending the archive: %w", err)
		}
	}
	return nil
}

func file(piece []byte) *pluginpb.AppStreamRequest {
	return &pluginpb.AppStreamRequest{Request: &pluginpb.AppStreamRequest_File{File: &pluginpb.File{Chunk: piece}}}
}

// generate makes a request as a repo-server does.
func (s *sent) generate(ctx context.Context, client pluginpb.ConfigManagementPluginServiceClient) ([]string, error) {
	stream, err := client.GenerateManifest(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.send(stream); err != nil {
		return nil, err
	}
	response, err := stream.CloseAndRecv()
	return response.GetManifests(), err
}

// refusedAs wants an error with a code and one printable line of at most 8 KiB
// that holds text.
func refusedAs(t testing.TB, err error, code codes.Code, text string) {
	t.Helper()
	got := status.Convert(err)
	if got.Code() != code || !strings.Contains(got.Message(), text) {
		t.Errorf("got %s: %s\nwant %s: …%s…", got.Code(), got.Message(), code, text)
	}
	if len(got.Message()) > 8<<10 || !strings.HasPrefix(got.Message(), "pin-cmp: ") || strings.ContainsAny(got.Message(), "\x1b\r\t") {
		t.Errorf("not a short printable text: %q", got.Message())
	}
}

// oneLine wants no line break either, as in every answer but a list of images.
func oneLine(t testing.TB, err error) {
	t.Helper()
	if text := status.Convert(err).Message(); strings.Contains(text, "\n") {
		t.Errorf("more than one line: %q", text)
	}
}

func pod(image string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: web, image: " + image + "}]}\n"
}

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"

// serveOn serves until the test ends, and returns host:port.
func serveOn(t testing.TB, server *http.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String()
}
