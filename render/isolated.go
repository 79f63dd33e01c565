package render

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Defaults of [Isolated], in bytes. 500 resources with patches take 60 MiB and
// render to less than 1 MiB.
const (
	DefaultMemory = 1 << 30
	DefaultOutput = 100 << 20
)

// LargestFile is the size in bytes of the largest file that a render reads: of a
// larger one a checkout in memory needs no more than the size.
const LargestFile = maxFile

// Isolated renders each application in a child process of its own: this binary,
// started again. The child has no environment, no programs to run, and no
// network; it ends with the render, and nothing that one application leaves
// behind reaches the next.
//
// The program must call [ChildMain] first thing in main. The zero value is
// ready to use, by any number of goroutines.
type Isolated struct {
	// Memory bounds the child's memory in bytes; 0 is DefaultMemory.
	Memory int64
	// Output bounds the rendered text in bytes; 0 is DefaultOutput.
	Output int64
}

var _ Renderer = (*Isolated)(nil)

// Render implements [Renderer]. When ctx ends, the child is killed.
func (r *Isolated) Render(ctx context.Context, app Application) (*Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, stopped(ctx)
	}
	c, err := r.start()
	if err != nil {
		return nil, err
	}
	return c.render(ctx, app)
}

// child is a process that waits for its one request, or works on it.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr *tail
	memory int64
	output int64
}

// start starts a child before its request is known.
func (r *Isolated) start() (*child, error) {
	if len(os.Args) > 0 && os.Args[0] == childName {
		return nil, notAChild()
	}
	exe, err := executable()
	if err != nil {
		return nil, &Error{Message: "the program cannot find itself to start a render: " + cause(err).Error(), Err: ErrCrashed}
	}
	c := &child{memory: r.Memory, output: r.Output, stderr: &tail{}}
	if c.memory <= 0 {
		c.memory = DefaultMemory
	}
	if c.output <= 0 {
		c.output = DefaultOutput
	}
	c.cmd = &exec.Cmd{
		Path: exe,
		Args: []string{childName, fmt.Sprint(c.memory)},
		Env:  childEnvironment(c.memory),
		// Where the child is must not depend on where its parent was started.
		Dir:    "/",
		Stderr: c.stderr,
		// Should something else hold the pipe, do not wait for it.
		WaitDelay:   time.Second,
		SysProcAttr: childAttributes(),
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, startFailed(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, startFailed(err)
	}
	c.stdout = bufio.NewReaderSize(stdout, 64<<10)
	// Linux kills the child when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.cmd.Start(); err != nil {
		return nil, startFailed(err)
	}
	return c, nil
}

func startFailed(err error) error {
	return &Error{Message: "a render could not be started: " + cause(err).Error(), Err: ErrCrashed}
}

// childEnvironment is all that a child has. PATH is set, because an unset one
// has a default. The collector runs late: a render is short, and its garbage
// bounded by the limit.
func childEnvironment(memory int64) []string {
	return []string{
		"PATH=",
		"GOGC=" + childGOGC,
		fmt.Sprintf("GOMEMLIMIT=%d", memory/10*9),
		"GOTRACEBACK=single",
	}
}

// childGOGC is measured on an overlay of 500 resources: 200 takes a sixth off
// the CPU time of 100 for 67 instead of 54 MiB; 400 takes off another tenth, for
// 93 MiB.
const childGOGC = "200"

// kill ends the child and everything it may have started.
func (c *child) kill() { killGroup(c.cmd) }

// render hands the child its request and waits for the answer and the end of
// the child.
func (c *child) render(ctx context.Context, app Application) (*Result, error) {
	stop := context.AfterFunc(ctx, c.kill)
	defer stop()

	sent := make(chan error, 1)
	go func() { sent <- sendRequest(c.stdin, app) }()
	result, err := c.answer()
	if err != nil {
		c.kill()
	}
	_ = c.stdin.Close()
	sendErr := <-sent
	waitErr := c.cmd.Wait()

	var e *Error
	switch {
	case err == nil || errors.As(err, &e):
		return result, err
	case ctx.Err() != nil:
		return nil, stopped(ctx)
	case sendErr != nil && !isBrokenPipe(sendErr):
		return nil, &Error{Message: cause(sendErr).Error(), Err: ErrCrashed}
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, notAChild()
	}
	return nil, c.crashed(waitErr)
}

// notAChild is the error of a process that speaks another language.
func notAChild() error {
	return &Error{Message: "the render ended without an answer: main does not call render.ChildMain first", Err: ErrCrashed}
}

// answer reads what the child sends, up to its result or error.
func (c *child) answer() (*Result, error) {
	kind, _, err := readFrame(c.stdout, 0)
	if err != nil {
		return nil, err
	}
	if kind != frameHello {
		return nil, fmt.Errorf("unexpected frame %q", kind)
	}
	// The manifests are decoded while the child still encodes the next ones.
	decoding := newDecoding()
	defer decoding.wait()
	var manifests []*Manifest
	for left := c.output; ; {
		kind, payload, err := readFrame(c.stdout, left)
		if errors.Is(err, errTooLong) {
			return nil, &Error{
				Message: fmt.Sprintf("the application renders to more than %d MiB", c.output>>20),
				Fix:     "split it", Err: ErrLimit,
			}
		}
		if err != nil {
			return nil, err
		}
		left -= int64(len(payload))
		switch kind {
		case frameManifest:
			manifest := &Manifest{YAML: payload}
			manifests = append(manifests, manifest)
			decoding.add(manifest)
		case frameError:
			var p pipeError
			if err := decodeJSON(payload, &p); err != nil {
				return nil, err
			}
			return nil, p.error()
		case frameResult:
			var p pipeResult
			if err := decodeJSON(payload, &p); err != nil {
				return nil, err
			}
			if len(p.Sources) != len(manifests) {
				return nil, errors.New("the answer does not match its manifests")
			}
			decoding.wait()
			result := &Result{Type: p.Type, Files: p.Files, Warnings: p.Warnings}
			slices.Sort(result.Warnings)
			result.Warnings = slices.Compact(result.Warnings)
			for i, manifest := range manifests {
				manifest.Source = p.Sources[i]
				if err := manifest.decode(result); err != nil {
					return nil, err
				}
				result.Manifests = append(result.Manifests, *manifest)
			}
			return result, nil
		default:
			return nil, fmt.Errorf("unexpected frame %q", kind)
		}
	}
}

func decodeJSON(payload []byte, into any) error { return json.Unmarshal(payload, into) }

// decoding decodes manifests beside the reader of the pipe. A manifest that
// fails is left for the reader to fail on.
type decoding struct {
	queue chan *Manifest
	done  sync.WaitGroup
	once  sync.Once
}

func newDecoding() *decoding {
	d := &decoding{queue: make(chan *Manifest, 256)}
	for range min(2, runtime.GOMAXPROCS(0)) {
		d.done.Go(func() {
			for m := range d.queue {
				if object, err := decodeObject(m.YAML); err == nil {
					m.Object = object
				}
			}
		})
	}
	return d
}

func (d *decoding) add(m *Manifest) { d.queue <- m }

func (d *decoding) wait() {
	d.once.Do(func() { close(d.queue) })
	d.done.Wait()
}

// stopped is the error of a render whose context ended.
func stopped(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("the render did not end in time: %w", context.DeadlineExceeded)
	}
	return fmt.Errorf("the render was stopped: %w", ctx.Err())
}

// crashed explains a child that ended without an answer.
func (c *child) crashed(err error) error {
	e := &Error{Err: ErrCrashed}
	text := c.stderr.String()
	switch {
	case strings.Contains(text, "out of memory") || strings.Contains(text, "cannot allocate memory"):
		e.Message = fmt.Sprintf("the render needs more than %d MiB of memory", c.memory>>20)
		e.Fix, e.Err = "look for a file that is far larger than the others; if the application is as it should be, give renders more memory", ErrLimit
	case killed(err):
		e.Message = "the render was killed"
		e.Fix = "if the container is out of memory, give it more"
	case !c.cmd.ProcessState.Exited() || text != "":
		e.Message = "the render crashed: " + firstLine(text)
		e.Fix = "this is a bug of pin-cmp, not of the application: please report it"
	default:
		return notAChild()
	}
	return e
}

// firstLine is the line of a Go crash that says what happened.
func firstLine(text string) string {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "runtime: ") && !strings.HasPrefix(line, "SIG") {
			return strings.ReplaceAll(line, kustomizeRoot+"/", "")
		}
	}
	return "no reason given"
}

// tail keeps the first part of what a child says at its end.
type tail struct {
	lock sync.Mutex
	text bytes.Buffer
}

const maxTail = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	if room := maxTail - t.text.Len(); room > 0 {
		t.text.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.lock.Lock()
	defer t.lock.Unlock()
	return t.text.String()
}
