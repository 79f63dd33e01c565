package rewrite

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// differs returns the paths under others that differ from the last commit, whose
// tree is given, and those that are not checked out; both sorted. Unlike git status
// it believes no one who asked git to look away: a build reads what is there.
func differs(ctx context.Context, repo *gitrepo.Repo, listing *gitrepo.Listing, tree map[string]gitrepo.TreeEntry, under []string, held func(name string) bool) (dirty, absent []string, err error) {
	if dirty, err = repo.Uncommitted(ctx, under); err != nil {
		return nil, nil, err
	}
	hidden, absent, err := hiddenFiles(ctx, repo, listing, tree, held)
	if err != nil {
		return nil, nil, err
	}
	submodules, away, err := submodules(ctx, repo, listing, held)
	if err != nil {
		return nil, nil, err
	}
	dirty, absent = slices.Concat(dirty, hidden, submodules), append(absent, away...)
	slices.Sort(dirty)
	slices.Sort(absent)
	return slices.Compact(dirty), slices.Compact(absent), nil
}

// hiddenFiles looks at the files that git was told not to look at, with git
// update-index --assume-unchanged and --skip-worktree, or core.ignoreStat.
func hiddenFiles(ctx context.Context, repo *gitrepo.Repo, listing *gitrepo.Listing, tree map[string]gitrepo.TreeEntry, held func(name string) bool) (dirty, absent []string, err error) {
	var names []string
	modes := true
	for _, file := range listing.Files {
		if !file.AssumeUnchanged && !file.SkipWorktree || !held(file.Path) {
			continue
		}
		if names == nil {
			config, err := repo.Config(ctx)
			if err != nil {
				return nil, nil, err
			}
			modes = runtime.GOOS != "windows" && (config.Get("core.fileMode") == "" || config.Bool("core.fileMode"))
		}
		entry, committed := tree[file.Path]
		info, err := os.Lstat(filepath.Join(repo.Top(), filepath.FromSlash(file.Path)))
		switch {
		case err != nil && file.SkipWorktree:
			absent = append(absent, file.Path)
		case err != nil, !committed, !info.Mode().IsRegular(), modes && (info.Mode()&0o100 != 0) != (entry.Mode == 0o100755), strings.Contains(file.Path, "\n"):
			dirty = append(dirty, file.Path)
		default:
			names = append(names, file.Path)
		}
	}
	if len(names) == 0 {
		return dirty, absent, nil
	}
	out, err := repo.Run(ctx, gitrepo.Command{Args: []string{"hash-object", "--stdin-paths"}, Stdin: []byte(strings.Join(names, "\n") + "\n"), AsUser: true})
	if err != nil {
		return nil, nil, err
	}
	objects := strings.Fields(string(out))
	for i, name := range names {
		if i >= len(objects) || objects[i] != tree[name].Object {
			dirty = append(dirty, name)
		}
	}
	return dirty, absent, nil
}

// submodules looks into the submodules, whatever the configuration says about
// ignoring what is in there.
func submodules(ctx context.Context, repo *gitrepo.Repo, listing *gitrepo.Listing, held func(name string) bool) (dirty, absent []string, err error) {
	names := slices.DeleteFunc(slices.Clone(listing.Submodules), func(name string) bool { return !held(name) })
	if len(names) == 0 {
		return nil, nil, nil
	}
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(repo.Top(), filepath.FromSlash(name), ".git")); err != nil {
			absent = append(absent, name)
		}
	}
	out, err := repo.Run(ctx, gitrepo.Command{Args: append([]string{"status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--ignore-submodules=none", "--"}, names...)})
	if err != nil {
		return nil, nil, err
	}
	for record := range strings.SplitSeq(string(out), "\x00") {
		if len(record) > len("XY ") {
			dirty = append(dirty, strings.TrimSuffix(record[len("XY "):], "/"))
		}
	}
	return dirty, absent, nil
}
