package layers

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pin-cmp/pin-cmp/build/layers"
)

// nobody is a user without any rights.
const nobody = 65534

// program copies this test's binary to where every user may run it.
func program(t *testing.T) string {
	t.Helper()
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	dir := shared(t)
	to := filepath.Join(dir, "program")
	if err := os.WriteFile(to, self, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

// shared is a directory that everybody can read.
func shared(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "layers-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Root and nobody, with other homes, caches, modes and umasks, make the same
// image of the same commit.
func TestTwoUsers(t *testing.T) {
	binary := program(t)
	digests := map[string]bool{}
	for i, uid := range []uint32{0, nobody} {
		home := shared(t)
		top := filepath.Join(home, []string{"src", "a/longer/path/to/source"}[i])
		for name, content := range files {
			full := filepath.Join(top, name)
			if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(full, []byte(content), []os.FileMode{0o755, 0o600}[i]); err != nil {
				t.Fatal(err)
			}
		}
		err := filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Chown(path, int(uid), int(uid))
		})
		if err != nil {
			t.Fatalf("this test gives files away, so it needs root: %v", err)
		}
		cmd := exec.Command("sh", "-c", []string{"umask 022", "umask 077"}[i]+"; exec "+binary)
		cmd.Dir = "/"
		cmd.Env = []string{
			"LAYERS_TEST_TOP=" + top, "HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + home, "GOCACHE=" + filepath.Join(home, "cache"),
			"TZ=" + []string{"Asia/Tokyo", "America/Lima"}[i], "GOAMD64=" + []string{"v1", "v2"}[i], "GOTOOLCHAIN=local",
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v %s", err, &stderr)
		}
		digests[strings.TrimSpace(string(out))] = true
		left, err := filepath.Glob(filepath.Join(home, "pin-cmp-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	}
	digests[build(t, component, request(checkout(t, 0o640))).Digest().String()] = true
	if len(digests) != 1 {
		t.Errorf("%v", digests)
	}
}

// A directory for temporary files that is too small for the layer.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("this test mounts a small disk, so it needs root: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	}()
	top := checkout(t, 0o644)
	noise := make([]byte, 4<<20)
	for i, x := 0, uint64(1); i < len(noise); i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		noise[i] = byte(x)
	}
	if err := os.WriteFile(filepath.Join(top, "app/noise"), noise, 0o644); err != nil {
		t.Fatal(err)
	}
	r := request(top)
	r.Files = append(r.Files, layers.File{Path: "app/noise", Mode: 0o100644})
	t.Setenv("TMPDIR", disk)
	config := layers.Config{Files: []layers.Copy{{From: "static", To: "/srv/"}, {From: "noise", To: "/srv/"}}}
	_, err := layers.Build(t.Context(), config, r)
	want := "there is no room for a layer in the directory for temporary files; make room, or set TMPDIR to another: "
	if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), disk) {
		t.Error(err)
	}
	t.Log(err)
	var free syscall.Statfs_t
	if err := syscall.Statfs(disk, &free); err != nil || free.Bfree != free.Blocks {
		t.Errorf("of %d blocks %d are free: %v", free.Blocks, free.Bfree, err)
	}
	// A command that fills it says so itself, and leaves nothing.
	config = layers.Config{Command: []string{"sh", "-c", `cat noise noise >"$PIN_OUT/x"`}}
	if _, err := layers.Build(t.Context(), config, r); err == nil || !strings.Contains(err.Error(), "sh ended with exit status 1") {
		t.Error(err)
	}
	left, err := os.ReadDir(disk)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	a, err := layers.Build(t.Context(), layers.Config{Files: []layers.Copy{{From: "static", To: "/srv/"}}}, r)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// A gigabyte goes through a few megabytes of memory.
func TestMemory(t *testing.T) {
	binary := program(t)
	top := checkout(t, 0o644)
	if err := os.Truncate(filepath.Join(top, "lib/rates.tsv"), 1<<30); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "LAYERS_TEST_TOP="+top)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	_, text, _ := strings.Cut(string(out), "peak ")
	peak, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	peak >>= 10
	t.Logf("peak of %d MiB", peak)
	if peak > 100 {
		t.Errorf("a gigabyte takes %d MiB of memory", peak)
	}
}
