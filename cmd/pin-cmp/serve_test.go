//go:build unix

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/pin-cmp/pin-cmp/internal/plugin/pluginpb"
)

// sidecar is pin-cmp serve as a process of its own.
type sidecar struct {
	cmd    *exec.Cmd
	socket string
	log    *bytes.Buffer
}

// startSidecar starts pin-cmp serve with the plugin.yaml of the project.
func startSidecar(t *testing.T, dir string, args ...string) *sidecar {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &sidecar{socket: filepath.Join(dir, "pin-cmp.sock"), log: &bytes.Buffer{}}
	old, _ := os.Lstat(s.socket)
	s.cmd = &exec.Cmd{
		Path: exe, Args: append([]string{"pin-cmp", "serve", "--config-dir", "../..", "--socket-dir", dir}, args...),
		Env: append(os.Environ(), "PIN_CMP_POLICY="+offlinePolicy(t)), Stderr: s.log,
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.kill() })
	for {
		if info, err := os.Lstat(s.socket); err == nil && (old == nil || !os.SameFile(old, info)) {
			return s
		}
		if err := s.cmd.Process.Signal(syscall.Signal(0)); err != nil {
			t.Fatalf("the server did not start: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// kill ends the server at once; it may have ended.
func (s *sidecar) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func offlinePolicy(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: pin-cmp/v1\nkind: Policy\npresence: {check: false}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// shortDir is a directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// ask sends a repository of one file; between runs before its second half.
func (s *sidecar) ask(ctx context.Context, t *testing.T, between func()) ([]string, error) {
	t.Helper()
	const content = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
	var archive bytes.Buffer
	zipped := gzip.NewWriter(&archive)
	w := tar.NewWriter(zipped)
	if err := w.WriteHeader(&tar.Header{Name: "app/a.yaml", Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	_, err := io.WriteString(w, content)
	if err := errors.Join(err, w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(archive.Bytes())
	connection, err := grpc.NewClient("unix://"+s.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	stream, err := pluginpb.NewConfigManagementPluginServiceClient(connection).GenerateManifest(ctx)
	if err != nil {
		return nil, err
	}
	half := archive.Len() / 2
	err = stream.Send(&pluginpb.AppStreamRequest{Request: &pluginpb.AppStreamRequest_Metadata{Metadata: &pluginpb.ManifestRequestMetadata{
		AppRelPath: "app", Checksum: hex.EncodeToString(sum[:]),
	}}})
	if err == nil {
		err = stream.Send(&pluginpb.AppStreamRequest{Request: &pluginpb.AppStreamRequest_File{File: &pluginpb.File{Chunk: archive.Bytes()[:half]}}})
	}
	if err != nil {
		return nil, err
	}
	between()
	if err := stream.Send(&pluginpb.AppStreamRequest{Request: &pluginpb.AppStreamRequest_File{File: &pluginpb.File{Chunk: archive.Bytes()[half:]}}}); err != nil {
		return nil, err
	}
	response, err := stream.CloseAndRecv()
	return response.GetManifests(), err
}

// TestServeTermination: SIGTERM in the middle of a request removes the socket
// and lets the request end; the exit is a success, and nothing is left.
func TestServeTermination(t *testing.T) {
	dir := shortDir(t)
	s := startSidecar(t, dir)
	check := exec.Command(s.cmd.Path, "healthcheck", "--config-dir", "../..", "--socket-dir", dir)
	check.Args[0] = "pin-cmp"
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("healthcheck: %v: %s", err, out)
	}
	manifests, err := s.ask(t.Context(), t, func() {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Lstat(s.socket); errors.Is(err, os.ErrNotExist) {
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	if err != nil || len(manifests) != 1 {
		t.Errorf("the request under way: %v, %v", manifests, err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the exit: %v\n%s", err, s.log)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	for _, want := range []string{`"msg":"serving"`, `"msg":"stopping"`, `"msg":"generate"`, `"msg":"stopped"`} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("no %s in the log:\n%s", want, s.log)
		}
	}
}

// TestServeHangUp: a client that hangs up before it was answered makes the server
// write to a socket that nobody reads, which is a SIGPIPE, and no reason to stop.
func TestServeHangUp(t *testing.T) {
	s := startSidecar(t, shortDir(t))
	for range 100 {
		connection, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		if err := connection.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if manifests, err := s.ask(t.Context(), t, func() {}); err != nil || len(manifests) != 1 {
			t.Fatalf("afterwards: %v, %v\n%s", manifests, err, s.log)
		}
	}
}

// TestServeKilled: the socket of a killed server refuses, its children end with
// it, and the next server takes its place.
func TestServeKilled(t *testing.T) {
	dir := shortDir(t)
	s := startSidecar(t, dir, "--ready", "3")
	children := childrenOf(t, s.cmd.Process.Pid)
	if len(children) != 3 {
		t.Errorf("%d children wait, want 3", len(children))
	}
	_, err := s.ask(t.Context(), t, s.kill)
	if err == nil {
		t.Error("a request survived the end of its server")
	}
	if _, err := s.ask(t.Context(), t, func() {}); status.Code(err) != codes.Unavailable {
		t.Errorf("a socket that nobody serves: %v", err)
	}
	for _, child := range children {
		for syscall.Kill(child, 0) == nil && !zombie(child) {
			time.Sleep(time.Millisecond)
		}
	}
	if _, err := os.Lstat(s.socket); err != nil {
		t.Errorf("a killed server leaves its socket: %v", err)
	}
	next := startSidecar(t, dir)
	if manifests, err := next.ask(t.Context(), t, func() {}); err != nil || len(manifests) != 1 {
		t.Errorf("the next server: %v, %v", manifests, err)
	}
}

func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	lists, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Skip("only Linux lists the children of a process")
	}
	var all []int
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, child)
		}
	}
	return all
}

// zombie tells whether a process has ended and waits for its parent, which in a
// container without a first process worth the name is for ever.
func zombie(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(text), ") Z ")
}
