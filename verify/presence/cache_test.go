package presence

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// oracle is a Scoped whose answers the test gives.
type oracle struct {
	scope string
	mu    sync.Mutex
	says  Result
	err   error
	asked int
}

func (o *oracle) Scope(context.Context, Image) (string, error) { return o.scope, nil }

func (o *oracle) Check(context.Context, Image) (Result, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked++
	return o.says, o.err
}

func (o *oracle) say(v Verdict) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.says = Result{Verdict: v, Reason: string(v) + ", it says"}
	if v == Present {
		o.says.Reason = ""
	}
}

// questions returns and forgets how often it was asked.
func (o *oracle) questions() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.asked
	o.asked = 0
	return n
}

const (
	fresh = 10 * time.Minute
	grace = 24 * time.Hour
)

// newTestCache returns a cache over dir, as a process of its own would have it.
func newTestCache(t *testing.T, next Scoped, dir string, tick *testClock) *Cache {
	t.Helper()
	return NewCache(next, CacheOptions{
		Dir: dir, FreshFor: fresh, StaleIfError: grace, Now: tick.now,
		OnWarning: func(s string) { t.Errorf("warning: %s", s) },
	})
}

// TestCacheAge follows one image through time, in memory, on disk, and on disk
// as the next process finds it.
func TestCacheAge(t *testing.T) {
	for _, kind := range []string{"memory", "disk", "next process"} {
		t.Run(kind, func(t *testing.T) {
			dir := ""
			if kind != "memory" {
				dir = t.TempDir() + "/cache"
			}
			image := imagesOf("ghcr.io", 1)[0]
			for _, tt := range []struct {
				age   time.Duration
				says  Verdict
				want  Result
				asked int
			}{
				{0, Absent, Result{Verdict: Present}, 0},
				{fresh - time.Millisecond, Unreachable, Result{Verdict: Present}, 0},
				{fresh, Present, Result{Verdict: Present}, 1},
				{fresh, Unreachable, Result{Verdict: Present, Stale: true, Reason: "unreachable, it says"}, 1},
				{fresh, Throttled, Result{Verdict: Present, Stale: true, Reason: "throttled, it says"}, 1},
				{fresh, Absent, Result{Verdict: Absent, Reason: "absent, it says"}, 1},
				{fresh, Denied, Result{Verdict: Denied, Reason: "denied, it says"}, 1},
				{grace - time.Millisecond, Unreachable, Result{Verdict: Present, Stale: true, Reason: "unreachable, it says"}, 1},
				{grace, Unreachable, Result{Verdict: Unreachable, Reason: "unreachable, it says"}, 1},
				{grace, Throttled, Result{Verdict: Throttled, Reason: "throttled, it says"}, 1},
				// A clock that went backwards makes an entry of the future: no proof.
				{-time.Millisecond, Absent, Result{Verdict: Absent, Reason: "absent, it says"}, 1},
				{-time.Hour, Unreachable, Result{Verdict: Unreachable, Reason: "unreachable, it says"}, 1},
			} {
				tick := newTestClock()
				// The store keeps milliseconds.
				tick.at = tick.at.Truncate(time.Millisecond)
				next := &oracle{}
				c := newTestCache(t, next, dir, tick)
				next.say(Present)
				c.note(c.key(image, ""), Result{Verdict: Present})
				next.say(tt.says)
				tick.advance(tt.age)
				if kind == "next process" {
					c = newTestCache(t, next, dir, tick)
				}
				got := check(t, c, image)
				if asked := next.questions(); got != tt.want || asked != tt.asked {
					t.Errorf("%v old, %s: got %+v after %d questions, want %+v after %d", tt.age, tt.says, got, asked, tt.want, tt.asked)
				}
			}
		})
	}
}

// A refusal takes the memory of better days with it, for other processes too.
func TestRefusalDeletes(t *testing.T) {
	for _, refusal := range []Verdict{Absent, Denied} {
		dir := t.TempDir() + "/cache"
		tick := newTestClock()
		next := &oracle{}
		image := imagesOf("ghcr.io", 1)[0]
		one, other := newTestCache(t, next, dir, tick), newTestCache(t, next, dir, tick)
		next.say(Present)
		check(t, one, image)
		check(t, other, image)
		tick.advance(fresh)
		next.say(refusal)
		check(t, one, image)
		next.say(Unreachable)
		if got := check(t, other, image); got.Verdict != Unreachable {
			t.Errorf("%s, elsewhere: %+v", refusal, got)
		}
		tick.advance(keepRefusal)
		if got := check(t, one, image); got.Verdict != Unreachable {
			t.Errorf("%s: %+v", refusal, got)
		}
		if got := check(t, newTestCache(t, next, dir, tick), image); got.Verdict != Unreachable {
			t.Errorf("%s, next process: %+v", refusal, got)
		}
	}
}

// Refusals are kept for seconds, in memory alone; outages not at all.
func TestRefusalIsShort(t *testing.T) {
	dir := t.TempDir() + "/cache"
	tick := newTestClock()
	next := &oracle{}
	image := imagesOf("ghcr.io", 1)[0]
	c := newTestCache(t, next, dir, tick)
	next.say(Absent)
	for range 3 {
		if got := check(t, c, image); got.Verdict != Absent {
			t.Errorf("%+v", got)
		}
	}
	if n := next.questions(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	next.say(Present)
	if got := check(t, newTestCache(t, next, dir, tick), image); got.Verdict != Present {
		t.Errorf("next process: %+v", got)
	}
	tick.advance(keepRefusal)
	if got := check(t, c, image); got.Verdict != Present {
		t.Errorf("afterwards: %+v", got)
	}
	next.questions()
	next.say(Unreachable)
	other := imagesOf("quay.io", 1)[0]
	check(t, c, other)
	check(t, c, other)
	if n := next.questions(); n != 2 {
		t.Errorf("asked %d times during an outage", n)
	}
}

func TestCacheKeepsScopesApart(t *testing.T) {
	dir := t.TempDir() + "/cache"
	tick := newTestClock()
	image := imagesOf("ghcr.io", 1)[0]
	one := &oracle{scope: "one"}
	one.say(Present)
	check(t, newTestCache(t, one, dir, tick), image)
	other := &oracle{scope: "other"}
	other.say(Unreachable)
	if got := check(t, newTestCache(t, other, dir, tick), image); got.Verdict != Unreachable {
		t.Errorf("%+v", got)
	}
	// Neither do repository, digest and scope run into each other.
	c := newTestCache(t, one, dir, tick)
	if c.key(Image{"a", "b"}, "c") == c.key(Image{"ab", ""}, "c") || c.key(Image{"a", "b"}, "c") == c.key(Image{"a", "bc"}, "") {
		t.Error("two verdicts, one key")
	}
}

// What one credential, or one list of platforms, has found out counts for no
// other: with the real Remote.
func TestCacheKeepsCredentialsAndPlatformsApart(t *testing.T) {
	p := newProxy(t)
	index, _ := p.pushIndex(t, "application/vnd.oci.image.index.v1+json", "linux/amd64")
	dir := t.TempDir() + "/cache"
	tick := newTestClock()
	ask := func(password string, platforms ...string) Result {
		t.Helper()
		o := RemoteOptions{Platforms: platforms}
		if password != "" {
			k := &rotating{}
			k.password.Store(password)
			o.Keychain = k
		}
		r, _ := newTestRemote(t, p, o)
		return check(t, newTestCache(t, r, dir, tick), index)
	}
	p.misbehave(basic("right"))
	if got := ask("right"); got.Verdict != Present {
		t.Fatalf("%+v", got)
	}
	if got := ask("wrong"); got.Verdict != Denied {
		t.Errorf("wrong password: %+v", got)
	}
	if got := ask(""); got.Verdict != Denied {
		t.Errorf("anonymous: %+v", got)
	}
	if got := ask("right", "linux/arm64"); got.Verdict != Absent {
		t.Errorf("another platform: %+v", got)
	}
	p.misbehave(status(500, ""))
	if got := ask("wrong"); got.Verdict != Unreachable {
		t.Errorf("wrong password in an outage: %+v", got)
	}
	p.seen()
	if got := ask("right"); got != (Result{Verdict: Present}) {
		t.Errorf("right password: %+v", got)
	}
	if got := p.seen(); len(got) != 0 {
		t.Errorf("requests in spite of the cache: %v", got)
	}
}

func TestCacheNeedsNoRequests(t *testing.T) {
	p := newProxy(t)
	var images []Image
	for i := range 100 {
		images = append(images, p.push(t, fmt.Sprintf("app/web%d", i%10)))
	}
	dir := t.TempDir() + "/cache"
	tick := newTestClock()
	for process := range 3 {
		p.seen()
		r, _ := newTestRemote(t, p, RemoteOptions{Keychain: authn.NewMultiKeychain()})
		results, err := All(context.Background(), newTestCache(t, r, dir, tick), images, 8, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range results {
			if got != (Result{Verdict: Present}) {
				t.Errorf("%s: %+v", images[i], got)
			}
		}
		if n := len(p.seen()); n != 101 && process == 0 || n != 0 && process > 0 {
			t.Errorf("process %d: %d requests", process, n)
		}
	}
}

// The many who ask about one image at once are answered by one request.
func TestCacheAsksOnce(t *testing.T) {
	p := newProxy(t)
	image := p.push(t, "app/web")
	release := make(chan struct{})
	p.misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		<-release
		next.ServeHTTP(w, r)
	})
	r, _ := newTestRemote(t, p, RemoteOptions{})
	c := newTestCache(t, r, "", newTestClock())

	// The one who asks first leaves, and the others don't notice.
	first, leave := context.WithCancel(context.Background())
	gone := make(chan error)
	go func() {
		_, err := c.Check(first, image)
		gone <- err
	}()
	for len(p.seen()) == 0 {
		time.Sleep(time.Millisecond)
	}
	var wg sync.WaitGroup
	var passed atomic.Int64
	for range 50 {
		wg.Go(func() {
			if got, err := c.Check(context.Background(), image); err == nil && got.Verdict == Present {
				passed.Add(1)
			}
		})
	}
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("who left got %v", err)
	}
	close(release)
	wg.Wait()
	if n := passed.Load(); n != 50 {
		t.Errorf("%d of 50 passed", n)
	}
	if requests := p.seen(); len(requests) != 1 {
		t.Errorf("requests after the ping: %v", requests)
	}
}

// Who has more time than the one who asked first uses it.
func TestCacheImpatientFirst(t *testing.T) {
	var asked atomic.Int64
	slow := scopedFunc(func(ctx context.Context, _ Image) (Result, error) {
		if asked.Add(1) == 1 {
			<-ctx.Done()
			return Result{Verdict: Unreachable, Reason: reasonNoAnswer}, nil
		}
		return Result{Verdict: Present}, nil
	})
	c := NewCache(slow, CacheOptions{})
	image := imagesOf("ghcr.io", 1)[0]
	hurried, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	first := make(chan Result)
	go func() {
		got, _ := c.Check(hurried, image)
		first <- got
	}()
	for asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if got := check(t, c, image); got.Verdict != Present {
		t.Errorf("who had time: %+v", got)
	}
	if got := <-first; got.Verdict != Unreachable || got.Reason != reasonNoAnswer {
		t.Errorf("who had none: %+v", got)
	}
}

type scopedFunc func(context.Context, Image) (Result, error)

func (f scopedFunc) Scope(context.Context, Image) (string, error) { return "", nil }

func (f scopedFunc) Check(ctx context.Context, image Image) (Result, error) { return f(ctx, image) }

// An image that is known from before is not worth the whole time of the check.
func TestStaleIsNotWaitedFor(t *testing.T) {
	tick := newTestClock()
	hang := false
	next := scopedFunc(func(ctx context.Context, _ Image) (Result, error) {
		if hang {
			<-ctx.Done()
			return Result{Verdict: Unreachable, Reason: "connection refused"}, nil
		}
		return Result{Verdict: Present}, nil
	})
	c := NewCache(next, CacheOptions{StaleIfError: grace, StaleAfter: 20 * time.Millisecond, Now: tick.now})
	image := imagesOf("ghcr.io", 1)[0]
	check(t, c, image)
	hang = true
	want := Result{Verdict: Present, Stale: true, Reason: "connection refused"}
	if got := check(t, c, image); got != want {
		t.Errorf("%+v", got)
	}
}

// entries lists the files of a store.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Base(path) != "salt" {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Whatever is wrong with a file, it is as good as missing.
func TestCorruptEntry(t *testing.T) {
	dir := t.TempDir() + "/cache"
	tick := newTestClock()
	next := &oracle{}
	next.say(Present)
	images := imagesOf("ghcr.io", 2)
	c := newTestCache(t, next, dir, tick)
	check(t, c, images[0])
	path := entries(t, dir)[0]
	check(t, c, images[1])
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var foreign []byte
	for _, other := range entries(t, dir) {
		if other != path {
			if foreign, err = os.ReadFile(other); err != nil {
				t.Fatal(err)
			}
		}
	}
	next.say(Unreachable)
	broken := map[string][]byte{"empty": {}, "another image's": foreign, "long": append(bytes.Clone(good), 0), "text": []byte("present\n")}
	for i := range good {
		flipped := bytes.Clone(good)
		flipped[i] ^= 1
		broken[fmt.Sprintf("byte %d", i)] = flipped
		broken[fmt.Sprintf("cut at %d", i)] = good[:i]
	}
	for name, content := range broken {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := check(t, newTestCache(t, next, dir, tick), images[0]); got.Verdict != Unreachable {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := check(t, newTestCache(t, next, dir, tick), images[0]); got.Verdict != Unreachable {
		t.Errorf("a directory: %+v", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	// Unharmed, it passes.
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := check(t, newTestCache(t, next, dir, tick), images[0]); got.Verdict != Present {
		t.Errorf("unharmed: %+v", got)
	}
	// Under another salt, it is nothing.
	for _, salt := range []string{"", "short", strings.Repeat("x", 32)} {
		if err := os.WriteFile(dir+"/salt", []byte(salt), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := check(t, newTestCache(t, next, dir, tick), images[0]); got.Verdict != Unreachable {
			t.Errorf("salt %q: %+v", salt, got)
		}
	}
}

func FuzzEntry(f *testing.F) {
	s := &store{salt: make([]byte, 32)}
	k := key{1, 2, 3}
	f.Add([]byte("pinseen1"))
	f.Add(s.entry(key{9}, time.Now()))
	f.Add(make([]byte, entrySize))
	f.Fuzz(func(t *testing.T, content []byte) {
		s := &store{dir: t.TempDir(), salt: s.salt}
		shard, path := s.path(k)
		if err := os.Mkdir(shard, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if at, ok := s.get(k); ok && !bytes.Equal(content, s.entry(k, at)) {
			t.Errorf("believed %x", content)
		}
	})
}

// TestManyProcesses lets processes write and read one directory at once.
func TestManyProcesses(t *testing.T) {
	if dir := os.Getenv("PRESENCE_TEST_DIR"); dir != "" {
		next := &oracle{}
		next.say(Present)
		c := newTestCache(t, next, dir, newTestClock())
		if _, err := All(context.Background(), c, imagesOf("ghcr.io", 500), 8, nil); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := t.TempDir() + "/cache"
	var wg sync.WaitGroup
	for range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestManyProcesses$")
		cmd.Env = append(os.Environ(), "PRESENCE_TEST_DIR="+dir)
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	next := &oracle{}
	next.say(Unreachable)
	results, err := All(context.Background(), newTestCache(t, next, dir, newTestClock()), imagesOf("ghcr.io", 500), 8, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range results {
		if got.Verdict != Present {
			t.Fatalf("%d: %+v", i, got)
		}
	}
	if n := len(entries(t, dir)); n != 500 {
		t.Errorf("%d files for 500 images", n)
	}
}

func TestCacheModes(t *testing.T) {
	dir := t.TempDir() + "/a/cache"
	next := &oracle{}
	next.say(Present)
	check(t, newTestCache(t, next, dir, newTestClock()), imagesOf("ghcr.io", 1)[0])
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A directory that can't be used, or be trusted, is a warning; the verdicts are
// what they would be without.
func TestUnusableDirectory(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, dir string) string
		want    string
	}{
		{"a file in the way", func(t *testing.T, dir string) string {
			return write(t, dir+"/file", "") + "/cache"
		}, "can't be made"},
		{"a file", func(t *testing.T, dir string) string { return write(t, dir+"/file", "") }, "can't be made"},
		{"open to the group", func(t *testing.T, dir string) string {
			if err := os.Chmod(dir, 0o770); err != nil {
				t.Fatal(err)
			}
			return dir
		}, "can be written to by others (mode 0770)"},
		{"open to all", func(t *testing.T, dir string) string {
			if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
				t.Fatal(err)
			}
			return dir
		}, "can be written to by others (mode 0777)"},
		{"a directory in the place of a shard", func(t *testing.T, dir string) string {
			for i := range 256 {
				write(t, filepath.Join(dir, hex.EncodeToString([]byte{byte(i)})), "")
			}
			return dir
		}, "can't be written to: not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			var warnings []string
			next := &oracle{}
			c := NewCache(next, CacheOptions{
				Dir: tt.prepare(t, dir), FreshFor: fresh,
				OnWarning: func(s string) { warnings = append(warnings, s) },
			})
			images := imagesOf("ghcr.io", 3)
			next.say(Present)
			for _, image := range images {
				if got := check(t, c, image); got.Verdict != Present {
					t.Errorf("%+v", got)
				}
				if got := check(t, c, image); got.Verdict != Present {
					t.Errorf("%+v", got)
				}
			}
			if n := next.questions(); n != 3 {
				t.Errorf("asked %d times: the memory still works", n)
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0], tt.want) || strings.Contains(warnings[0], "new-") {
				t.Errorf("warnings %q, want one with %q", warnings, tt.want)
			}
		})
	}
}

func TestPrune(t *testing.T) {
	s, err := openStore(t.TempDir()+"/cache", grace)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	k := key{1}
	if err := s.put(k, now); err != nil {
		t.Fatal(err)
	}
	shard, path := s.path(k)
	old := write(t, shard+"/old", "")
	left := write(t, shard+"/new-123", "")
	for _, p := range []string{old, left} {
		if err := os.Chtimes(p, now.Add(-2*grace), now.Add(-2*grace)); err != nil {
			t.Fatal(err)
		}
	}
	s.prune(shard, now)
	if got := entries(t, s.dir); len(got) != 1 || got[0] != path {
		t.Errorf("left: %v", got)
	}
	// It happens by itself as entries are written.
	for i := range 5000 {
		write(t, old, "")
		if err := os.Chtimes(old, now.Add(-2*grace), now.Add(-2*grace)); err != nil {
			t.Fatal(err)
		}
		if err := s.put(k, now.Add(time.Duration(i)*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(old); errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	t.Error("5,000 writes pruned nothing")
}
