package render

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
)

// childName is how a render child is told from any other start of the binary.
// It is also what ps shows.
const childName = "pin-cmp render"

// ChildMain serves one render and exits, if [Isolated] started this process. It
// is the first call of main, and of TestMain where tests render.
func ChildMain() {
	if len(os.Args) != 2 || os.Args[0] != childName {
		return
	}
	os.Exit(serveChild(os.Stdin, os.Stdout, os.Args[1]))
}

// serveChild answers one request. What the libraries print is not shown: the
// real standard error is for the Go runtime's last words only.
func serveChild(stdin *os.File, stdout io.Writer, limits string) int {
	if err := limitMemory(limits); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	http.DefaultTransport = refuseNetwork{}
	logged := &logTail{last: os.Stderr}
	log.SetFlags(0)
	log.SetOutput(logged)
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = null
		os.Stdout = null
	}
	out := bufio.NewWriterSize(stdout, 64<<10)
	if err := writeFrame(out, frameHello, nil); err != nil {
		return 1
	}
	if err := out.Flush(); err != nil {
		return 1
	}
	in := bufio.NewReaderSize(stdin, 64<<10)
	app, err := receiveRequest(in)
	if errors.Is(err, io.EOF) {
		return 0 // never asked
	}
	if err == nil {
		// The parent keeps the pipe open while it waits: no more than its end
		// can come, and then nobody is there to answer.
		go func() {
			_, _ = io.Copy(io.Discard, in)
			os.Exit(1)
		}()
		err = answer(out, app, logged)
	}
	if err != nil {
		if err := writeJSON(out, frameError, toPipeError(err)); err != nil {
			return 1
		}
	}
	if err := out.Flush(); err != nil {
		return 1
	}
	return 0
}

func receiveRequest(in *bufio.Reader) (Application, error) {
	kind, payload, err := readFrame(in, 1<<30)
	if err != nil {
		return Application{}, err
	}
	var request pipeRequest
	if kind != frameRequest {
		return Application{}, fmt.Errorf("unexpected frame %q", kind)
	}
	if err := decodeJSON(payload, &request); err != nil {
		return Application{}, err
	}
	app := Application{Path: request.Path, Options: request.Options}
	if request.Dir != "" {
		app.Checkout, err = OpenDir(request.Dir)
	} else {
		app.Checkout, err = receiveFiles(in, request.Files)
	}
	if err != nil {
		return Application{}, err
	}
	return app, nil
}

// answer renders and sends the result; what it returns is sent by the caller.
func answer(out io.Writer, app Application, logged *logTail) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Message: fmt.Sprintf("the renderer failed on this application: %v", p), Err: ErrCrashed}
		}
	}()
	result, err := InProcess{}.render(context.Background(), app)
	if err != nil {
		return err
	}
	answer := pipeResult{Type: result.Type, Files: result.Files, Warnings: append(result.Warnings, logged.lines()...)}
	for _, manifest := range result.Manifests {
		answer.Sources = append(answer.Sources, manifest.Source)
		if err := writeFrame(out, frameManifest, manifest.YAML); err != nil {
			return err
		}
	}
	return writeJSON(out, frameResult, answer)
}

// refuseNetwork stands in the place of every HTTP connection. The walk over the
// kustomizations refuses remote sources with a better message; this is for the
// ways in that it does not know.
type refuseNetwork struct{}

func (refuseNetwork) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("a render fetches nothing over the network")
}

// logTail keeps what the libraries log, as warnings, and repeats it on the real
// standard error in case it is the reason of an exit (log.Fatal).
type logTail struct {
	kept bytes.Buffer
	last io.Writer
}

func (l *logTail) Write(p []byte) (int, error) {
	if l.kept.Len() < 64<<10 {
		l.kept.Write(p)
	}
	return l.last.Write(p)
}

// sortNames puts the one list that kustomize logs in the order of a map into
// the order of its names: the same render warns in the same words.
func sortNames(line string) string {
	const unused = "well-defined vars that were never replaced: "
	names, ok := strings.CutPrefix(line, unused)
	if !ok {
		return line
	}
	sorted := strings.Split(names, ",")
	slices.Sort(sorted)
	return unused + strings.Join(sorted, ",")
}

func (l *logTail) lines() []string {
	var lines []string
	for line := range strings.Lines(l.kept.String()) {
		line = strings.TrimSpace(line)
		line = strings.TrimPrefix(line, "Warning: ")
		if line != "" {
			lines = append(lines, strings.TrimSuffix(strings.ReplaceAll(sortNames(line), kustomizeRoot+"/", ""), "."))
		}
	}
	return lines
}
