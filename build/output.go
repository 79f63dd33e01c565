package build

import (
	"bytes"
	"strings"

	"github.com/distribution/reference"
)

// pushedLine keeps the last line written to it that is a reference to an image's
// repository, with a digest: "index.docker.io/acme/web:1.0@sha256:…".
type pushedLine struct {
	image  string // normalised
	line   []byte
	digest string
}

// Write implements io.Writer.
func (p *pushedLine) Write(b []byte) (int, error) {
	n := len(b)
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			break
		}
		p.add(b[:i])
		p.end()
		b = b[i+1:]
	}
	p.add(b)
	return n, nil
}

// add keeps no more of a line than a reference can be long.
func (p *pushedLine) add(b []byte) {
	p.line = append(p.line, b[:min(len(b), maxLine+1-len(p.line))]...)
}

func (p *pushedLine) end() {
	text := strings.TrimSpace(string(p.line))
	p.line = p.line[:0]
	name, digest, ok := strings.Cut(text, "@")
	if !ok || len(text) > maxLine || !plainDigest.MatchString(digest) {
		return
	}
	if named, err := reference.ParseNormalizedNamed(name); err == nil && named.Name() == p.image {
		p.digest = digest
	}
}

// last returns the digest of the last such line, "" if there was none.
func (p *pushedLine) last() string {
	p.end()
	return p.digest
}
