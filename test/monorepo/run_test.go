//go:build linux

package monorepo

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// unpack puts an image's files into a directory, as a runtime does.
func unpack(t *testing.T, image v1.Image) string {
	t.Helper()
	root := t.TempDir()
	files := mutate.Extract(image)
	defer func() { _ = files.Close() }()
	for archive := tar.NewReader(files); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(root, header.Name)
		if header.Uid != 0 || header.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", header.Name, header.Uid, header.Gid)
		}
		switch header.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, header.FileInfo().Mode().Perm())
		case tar.TypeReg:
			var file *os.File
			if file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, header.FileInfo().Mode().Perm()); err == nil {
				_, err = io.Copy(file, archive)
				err = errors.Join(err, file.Close(), os.Chtimes(path, header.ModTime, header.ModTime))
			}
		default:
			t.Errorf("%s is of type %c", header.Name, header.Typeflag)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for dir := root; dir != filepath.Dir(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil && dir == root {
			t.Fatal(err)
		}
	}
	return root
}

// container is what a runtime does with an image, but for the namespaces: its own
// files, its user, its environment.
func container(t *testing.T, image v1.Image, root string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	argv := append(append(config.Config.Entrypoint, config.Config.Cmd...), args...)
	uid, gid, _ := strings.Cut(config.Config.User, ":")
	credential := &syscall.Credential{}
	for _, id := range []struct {
		text string
		to   *uint32
	}{{uid, &credential.Uid}, {gid, &credential.Gid}} {
		n, err := strconv.ParseUint(id.text, 10, 32)
		if err != nil || n == 0 {
			t.Fatalf("the user is %q", config.Config.User)
		}
		*id.to = uint32(n)
	}
	return &exec.Cmd{
		Path: argv[0], Args: argv, Dir: "/", Env: append(config.Config.Env, env...),
		SysProcAttr: &syscall.SysProcAttr{Chroot: root, Credential: credential},
	}
}

var listening = regexp.MustCompile(`listening on \S+:(\d+)`)

// serve starts a server and returns its address.
func serve(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	log := &lockedBuffer{}
	exited := start(t, log, cmd) // in a chroot, which needs root
	for {
		if match := listening.FindStringSubmatch(log.String()); match != nil {
			return "http://127.0.0.1:" + match[1]
		}
		select {
		case <-exited:
			t.Fatalf("it ended: %s", log)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// answer is what a server said.
type answer struct {
	status int
	header http.Header
	body   string
}

func fetch(t *testing.T, url string) answer {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// The images that were pushed run and do what they are for.
func TestImagesRun(t *testing.T) {
	r := newRegistry(t, "")
	e := newEngineer(t, r)
	shop := e.clone(origin(t, r), "release")
	// Nothing of the engineer's own gets in: a narrow umask, a password in a remote.
	e.git(shop, "remote", "set-url", "origin", "https://ada:secret@git.example.com/shop/shop.git")
	old := syscall.Umask(0o077)
	p := e.must(0, shop, "rewrite", "--output", "json").planned(t)
	syscall.Umask(old)
	images := map[string]v1.Image{}
	for _, name := range []string{"api", "worker", "web", "static"} {
		images[name] = r.pull(t, p.reference(t, name))
		config, err := images[name].ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "platform", config.OS+"/"+config.Architecture, "linux/amd64")
		expect(t, "revision", config.Config.Labels["org.opencontainers.image.revision"], e.git(shop, "rev-parse", "HEAD"))
		expect(t, "source", config.Config.Labels["org.opencontainers.image.source"], "https://git.example.com/shop/shop")
		created, err := time.Parse(time.RFC3339, e.git(shop, "log", "-1", "--format=%cI"))
		if err != nil {
			t.Fatal(err)
		}
		if !config.Created.Equal(created) {
			t.Errorf("created is %s, not %s", config.Created, created)
		}
		if raw, err := images[name].RawConfigFile(); err != nil || bytes.Contains(raw, []byte("secret")) {
			t.Errorf("%v\n%s", err, raw)
		}
	}

	t.Run("api", func(t *testing.T) {
		url := serve(t, container(t, images["api"], unpack(t, images["api"]), []string{"PORT=0"}))
		price := fetch(t, url+"/price?cents=1250&currency=USD")
		expect(t, "price", price.body, `{"amount":"13.55","currency":"USD"}`+"\n")
		expect(t, "type", price.header.Get("Content-Type"), "application/json")
		expect(t, "status", fetch(t, url+"/price?cents=1250&currency=XXX").status, http.StatusNotFound)
		expect(t, "status", fetch(t, url+"/price?cents=-1&currency=USD").status, http.StatusBadRequest)
	})
	t.Run("worker", func(t *testing.T) {
		root := unpack(t, images["worker"])
		orders, err := os.ReadFile(filepath.Join(shop, "deploy/base/orders.txt"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(root, "orders"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "orders/orders.txt"), orders, 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := container(t, images["worker"], root, nil, "/orders/orders.txt").Output()
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "invoices", string(out), "1001 13.55 USD\n1002 34.12 GBP\n")
		cmd := container(t, images["worker"], root, nil)
		cmd.Stdin = strings.NewReader("1003 100 XXX\n")
		if out, err := cmd.CombinedOutput(); err == nil || string(out) != "order 1003 can't be paid in XXX\n" {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("web", func(t *testing.T) {
		url := serve(t, container(t, images["web"], unpack(t, images["web"]), []string{"PORT=0"}))
		for path, file := range map[string]string{"/": "index.html", "/app.js": "app.js"} {
			want, err := os.ReadFile(filepath.Join(shop, "services/web/public", file))
			if err != nil {
				t.Fatal(err)
			}
			page := fetch(t, url+path)
			expect(t, path, page.body, string(want))
			modified, err := http.ParseTime(page.header.Get("Last-Modified"))
			if err != nil {
				t.Fatal(err)
			}
			expect(t, "modified", fmt.Sprint(modified.Unix()), e.git(shop, "log", "-1", "--format=%ct"))
		}
	})
}
