//go:build linux

package contract

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pin-cmp/pin-cmp/test/argocd/stack"
	"github.com/pin-cmp/pin-cmp/test/argocd/stack/client"
)

// archive packs entries as a tar.gz, with what a repo-server never packs too.
func archive(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, header := range entries {
		content := header.Uname // carries the content, for brevity's sake
		header.Uname, header.Mode = "", 0o644
		if header.Typeflag == 0 {
			header.Typeflag = tar.TypeReg
		}
		if header.Typeflag == tar.TypeReg {
			header.Size = int64(len(content))
		}
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)[:header.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, content string) tar.Header { return tar.Header{Name: name, Uname: content} }

// stream sends an archive in chunks of Argo CD's default size.
func stream(packed []byte) []client.Message {
	sum := sha256.Sum256(packed)
	messages := []client.Message{{Metadata: true, AppRelPath: "app", Checksum: hex.EncodeToString(sum[:]), Size: int64(len(packed))}}
	for len(packed) > 0 {
		n := min(1024, len(packed))
		messages = append(messages, client.Message{Chunk: packed[:n]})
		packed = packed[n:]
	}
	return messages
}

func (f *fixture) streams(t *testing.T) {
	good := f.good(t)
	web := file("app/web.yaml", stack.Deployment("web", f.present))
	whole := stream(archive(t, web))
	tests := map[string][]client.Message{
		"no metadata":             whole[1:],
		"metadata alone":          whole[:1],
		"metadata twice":          append([]client.Message{whole[0]}, whole...),
		"cut in the middle":       stream(archive(t, web, file("app/noise", noise(4096))))[:3],
		"another checksum":        append([]client.Message{{Metadata: true, AppRelPath: "app", Checksum: strings.Repeat("0", 64)}}, whole[1:]...),
		"no archive":              stream([]byte("hello")),
		"a file above":            stream(archive(t, web, file("../../above.yaml", "a: b\n"))),
		"a link above":            stream(archive(t, web, tar.Header{Name: "app/passwd.yaml", Typeflag: tar.TypeSymlink, Linkname: "../../../../../../etc/passwd"})),
		"an application above":    append([]client.Message{{Metadata: true, AppRelPath: "../../..", Checksum: whole[0].Checksum, Size: whole[0].Size}}, whole[1:]...),
		"an application nowhere":  append([]client.Message{{Metadata: true, AppRelPath: "nowhere", Checksum: whole[0].Checksum, Size: whole[0].Size}}, whole[1:]...),
		"no message at all":       {},
		"a chunk of nothing else": {{Chunk: []byte{}}},
	}
	// The control: the same stream, whole, passes.
	call := f.call(good, "app")
	call.Messages = whole
	passes(t, f.client.Ask(t, call), f.present)
	// A link with an absolute target is refused, or leads nowhere: Argo CD itself
	// skips links that do. It never leads out.
	call.Messages = stream(archive(t, web, tar.Header{Name: "app/passwd.yaml", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}))
	if a := f.client.Ask(t, call); a.Error == "" && len(a.Manifests) != 1 || strings.Contains(a.Error+strings.Join(a.Manifests, ""), "root:") {
		t.Errorf("a link out of the checkout: %q, %s", a.Manifests, a.Error)
	}
	for name, messages := range tests {
		t.Run(name, func(t *testing.T) {
			call := f.call(good, "app")
			call.Messages = messages
			a := f.client.Ask(t, call)
			if a.Error == "" {
				t.Fatalf("passed with %q", a.Manifests)
			}
			if strings.Contains(a.Error, "root:") {
				t.Errorf("a file of the sidecar's leaks:\n%s", a.Error)
			}
			// A client that breaks the rules may find its stream ended early; a server
			// that is gone or that never answers is another matter.
			if a.Code == "Unavailable" || a.Code == "DeadlineExceeded" {
				t.Errorf("%s: %s", a.Code, a.Error)
			}
			passes(t, f.client.Ask(t, f.call(good, "app")), "notes", f.present)
		})
	}
}

// stalled opens streams that never end, and asks on: they cost nobody else the
// plugin.
func (f *fixture) stalled(t *testing.T) {
	good := f.good(t)
	packed := archive(t, file("app/web.yaml", stack.Deployment("web", f.present)))
	answers := make(chan client.Answer)
	const clients = 16
	for range clients {
		go func() {
			call := f.call(good, "app")
			call.Messages, call.Stall, call.Deadline = stream(packed)[:2], true, 5*time.Second
			answers <- f.client.Ask(t, call)
		}()
	}
	passes(t, f.client.Ask(t, f.call(good, "app")), "notes", f.present)
	for range clients {
		if a := <-answers; a.Error == "" {
			t.Error("half an archive passed")
		}
	}
}

// hangUp connects and goes away, before and while the server speaks: what a
// repo-server does whose request is cancelled, or that is killed.
func (f *fixture) hangUp(t *testing.T) {
	for range 200 {
		conn, err := net.Dial("unix", f.sidecar.Socket())
		if err != nil {
			t.Fatalf("the plugin is gone: %v", err)
		}
		_ = conn.Close()
	}
	passes(t, f.client.Ask(t, f.call(f.good(t), "app")), "notes", f.present)
}
