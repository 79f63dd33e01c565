// Presence measures what it costs to find out that 1,000 digests are in their
// registry, beside the least that the network allows: requests / concurrency x
// round trip. See run.sh.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

func main() {
	images := flag.Int("images", 1000, "digests to look up")
	delay := flag.Duration("delay", 20*time.Millisecond, "round trip")
	jobs := flag.Int("jobs", 16, "requests at once")
	flag.Parse()
	ok := true
	for _, repositories := range []int{1, 50} {
		for _, tokens := range []bool{false, true} {
			// The registry shares this machine's processors: of three runs, one
			// has to show what the client can do.
			good := false
			for run := 0; run < 3 && !good; run++ {
				var err error
				if good, err = measure(*images, repositories, *jobs, *delay, tokens); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
			ok = ok && good
		}
	}
	if !ok {
		os.Exit(1)
	}
}

// delayed is a registry a round trip away. With tokens, it wants one for each
// repository.
type delayed struct {
	next     http.Handler
	delay    time.Duration
	tokens   bool
	slow     atomic.Bool
	requests atomic.Int64
	signIns  atomic.Int64
}

func (d *delayed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.slow.Load() {
		d.requests.Add(1)
		if !strings.Contains(r.URL.Path, "/manifests/") {
			d.signIns.Add(1)
		}
		time.Sleep(d.delay)
	}
	switch {
	case d.tokens && r.URL.Path == "/token":
		scope := r.URL.Query().Get("scope")
		_, _ = fmt.Fprintf(w, `{"token":%q}`, hex.EncodeToString([]byte(scope)))
	case d.tokens && !d.allowed(r):
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="bench"`, r.Host))
		w.WriteHeader(http.StatusUnauthorized)
	default:
		d.next.ServeHTTP(w, r)
	}
}

func (d *delayed) allowed(r *http.Request) bool {
	name, _, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
	want := "Bearer " + hex.EncodeToString([]byte("repository:"+name+":pull"))
	return ok && r.Header.Get("Authorization") == want
}

func measure(count, repositories, jobs int, delay time.Duration, tokens bool) (bool, error) {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	d := &delayed{next: inner, delay: delay, tokens: tokens}
	server := httptest.NewServer(d)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")

	images := make([]presence.Image, count)
	for i := range images {
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"i":"%d"}}`, i)
		sum := sha256.Sum256([]byte(body))
		name := fmt.Sprintf("team/app%d", i%repositories)
		images[i] = presence.Image{Repository: host + "/" + name, Digest: "sha256:" + hex.EncodeToString(sum[:])}
		req := httptest.NewRequest(http.MethodPut, "/v2/"+name+"/manifests/"+images[i].Digest, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		w := httptest.NewRecorder()
		inner.ServeHTTP(w, req)
		if w.Code != http.StatusCreated {
			return false, fmt.Errorf("put: %d %s", w.Code, w.Body)
		}
	}
	dir, err := os.MkdirTemp("", "presence")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	options := presence.CacheOptions{Dir: dir + "/cache", FreshFor: time.Hour, OnWarning: func(s string) { log.Fatal(s) }}
	newCache := func() (*presence.Cache, error) {
		r, err := presence.NewRemote(presence.RemoteOptions{PlainHTTP: []string{host}, PerHost: jobs})
		if err != nil {
			return nil, err
		}
		return presence.NewCache(r, options), nil
	}
	all := func(c presence.Checker) (time.Duration, error) {
		began := time.Now()
		results, err := presence.All(context.Background(), c, images, jobs, nil)
		wall := time.Since(began)
		if err != nil {
			return 0, err
		}
		for i, r := range results {
			if r.Verdict != presence.Present {
				return 0, fmt.Errorf("%s: %s (%s)", images[i], r.Verdict, r.Reason)
			}
		}
		return wall, nil
	}

	d.slow.Store(true)
	cold, err := newCache()
	if err != nil {
		return false, err
	}
	wall, err := all(cold)
	if err != nil {
		return false, err
	}
	requests, signIns := d.requests.Load(), d.signIns.Load()
	floor := time.Duration(float64(requests) / float64(jobs) * float64(delay))
	ratio := float64(wall) / float64(floor)

	d.requests.Store(0)
	warm, err := newCache() // as another process would find it
	if err != nil {
		return false, err
	}
	warmWall, err := all(warm)
	if err != nil {
		return false, err
	}
	memoryWall, err := all(warm)
	if err != nil {
		return false, err
	}
	sign := "anonymous"
	if tokens {
		sign = "tokens"
	}
	fmt.Printf("%d digests, %2d repositories, %-9s: %d requests (%d to sign in), %d at once, %v each: %v, floor %v, ratio %.3f (target 1.2)\n",
		count, repositories, sign, requests, signIns, jobs, delay, wall.Round(time.Millisecond), floor.Round(time.Millisecond), ratio)
	fmt.Printf("    again, another process: %d requests, %v; again, same process: %v\n",
		d.requests.Load(), warmWall.Round(10*time.Microsecond), memoryWall.Round(10*time.Microsecond))
	if n := d.requests.Load(); n > 0 {
		return false, fmt.Errorf("%d requests in spite of the cache", n)
	}
	return ratio <= 1.2, nil
}
