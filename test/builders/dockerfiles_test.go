package builders

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// engine is a tool that builds Dockerfiles.
type engine struct {
	name string
	// start makes it ready, with the credentials and the certificate of a hub,
	// and returns what stands in the section build beside the fields of the test.
	start func(t *testing.T, h hub) string
	// left lists what is in its storage.
	left func(t *testing.T) string
}

func engines() []engine {
	return []engine{
		{"buildah", startContainers, func(t *testing.T) string {
			return output(t, "buildah", "images", "-a", "--format", "{{.Name}} {{.ID}}") + output(t, "buildah", "containers", "-a")
		}},
		{"podman", startContainers, func(t *testing.T) string {
			return output(t, "podman", "images", "-a", "--format", "{{.Repository}} {{.Id}}") + output(t, "podman", "ps", "-a", "--external", "--noheading")
		}},
		{"docker", startBuildKit, func(*testing.T) string { return "" }},
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// startContainers gives podman and buildah a storage of their own.
func startContainers(t *testing.T, h hub) string {
	dir := t.TempDir()
	t.Setenv("CONTAINERS_STORAGE_CONF", write(t, dir+"/storage.conf", fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", dir+"/graph", dir+"/run")))
	t.Setenv("CONTAINERS_CONF", write(t, dir+"/containers.conf", "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n"))
	t.Setenv("BUILDAH_ISOLATION", "chroot")
	t.Setenv("REGISTRY_AUTH_FILE", write(t, dir+"/auth.json", h.credentials()))
	if h.ca != "" {
		t.Setenv("SSL_CERT_FILE", h.ca)
	}
	return ""
}

// startBuildKit starts a BuildKit daemon and a builder of buildx for it.
func startBuildKit(t *testing.T, h hub) string {
	dir, err := os.MkdirTemp("", "buildkit-") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "docker")
	if err := os.MkdirAll(filepath.Join(config, "cli-plugins"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(tools, "docker-buildx"), filepath.Join(config, "cli-plugins", "docker-buildx")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(config, "config.json"), h.credentials())
	t.Setenv("DOCKER_CONFIG", config)
	// It would ask this machine over plain HTTP without being told so.
	toml := ""
	if h.ca != "" {
		toml = fmt.Sprintf("[registry.%q]\nhttp = false\nca = [%q]\n", h.host, h.ca)
	}
	address := "unix://" + dir + "/s"
	said := &log{}
	daemon := exec.Command(filepath.Join(tools, "buildkitd"), "--config", write(t, dir+"/buildkitd.toml", toml), "--root", dir+"/root", "--addr", address, "--oci-worker-snapshotter=native", "--containerd-worker=false")
	daemon.Stdout, daemon.Stderr = said, said
	daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = daemon.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		<-ended
		_ = os.RemoveAll(dir)
	})
	for !strings.Contains(said.String(), "running server on") {
		select {
		case <-ended:
			t.Fatalf("buildkitd ended:\n%s", said)
		case <-time.After(10 * time.Millisecond):
		}
	}
	output(t, "docker", "buildx", "create", "--name", "test", "--driver", "remote", address)
	return ", builder: test"
}

// each runs a test with every engine.
func each(t *testing.T, start func(*testing.T) hub, test func(t *testing.T, e engine, h hub, more string)) {
	for _, e := range engines() {
		t.Run(e.name, func(t *testing.T) {
			h := start(t)
			test(t, e, h, e.start(t, h))
		})
	}
}

const scratchFile = "FROM scratch\nARG WHO\nCOPY . /\nRUN [\"/program\", \"write\", \"/out.txt\"]\n"

// The image holds the inputs, with git's modes and the commit's time, and says
// where it comes from.
func TestScratch(t *testing.T) {
	each(t, newHub, func(t *testing.T, e engine, h hub, more string) {
		before := e.left(t)
		r := newRepository(t, map[string]string{"web/Dockerfile": scratchFile, "web/a/b.txt": "b\n", "web/.dockerignore": "secret.txt\n", "web/secret.txt": "x", ".gitignore": "*.log\n"})
		r.write("web/ignored.log", "not in git")
		r.write("web/untracked.txt", "not in git")
		request := r.request(h.host, "", e.name+": {args: {WHO: me}"+more+"}")
		images := h.images(built(t, request))
		if len(images) != 1 {
			t.Fatalf("%v", images)
		}
		for _, image := range images {
			found := files(t, image)
			for name, want := range map[string]entry{
				"a/b.txt": {0o644, at, "b\n"},
				"program": {0o755, at, found["program"].content},
				"out.txt": {0o644, at, "written\n"},
			} {
				if got := found[name]; got.mode != want.mode || got.content != want.content || !got.at.Equal(want.at) {
					t.Errorf("%s: %o %s %q", name, got.mode, got.at, got.content)
				}
			}
			for _, name := range []string{"ignored.log", "untracked.txt", "secret.txt"} {
				if _, ok := found[name]; ok {
					t.Errorf("%s is in the image", name)
				}
			}
			config, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if !config.Created.Equal(at) {
				t.Errorf("created %s", config.Created)
			}
			want := map[string]string{
				"org.opencontainers.image.source":   "https://example.com/acme/repo",
				"org.opencontainers.image.revision": request.Revision,
				"org.opencontainers.image.created":  "2024-05-06T07:08:09Z",
			}
			if got := config.Config.Labels; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("labels %v", got)
			}
		}
		if after := e.left(t); after != before {
			t.Errorf("left in the storage:\n%s", after)
		}
	})
}

// Two clones make one digest, for two platforms, on a base, with everything that
// could differ made to differ.
func TestReproducible(t *testing.T) {
	each(t, newHub, func(t *testing.T, e engine, h hub, more string) {
		base := h.base("amd64", "arm64")
		image := func(umask int) string {
			defer syscall.Umask(syscall.Umask(umask))
			r := newRepository(t, map[string]string{"web/deploy/Dockerfile": "ARG BASE\nFROM $BASE\nCOPY --chmod=0600 a.txt link sub/ /srv/\n", "web/a.txt": "a\n", "web/sub/c.txt": "c\n"})
			if err := os.Symlink("a.txt", filepath.Join(r.top, "web/link")); err != nil {
				t.Fatal(err)
			}
			r.git("add", "-A")
			r.git("commit", "-q", "--amend", "--no-edit")
			request := r.request(h.host, "linux/amd64, linux/arm64", e.name+": {file: deploy/Dockerfile, args: {BASE: '"+base+"'}"+more+"}")
			digest := built(t, request)
			images := h.images(digest)
			if len(images) != 2 || images["linux/amd64"] == nil || images["linux/arm64"] == nil {
				t.Fatalf("%v", images)
			}
			for _, image := range images {
				found := files(t, image)
				if found["base.txt"].content != "base\n" || found["srv/c.txt"].content != "c\n" || found["srv/a.txt"].mode != 0o600 {
					t.Errorf("%v", found)
				}
			}
			return digest
		}
		first := image(0o022)
		left := e.left(t)
		if second := image(0o077); second != first {
			t.Errorf("%s and %s", first, second)
		}
		if again := e.left(t); again != left { // the base, and nothing else
			t.Errorf("left in the storage:\n%s\nafter\n%s", again, left)
		}
		e.start(t, h) // an empty storage
		if third := image(0o022); third != first {
			t.Errorf("%s and %s", first, third)
		}
	})
}

// A base by its tag is the one that was looked up, not what the tag means by the
// time it is built on.
func TestMovedBase(t *testing.T) {
	each(t, newHub, func(t *testing.T, e engine, h hub, more string) {
		base := h.base("amd64")
		h.base("arm64") // has the tag now
		r := newRepository(t, map[string]string{"web/Dockerfile": "FROM " + h.host + "/acme/base:1\nCOPY a.txt /\n", "web/a.txt": "a\n"})
		request := r.request(h.host, "linux/amd64", e.name+": {target: ''"+more+"}")
		request.Bases = map[string]string{h.host + "/acme/base:1": strings.Replace(base, "@", ":1@", 1)}
		image := h.images(built(t, request))["linux/amd64"]
		if found := files(t, image); found["a.txt"].content != "a\n" || found["base.txt"].content != "base\n" {
			t.Errorf("%v", found)
		}
	})
}

// TLS with a certificate of our own, and a password, for the base and the push.
func TestTLSAndPassword(t *testing.T) {
	each(t, newTLSHub, func(t *testing.T, e engine, h hub, more string) {
		r := newRepository(t, map[string]string{"web/Dockerfile": "FROM " + h.base("amd64") + "\nCOPY a.txt /\n", "web/a.txt": "a\n"})
		request := r.request(h.host, "linux/amd64", e.name+": {target: ''"+more+"}")
		request.Registry.PlainHTTP = nil
		image := h.images(built(t, request))["linux/amd64"]
		if found := files(t, image); found["a.txt"].content != "a\n" || found["base.txt"].content != "base\n" {
			t.Errorf("%v", found)
		}
	})
}

// A build that fails names its tool, and what it does not see is told.
func TestFailing(t *testing.T) {
	each(t, newHub, func(t *testing.T, e engine, h hub, more string) {
		before := e.left(t)
		for _, c := range []struct{ name, file, log string }{
			{"a step", "FROM scratch\nCOPY program /\nRUN [\"/program\", \"fail\"]\n", "this build is meant to fail"},
			{"an ignored file", "FROM scratch\nCOPY ignored.log /\n", "ignored.log"},
			{"a file outside", "FROM scratch\nCOPY ../other.txt /\n", "other.txt"},
		} {
			r := newRepository(t, map[string]string{"web/Dockerfile": c.file, ".gitignore": "*.log\n", "other.txt": "x"})
			r.write("web/ignored.log", "x")
			request := r.request(h.host, "", e.name+": {target: ''"+more+"}")
			_, err := request.Component.Recipe.Build(t.Context(), request)
			var status *exec.ExitError
			if !errors.As(err, &status) || !strings.HasPrefix(err.Error(), "web/pin.yaml:1: the build of web failed: "+e.name+" ended with exit status ") ||
				!strings.HasSuffix(err.Error(), "; if it misses a file: it sees the inputs of web and nothing else") {
				t.Errorf("%s: %v", c.name, err)
			}
			if !strings.Contains(request.Log.(*log).String(), c.log) {
				t.Errorf("%s: %s", c.name, request.Log)
			}
		}
		if after := e.left(t); after != before {
			t.Errorf("left in the storage:\n%s", after)
		}
	})
}

// The end of the context ends what runs in the build, wherever it runs, and leaves
// nothing.
func TestCancelled(t *testing.T) {
	each(t, newHub, func(t *testing.T, e engine, h hub, more string) {
		before := e.left(t)
		mark := "mark-" + filepath.Base(t.TempDir()) + "-" + e.name
		r := newRepository(t, map[string]string{"web/Dockerfile": "FROM scratch\nCOPY program /\nRUN [\"/program\", \"sleep\", \"" + mark + "\"]\n"})
		err := cancelled(t, r.request(h.host, "", e.name+": {target: ''"+more+"}"), "sleeping in "+mark)
		if !errors.Is(err, context.Canceled) || err.Error() != "build web: context canceled" {
			t.Errorf("%v", err)
		}
		// BuildKit hears of it when the connection ends; the others have ended it.
		for running(t, mark) != "" {
			if e.name != "docker" {
				t.Fatalf("still running: %s", running(t, mark))
			}
			time.Sleep(10 * time.Millisecond)
		}
		if after := e.left(t); after != before {
			t.Errorf("left in the storage:\n%s", after)
		}
	})
}

// Whenever it is stopped, nothing is left.
func TestCancelledAnywhere(t *testing.T) {
	for _, e := range engines()[:2] {
		t.Run(e.name, func(t *testing.T) {
			h := newHub(t)
			more := e.start(t, h)
			before := e.left(t)
			r := newRepository(t, map[string]string{"web/Dockerfile": "FROM scratch\nCOPY a.txt /\nCOPY program /\nRUN [\"/program\", \"write\", \"/b\"]\nRUN [\"/program\", \"write\", \"/c\"]\n", "web/a.txt": "a"})
			for _, step := range []string{"STEP 1/", "STEP 2/", "STEP 3/", "STEP 4/", "STEP 5/", "COMMIT", "Getting image source signatures"} {
				request := r.request(h.host, "", e.name+": {target: ''"+more+"}")
				// It may be done before it can be stopped.
				if err := cancelled(t, request, step); err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", step, err)
				}
				if after := e.left(t); after != before {
					t.Errorf("%s: left in the storage:\n%s", step, after)
				}
			}
		})
	}
}

// running returns the processes whose arguments hold a text.
func running(t *testing.T, text string) string {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found strings.Builder
	for _, name := range names {
		if line, err := os.ReadFile(name); err == nil && strings.Contains(string(line), text) {
			fmt.Fprintf(&found, "%s %q\n", name, line)
		}
	}
	return found.String()
}
