package rewrite

import (
	"bytes"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/editdistance"
	"github.com/pin-cmp/pin-cmp/internal/imageref"
)

// maybeSymbolic tells, without parsing, whether a file may hold a mark, or one
// gone wrong. It runs over every byte of the repository; what it lets through is
// parsed, at a thousand times the cost.
//
// A mark has a verb or the zero digest behind an @, or alone as the value of a
// digest, of a sha, or of a Helm parameter.
func maybeSymbolic(name string, content []byte) bool {
	return isComponentFile(name) || verbBehindAt(content) || inParts(content)
}

// someZeros is enough of the zero digest to be nothing else, and short enough for
// bytes.Index to take the fast way.
var someZeros = []byte(zeroHex[:24])

// verbBehindAt looks at the word behind each @.
func verbBehindAt(content []byte) bool {
	for {
		i := bytes.IndexByte(content, '@')
		if i < 0 {
			return false
		}
		content = content[i+1:]
		if hex, ok := bytes.CutPrefix(content, []byte("sha256:")); ok {
			if bytes.HasPrefix(hex, someZeros) {
				return true
			}
			content = hex
			continue
		}
		if nearVerb(wordAt(content)) {
			return true
		}
	}
}

// inParts looks for what may stand in a digest's own field, and for such a field.
// Words come first: hardly a file has one.
func inParts(content []byte) bool {
	return (loneWord(content, "", "build") || loneWord(content, "resol", "ve") || bytes.Contains(content, someZeros)) &&
		(bytes.Contains(content, []byte("digest")) || bytes.Contains(content, []byte("parameters")) || hashField(content)) ||
		misspeltDigest(content)
}

// hashField tells whether the content has sha that is not part of a digest.
func hashField(content []byte) bool {
	for {
		i := bytes.Index(content, []byte("sha"))
		if i < 0 {
			return false
		}
		content = content[i+len("sha"):]
		if !bytes.HasPrefix(content, []byte("256:")) || len(content) > 4 && !isHex(content[4]) {
			return true
		}
	}
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// loneWord tells whether a word stands there that may be all of a value. The word
// is cut before a letter that is rare in manifests: bytes.Index looks for the
// first letter, and each that goes on differently costs more than 100 bytes do.
func loneWord(content []byte, head, tail string) bool {
	for at := 0; ; {
		i := bytes.Index(content[at:], []byte(tail))
		if i < 0 {
			return false
		}
		start, end := at+i-len(head), at+i+len(tail)
		at = end
		if start < 0 || string(content[start:start+len(head)]) != head {
			continue
		}
		if (start == 0 || strings.IndexByte(" \t\r\n\"':,[{", content[start-1]) >= 0) &&
			(end == len(content) || strings.IndexByte(" \t\r\n\"',]}+", content[end]) >= 0) {
			return true
		}
	}
}

// misspeltDigest tells whether a word that is nearly a verb is the value of a
// digest.
func misspeltDigest(content []byte) bool {
	for {
		i := bytes.Index(content, []byte("gest")) // cut as in loneWord
		if i < 0 {
			return false
		}
		digest := bytes.HasSuffix(content[:i], []byte("di"))
		content = content[i+len("gest"):]
		if digest && nearVerb(wordAt(bytes.TrimLeft(content, " \t\"':"))) {
			return true
		}
	}
}

// wordAt returns the letters that content starts with.
func wordAt(content []byte) []byte {
	n := 0
	for n < len(content) && n < 16 && isLetter(content[n]) {
		n++
	}
	return content[:n]
}

// nearVerb tells whether a word is a verb or a misspelling of one.
func nearVerb(word []byte) bool {
	if len(word) < 3 || len(word) > 9 {
		return false
	}
	lower := strings.ToLower(string(word))
	return editdistance.Between(lower, string(imageref.Build)) <= 2 || editdistance.Between(lower, string(imageref.Resolve)) <= 2
}
