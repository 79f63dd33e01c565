//go:build unix

package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// diary is a watcher that writes down what it is told, by component, and what
// was wrong with the order.
type diary struct {
	mu      sync.Mutex
	entries map[string][]string
	lines   int
	wrong   []string
	onLine  func(component, line string)
}

func (d *diary) note(component, entry string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.entries == nil {
		d.entries = map[string][]string{}
	}
	all := d.entries[component]
	over := len(all) > 0 && strings.HasPrefix(all[len(all)-1], "finished")
	if (entry == "started") != (len(all) == 0) || over {
		d.wrong = append(d.wrong, fmt.Sprintf("%s: %q after %q", component, entry, all))
	}
	if strings.HasPrefix(entry, "line") {
		d.lines++
	}
	d.entries[component] = append(all, entry)
}

func (d *diary) Started(c string) { d.note(c, "started") }

func (d *diary) Line(c, line string) {
	d.note(c, "line "+line)
	if d.onLine != nil {
		d.onLine(c, line)
	}
}

func (d *diary) Finished(c, digest string, err error) {
	d.note(c, fmt.Sprintf("finished %s%s, %v, stopped %t", c, digest, err, errors.Is(err, ErrStopped)))
}

// check checks the order, and that every build is finished.
func (d *diary) check(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, wrong := range d.wrong {
		t.Error(wrong)
	}
	for c, entries := range d.entries {
		if !strings.HasPrefix(entries[len(entries)-1], "finished ") {
			t.Errorf("%s never finished: %q", c, entries)
		}
	}
}

// shell is the request for a component whose command is a script of sh.
func shell(t *testing.T, name, script string) Request {
	t.Helper()
	top := t.TempDir()
	return Request{Top: top, Component: Component{
		Name: name, Image: "ghcr.io/acme/" + name, Dir: ".", Kind: "command", File: name + "/pin.yaml", Line: 3,
		Recipe: Command{"sh", "-c", script},
	}}
}

func TestWatch(t *testing.T) {
	logs := filepath.Join(t.TempDir(), "git", "logs")
	var d diary
	request := shell(t, "web", `printf 'step 1\nstep 2\r'; printf '\033[1mstep 3\033[m\n'; printf %s `+someDigest)
	own := &log{}
	request.Log = own
	digest, err := Watch(ByRecipe{}, &d, logs).Build(t.Context(), request)
	if digest != someDigest || err != nil {
		t.Fatal(digest, err)
	}
	d.check(t)
	want := []string{"started", "line step 1", "line step 3", "line " + someDigest, "finished web" + someDigest + ", <nil>, stopped false"}
	if got := d.entries["web"]; !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	whole := "step 1\nstep 2\r\033[1mstep 3\033[m\n" + someDigest
	if got := readLog(t, logs, "web"); got != whole || own.String() != "" {
		t.Errorf("the file has %q, the request's own log %q", got, own)
	}
	for path, mode := range map[string]fs.FileMode{logs: 0o700 | fs.ModeDir, filepath.Join(logs, "web.log"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func readLog(t *testing.T, dir, component string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, component+".log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// A build that fails has the end of its log, and the whole log in a file.
func TestWatchFailure(t *testing.T) {
	logs := t.TempDir()
	var d diary
	request := shell(t, "web", `i=1; while [ $i -le 1000 ]; do echo "line $i"; i=$((i+1)); done; printf 'no break'; exit 3`)
	digest, err := Watch(ByRecipe{}, &d, logs).Build(t.Context(), request)
	d.check(t)
	var failed *FailedError
	if digest != "" || !errors.As(err, &failed) || errors.Is(err, ErrStopped) {
		t.Fatalf("%q, %v", digest, err)
	}
	if want := "web/pin.yaml:3: the build of web failed: sh ended with exit status 3"; err.Error() != want || failed.Component != "web" {
		t.Errorf("%s: %v", failed.Component, err)
	}
	if failed.Lines != 1001 || len(failed.Tail) != 40 || failed.Tail[0] != "line 962" || failed.Tail[39] != "no break" {
		t.Errorf("%d lines, of which %q", failed.Lines, failed.Tail)
	}
	if failed.LogFile != filepath.Join(logs, "web.log") || failed.LogErr != nil {
		t.Error(failed.LogFile, failed.LogErr)
	}
	if log := readLog(t, logs, "web"); !strings.HasPrefix(log, "line 1\n") || strings.Count(log, "\n") != 1000 {
		t.Errorf("the file has %q", log)
	}

	// The next build replaces the file, whatever it is by now.
	precious := filepath.Join(logs, "precious")
	if err := os.Remove(failed.LogFile); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(precious, failed.LogFile); err != nil {
		t.Fatal(err)
	}
	if _, err = Watch(ByRecipe{}, nil, logs).Build(t.Context(), shell(t, "web", `echo short; exit 1`)); !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if got := readLog(t, logs, "web"); got != "short\n" || failed.Lines != 1 || failed.Tail[0] != "short" {
		t.Errorf("%q, %q", got, failed.Tail)
	}
	if _, err := os.Lstat(precious); err == nil {
		t.Error("a link was followed")
	}
}

// The cause stays within reach.
func TestWatchUnwraps(t *testing.T) {
	_, err := Watch(buildFunc(func(context.Context, Request) (string, error) {
		return someDigest, fmt.Errorf("web: %w", ErrUndecided)
	}), nil, "").Build(t.Context(), named("web"))
	var failed *FailedError
	if !errors.Is(err, ErrUndecided) || !errors.As(err, &failed) || failed.LogFile != "" || failed.LogErr != nil || failed.Lines != 0 {
		t.Errorf("%#v", err)
	}
}

// The first failure stops the others: its error is the one that comes out, with
// its log; the others, running or waiting, match ErrStopped and end for good.
func TestFirstFailureStopsTheRest(t *testing.T) {
	logs := t.TempDir()
	seen := make(chan string, 100)
	d := diary{onLine: func(c, line string) {
		if line == "running" {
			seen <- c
		}
	}}
	b := Limit(Watch(ByRecipe{}, &d, logs), 4)
	group, ctx := errgroup.WithContext(t.Context())
	var mu sync.Mutex
	errs := map[string]error{}
	start := func(request Request) {
		group.Go(func() error {
			_, err := b.Build(ctx, request)
			mu.Lock()
			defer mu.Unlock()
			errs[request.Component.Name] = err
			return err
		})
	}
	for _, name := range []string{"api", "job", "mail"} {
		start(shell(t, name, "echo running; sleep 1000 & echo $! >pid; wait"))
	}
	for range 3 {
		<-seen
	}
	start(shell(t, "web", "echo running; read x </dev/null; echo 'no such module'; exit 2"))
	for c := range seen {
		if c == "web" {
			break
		}
	}
	for _, name := range []string{"late", "later"} {
		start(shell(t, name, "exit 1"))
	}
	err := group.Wait()
	d.check(t)
	var failed *FailedError
	if !errors.As(err, &failed) || failed.Component != "web" && !strings.HasPrefix(failed.Component, "late") {
		t.Fatal(err)
	}
	for name, err := range errs {
		if own := new(FailedError); errors.As(err, &own) && own.Component == name && !errors.Is(err, ErrStopped) {
			continue
		}
		want := "the build of " + name + " was stopped, because that of " + failed.Component + " failed"
		if !errors.Is(err, ErrStopped) || !errors.Is(err, failed) || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"api", "job", "mail"} {
		if !errors.Is(errs[name], ErrStopped) {
			t.Errorf("%s: %v", name, errs[name])
		}
		if got := readLog(t, logs, name); got != "running\n" {
			t.Errorf("the log of %s: %q", name, got)
		}
	}
}

// Ctrl-C is nobody's failure.
func TestWatchIsStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := diary{onLine: func(string, string) { cancel() }}
	_, err := Watch(ByRecipe{}, &d, "").Build(ctx, shell(t, "web", "echo running; sleep 1000"))
	d.check(t)
	var failed *FailedError
	if !errors.Is(err, ErrStopped) || !errors.Is(err, context.Canceled) || errors.As(err, &failed) || err.Error() != "the build of web was stopped: context canceled" {
		t.Errorf("%v", err)
	}
	if entries := d.entries["web"]; !strings.HasSuffix(entries[len(entries)-1], "stopped true") {
		t.Errorf("%q", entries)
	}

	// A build that ends well all the same has its digest.
	digest, err := Watch(buildFunc(func(context.Context, Request) (string, error) { return someDigest, nil }), nil, "").Build(ctx, named("web"))
	if digest != someDigest || err != nil {
		t.Errorf("%q, %v", digest, err)
	}

	// The end of its own time is a failure of the build, not of what called it.
	_, err = Watch(buildFunc(func(ctx context.Context, _ Request) (string, error) {
		own, cancel := context.WithDeadline(ctx, time.Unix(0, 0))
		defer cancel()
		<-own.Done()
		return "", own.Err()
	}), nil, "").Build(t.Context(), named("web"))
	if !errors.As(err, &failed) || errors.Is(err, ErrStopped) {
		t.Errorf("%v", err)
	}
}

// A builder that panics, or leaves its goroutine, is finished, too.
func TestWatchCrash(t *testing.T) {
	logs := t.TempDir()
	var d diary
	b := Watch(buildFunc(func(_ context.Context, r Request) (string, error) {
		fmt.Fprint(r.Log, "half a line")
		if r.Component.Name == "leaves" {
			runtime.Goexit()
		}
		var none *Component
		return none.Name, nil
	}), &d, logs)
	digest, err := b.Build(t.Context(), named("web"))
	var failed *FailedError
	want := "web/pin.yaml:3: the build of web crashed pin-cmp: runtime error: invalid memory address or nil pointer dereference; this is a mistake in pin-cmp, please report it with the log"
	if digest != "" || !errors.As(err, &failed) || err.Error() != want {
		t.Fatalf("%q, %v", digest, err)
	}
	if log := readLog(t, logs, "web"); !strings.Contains(log, "half a line") || !strings.Contains(log, "\npanic: runtime error: ") || !strings.Contains(log, "TestWatchCrash.func1(") {
		t.Errorf("the log does not say where:\n%s", log)
	}
	var left sync.WaitGroup
	left.Go(func() { _, _ = b.Build(t.Context(), named("leaves")) })
	left.Wait()
	d.check(t)
	if got := d.entries["leaves"]; len(got) != 3 || got[1] != "line half a line" || !strings.Contains(got[2], "leaves/pin.yaml:3: the build of leaves ended without a result") {
		t.Errorf("%q", got)
	}
}

// A log is written to from several goroutines, and by some that outlive the
// build. No line comes after the end.
func TestWatchConcurrentWrites(t *testing.T) {
	const builds, writers, lines = 8, 4, 500
	logs := t.TempDir()
	var d diary
	var late sync.WaitGroup
	ended := make(chan struct{})
	b := Limit(Watch(buildFunc(func(_ context.Context, r Request) (string, error) {
		var group sync.WaitGroup
		for range writers {
			group.Go(func() {
				for range lines {
					fmt.Fprintf(r.Log, "%s\n", r.Component.Name)
				}
			})
		}
		group.Wait()
		late.Go(func() {
			for i := range lines {
				if fmt.Fprintln(r.Log, "late"); i == 0 {
					<-ended
				}
			}
		})
		return someDigest, nil
	}), &d, logs), 3)
	var group errgroup.Group
	for i := range builds {
		group.Go(func() error {
			_, err := b.Build(t.Context(), named(fmt.Sprintf("c%d", i)))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	close(ended)
	late.Wait()
	d.check(t)
	for name, entries := range d.entries {
		if got := strings.Count(readLog(t, logs, name), name+"\n"); got != writers*lines {
			t.Errorf("the log of %s has %d lines", name, got)
		}
		for _, entry := range entries[1 : len(entries)-1] {
			if entry != "line "+name && entry != "line late" {
				t.Fatalf("%s: %q", name, entry)
			}
		}
	}
}

// A log that is longer than what is kept has its first and its last lines.
func TestLogFileIsBounded(t *testing.T) {
	logs := t.TempDir()
	block := []byte(strings.Repeat(strings.Repeat("x", 1023)+"\n", 1<<10))
	_, err := Watch(buildFunc(func(_ context.Context, r Request) (string, error) {
		fmt.Fprintln(r.Log, "the first line")
		for range maxLogFile>>20 + 3 {
			if _, err := r.Log.Write(block); err != nil {
				return "", err
			}
		}
		fmt.Fprintln(r.Log, "the last line")
		return "", errors.New("failed")
	}), nil, logs).Build(t.Context(), named("web"))
	var failed *FailedError
	if !errors.As(err, &failed) || failed.LogErr != nil {
		t.Fatal(err)
	}
	log := readLog(t, logs, "web")
	marker := strings.Index(log, "\n[pin-cmp: the log is longer than 64 MiB; these are its last lines]\n")
	if !strings.HasPrefix(log, "the first line\n") || marker != maxLogFile || !strings.HasSuffix(log, "\nthe last line\n") || len(log) > maxLogFile+2*maxTail {
		t.Errorf("%d bytes, the mark at %d", len(log), marker)
	}
}

// That no log can be kept stops no build; the failure says why there is none.
func TestLogFileFails(t *testing.T) {
	occupied := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	notEmpty := t.TempDir()
	if err := os.MkdirAll(filepath.Join(notEmpty, "web.log", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, dir, component string }{
		{"the directory is a file", occupied, "web"},
		{"the file is a directory", notEmpty, "web"},
		{"a name that leads elsewhere", t.TempDir(), "../web"},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := shell(t, "web", "echo kept; exit 1")
			request.Component.Name = c.component
			_, err := Watch(ByRecipe{}, nil, c.dir).Build(t.Context(), request)
			var failed *FailedError
			if !errors.As(err, &failed) || failed.LogErr == nil || failed.LogFile != "" || !slices.Equal(failed.Tail, []string{"kept"}) {
				t.Errorf("%#v", err)
			}
			request = shell(t, "web", "echo "+someDigest)
			if digest, err := Watch(ByRecipe{}, nil, c.dir).Build(t.Context(), request); digest != someDigest || err != nil {
				t.Errorf("%q, %v", digest, err)
			}
		})
	}

	// One that breaks while the build runs, as on a full disk.
	l := openLogFile(t.TempDir(), "web")
	l.write([]byte("one\n"))
	if err := l.file.Close(); err != nil {
		t.Fatal(err)
	}
	l.write([]byte("two\n"))
	first := l.err
	l.write([]byte("three\n"))
	l.close(&logTail{})
	if first == nil || !errors.Is(l.err, first) || l.path == "" {
		t.Errorf("%v, then %v", first, l.err)
	}
}
