package build

import (
	"context"
	"crypto/sha1" //nolint:gosec // git's own, not ours to choose
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// stage copies the inputs below a directory of the repository into an empty one:
// the context of a build. Nothing else gets in, no ignored or untracked file and
// none that holds pins, so what is built is what counts in the key. Modes are git's
// (0644, 0755, directories 0755), times are the request's, links stay links, and
// each content is the one that git has: the same commit makes the same bytes on
// every machine. A submodule's files come along, those of the commit that is
// recorded.
func (r Request) stage(ctx context.Context, under, into string) error {
	from, err := os.OpenRoot(r.Top)
	if err != nil {
		return fmt.Errorf("open the work tree: %w", err)
	}
	defer func() { _ = from.Close() }()
	to, err := os.OpenRoot(into)
	if err != nil {
		return fmt.Errorf("open the context of the build: %w", err)
	}
	defer func() { _ = to.Close() }()
	s := &staging{Request: r, under: under, from: from, to: to, into: into}
	if err := s.plan(ctx, r.Inputs, "."); err != nil {
		return err
	}
	return s.run(ctx)
}

// staging is one run of stage.
type staging struct {
	Request
	under    string
	from, to *os.Root
	into     string
	files    []stagedFile

	mu     sync.Mutex
	differ []stagedFile // whose bytes are not git's, until a filter explains it
}

// stagedFile is a file or a link that goes into the context.
type stagedFile struct {
	source string // from the repository's root
	target string // from the context's
	repo   string // the repository or submodule it is in, from the root
	input  Input
}

// plan lists what is below the context's directory; inputs are those of a
// repository or a submodule.
func (s *staging) plan(ctx context.Context, inputs []Input, repo string) error {
	for _, input := range inputs {
		full := path.Join(repo, input.Path)
		target, inside := below(s.under, full)
		switch {
		case input.Mode == "160000":
			if !inside && !strings.HasPrefix(s.under+"/", full+"/") {
				continue
			}
			files, err := s.submodule(ctx, full, input.Object)
			if err == nil {
				err = s.plan(ctx, files, full)
			}
			if err != nil {
				return err
			}
		case !inside:
		case !fs.ValidPath(target):
			return s.mistake("the input %q is no path", full)
		case slices.Contains([]string{"100644", "100755", "120000"}, input.Mode):
			s.files = append(s.files, stagedFile{full, target, repo, input})
		default:
			return s.mistake("the input %q has the mode %s, which is neither a file nor a link", full, input.Mode)
		}
	}
	return nil
}

// below returns a path from the directory that it is in.
func below(dir, name string) (string, bool) {
	if dir == "." {
		return name, true
	}
	return strings.CutPrefix(name, dir+"/")
}

// submodule returns the files of the commit that is recorded of it.
func (s *staging) submodule(ctx context.Context, dir, commit string) ([]Input, error) {
	notHere := s.mistake("the submodule %s is not checked out at the commit that is recorded; run \"git submodule update --init %s\"", dir, dir)
	full := filepath.Join(s.Top, filepath.FromSlash(dir))
	repo, err := gitrepo.Open(ctx, full)
	if err != nil {
		return nil, notHere
	}
	if a, err := os.Stat(repo.Top()); err != nil {
		return nil, notHere
	} else if b, err := os.Stat(full); err != nil || !os.SameFile(a, b) {
		return nil, notHere // git went up to the repository around it
	}
	tree, err := repo.ListTree(ctx, commit, nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, notHere
	}
	var inputs []Input
	for name, entry := range tree {
		inputs = append(inputs, Input{Path: name, Mode: fmt.Sprintf("%06o", entry.Mode), Object: entry.Object})
	}
	return sortedInputs(inputs), nil
}

func (s *staging) run(ctx context.Context) error {
	dirs := map[string]bool{}
	for _, file := range s.files {
		for dir := path.Dir(file.target); dir != "." && !dirs[dir]; dir = path.Dir(dir) {
			dirs[dir] = true
		}
	}
	sorted := make([]string, 0, len(dirs))
	for dir := range dirs {
		sorted = append(sorted, dir)
	}
	slices.Sort(sorted)
	for _, dir := range sorted {
		if err := errors.Join(s.to.Mkdir(dir, 0o755), s.to.Chmod(dir, 0o755)); err != nil {
			return s.mistake("put %q into the context of the build: %w", dir, err)
		}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, file := range s.files {
		group.Go(func() error {
			if groupCtx.Err() != nil {
				return context.Cause(groupCtx)
			}
			return s.put(file)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.explained(ctx); err != nil {
		return err
	}
	// A directory's time changes with what is put into it.
	slices.Reverse(sorted)
	for _, dir := range append(sorted, ".") {
		if err := s.to.Chtimes(dir, s.when(), s.when()); err != nil {
			return s.mistake("put %q into the context of the build: %w", dir, err)
		}
	}
	return os.Chmod(s.into, 0o755)
}

// when is the time that everything in the image has.
func (r Request) when() time.Time {
	if r.Time.IsZero() {
		return time.Unix(0, 0)
	}
	return r.Time
}

// epoch is when, as SOURCE_DATE_EPOCH has it.
func (r Request) epoch() string { return strconv.FormatInt(r.when().Unix(), 10) }

func (r Request) mistake(format string, args ...any) error {
	return &DeclarationError{r.Component.File, r.Component.Line, fmt.Errorf(format, args...)}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

// put copies one file or link.
func (s *staging) put(file stagedFile) error {
	gone := func(err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return s.mistake("%q, an input of %s, is not in the work tree; run \"git restore\" on it", file.source, s.Component.Name)
		}
		return s.mistake("read %q, an input of %s: %w", file.source, s.Component.Name, err)
	}
	info, err := s.from.Lstat(filepath.FromSlash(file.source))
	if err != nil {
		return gone(err)
	}
	if file.input.Mode == "120000" {
		return s.putLink(file, info, gone)
	}
	if !info.Mode().IsRegular() {
		return s.mistake("%q, an input of %s, is no regular file in the work tree", file.source, s.Component.Name)
	}
	source, err := s.from.Open(filepath.FromSlash(file.source))
	if err != nil {
		return gone(err)
	}
	defer func() { _ = source.Close() }()
	mode := fs.FileMode(0o644)
	if file.input.Mode == "100755" {
		mode = 0o755
	}
	failed := func(err error) error { return s.mistake("put %q into the context of the build: %w", file.source, err) }
	target, err := s.to.OpenFile(filepath.FromSlash(file.target), os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return failed(err)
	}
	sum := gitHash(len(file.input.Object), info.Size())
	buffer := buffers.Get().(*[]byte)
	_, err = io.CopyBuffer(io.MultiWriter(onlyWriter{target}, sum), onlyReader{source}, *buffer)
	buffers.Put(buffer)
	if err = errors.Join(err, target.Chmod(mode), target.Close()); err != nil {
		return failed(err)
	}
	switch same := hex.EncodeToString(sum.Sum(nil)) == file.input.Object; {
	case same && file.input.LFS:
		return s.mistake("%q, an input of %s, is a pointer of Git LFS; run \"git lfs pull\"", file.source, s.Component.Name)
	case !same:
		s.mu.Lock()
		s.differ = append(s.differ, file)
		s.mu.Unlock()
	}
	if err := s.to.Chtimes(filepath.FromSlash(file.target), s.when(), s.when()); err != nil {
		return failed(err)
	}
	return nil
}

// Copying goes through memory, where it is hashed.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

func (s *staging) putLink(file stagedFile, info fs.FileInfo, gone func(error) error) error {
	if info.Mode().Type() != fs.ModeSymlink {
		return s.mistake("%q, an input of %s, is a link in git, and none in the work tree", file.source, s.Component.Name)
	}
	text, err := s.from.Readlink(filepath.FromSlash(file.source))
	if err != nil {
		return gone(err)
	}
	sum := gitHash(len(file.input.Object), int64(len(text)))
	_, _ = io.WriteString(sum, text) // a hash takes everything
	if hex.EncodeToString(sum.Sum(nil)) != file.input.Object {
		return s.changed(file)
	}
	target := filepath.FromSlash(file.target)
	if err := errors.Join(s.to.Symlink(text, target), linkTime(s.to, target, s.when())); err != nil {
		return s.mistake("put %q into the context of the build: %w", file.source, err)
	}
	return nil
}

// gitHash starts the hash of a blob of size bytes; digits are those of its name.
func gitHash(digits int, size int64) hash.Hash {
	h := sha1.New() //nolint:gosec // see above
	if digits == hex.EncodedLen(sha256.Size) {
		h = sha256.New()
	}
	_, _ = fmt.Fprintf(h, "blob %d\x00", size)
	return h
}

func (s *staging) changed(file stagedFile) error {
	return s.mistake("%q, an input of %s, is not what its last commit has; commit it, or put it back", file.source, s.Component.Name)
}

// explained asks git about files whose bytes are not those of its objects: end-of-
// line conversion and filters, like that of Git LFS, make such files. Others were
// changed since the key was made.
func (s *staging) explained(ctx context.Context) error {
	slices.SortFunc(s.differ, func(a, b stagedFile) int { return strings.Compare(a.source, b.source) })
	var repo *gitrepo.Repo
	for i, file := range s.differ {
		if i == 0 || file.repo != s.differ[i-1].repo {
			var err error
			if repo, err = gitrepo.Open(ctx, filepath.Join(s.Top, filepath.FromSlash(file.repo))); err != nil {
				return fmt.Errorf("%s: %w", s.Component.Name, err)
			}
		}
		// The bytes that are built count, not what the work tree has by now.
		content, err := s.to.ReadFile(filepath.FromSlash(file.target))
		if err != nil {
			return s.changed(file)
		}
		object, err := repo.Run(ctx, gitrepo.Command{Args: []string{"hash-object", "--stdin", "--path=" + file.input.Path}, Stdin: content, AsUser: true})
		if err != nil {
			return fmt.Errorf("%s: %w", s.Component.Name, err)
		}
		if strings.TrimSpace(string(object)) != file.input.Object {
			return s.changed(file)
		}
	}
	return nil
}
