package plugin

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/pin-cmp/pin-cmp/internal/plugin/pluginpb"
)

// messages is a stream of messages, and the error at its end.
type messages struct {
	left []*pluginpb.AppStreamRequest
	end  error
}

func (m *messages) Recv() (*pluginpb.AppStreamRequest, error) {
	if len(m.left) == 0 {
		if m.end != nil {
			return nil, m.end
		}
		return nil, io.EOF
	}
	first := m.left[0]
	m.left = m.left[1:]
	return first, nil
}

func streamOf(archive []byte, env ...string) *messages {
	sum := sha256.Sum256(archive)
	metadata := &pluginpb.ManifestRequestMetadata{AppRelPath: "app", Checksum: hex.EncodeToString(sum[:])}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		metadata.Env = append(metadata.Env, &pluginpb.EnvEntry{Name: name, Value: value})
	}
	m := &messages{left: []*pluginpb.AppStreamRequest{{Request: &pluginpb.AppStreamRequest_Metadata{Metadata: metadata}}}}
	for piece := range slices.Chunk(archive, 1024) {
		m.left = append(m.left, &pluginpb.AppStreamRequest{Request: &pluginpb.AppStreamRequest_File{File: &pluginpb.File{Chunk: piece}}})
	}
	return m
}

func archiveOf(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	w := tar.NewWriter(zipped)
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestUnpack: what Argo CD's own archives hold, and what git archive adds.
func TestUnpack(t *testing.T) {
	archive := archiveOf(
		t,
		&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "c0ffee"}},
		&tar.Header{Typeflag: tar.TypeDir, Name: ".", Mode: 0o755},
		&tar.Header{Typeflag: tar.TypeDir, Name: "empty/", Mode: 0o755},
		&tar.Header{Typeflag: tar.TypeDir, Name: "empty", Mode: 0o755},
		&tar.Header{Typeflag: tar.TypeReg, Name: "./app/a.yaml", Mode: 0o640, Size: 3},
		&tar.Header{Typeflag: tar.TypeReg, Name: "app/nothing", Mode: 0o600},
		&tar.Header{Typeflag: tar.TypeReg, Name: "app/large", Mode: 0o600, Size: 10<<20 + 1},
		&tar.Header{Typeflag: tar.TypeSymlink, Name: "app/link", Linkname: "../app/a.yaml"},
		&tar.Header{Typeflag: tar.TypeSymlink, Name: "app/gone", Linkname: "nowhere"},
		&tar.Header{Typeflag: tar.TypeSymlink, Name: ".git/out", Linkname: "/etc"},
		&tar.Header{Typeflag: tar.TypeReg, Name: ".git/config", Mode: 0o600, Size: 5},
		&tar.Header{Typeflag: tar.TypeReg, Name: "module/.git", Mode: 0o600, Size: 5},
		&tar.Header{Typeflag: tar.TypeReg, Name: ".gitignore", Mode: 0o600, Size: 5},
		&tar.Header{Typeflag: tar.TypeReg, Name: "app/\xff", Mode: 0o600, Size: 5, Format: tar.FormatGNU},
		&tar.Header{Typeflag: tar.TypeReg, Name: "app/" + strings.Repeat("long/", 60) + "ä", Mode: 0o600, Size: 1},
	)
	var reserved int64
	request, err := Receive(t.Context(), streamOf(archive, "A=1", "A=2", "B="), Reception{Reserve: func(n int64) error { reserved += n; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(request.Environ, " "); got != "A=1 A=2 B=" || request.Path != "app" {
		t.Errorf("got %q, %q", got, request.Path)
	}
	var got []string
	if err := fs.WalkDir(request.Checkout, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			got = append(got, name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	want := ".gitignore app/a.yaml app/gone app/large app/link app/" + strings.Repeat("long/", 60) + "ä app/nothing"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
	if text, err := request.Checkout.ReadFile("app/link"); err != nil || string(text) != "xxx" {
		t.Errorf("through the link: %q, %v", text, err)
	}
	if info, err := request.Checkout.Stat("app/large"); err != nil || info.Size() != 10<<20+1 {
		t.Errorf("the large file: %v, %v", info, err)
	}
	if info, err := request.Checkout.Stat("app/a.yaml"); err != nil || info.Mode() != 0o640 {
		t.Errorf("the mode: %v, %v", info, err)
	}
	if info, err := request.Checkout.Stat("empty"); err != nil || !info.IsDir() {
		t.Errorf("the empty directory: %v, %v", info, err)
	}
	if reserved < 9 || reserved > 1<<16 {
		t.Errorf("%d bytes were reserved: the large file is not held", reserved)
	}
}

// TestCut: a stream that ends before its sender said so is no repository, at
// whatever message.
func TestCut(t *testing.T) {
	archive := archiveOf(t, &tar.Header{Name: "app/a", Mode: 0o644, Size: 5000, Typeflag: tar.TypeReg})
	whole := streamOf(archive)
	for n := range len(whole.left) + 1 {
		m := &messages{left: whole.left[:n], end: errors.New("transport is closing")}
		_, err := Receive(t.Context(), m, Reception{})
		var e *Error
		if !errors.As(err, &e) || e.Code != codes.Aborted || strings.Contains(e.Message, "transport") {
			t.Errorf("after %d messages: %v", n, err)
		}
	}
}

// TestReserve: a request that gets no memory ends with that error, and its
// stream is read to its end.
func TestReserve(t *testing.T) {
	enough := errors.New("enough")
	m := streamOf(archiveOf(t, &tar.Header{Name: "app/a", Mode: 0o644, Size: 1 << 20, Typeflag: tar.TypeReg}))
	_, err := Receive(t.Context(), m, Reception{Reserve: func(int64) error { return enough }})
	if !errors.Is(err, enough) || len(m.left) != 0 {
		t.Errorf("got %v, %d messages were not read", err, len(m.left))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	if _, err := Receive(ctx, &messages{end: ctx.Err()}, Reception{}); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

func TestAbove(t *testing.T) {
	for _, tt := range []struct{ source, relative, want string }{
		{"apps/web", "apps/web", ""},
		{"apps/web", "web", "apps"},
		{"apps/web/", "web", "apps"},
		{"./apps/web", ".", "apps/web"},
		{"", "web", ""},
		{".", ".", ""},
		{"apps/web", "eb", ""},
		{"../web", "web", ""},
		{"..", ".", ""},
		{"/apps/web", "web", ""},
		{"apps/web", "api", ""},
	} {
		if got := above(tt.source, tt.relative); got != tt.want {
			t.Errorf("above(%q, %q) = %q, want %q", tt.source, tt.relative, got, tt.want)
		}
	}
}

// FuzzReceive: whatever an archive holds, what is unpacked lies inside the
// checkout and inside the limits, and an error has a code.
func FuzzReceive(f *testing.F) {
	f.Add(archiveOf(f, &tar.Header{Name: "app/a", Mode: 0o644, Size: 5, Typeflag: tar.TypeReg}), "app")
	f.Add(archiveOf(f, &tar.Header{Name: "../a", Mode: 0o644, Size: 5, Typeflag: tar.TypeReg}), "..")
	f.Add(archiveOf(f, &tar.Header{Name: "a", Linkname: "..", Typeflag: tar.TypeSymlink}), "/")
	f.Fuzz(func(t *testing.T, archive []byte, source string) {
		limits := Limits{Bytes: 1 << 16, Entries: 20, Unpacked: 1 << 18}
		request, err := Receive(t.Context(), streamOf(archive, "ARGOCD_APP_SOURCE_PATH="+source), Reception{Limits: limits})
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Code == codes.OK || e.Message == "" {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if !fs.ValidPath(request.Path) {
			t.Fatalf("path %q", request.Path)
		}
		var size int64
		if err := fs.WalkDir(request.Checkout, ".", func(name string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				text, _ := request.Checkout.ReadFile(name)
				size += int64(len(text))
			}
			return err
		}); err != nil || size > limits.Bytes {
			t.Fatalf("%d bytes, %v", size, err)
		}
	})
}
