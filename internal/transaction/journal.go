package transaction

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

const (
	journalFile    = "journal.json"
	doneFile       = "done.json"
	journalVersion = 1
)

// journal is what recovery goes by. It is on disk before the first file
// changes, and again, with New, before the branch moves.
type journal struct {
	Version int `json:"version"`
	// Nonce is part of the names of files that wait beside their target.
	Nonce string `json:"nonce"`
	// Ref is what moves: a branch, or HEAD when it is detached. It is empty when
	// only files change.
	Ref string `json:"ref,omitempty"`
	// Old and New are commits. Without New the branch has not moved.
	Old   string       `json:"old,omitempty"`
	New   string       `json:"new,omitempty"`
	Files []journalled `json:"files"`
}

// journalled is one file. Old and New are SHA-256 sums of its bytes in the work
// tree.
type journalled struct {
	Path string `json:"path"`
	Old  string `json:"old"`
	New  string `json:"new"`
	// Was is the entry of the user's index, and Is that of the commit:
	// "100644 <object>".
	Was string `json:"was,omitempty"`
	Is  string `json:"is,omitempty"`
}

func (p Place) writeJournal(j *journal) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	next := p.inState(journalFile + ".next")
	if err := writeSynced(next, append(data, '\n'), 0o666, nil); err != nil {
		return err
	}
	if err := os.Rename(next, p.inState(journalFile)); err != nil {
		return err
	}
	return syncDir(p.state)
}

// journal reads the journal of this place; nil when there is none.
func (p Place) journal() (*journal, error) {
	j, err := readJournal(p.inState(journalFile))
	if err != nil {
		return nil, fmt.Errorf("%s: the journal of an interrupted change cannot be read: %w", p.shown(journalFile), err)
	}
	return j, nil
}

func readJournal(name string) (*journal, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var j journal
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, err
	}
	if j.Version != journalVersion {
		return nil, fmt.Errorf("it has version %d, and this pin-cmp reads version %d: run the pin-cmp that wrote it", j.Version, journalVersion)
	}
	return &j, nil
}

func sum(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}
