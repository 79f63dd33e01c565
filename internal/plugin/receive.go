package plugin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/pin-cmp/pin-cmp/internal/plugin/pluginpb"
	"github.com/pin-cmp/pin-cmp/render"
)

// Request is what arrived in a stream.
type Request struct {
	// Environ are the request's variables, "NAME=value".
	Environ []string
	// Checkout holds the repository's files, without .git.
	Checkout *render.Memory
	// Path is the application's directory in Checkout.
	Path string
}

// Stream is the receiving end of a stream of the protocol.
type Stream interface {
	Recv() (*pluginpb.AppStreamRequest, error)
}

// Reception says how a stream is received.
type Reception struct {
	Limits Limits
	// Metadata, if not nil, is told the request's variables as soon as they are
	// known, in the goroutine of the caller.
	Metadata func(environ []string)
	// Stall is how long the sender may send nothing while it is waited for; 0 is
	// any time.
	Stall time.Duration
	// Reserve, if not nil, is asked before memory is taken, in bytes. It may
	// wait. Its error ends the request.
	Reserve func(bytes int64) error
}

// cutError is the end of a stream that its sender did not finish.
type cutError struct{ err error }

func (e *cutError) Error() string { return "the request was cut off" }
func (e *cutError) Unwrap() error { return e.err }

// Receive reads a stream to its end. It does so even if what came first is
// refused: a sender that is answered early sees its own sending fail, and never
// looks at the answer (Argo CD, reposerver/repository/repository.go,
// generateManifestsCMP).
//
// When ctx ends Receive returns at once; the stream is read on beside it until
// the handler returns, which ends the stream. The error is an [*Error] or the
// context's cause.
func Receive(ctx context.Context, stream Stream, o Reception) (*Request, error) {
	type outcome struct {
		request *Request
		err     error
	}
	done := make(chan outcome, 1)
	in := &incoming{stream: stream, hash: sha256.New(), clock: clock{began: time.Now()}}
	var stalled <-chan time.Time
	patience := time.NewTimer(cmp.Or(o.Stall, time.Hour))
	defer patience.Stop()
	if o.Stall > 0 {
		stalled = patience.C
	}
	environ := make(chan []string, 1)
	go func() {
		request, err := in.request(o, environ)
		in.drain()
		done <- outcome{request, err}
	}()
	defer func() { // what is known when the time is up is worth a line in the log
		select {
		case variables := <-environ:
			o.tell(variables)
		default:
		}
	}()
	for {
		select {
		case variables := <-environ:
			o.tell(variables)
		case got := <-done:
			var interrupted *cutError
			if errors.As(got.err, &interrupted) {
				if ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
				return nil, errorf(codes.Aborted, "the request was cut off before the whole repository had arrived")
			}
			return got.request, got.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-stalled:
			if since := in.clock.silent(); since < o.Stall {
				patience.Reset(o.Stall - since)
				continue
			}
			return nil, errorf(codes.DeadlineExceeded, "the repository stopped arriving before it was whole; if this happens again, look at the repo-server's load")
		}
	}
}

// clock tells how long the sender has been waited for.
type clock struct {
	asked atomic.Int64 // when, in nanoseconds since began; -1 while nobody waits
	began time.Time
}

func (c *clock) wait() { c.asked.Store(int64(time.Since(c.began))) }
func (c *clock) got()  { c.asked.Store(-1) }

func (c *clock) silent() time.Duration {
	asked := c.asked.Load()
	if asked < 0 {
		return 0
	}
	return time.Since(c.began) - time.Duration(asked)
}

// incoming is the archive in a stream, as an io.Reader.
type incoming struct {
	stream Stream
	clock  clock
	hash   hash.Hash
	rest   []byte
	err    error // why there is no more
}

func (in *incoming) receive() (*pluginpb.AppStreamRequest, error) {
	in.clock.wait()
	defer in.clock.got()
	return in.stream.Recv()
}

func (o Reception) tell(environ []string) {
	if o.Metadata != nil {
		o.Metadata(environ)
	}
}

func (in *incoming) request(o Reception, environ chan<- []string) (*Request, error) {
	first, err := in.receive()
	if err != nil {
		in.err = err
		if errors.Is(err, io.EOF) {
			return nil, errorf(codes.InvalidArgument, "the request is empty: no metadata and no repository")
		}
		return nil, &cutError{err}
	}
	metadata := first.GetMetadata()
	if metadata == nil {
		return nil, errorf(codes.InvalidArgument, "the request does not start with its metadata")
	}
	request := &Request{}
	for _, entry := range metadata.GetEnv() {
		if entry != nil {
			request.Environ = append(request.Environ, entry.GetName()+"="+entry.GetValue())
		}
	}
	environ <- request.Environ
	relative := path.Clean(cmp.Or(metadata.GetAppRelPath(), "."))
	if path.IsAbs(relative) || relative == ".." || strings.HasPrefix(relative, "../") {
		return nil, errorf(codes.InvalidArgument, "the application's path %q is not inside the repository", metadata.GetAppRelPath())
	}
	prefix := above(variable(request.Environ, "ARGOCD_APP_SOURCE_PATH"), relative)
	request.Path = path.Join(prefix, relative)

	u := &unpacker{
		limits: Limits{
			Bytes:    cmp.Or(o.Limits.Bytes, DefaultBytes),
			Entries:  cmp.Or(o.Limits.Entries, DefaultEntries),
			Unpacked: cmp.Or(o.Limits.Unpacked, DefaultUnpacked),
		},
		prefix: prefix, reserve: o.Reserve, files: map[string]render.MemoryFile{},
	}
	if u.reserve == nil {
		u.reserve = func(int64) error { return nil }
	}
	unpackErr := u.unpack(in)
	in.drain()
	var interrupted *cutError
	switch {
	case errors.As(in.err, &interrupted):
		return nil, interrupted
	case !errors.Is(in.err, io.EOF):
		return nil, in.err
	}
	// What is wrong with a damaged archive is the damage.
	if hex.EncodeToString(in.hash.Sum(nil)) != metadata.GetChecksum() {
		return nil, errorf(codes.DataLoss, "the repository did not arrive as it was sent: its checksum differs")
	}
	if unpackErr != nil {
		return nil, unpackErr
	}
	if request.Checkout, err = render.NewMemory(u.files); err != nil {
		return nil, errorf(codes.InvalidArgument, "the archive of the repository contradicts itself: %v", err)
	}
	return request, nil
}

func (in *incoming) Read(p []byte) (int, error) {
	for len(in.rest) == 0 {
		if in.next(); in.err != nil {
			return 0, in.err
		}
	}
	n := copy(p, in.rest)
	in.rest = in.rest[n:]
	return n, nil
}

// next reads one message.
func (in *incoming) next() {
	if in.err != nil {
		return
	}
	message, err := in.receive()
	switch {
	case errors.Is(err, io.EOF):
		in.err = io.EOF
	case err != nil:
		in.err = &cutError{err}
	case message.GetFile() == nil:
		in.err = errorf(codes.InvalidArgument, "the request holds something else than pieces of the repository after its metadata")
	default:
		in.rest = message.GetFile().GetChunk()
		in.hash.Write(in.rest)
	}
}

// drain reads the rest of the stream.
func (in *incoming) drain() {
	for in.err == nil {
		in.next()
	}
	in.rest = nil
	var malformed *Error
	if !errors.As(in.err, &malformed) {
		return
	}
	for {
		if _, err := in.receive(); err != nil {
			return
		}
	}
}

// variable returns the last value of a variable, as a process would see it.
func variable(environ []string, name string) string {
	value := ""
	for _, entry := range environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}

// above returns the directory of the repository that the archive starts at:
// with manifest-generate-paths Argo CD sends only what is below the directory
// that they have in common. Files are named as in the repository all the same.
func above(source, relative string) string {
	source = path.Clean(cmp.Or(source, "."))
	if path.IsAbs(source) || source == ".." || strings.HasPrefix(source, "../") {
		return ""
	}
	if relative == "." {
		if source == "." {
			return ""
		}
		return source
	}
	prefix, ok := strings.CutSuffix(source, "/"+relative)
	if !ok {
		return ""
	}
	return prefix
}
