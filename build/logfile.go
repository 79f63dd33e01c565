package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxLogFile is how much of a log is kept on disk, in bytes: a build that prints
// for ever must not fill it.
const maxLogFile = 64 << 20

// logFile keeps the log of a build on disk. A nil *logFile keeps nothing.
type logFile struct {
	path string // "" if it could not be made
	file *os.File
	left int64 // bytes that may still be written
	more bool  // something did not fit
	err  error // the first that went wrong
}

// openLogFile starts the log of a component; nil if dir is "". The file of an
// earlier run is replaced, not emptied: it may be another run's that still
// writes, or a link.
func openLogFile(dir, component string) *logFile {
	if dir == "" {
		return nil
	}
	l := &logFile{left: maxLogFile}
	if !nameRE.MatchString(component) {
		l.err = errNoLogName
		return l
	}
	if l.err = os.MkdirAll(dir, 0o700); l.err != nil {
		return l
	}
	path := filepath.Join(dir, component+".log")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.err = err
		return l
	}
	if l.file, l.err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); l.err == nil {
		l.path = path
	}
	return l
}

func (l *logFile) write(p []byte) {
	if l == nil || l.file == nil || l.err != nil {
		return
	}
	if int64(len(p)) > l.left {
		p, l.more = p[:l.left], true
	}
	n, err := l.file.Write(p)
	l.left -= int64(n)
	l.err = err
}

// close ends the file. Where the log was longer than what is kept, its last
// lines follow the first.
func (l *logFile) close(tail *logTail) {
	if l == nil || l.file == nil {
		return
	}
	if l.more && l.err == nil {
		_, l.err = fmt.Fprintf(l.file, "\n[pin-cmp: the log is longer than %d MiB; these are its last lines]\n", maxLogFile>>20)
		for _, line := range tail.lines {
			if l.err == nil {
				_, l.err = fmt.Fprintln(l.file, line)
			}
		}
	}
	if err := l.file.Close(); l.err == nil {
		l.err = err
	}
}
