package render

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
)

// The conversation of a render with its child, over the child's standard input
// and output: the child says hello, the parent sends one request, the child
// sends the manifests one by one and then either a result or an error. A frame
// is its kind, the length of its payload, and the payload.
const (
	frameHello    = 'h'
	frameRequest  = 'q'
	frameData     = 'd' // the content of the files of a request
	frameManifest = 'm'
	frameResult   = 'r'
	frameError    = 'e'
)

const frameHeader = 5

func writeFrame(w io.Writer, kind byte, payload []byte) error {
	var header [frameHeader]byte
	header[0] = kind
	binary.BigEndian.PutUint32(header[1:], uint32(len(payload)))
	if _, err := w.Write(header[:]); err != nil {
		return err
	}
	_, err := w.Write(payload)
	return err
}

func writeJSON(w io.Writer, kind byte, payload any) error {
	text, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	return writeFrame(w, kind, text)
}

// errTooLong is a frame that is longer than the reader allows.
var errTooLong = errors.New("too long")

// readFrame reads the next frame, of at most limit bytes.
func readFrame(r io.Reader, limit int64) (byte, []byte, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	size := int64(binary.BigEndian.Uint32(header[1:]))
	if size > limit {
		return header[0], nil, errTooLong
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	return header[0], payload, nil
}

// pipeRequest asks for one render.
type pipeRequest struct {
	Path    string  `json:"path"`
	Options Options `json:"options"`
	// Dir is the checkout's directory, or Files are its files: their content
	// follows in one frame each, in this order.
	Dir   string     `json:"dir,omitempty"`
	Files []pipeFile `json:"files,omitempty"`
}

type pipeFile struct {
	Path string      `json:"path"`
	Mode fs.FileMode `json:"mode"`
	Link string      `json:"link,omitempty"`
	// Size is that of the data which follows, or, if Omitted, would have.
	Size    int64 `json:"size,omitempty"`
	Omitted bool  `json:"omitted,omitempty"`
}

// pipeResult is a Result without the text of the manifests.
type pipeResult struct {
	Type     Type     `json:"type"`
	Sources  []Source `json:"sources"`
	Files    []string `json:"files,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// pipeError is an error that keeps its kind.
type pipeError struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
	Is      string `json:"is,omitempty"`
}

func toPipeError(err error) pipeError {
	var p pipeError
	var e *Error
	if errors.As(err, &e) {
		p = pipeError{File: e.File, Line: e.Line, Message: e.Message, Fix: e.Fix}
	} else {
		p = pipeError{Message: err.Error()}
	}
	for name, sentinel := range sentinels() {
		if errors.Is(err, sentinel) {
			p.Is = name
		}
	}
	return p
}

func (p pipeError) error() error {
	return &Error{File: p.File, Line: p.Line, Message: p.Message, Fix: p.Fix, Err: sentinels()[p.Is]}
}

// sendRequest writes a request. A checkout that is no directory is sent whole,
// but for .git and for files that no render would read.
func sendRequest(w io.Writer, app Application) error {
	request := pipeRequest{Path: app.Path, Options: app.Options}
	out := bufio.NewWriterSize(w, 64<<10)
	if dir, ok := app.Checkout.(*Dir); ok {
		request.Dir = dir.path
		if err := writeJSON(out, frameRequest, request); err != nil {
			return err
		}
		return out.Flush()
	}
	if err := listFiles(app.Checkout, ".", &request.Files); err != nil {
		return fmt.Errorf("reading the checkout: %w", err)
	}
	if err := writeJSON(out, frameRequest, request); err != nil {
		return err
	}
	for _, file := range request.Files {
		if !file.Mode.IsRegular() || file.Omitted {
			continue
		}
		data, err := fs.ReadFile(app.Checkout, file.Path)
		if err != nil {
			return fmt.Errorf("reading the checkout: %w", err)
		}
		if err := writeFrame(out, frameData, data); err != nil {
			return err
		}
	}
	return out.Flush()
}

func listFiles(fsys fs.FS, dir string, files *[]pipeFile) error {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		file := pipeFile{Path: path.Join(dir, entry.Name()), Mode: entry.Type()}
		switch {
		case file.Path == ".git":
			continue
		case entry.IsDir():
			*files = append(*files, file)
			if err := listFiles(fsys, file.Path, files); err != nil {
				return err
			}
			continue
		case entry.Type() == fs.ModeSymlink:
			if file.Link, err = fs.ReadLink(fsys, file.Path); err != nil {
				return err
			}
		case entry.Type().IsRegular():
			info, err := entry.Info()
			if err != nil {
				return err
			}
			file.Size = info.Size()
			file.Omitted = file.Size > maxFile
		}
		*files = append(*files, file)
	}
	return nil
}

// receiveFiles reads the files that follow a request.
func receiveFiles(r io.Reader, list []pipeFile) (*Memory, error) {
	files := make(map[string]MemoryFile, len(list))
	for _, file := range list {
		entry := MemoryFile{Mode: file.Mode, Link: file.Link}
		switch {
		case file.Omitted:
			entry.Size = file.Size
		case file.Mode.IsRegular():
			kind, data, err := readFrame(r, maxFile+1)
			if err != nil {
				return nil, err
			}
			if kind != frameData {
				return nil, fmt.Errorf("unexpected frame %q", kind)
			}
			entry.Data = data
		}
		files[file.Path] = entry
	}
	return NewMemory(files)
}
