package serve

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pin-cmp/pin-cmp/internal/plugin"
	"github.com/pin-cmp/pin-cmp/internal/plugin/pluginpb"
	"github.com/pin-cmp/pin-cmp/render"
)

// good is a request that passes.
func good(t testing.TB) *sent {
	return request(t, "app", map[string]string{"app/a.yaml": configMap})
}

// stillServes wants the server to go on.
func (w *world) stillServes(t testing.TB) {
	t.Helper()
	if _, err := good(t).generate(context.Background(), w.dial(t)); err != nil {
		t.Errorf("afterwards the server does not serve: %v", err)
	}
}

// TestBadStreams: each gets an answer with a code and one line, is sent to its
// end (a repo-server that is answered early shows its own sending error), and
// leaves the server as it was.
func TestBadStreams(t *testing.T) {
	w := start(t, nil)
	client := w.dial(t)
	big := strings.Repeat("incompressible? no, but long enough to fill the stream's window\n", 1)
	for name, tt := range map[string]struct {
		sent *sent
		code codes.Code
		want string
	}{
		"nothing":            {&sent{chunk: 1024}, codes.InvalidArgument, "the request is empty"},
		"no metadata":        {&sent{archive: pack(t, map[string]string{"a": "b"}), chunk: 1024}, codes.InvalidArgument, "does not start with its metadata"},
		"no archive":         {archived("app", nil), codes.DataLoss, "ends in the middle"},
		"wrong checksum":     {tampered(good(t), func(m *pluginpb.ManifestRequestMetadata) { m.Checksum = strings.Repeat("0", 64) }), codes.DataLoss, "its checksum differs"},
		"no checksum":        {tampered(good(t), func(m *pluginpb.ManifestRequestMetadata) { m.Checksum = "" }), codes.DataLoss, "its checksum differs"},
		"cut":                {archived("app", good(t).archive[:60]), codes.DataLoss, "ends in the middle"},
		"cut, old checksum":  {&sent{metadata: good(t).metadata, archive: good(t).archive[:60], chunk: 1024}, codes.DataLoss, "its checksum differs"},
		"no gzip":            {archived("app", []byte(strings.Repeat("x", 5000))), codes.InvalidArgument, "the archive of the repository can't be read: invalid header"},
		"no tar":             {archived("app", zipped(t, strings.Repeat("x", 5000))), codes.InvalidArgument, "the archive of the repository can't be read: invalid tar header"},
		"path above":         {request(t, "../app", map[string]string{"app/a.yaml": configMap}), codes.InvalidArgument, `the application's path "../app" is not inside the repository`},
		"path absolute":      {request(t, "/etc", map[string]string{"app/a.yaml": configMap}), codes.InvalidArgument, "is not inside the repository"},
		"path through above": {request(t, "app/../../x", map[string]string{"app/a.yaml": configMap}), codes.InvalidArgument, "is not inside the repository"},
		"dot dot":            {request(t, "app", map[string]string{"app/a.yaml": configMap, "../x": big}), codes.InvalidArgument, `"../x", which is not a path inside a repository`},
		"dot dot later":      {request(t, "app", map[string]string{"app/a.yaml": configMap, "app/../../x": big}), codes.InvalidArgument, "not a path inside a repository"},
		"absolute":           {request(t, "app", map[string]string{"app/a.yaml": configMap, "/etc/passwd": big}), codes.InvalidArgument, `"/etc/passwd", which is not a path inside a repository`},
		"absolute link":      {request(t, "app", map[string]string{"app/a.yaml": "-> /etc/passwd"}), codes.InvalidArgument, `app/a.yaml is a symbolic link to "/etc/passwd", which is outside the repository`},
		"link above":         {request(t, "app", map[string]string{"app/a.yaml": "-> ../../x"}), codes.InvalidArgument, "outside the repository"},
		"link through link":  {request(t, "app", map[string]string{"app/d": "-> ../e", "e": "-> .", "app/a.yaml": "-> d/../../../x"}), codes.InvalidArgument, "outside the repository"},
		"hard link": {archived("app", packed(t, func(w *tar.Writer) {
			put(t, w, &tar.Header{Name: "app/a", Typeflag: tar.TypeLink, Linkname: "app/b"}, "")
		})), codes.InvalidArgument, "app/a, which is a hard link"},
		"device":             {archived("app", packed(t, func(w *tar.Writer) { put(t, w, &tar.Header{Name: "app/a", Typeflag: tar.TypeChar}, "") })), codes.InvalidArgument, "app/a, which is a device"},
		"pipe":               {archived("app", packed(t, func(w *tar.Writer) { put(t, w, &tar.Header{Name: "app/a", Typeflag: tar.TypeFifo}, "") })), codes.InvalidArgument, "app/a, which is a named pipe"},
		"twice":              {archived("app", packed(t, func(w *tar.Writer) { putFile(t, w, "app/a", "1"); putFile(t, w, "./app//a", "2") })), codes.InvalidArgument, "holds app/a twice"},
		"file and directory": {archived("app", packed(t, func(w *tar.Writer) { putFile(t, w, "app", "1"); putFile(t, w, "app/a", "2") })), codes.InvalidArgument, "contradicts itself"},
		"long path":          {archived("app", packed(t, func(w *tar.Writer) { putFile(t, w, strings.Repeat("x/", 2100)+"a", "1") })), codes.InvalidArgument, "a path of more than 4096 bytes"},
		"terminal":           {archived("app", packed(t, func(w *tar.Writer) { putFile(t, w, "app/\x1b[2J\n/../../../a", "1") })), codes.InvalidArgument, "not a path inside"},
		"terminal link": {archived("app", packed(t, func(w *tar.Writer) {
			put(t, w, &tar.Header{Name: "app/\x1b[2J\na", Typeflag: tar.TypeLink, Linkname: "x"}, "")
		})), codes.InvalidArgument, "a hard link"},
		"parameters": {request(t, "app", map[string]string{"app/a.yaml": configMap}, "ARGOCD_APP_PARAMETERS={"), codes.InvalidArgument, "ARGOCD_APP_PARAMETERS"},
	} {
		t.Run(name, func(t *testing.T) {
			// Enough after the mistake that sending would fail if nobody read.
			if tt.sent.metadata != nil && name != "no archive" {
				tail := make([]byte, 2<<20)
				tt.sent.archive = append(tt.sent.archive[:len(tt.sent.archive):len(tt.sent.archive)], tail...)
				if tt.want != "its checksum differs" {
					tt.sent.metadata = archived(tt.sent.metadata.GetAppRelPath(), tt.sent.archive, envOf(tt.sent)...).metadata
				}
			}
			if name == "cut" { // followed by nothing
				tt.sent = archived("app", good(t).archive[:60])
			}
			_, err := tt.sent.generate(t.Context(), client)
			refusedAs(t, err, tt.code, tt.want)
			oneLine(t, err)
		})
	}
	w.stillServes(t)
}

func envOf(s *sent) []string {
	var env []string
	for _, e := range s.metadata.GetEnv() {
		env = append(env, e.GetName()+"="+e.GetValue())
	}
	return env
}

func tampered(s *sent, change func(*pluginpb.ManifestRequestMetadata)) *sent {
	change(s.metadata)
	return s
}

func putFile(t testing.TB, w *tar.Writer, name, content string) {
	t.Helper()
	put(t, w, &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}, content)
}

func zipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestMixedMessages: metadata in the middle, and pieces that hold nothing.
func TestMixedMessages(t *testing.T) {
	w := start(t, nil)
	client := w.dial(t)
	s := good(t)
	first := &pluginpb.AppStreamRequest{Request: &pluginpb.AppStreamRequest_Metadata{Metadata: s.metadata}}
	for name, tt := range map[string]struct {
		messages []*pluginpb.AppStreamRequest
		code     codes.Code
	}{
		"metadata twice": {[]*pluginpb.AppStreamRequest{first, file(s.archive[:10]), first, file(s.archive[10:])}, codes.InvalidArgument},
		"nothing":        {[]*pluginpb.AppStreamRequest{first, {}, file(s.archive)}, codes.InvalidArgument},
		"empty piece":    {[]*pluginpb.AppStreamRequest{first, file(nil), file(s.archive[:10]), file(nil), file(s.archive[10:]), file(nil)}, codes.OK},
		"one byte each":  {append([]*pluginpb.AppStreamRequest{first}, bytewise(s.archive)...), codes.OK},
		"all at once":    {[]*pluginpb.AppStreamRequest{first, file(s.archive)}, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := client.GenerateManifest(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, message := range tt.messages {
				if err := stream.Send(message); err != nil {
					t.Fatal(err)
				}
			}
			_, err = stream.CloseAndRecv()
			if status.Code(err) != tt.code {
				t.Errorf("got %v, want %s", err, tt.code)
			}
		})
	}
}

func bytewise(archive []byte) []*pluginpb.AppStreamRequest {
	var all []*pluginpb.AppStreamRequest
	for i := range archive {
		all = append(all, file(archive[i:i+1]))
	}
	return all
}

// TestUnpackLimits: every bound from both sides.
func TestUnpackLimits(t *testing.T) {
	w := start(t, func(o *Options) {
		o.Limits = plugin.Limits{Bytes: 1 << 20, Entries: 50, Unpacked: 3 << 20}
	})
	client := w.dial(t)
	files := func(n int) map[string]string {
		all := map[string]string{"app/a.yaml": configMap}
		for i := len(all); i < n; i++ {
			all["f/"+strings.Repeat("x", i+1)] = ""
		}
		return all
	}
	sized := func(n int) map[string]string {
		return map[string]string{"app/a.yaml": configMap, "z": strings.Repeat("z", n-len(configMap))}
	}
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"as many files":     {files(50), ""},
		"one more":          {files(51), "more than 50 files and directories"},
		"as many bytes":     {sized(1 << 20), ""},
		"one byte more":     {sized(1<<20 + 1), "more than 1 MiB beside .git"},
		".git is not meant": {map[string]string{"app/a.yaml": configMap, ".git/pack": strings.Repeat("z", 2<<20)}, ""},
		"unpacks too far":   {map[string]string{"app/a.yaml": configMap, ".git/pack": strings.Repeat("z", 3<<20)}, "unpacks to more than any repository"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := request(t, "app", tt.files).generate(t.Context(), client)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refusedAs(t, err, codes.ResourceExhausted, tt.want)
			oneLine(t, err)
		})
	}
	if held := w.server.service.memory.held(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

// TestLargeFiles: a file that no render reads takes no memory, whatever its
// size, and using it is the render's own error.
func TestLargeFiles(t *testing.T) {
	w := start(t, func(o *Options) { o.Limits.Bytes = 1 << 20 })
	client := w.dial(t)
	large := strings.Repeat("# filler\n", render.LargestFile/9+1)
	if _, err := request(t, "app", map[string]string{"app/a.yaml": configMap, "video.mp4": large}).generate(t.Context(), client); err != nil {
		t.Error(err)
	}
	_, err := request(t, "app", map[string]string{"app/a.yaml": large}).generate(t.Context(), client)
	refusedAs(t, err, codes.FailedPrecondition, "app/a.yaml: the file is larger than 10 MiB")
}

// TestBomb: what a few hundred kilobytes unpack to is bounded while it is
// unpacked.
func TestBomb(t *testing.T) {
	w := start(t, func(o *Options) { o.Limits.Bytes = 16 << 20 })
	client := w.dial(t)
	archive := packed(t, func(w *tar.Writer) {
		zeros := strings.Repeat("\x00", 8<<20)
		for i := range 40 {
			putFile(t, w, "app/"+strings.Repeat("a", i+1), zeros)
		}
	})
	t.Logf("%d bytes unpack to 320 MiB", len(archive))
	peak := watchHeap()
	_, err := archived("app", archive).generate(t.Context(), client)
	refusedAs(t, err, codes.ResourceExhausted, "more than 16 MiB beside .git")
	if got := peak(); got > 120<<20 {
		t.Errorf("the heap grew by %d MiB", got>>20)
	}
	w.stillServes(t)
}

// watchHeap returns a function that tells by how much the heap grew, at most.
func watchHeap() func() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	before := stats.HeapAlloc
	done, result := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		for {
			runtime.ReadMemStats(&stats)
			most = max(most, stats.HeapAlloc)
			select {
			case <-done:
				result <- most - min(most, before)
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() uint64 { close(done); return <-result }
}

// TestMessageLimits: the bound on messages in both directions, from both sides.
func TestMessageLimits(t *testing.T) {
	w := start(t, func(o *Options) { o.MaxMessage = 1 << 20 })
	client := w.dial(t)
	data := func(n int) *sent {
		return request(t, "app", map[string]string{"app/a.yaml": configMap + "data: {a: " + strings.Repeat("x", n) + "}\n"})
	}
	if _, err := data(1<<20-300).generate(t.Context(), client); err != nil {
		t.Errorf("an answer of almost 1 MiB: %v", err)
	}
	_, err := data(1<<20).generate(t.Context(), client)
	refusedAs(t, err, codes.ResourceExhausted, "renders to more than the 1 MiB that Argo CD takes in one message")
	oneLine(t, err)

	s := request(t, "app", map[string]string{"app/a.yaml": configMap, "b": random(2 << 20)})
	s.chunk = 1<<20 - 100
	if _, err := s.generate(t.Context(), client); err != nil {
		t.Errorf("a piece of almost 1 MiB: %v", err)
	}
	s.chunk = 1<<20 + 1
	if _, err := s.generate(t.Context(), client); err == nil {
		t.Error("a piece of more than 1 MiB was taken")
	}
	w.stillServes(t)
}

// random is text that does not compress.
func random(n int) string {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return string(b)
}

// TestClientsThatDoNotFinish: silent ones, slow ones and those that go away
// keep nothing.
func TestClientsThatDoNotFinish(t *testing.T) {
	w := start(t, func(o *Options) { o.MaxTime, o.Stall = 400*time.Millisecond, 100*time.Millisecond })
	client := w.dial(t)
	s := good(t)
	began := func(ctx context.Context) pluginpb.ConfigManagementPluginService_GenerateManifestClient {
		stream, err := client.GenerateManifest(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&pluginpb.AppStreamRequest{Request: &pluginpb.AppStreamRequest_Metadata{Metadata: s.metadata}}); err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(file(s.archive[:20])); err != nil {
			t.Fatal(err)
		}
		return stream
	}
	t.Run("silent", func(t *testing.T) {
		stream := began(t.Context())
		refusedAs(t, stream.RecvMsg(&pluginpb.ManifestResponse{}), codes.DeadlineExceeded, "the repository stopped arriving")
	})
	t.Run("slow", func(t *testing.T) {
		stream := began(t.Context())
		for i := 20; ; i = min(i+1, len(s.archive)-2) {
			if err := stream.Send(file(s.archive[i : i+1])); errors.Is(err, io.EOF) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		refusedAs(t, stream.RecvMsg(&pluginpb.ManifestResponse{}), codes.DeadlineExceeded, "the repository did not arrive in time")
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stream := began(ctx)
		cancel()
		if err := stream.RecvMsg(&pluginpb.ManifestResponse{}); status.Code(err) != codes.Canceled {
			t.Errorf("got %v", err)
		}
	})
	// Whoever sees the answer may see it before the server has let go.
	for w.server.service.memory.held() != 0 {
		time.Sleep(time.Millisecond)
	}
	w.stillServes(t)
}

// slow is an application that takes hours to render: each of 40 levels builds
// the next one twice.
func slow(t testing.TB) *sent {
	t.Helper()
	files := map[string]string{"l40/kustomization.yaml": "resources: [c.yaml]\n", "l40/c.yaml": configMap}
	for i := range 40 {
		this, next := levelName(i), levelName(i+1)
		files[this+"/kustomization.yaml"] = "resources: [a, b]\n"
		for _, side := range []string{"a", "b"} {
			files[this+"/"+side+"/kustomization.yaml"] = "namePrefix: " + side + "\nresources: [../../" + next + "]\n"
		}
	}
	return request(t, "l0", files)
}

func levelName(i int) string {
	const digits = "0123456789"
	if i < 10 {
		return "l" + digits[i:i+1]
	}
	return "l" + digits[i/10:i/10+1] + digits[i%10:i%10+1]
}

// TestDeadline: the answer comes before the caller's deadline, in our words.
func TestDeadline(t *testing.T) {
	w := start(t, nil)
	client := w.dial(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := slow(t).generate(ctx, client)
	refusedAs(t, err, codes.DeadlineExceeded, "the render did not end in time; this says nothing about the application; hard-refresh it")
	oneLine(t, err)
	if ctx.Err() != nil {
		t.Error("the answer came after the caller's deadline")
	}
	w.stillServes(t)
}

// TestDeadlineInTheQueue says what the time was spent on.
func TestDeadlineInTheQueue(t *testing.T) {
	w := start(t, func(o *Options) { o.Concurrency = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := slow(t).generate(ctx, w.dial(t)); status.Code(err) != codes.Canceled {
			t.Errorf("got %v", err)
		}
	})
	for !strings.Contains(w.metricsText(t), "pin_cmp_queue_seconds_count 1\n") {
		time.Sleep(time.Millisecond)
	}
	short, done := context.WithTimeout(t.Context(), time.Second)
	defer done()
	_, err := good(t).generate(short, w.dial(t))
	refusedAs(t, err, codes.DeadlineExceeded, "the time was up before it was the application's turn")
	cancel()
	group.Wait()
	w.stillServes(t)
}

func (w *world) metricsText(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	if err := w.server.metrics.write(&b); err != nil {
		t.Error(err)
	}
	return b.String()
}

// panics is a renderer with a bug.
type panics struct{}

func (panics) Render(context.Context, render.Application) (*render.Result, error) { panic("secret") }

// TestPanic: one request's bug is one request's error.
func TestPanic(t *testing.T) {
	w := start(t, nil)
	g, err := w.server.service.engine.current()
	if err != nil {
		t.Fatal(err)
	}
	renderer := g.Renderer
	g.Renderer = panics{}
	_, err = good(t).generate(t.Context(), w.dial(t))
	refusedAs(t, err, codes.Internal, "which is a bug of pin-cmp")
	oneLine(t, err)
	if strings.Contains(err.Error(), "secret") || !strings.Contains(w.log.String(), "secret") {
		t.Errorf("the panic belongs into the log, not into the answer: %v\n%s", err, w.log)
	}
	g.Renderer = renderer
	w.stillServes(t)
}
