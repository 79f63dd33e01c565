package rewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/internal/yamledit"
)

// committable adds a problem for every file that could not go into a commit, so
// that this is said before anything is built.
func (p *Plan) committable(ctx context.Context, repo *gitrepo.Repo) error {
	if operation, err := repo.InProgress(ctx); err != nil {
		return err
	} else if operation != "" {
		return fmt.Errorf("git is in the middle of a %s; finish it or abort it, and run again", operation)
	}
	head, err := repo.Head(ctx)
	if err != nil {
		return err
	}
	if head.Commit == "" {
		return fmt.Errorf("%w; make a first one", gitrepo.ErrUnborn)
	}
	paths := make([]string, len(p.files))
	for i, f := range p.files {
		paths[i] = f.path
	}
	before, err := repo.FilesAt(ctx, head.Commit, paths)
	if err != nil {
		return err
	}
	for _, f := range p.files {
		was, ok := before[f.path]
		switch {
		case !ok:
			p.Problems = append(p.Problems, Problem{f.path, f.marks[0].scalar.Line, "is not in the last commit; commit the file first, or run without --commit"})
		case !bytes.Equal(was, f.content):
			if err := p.onlyMarks(f.path, was, f.content); err != nil {
				p.Problems = append(p.Problems, Problem{f.path, f.marks[0].scalar.Line, err.Error()})
			}
		}
	}
	return nil
}

// onlyMarks lets a file with uncommitted changes into the commit if taking the
// marks out of it again gives what is in HEAD: the author's other work is not
// ours to commit.
func (p *Plan) onlyMarks(file string, head, content []byte) error {
	i := slices.IndexFunc(p.files, func(f *markedFile) bool { return f.path == file })
	if i < 0 || !bytes.Equal(p.files[i].content, content) {
		return errors.New("has other changes staged than the work tree holds; commit or unstage them")
	}
	f := p.files[i]
	before, err := yamledit.Parse(file, head)
	if err != nil {
		return errors.New("has uncommitted changes, and does not parse in HEAD; commit them first")
	}
	was := map[string]yamledit.Scalar{}
	for s := range before.Scalars() {
		was[placeOf(s)] = s
	}
	restored := slices.Clone(content)
	for _, m := range slices.Backward(f.marks) {
		start, end := m.scalar.Span()
		if old, ok := was[placeOf(m.scalar)]; ok {
			from, to := old.Span()
			if to == 0 {
				return errUncommitted(m)
			}
			restored = slices.Replace(restored, start, end, head[from:to]...)
			continue
		}
		// A line that the mark alone is made of: digest: build, newly added.
		from := bytes.LastIndexByte(restored[:start], '\n') + 1
		to := len(restored)
		if n := bytes.IndexByte(restored[end:], '\n'); n >= 0 {
			to = end + n + 1
		}
		key := bytes.TrimSpace(restored[from:start])
		if len(bytes.TrimSpace(restored[end:to])) > 0 || string(key) != m.scalar.Key()+":" {
			return errUncommitted(m)
		}
		restored = slices.Delete(restored, from, to)
	}
	if !bytes.Equal(restored, head) {
		if len(f.others) > 0 {
			return fmt.Errorf("has the uncommitted placeholder %s, too, of a component that was not asked for; ask for that as well, or commit the placeholder", f.others[0].scalar.Value)
		}
		return errUncommitted(f.marks[0])
	}
	return nil
}

func errUncommitted(m mark) error {
	return fmt.Errorf("has uncommitted changes beside the placeholder %s; commit or stash them, and run again", m.scalar.Value)
}

// placeOf names a scalar's place in a file, for two versions of it.
func placeOf(s yamledit.Scalar) string { return fmt.Sprintf("%d %s", s.Document, s.Path()) }
