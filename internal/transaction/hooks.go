package transaction

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// hook runs one of the user's hooks, if there is one. git finds it: in the
// git directory, or where core.hooksPath says.
func (t *transaction) hook(ctx context.Context, index, name string, args ...string) error {
	command := []string{"hook", "run", "--ignore-missing", name}
	if len(args) > 0 {
		command = append(append(command, "--"), args...)
	}
	_, err := t.place.repo.Run(ctx, gitrepo.Command{
		Args: command, AsUser: true, Stderr: t.opts.HookOutput,
		Env: append(t.opts.authorEnv(), "GIT_INDEX_FILE="+index, "GIT_EDITOR=:"),
	})
	var failed *gitrepo.Error
	if !errors.As(err, &failed) {
		return err
	}
	said := failed.Stderr
	if said == "" {
		said = fmt.Sprintf("exit status %d", failed.Code)
	}
	return fmt.Errorf("%w %s refused the commit: %s", ErrHook, name, said)
}

// describe settles the message: pre-commit looks at the change first, then
// prepare-commit-msg and commit-msg may edit the text.
func (t *transaction) describe(ctx context.Context, commit *index, tree string) (string, error) {
	t.inHooks = true
	looked, err := os.Lstat(commit.path())
	if err != nil {
		return "", err
	}
	if !t.opts.NoVerify {
		if err := t.hook(ctx, commit.path(), "pre-commit"); err != nil {
			return "", err
		}
		t.step("pre-commit")
	}
	file := filepath.Join(t.place.repo.GitDir(), "COMMIT_EDITMSG")
	if err := os.WriteFile(file, []byte(cleanMessage(t.opts.Message)), 0o666); err != nil {
		return "", err
	}
	if err := t.hook(ctx, commit.path(), "prepare-commit-msg", file, "message"); err != nil {
		return "", err
	}
	if !t.opts.NoVerify {
		if err := t.hook(ctx, commit.path(), "commit-msg", file); err != nil {
			return "", err
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	message := cleanMessage(string(text))
	if message == "" {
		return "", errors.New("the commit message is empty")
	}
	if err := t.unchangedByHooks(ctx, commit, tree, looked); err != nil {
		return "", err
	}
	t.inHooks = false
	return message, nil
}

// unchangedByHooks refuses a commit that hooks have made into another one.
func (t *transaction) unchangedByHooks(ctx context.Context, commit *index, tree string, looked fs.FileInfo) error {
	if !unchanged(commit.path(), looked) { // perhaps only refreshed
		out, err := commit.git(ctx, nil, "write-tree")
		if err != nil {
			return err
		}
		if now := strings.TrimSpace(string(out)); now != tree {
			differences, err := t.treeDifferences(ctx, tree, now)
			if err != nil {
				return err
			}
			return fmt.Errorf("%w: pre-commit changed what is committed (%s), and what was checked must be what is committed: commit without hooks, or take these files out of the hook",
				ErrHook, strings.Join(sortedKeys(differences), ", "))
		}
	}
	changed, err := t.changedByHooks()
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		return fmt.Errorf("%w: pre-commit changed files while they were committed (%s), and what was checked must be what is committed: commit without hooks, or take these files out of the hook",
			ErrHook, strings.Join(changed, ", "))
	}
	return nil
}

// changedByHooks lists the targets that are no longer as they were put in place.
func (t *transaction) changedByHooks() ([]string, error) {
	var changed []string
	for i, target := range t.targets {
		if target.after == nil || unchanged(target.abs, target.after) {
			continue
		}
		switch state, err := t.place.classify(t.journal.Files[i]); {
		case err != nil:
			return nil, err
		case state == other:
			changed = append(changed, target.Path)
		}
	}
	return changed, nil
}

// keepHookWork stores the targets that a hook has changed as blobs, so that
// undoing loses nothing, and returns them and a note for the user.
func (t *transaction) keepHookWork(ctx context.Context) (map[string]bool, string, error) {
	changed, err := t.changedByHooks()
	if err != nil || len(changed) == 0 {
		return nil, "", err
	}
	ours := map[string]bool{}
	var note strings.Builder
	for _, path := range changed {
		content, err := os.ReadFile(t.place.abs(path))
		if errors.Is(err, fs.ErrNotExist) {
			ours[path] = true
			continue
		}
		if err != nil {
			return nil, "", err
		}
		out, err := t.place.repo.Run(ctx, gitrepo.Command{Args: []string{"hash-object", "-w", "--no-filters", "--stdin"}, Stdin: content})
		if err != nil {
			return nil, "", err
		}
		ours[path] = true
		fmt.Fprintf(&note, "\n  %s: what the hook made of it is kept as %s (git cat-file -p)", path, strings.TrimSpace(string(out)))
	}
	return ours, note.String(), nil
}

// Identity is the author of a commit.
type Identity struct {
	Name, Email string
}

func (o CommitOptions) authorEnv() []string {
	if o.Author == nil {
		return nil
	}
	return []string{"GIT_AUTHOR_NAME=" + o.Author.Name, "GIT_AUTHOR_EMAIL=" + o.Author.Email}
}
