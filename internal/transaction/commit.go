package transaction

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// CommitOptions says how a commit is made. Committer, signing (commit.gpgSign,
// gpg.format, user.signingKey) and hooks are as the user's git is configured.
type CommitOptions struct {
	// Message is the commit message, trailers included.
	Message string
	// Author is the author, and the committer when nil.
	Author *Identity
	// AllowDirty decides about a file with uncommitted changes: nil lets it into
	// the commit, an error says why not. head is the file as a checkout of HEAD
	// would write it; content is what the work tree holds, or, when the user has
	// staged something else than that, what is staged. Without AllowDirty every
	// such file is refused.
	AllowDirty func(path string, head, content []byte) error
	// NoVerify skips the hooks pre-commit and commit-msg, as "git commit -n" does.
	NoVerify bool
	// HookOutput receives what hooks print, as it comes. It is in the error of a
	// hook that refuses anyway.
	HookOutput io.Writer

	step func(string) // tests crash here
}

// transaction is one change under way, by the holder of its place.
type transaction struct {
	place   Place
	held    *os.File
	opts    CommitOptions
	targets []*target
	order   map[string]int // path to place in targets
	journal *journal
	// inHooks: what happens to the targets now is a hook's doing.
	inHooks bool
}

// begin takes the place and index.lock, and inspects the files.
func begin(ctx context.Context, place Place, changes []Change, opts CommitOptions) (*transaction, error) {
	t := &transaction{place: place, opts: opts}
	if t.opts.step == nil {
		t.opts.step = func(string) {}
	}
	var err error
	if t.held, err = place.hold(ctx, 0); err != nil {
		return nil, err
	}
	t.step("hold")
	if err := t.beginHeld(ctx, changes); err != nil {
		t.end()
		return nil, err
	}
	return t, nil
}

func (t *transaction) beginHeld(ctx context.Context, changes []Change) error {
	if j, err := t.place.journal(); err != nil {
		return err
	} else if j != nil {
		return fmt.Errorf("%s: %w", t.place.top, ErrUnfinished)
	}
	t.place.sweep()
	if err := t.place.lockIndex(ctx); err != nil {
		return err
	}
	t.step("index.lock")
	var err error
	if t.targets, err = t.place.inspect(changes); err != nil {
		return err
	}
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return err
	}
	t.journal = &journal{Version: journalVersion, Nonce: hex.EncodeToString(nonce[:])}
	t.order = make(map[string]int, len(t.targets))
	for i, target := range t.targets {
		t.order[target.Path] = i
		t.journal.Files = append(t.journal.Files, journalled{Path: target.Path, Old: sum(target.Old), New: sum(target.New)})
	}
	return nil
}

// end lets go of everything. A journal that is still there is for [Recover],
// which needs no lock of ours to be left.
func (t *transaction) end() {
	_ = t.place.breakIndexLock()
	if j, err := t.place.journal(); err == nil && j == nil {
		t.place.sweep()
	}
	t.place.letGo(t.held)
}

func (t *transaction) step(name string) { t.opts.step(name) }

func (t *transaction) paths() []string {
	paths := make([]string, len(t.targets))
	for i, target := range t.targets {
		paths[i] = target.Path
	}
	return paths
}

// Commit makes the changes and commits them on the branch that is checked out,
// or on the detached HEAD. It returns the hash of the new commit.
//
// An error means that files, index and branch are as they were. The exceptions
// say so: a [*ConflictError], when a file was edited in the meantime and
// cannot be put back without losing that; and an error beside a hash, when the
// commit is made, or may be, and [Recover] has to see to the rest.
func Commit(ctx context.Context, repo *gitrepo.Repo, changes []Change, opts CommitOptions) (string, error) {
	if cleanMessage(opts.Message) == "" {
		return "", errors.New("the commit message is empty")
	}
	t, err := begin(ctx, InRepo(repo), changes, opts)
	if err != nil {
		return "", err
	}
	hash, err := t.commit(ctx)
	t.end()
	if err == nil {
		// As in git: too late to refuse.
		_ = t.hook(ctx, repo.IndexFile(), "post-commit")
	}
	return hash, err
}

func (t *transaction) commit(ctx context.Context) (string, error) {
	if len(t.targets) == 0 {
		return "", fmt.Errorf("%w: no file changes", ErrNothingToCommit)
	}
	head, err := t.standing(ctx)
	if err != nil {
		return "", err
	}
	indexBefore, err := os.Lstat(t.place.repo.IndexFile())
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: nothing is checked out here (there is no index): run \"git checkout\" first", t.place.top)
	}
	if err != nil {
		return "", err
	}
	t.journal.Ref, t.journal.Old = head.Ref, head.Commit
	if head.Ref == "" {
		t.journal.Ref = "HEAD"
	}
	if err := t.place.writeJournal(t.journal); err != nil {
		return "", t.undo(ctx, err)
	}
	t.step("journal")
	// One waits for the disk, the other for git, and neither changes anything.
	var view *gitView
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return t.place.stage(groupCtx, t.journal, t.targets) })
	group.Go(func() (err error) {
		view, err = t.check(groupCtx, head.Commit, t.opts.AllowDirty)
		return err
	})
	if err := group.Wait(); err != nil {
		return "", t.undo(ctx, err)
	}
	t.step("stage and check")
	for i, target := range t.targets {
		f := view.index[target.Path]
		t.journal.Files[i].Was = fmt.Sprintf("%06o %s", f.Mode, f.Object)
	}
	if err := t.swap(ctx); err != nil {
		return "", t.undo(ctx, err)
	}
	next, err := t.prepare(ctx, view, indexBefore)
	if err != nil {
		return "", t.undo(ctx, err)
	}
	// From here on nothing is given up half-way because ctx ends.
	ctx = context.WithoutCancel(ctx)
	if moved, err := t.move(ctx); err != nil && !moved {
		return "", t.undo(ctx, err)
	} else if err != nil {
		return t.journal.New, err
	}
	t.step("update-ref")
	if err := t.finish(next); err != nil {
		return t.journal.New, fmt.Errorf("%s is committed, but the checkout is not up to date with it: run this again to finish: %w", t.journal.New, err)
	}
	return t.journal.New, nil
}

// standing is where the checkout stands, if a commit can be made there.
func (t *transaction) standing(ctx context.Context) (gitrepo.Head, error) {
	operation, err := t.place.repo.InProgress(ctx)
	if err != nil {
		return gitrepo.Head{}, err
	}
	if operation != "" {
		return gitrepo.Head{}, fmt.Errorf("%s: %w (%s): finish or abort it, then run this again", t.place.top, ErrInProgress, operation)
	}
	head, err := t.place.repo.Head(ctx)
	if err == nil && head.Commit == "" {
		err = fmt.Errorf("%s: %s: %w: commit something first", t.place.top, head.Branch(), gitrepo.ErrUnborn)
	}
	return head, err
}

// swap changes the files.
func (t *transaction) swap(ctx context.Context) error {
	if err := t.place.swap(ctx, t.journal, t.targets, func(path string) { t.step("file " + path) }); err != nil {
		return err
	}
	t.step("files")
	return nil
}

// prepare makes all that moving the branch takes: the tree, the commit, and the
// index that the user is to have.
func (t *transaction) prepare(ctx context.Context, view *gitView, indexBefore fs.FileInfo) (*index, error) {
	repo := t.place.repo
	paths := t.paths()
	next, err := t.place.newIndex(userIndex, t.held)
	if err != nil {
		return nil, err
	}
	if err := view.commit.add(ctx, paths); err != nil {
		return nil, err
	}
	t.step("add")
	var tree string
	var changed map[string]difference
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return next.add(groupCtx, paths) })
	group.Go(func() (err error) {
		tree, changed, err = t.tree(groupCtx, view.commit)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if t.isNoTarget(changed) {
		// The user's index has left something in the commit's: "git add -N" of a
		// path that is an empty file in HEAD makes an entry that looks like HEAD's
		// and that write-tree leaves out.
		if err := view.commit.readHeadAfresh(ctx, t.journal.Old); err != nil {
			return nil, err
		}
		if err := view.commit.add(ctx, paths); err != nil {
			return nil, err
		}
		if tree, changed, err = t.tree(ctx, view.commit); err != nil {
			return nil, err
		}
	}
	if err := t.settle(ctx, view, tree, changed, next); err != nil {
		return nil, err
	}
	t.step("tree")
	message, err := t.describe(ctx, view.commit, tree)
	if err != nil {
		return nil, err
	}
	t.step("message")
	config, err := repo.Config(ctx)
	if err != nil {
		return nil, err
	}
	args := []string{"commit-tree", "-p", t.journal.Old}
	signed := config.Bool("commit.gpgSign")
	if signed {
		args = append(args, "-S")
	}
	out, err := repo.Run(ctx, gitrepo.Command{Args: append(args, tree), Stdin: []byte(message), Env: t.opts.authorEnv(), AsUser: true})
	if err != nil && signed {
		return nil, fmt.Errorf("the commit cannot be made and signed (commit.gpgSign is set): %w", err)
	}
	if err != nil {
		return nil, err
	}
	t.step("commit-tree")
	if !t.place.indexLocked() || !unchanged(repo.IndexFile(), indexBefore) {
		return nil, fmt.Errorf("%s: %w: another git changed the index although it is locked: run this again", t.place.top, ErrBusy)
	}
	t.opts.Message = message
	t.journal.New = strings.TrimSpace(string(out))
	if err := t.place.writeJournal(t.journal); err != nil {
		return nil, err
	}
	t.step("journal with commit")
	return next, nil
}

// tree writes the tree of the commit, and compares it with HEAD's.
func (t *transaction) tree(ctx context.Context, commit *index) (string, map[string]difference, error) {
	out, err := commit.git(ctx, nil, "write-tree")
	if err != nil {
		return "", nil, err
	}
	tree := strings.TrimSpace(string(out))
	changed, err := t.treeDifferences(ctx, t.journal.Old, tree)
	return tree, changed, err
}

// isNoTarget reports whether a path that is none of the targets is among
// changed.
func (t *transaction) isNoTarget(changed map[string]difference) bool {
	for path := range changed {
		if _, ok := t.order[path]; !ok {
			return true
		}
	}
	return false
}

// settle proves that the tree differs from HEAD in the targets alone, notes
// what became of each, and makes the user's next index agree with it.
func (t *transaction) settle(ctx context.Context, view *gitView, tree string, changed map[string]difference, next *index) error {
	if len(changed) == 0 {
		return fmt.Errorf("%w: HEAD has these files already", ErrNothingToCommit)
	}
	entries := map[string]string{}
	for i, target := range t.targets {
		head := view.tree[target.Path]
		entry := fmt.Sprintf("%06o %s", head.Mode, head.Object)
		if d, ok := changed[target.Path]; ok {
			entry = d.to
		} else if err := t.sameAsHead(ctx, target, head.Object); err != nil {
			return err
		}
		t.journal.Files[i].Is = entry
		entries[target.Path] = entry
		delete(changed, target.Path)
	}
	if len(changed) > 0 {
		return fmt.Errorf("the commit would also change %s: this is a bug in pin-cmp, please report it", strings.Join(sortedKeys(changed), ", "))
	}
	// A clean filter that gives another result each time gave two.
	differences, err := next.differences(ctx, tree)
	if err != nil {
		return err
	}
	maps.DeleteFunc(entries, func(path, _ string) bool { _, differs := differences[path]; return !differs })
	return next.set(ctx, entries)
}

// sameAsHead makes sure that a target is missing in the commit because its new
// content is what HEAD has, and not because git took the file for unchanged: it
// may, when core.checkStat is "minimal" and size and second are the same.
func (t *transaction) sameAsHead(ctx context.Context, target *target, object string) error {
	out, err := t.place.repo.Run(ctx, gitrepo.Command{Args: []string{"hash-object", "--path", target.Path, "--stdin"}, Stdin: target.New, AsUser: true})
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(out)) != object {
		return fmt.Errorf("%s: git does not see that it changed: run this again", target.Path)
	}
	return nil
}

func (t *transaction) treeDifferences(ctx context.Context, from, to string) (map[string]difference, error) {
	out, err := t.place.repo.Run(ctx, gitrepo.Command{Args: []string{"diff-tree", "-r", "--raw", "-z", "--no-renames", from + "^{tree}", to + "^{tree}", "--"}})
	if err != nil {
		return nil, err
	}
	return parseRaw(out)
}

// move moves the branch, if it is where it was. Whatever git says about having
// done so, the branch itself tells.
//
// An error with moved means that nobody knows; recovery will.
func (t *transaction) move(ctx context.Context) (moved bool, err error) {
	repo := t.place.repo
	args := []string{"update-ref", "-m", "commit: " + subject(t.opts.Message)}
	if t.journal.Ref == "HEAD" {
		args = append(args, "--no-deref")
	}
	_, err = repo.Run(ctx, gitrepo.Command{Args: append(args, t.journal.Ref, t.journal.New, t.journal.Old), Inherit: t.held})
	if err == nil {
		return true, nil
	}
	now, readErr := repo.RevParse(ctx, t.journal.Ref)
	switch {
	case readErr != nil:
		return true, fmt.Errorf("%s: git does not say whether %s is at commit %s now: run this again to finish or undo it: %w; %w",
			t.place.top, t.journal.Ref, t.journal.New, err, readErr)
	case now == t.journal.New:
		return true, nil
	case now == "":
		return false, fmt.Errorf("%s: %w: %s was deleted while the commit was made", t.place.top, ErrMoved, t.journal.Ref)
	case now != t.journal.Old:
		return false, fmt.Errorf("%s: %w: %s went from %s to %s while the commit was made: run this again", t.place.top, ErrMoved, t.journal.Ref, t.journal.Old, now)
	}
	return false, err
}

// finish is what remains when the branch has moved.
func (t *transaction) finish(next *index) error {
	if err := next.publish(); err != nil {
		return err
	}
	t.step("index")
	if err := t.place.breakIndexLock(); err != nil {
		return err
	}
	t.step("unlock")
	if err := t.place.drop(); err != nil {
		return err
	}
	t.step("drop")
	return nil
}

// undo puts everything back as it was, and returns the reason with what could
// not be put back.
func (t *transaction) undo(ctx context.Context, reason error) error {
	ctx = context.WithoutCancel(ctx)
	t.step("undo")
	var ours map[string]bool
	if t.inHooks {
		var note string
		var err error
		if ours, note, err = t.keepHookWork(ctx); err != nil {
			return errors.Join(reason, err)
		}
		if note != "" {
			reason = fmt.Errorf("%w; the files are as before:%s", reason, note)
		}
	}
	restore, err := t.place.toRestore(t.journal, ours)
	if err == nil {
		err = t.place.restore(ctx, t.journal, restore)
	}
	if err == nil {
		err = t.place.drop()
	}
	if err != nil {
		return fmt.Errorf("%w\n%w", reason, err)
	}
	return reason
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
