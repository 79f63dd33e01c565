package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// gitView is what git knows about the targets before they change.
type gitView struct {
	commit *index                       // HEAD and nothing else
	tree   map[string]gitrepo.TreeEntry // HEAD's entries
	index  map[string]gitrepo.File
}

// check asks git whether the targets may be committed: each a tracked, plain
// file whose content is that of HEAD, but for what allow admits.
func (t *transaction) check(ctx context.Context, commit string, allow func(string, []byte, []byte) error) (*gitView, error) {
	repo := t.place.repo
	paths := t.paths()
	view := &gitView{index: map[string]gitrepo.File{}}
	var listing *gitrepo.Listing
	var lfs []string
	var readErr error // says less than a list of conflicts
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		listing, err = repo.ListFiles(groupCtx, gitrepo.ListOptions{})
		return err
	})
	group.Go(func() (err error) {
		view.tree, err = repo.TreeEntries(groupCtx, commit, paths)
		return err
	})
	group.Go(func() (err error) {
		lfs, err = repo.LFS(groupCtx, paths)
		return err
	})
	group.Go(func() (err error) {
		if view.commit, err = t.place.newIndex(commitIndex, t.held); err == nil {
			readErr = view.commit.readHead(groupCtx, commit)
		}
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if len(listing.Unmerged) > 0 {
		return nil, fmt.Errorf("%w: these files have unresolved conflicts: %s: resolve them and commit, then run this again", ErrInProgress, strings.Join(listing.Unmerged, ", "))
	}
	if readErr != nil {
		return nil, readErr
	}
	for _, f := range listing.Files {
		view.index[f.Path] = f
	}
	refused := &RefusedError{}
	for _, path := range paths {
		if err := view.plain(listing, lfs, path); err != nil {
			refused.Files = append(refused.Files, Refusal{path, err})
		}
	}
	if refused.Files != nil {
		return nil, refused
	}
	if err := view.commit.add(ctx, paths); err != nil {
		return nil, err
	}
	dirty, err := view.commit.differences(ctx, commit)
	if err != nil {
		return nil, err
	}
	if err := t.admit(ctx, view, dirty, allow); err != nil {
		return nil, err
	}
	return view, nil
}

// plain refuses what is no plain tracked file.
func (v *gitView) plain(listing *gitrepo.Listing, lfs []string, path string) error {
	for _, submodule := range listing.Submodules {
		if path == submodule || strings.HasPrefix(path, submodule+"/") {
			return fmt.Errorf("it belongs to the submodule %s: run this in that repository", submodule)
		}
	}
	if slices.Contains(listing.Symlinks, path) {
		return errors.New("git tracks it as a symbolic link: commit the file that it became first")
	}
	f, ok := v.index[path]
	_, inHead := v.tree[path]
	switch {
	case !ok:
		return errors.New("git does not track it: commit it first")
	case f.SkipWorktree:
		return errors.New("the sparse checkout leaves it out: add its directory with \"git sparse-checkout add\"")
	case f.AssumeUnchanged:
		return errors.New("git is told not to look at it: run \"git update-index --no-assume-unchanged\" on it")
	case !inHead:
		return errors.New("it is in no commit yet: commit it first")
	case slices.Contains(lfs, path):
		return errors.New("git LFS keeps its content elsewhere (attribute filter=lfs): take it out of LFS")
	}
	return nil
}

// admit puts uncommitted changes of the targets before the caller: those in the
// work tree, and those that are staged and differ from it.
func (t *transaction) admit(ctx context.Context, view *gitView, dirty map[string]difference, allow func(string, []byte, []byte) error) error {
	type question struct {
		target *target
		head   int // places in blobs, -1 for the work tree's bytes
		other  int
		staged bool
	}
	refused := &RefusedError{}
	var blobs []gitrepo.Blob
	var questions []question
	for _, target := range t.targets {
		path := target.Path
		head, staged := view.tree[path], view.index[path]
		work, isDirty := dirty[path]
		if isDirty && work.onlyMode() || staged.Mode != head.Mode || isDirty && work.from[:6] != work.to[:6] {
			refused.Files = append(refused.Files, Refusal{path, errors.New("its mode has changed and is not committed: commit that first")})
			continue
		}
		isStaged := staged.Object != head.Object && (!isDirty || work.to[7:] != staged.Object)
		if !isDirty && !isStaged {
			continue
		}
		if allow == nil {
			refused.Files = append(refused.Files, Refusal{path, errUncommitted(isStaged)})
			continue
		}
		blobs = append(blobs, gitrepo.Blob{Object: head.Object, Path: path})
		at := len(blobs) - 1
		if isDirty {
			questions = append(questions, question{target, at, -1, false})
		}
		if isStaged {
			blobs = append(blobs, gitrepo.Blob{Object: staged.Object, Path: path})
			questions = append(questions, question{target, at, at + 1, true})
		}
	}
	contents, err := t.place.repo.CheckedOut(ctx, blobs)
	if err != nil {
		return err
	}
	for _, q := range questions {
		content := q.target.Old
		if q.other >= 0 {
			content = contents[q.other]
		}
		if err := allow(q.target.Path, contents[q.head], content); err != nil {
			refused.Files = append(refused.Files, Refusal{q.target.Path, fmt.Errorf("%w: %w", errUncommitted(q.staged), err)})
		}
	}
	if refused.Files != nil {
		slices.SortStableFunc(refused.Files, func(a, b Refusal) int { return t.order[a.Path] - t.order[b.Path] })
		return refused
	}
	return nil
}

func errUncommitted(staged bool) error {
	if staged {
		return errors.New("it has staged changes that would get lost: commit or unstage them")
	}
	return errors.New("it has uncommitted changes: commit or stash them")
}
