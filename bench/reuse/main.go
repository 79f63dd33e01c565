// Reuse measures a rewrite of 50 components that did not change: how many requests
// it makes, and how long it takes beside 50 HEADs in parallel, with a registry a
// round trip away.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	count := flag.Int("components", 50, "components")
	delay := flag.Duration("delay", 20*time.Millisecond, "round trip")
	runs := flag.Int("runs", 7, "runs of each, in turn")
	flag.Parse()
	if err := measure(*count, *delay, *runs); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// distant is a registry a round trip away, which counts what it is asked.
type distant struct {
	next     http.Handler
	delay    time.Duration
	tags     atomic.Int64 // questions about a tag of ours
	signIns  atomic.Int64 // GET /v2/
	releases atomic.Int64 // questions about the author's tags
	others   atomic.Int64
}

func (d *distant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(d.delay)
	switch {
	case r.URL.Path == "/v2/":
		d.signIns.Add(1)
	case strings.Contains(r.URL.Path, "/manifests/pin-"):
		d.tags.Add(1)
	case strings.Contains(r.URL.Path, "/manifests/"):
		d.releases.Add(1)
	default:
		d.others.Add(1)
	}
	d.next.ServeHTTP(w, r)
}

func (d *distant) reset() string {
	return fmt.Sprintf("%d by key, %d sign-ins, %d about other tags, %d others", d.tags.Swap(0), d.signIns.Swap(0), d.releases.Swap(0), d.others.Swap(0))
}

func measure(count int, delay time.Duration, runs int) error {
	work, err := os.MkdirTemp("", "reuse")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	program := filepath.Join(work, "pin-cmp")
	if err := run(".", "go", "build", "-o", program, "github.com/pin-cmp/pin-cmp/cmd/pin-cmp"); err != nil {
		return err
	}
	d := &distant{next: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	server := httptest.NewServer(d)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")

	repo := filepath.Join(work, "repo")
	for i := range count {
		dir := filepath.Join(repo, fmt.Sprintf("c%d", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for name, content := range map[string]string{
			"pin.yaml":    fmt.Sprintf("apiVersion: pin-cmp/v1\nkind: Component\nimage: %s/acme/c%d\nbuild: {layers: {files: [{from: data, to: /data}]}}\n", host, i),
			"data":        fmt.Sprintf("component %d\n", i),
			"deploy.yaml": fmt.Sprintf("image: %s/acme/c%d@build\n", host, i),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				return err
			}
		}
	}
	for _, args := range [][]string{{"init", "-q"}, {"config", "user.name", "bench"}, {"config", "user.email", "bench@example.com"}, {"add", "."}, {"commit", "-qm", "start"}} {
		if err := run(repo, "git", args...); err != nil {
			return err
		}
	}
	if err := run(repo, program, "rewrite", "--plain-http", host); err != nil {
		return err
	}
	tags, err := builtTags(repo, program, host)
	if err != nil {
		return err
	}
	fmt.Println("the first rewrite:", d.reset())
	d.delay = delay
	var ours, heads []time.Duration
	said := ""
	for range runs {
		if err := run(repo, "git", "checkout", "-q", "."); err != nil {
			return err
		}
		began := time.Now()
		if err := run(repo, program, "rewrite", "--plain-http", host); err != nil {
			return err
		}
		ours = append(ours, time.Since(began))
		said = d.reset()
		began = time.Now()
		if err := parallel(host, tags); err != nil {
			return err
		}
		heads = append(heads, time.Since(began))
		d.reset()
	}
	slices.Sort(ours)
	slices.Sort(heads)
	a, b := ours[runs/2], heads[runs/2]
	fmt.Printf("a rewrite of %d components that did not change: %s\n", count, said)
	fmt.Printf("wall time %v, beside %v for as many HEADs in parallel: %v more, %.2f times\n", a.Round(time.Millisecond), b.Round(time.Millisecond), (a - b).Round(time.Millisecond), float64(a)/float64(b))
	return nil
}

// builtTags returns repository/manifests/tag of each component, from the plan.
func builtTags(repo, program, host string) ([]string, error) {
	if err := run(repo, "git", "checkout", "-q", "."); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "plan", "--output", "json", "--plain-http", host)
	cmd.Dir = repo
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var tags []string
	image := ""
	for line := range strings.Lines(string(out)) {
		line = strings.Trim(strings.TrimSpace(line), ",")
		if value, ok := strings.CutPrefix(line, `"image": "`+host+"/"); ok {
			image = strings.Trim(value, `"`)
		}
		if value, ok := strings.CutPrefix(line, `"key": "`); ok {
			tags = append(tags, image+"/manifests/pin-"+strings.Trim(value, `"`))
		}
	}
	return tags, nil
}

// parallel asks for each tag once, all at the same time as far as one client's
// connections go.
func parallel(host string, tags []string) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, MaxConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	var group sync.WaitGroup
	errs := make(chan error, len(tags))
	for _, tag := range tags {
		group.Go(func() {
			request, err := http.NewRequestWithContext(context.Background(), http.MethodHead, "http://"+host+"/v2/"+tag, nil)
			if err != nil {
				errs <- err
				return
			}
			response, err := client.Do(request)
			if err != nil {
				errs <- err
				return
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				errs <- fmt.Errorf("%s: %s", tag, response.Status)
			}
		})
	}
	group.Wait()
	close(errs)
	return <-errs
}

func run(dir, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, out.Bytes())
	}
	return nil
}
