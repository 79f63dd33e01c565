package presence

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// key names one verdict: the image and the scope of the verdict on it, hashed
// with the store's salt, so that neither private repositories nor credentials
// can be read from the directory.
type key [sha256.Size]byte

func (c *Cache) key(image Image, scope string) key {
	var salt []byte
	if c.store != nil {
		salt = c.store.salt
	}
	return key(keyed(salt, []byte(image.Repository), []byte(image.Digest), []byte(scope)))
}

// keyed is an HMAC over the parts, each with its length.
func keyed(salt []byte, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, salt)
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		mac.Write(n[:])
		mac.Write(p)
	}
	return mac.Sum(nil)
}

// store keeps the times at which images were seen, one small file each:
//
//	dir/salt             32 random bytes
//	dir/<2 hex>/<62 hex> magic, milliseconds since 1970, HMAC over key and both
//
// A file appears by rename, so that readers and writers of many processes never
// see half of one; what has another length or another HMAC is as good as
// missing. Nothing is synced to disk: what a crash loses is asked again.
type store struct {
	dir        string
	salt       []byte
	keep       time.Duration
	complained atomic.Bool
}

var magic = []byte("pinseen1")

const entrySize = 8 + 8 + sha256.Size

// openStore makes dir, or checks that nobody else can write to it: whoever can
// may vouch for images.
func openStore(dir string, keep time.Duration) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the cache directory can't be made: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("the cache directory can't be used: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("the cache directory %s can be written to by others (mode %04o): make it 0700, or name a directory inside it that doesn't exist yet", dir, info.Mode().Perm())
	}
	if !ours(info) {
		return nil, fmt.Errorf("the cache directory %s belongs to another user: name one that doesn't exist yet", dir)
	}
	s := &store{dir: dir, keep: keep}
	if s.salt, err = s.readSalt(); err != nil {
		return nil, s.unwritable(err)
	}
	return s, nil
}

// readSalt reads the salt, or makes one; of many processes that do, one wins.
func (s *store) readSalt() ([]byte, error) {
	path := filepath.Join(s.dir, "salt")
	for range 3 {
		salt, err := os.ReadFile(path)
		if err == nil && len(salt) == sha256.Size {
			return salt, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil { // not one of ours: every entry that was made with it is lost, too
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		salt = make([]byte, sha256.Size)
		if _, err := rand.Read(salt); err != nil {
			return nil, err
		}
		temp, err := s.temp(s.dir, salt)
		if err != nil {
			return nil, err
		}
		// Unlike a rename, a link fails where another process was faster.
		err = os.Link(temp, path)
		if removed := os.Remove(temp); err == nil {
			err = removed
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: changes all the time", path)
}

func (s *store) path(k key) (shard, path string) {
	name := hex.EncodeToString(k[:])
	shard = s.dir + string(filepath.Separator) + name[:2]
	return shard, shard + string(filepath.Separator) + name[2:]
}

func (s *store) entry(k key, at time.Time) []byte {
	b := make([]byte, 0, entrySize)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint64(b, uint64(at.UnixMilli()))
	return append(b, keyed(s.salt, k[:], b)...)
}

// get returns when k was seen. Whatever is wrong with the file, it is a miss.
func (s *store) get(k key) (time.Time, bool) {
	_, path := s.path(k)
	b, err := os.ReadFile(path)
	if err != nil || len(b) != entrySize || !bytes.HasPrefix(b, magic) {
		return time.Time{}, false
	}
	at := time.UnixMilli(int64(binary.BigEndian.Uint64(b[len(magic):])))
	if !hmac.Equal(b, s.entry(k, at)) {
		return time.Time{}, false
	}
	return at, true
}

func (s *store) put(k key, at time.Time) error {
	shard, path := s.path(k)
	entry := s.entry(k, at)
	temp, err := s.temp(shard, entry)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.Mkdir(shard, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return s.unwritable(err)
		}
		temp, err = s.temp(shard, entry)
	}
	if err != nil {
		return s.unwritable(err)
	}
	if err := os.Rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return s.unwritable(err)
	}
	// One write in 256 sweeps the shard it went to, so that old entries go at
	// the pace at which new ones come. The HMAC is as random as any dice.
	if entry[entrySize-1] == 0 {
		s.prune(shard, at)
	}
	return nil
}

func (s *store) remove(k key) error {
	_, path := s.path(k)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.unwritable(err)
	}
	return nil
}

// unwritable names the directory alone: temporary files have random names.
func (s *store) unwritable(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &link):
		err = link.Err
	}
	return fmt.Errorf("the cache directory %s can't be written to: %w", s.dir, err)
}

// temp writes a file that is to be renamed. It keeps os.CreateTemp's mode 0600.
func (s *store) temp(dir string, content []byte) (string, error) {
	f, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// prune removes what was written longer ago than anybody would believe it,
// left-over temporary files among it.
func (s *store) prune(shard string, now time.Time) {
	files, err := os.ReadDir(shard)
	if err != nil {
		return
	}
	for _, f := range files {
		info, err := f.Info()
		if err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > s.keep+time.Hour {
			_ = os.Remove(filepath.Join(shard, f.Name()))
		}
	}
}

// complain tells, once, that something is wrong: a full disk is no news the
// second time.
func (s *store) complain() bool { return !s.complained.Swap(true) }

// reliable tells whether every write so far has worked.
func (s *store) reliable() bool { return !s.complained.Load() }
