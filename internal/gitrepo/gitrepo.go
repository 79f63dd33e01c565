// Package gitrepo drives the git program on one checkout.
//
// A [Repo] is a work tree and the git directory that belongs to it: the main
// one, a linked one (git worktree), or a submodule's. Every question and every
// change goes through git's plumbing commands, so filters, end-of-line
// attributes, hooks, signing and the user's configuration mean here what they
// mean to git. The pure-Go implementation was measured and rejected: it has no
// clean and smudge filters and no hooks, and needs 0.05 to 1.4 s for each file
// added to a repository of 20,000.
//
// [Open] finds the checkout. Changing files, index and branch together is the
// business of package transaction.
package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Reasons why a directory cannot be worked on; [Open] wraps them with the
// directory and what to do.
var (
	ErrNoGit         = errors.New("git is not installed")
	ErrGitTooOld     = errors.New("git is too old")
	ErrNotRepository = errors.New("not a git repository")
	ErrBare          = errors.New("a bare repository has no files")
	ErrInsideGitDir  = errors.New("inside a git directory")
)

// The oldest git that works: 2.36 (April 2022) brought "git hook run", the only
// way to have git find and start a hook as the user configured it.
const (
	minMajor = 2
	minMinor = 36
)

// Repo is one checkout. It holds paths and settings, no open files, and may be
// used from several goroutines.
type Repo struct {
	top       string
	gitDir    string
	commonDir string
	program   string
	userEnv   []string
	env       []string
}

// Open finds the checkout that dir is in. The variables that point git at a
// repository (GIT_DIR, GIT_INDEX_FILE and so on, which git sets while it runs a
// hook) are not followed; a GIT_DIR that names another repository than the one
// dir is in is an error, because either could be meant.
func Open(ctx context.Context, dir string) (*Repo, error) {
	program, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("%w (no \"git\" on PATH): install git %d.%d or newer", ErrNoGit, minMajor, minMinor)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(abs); err != nil {
		return nil, err
	} else if !info.IsDir() {
		abs = filepath.Dir(abs)
	}
	userEnv := withoutLocation(os.Environ())
	r := &Repo{program: program, top: abs, userEnv: userEnv, env: plumbingEnv(userEnv)}
	if err := r.checkVersion(ctx); err != nil {
		return nil, err
	}
	out, err := r.Run(ctx, Command{Args: []string{
		"rev-parse", "--path-format=absolute",
		"--is-bare-repository", "--is-inside-git-dir", "--git-dir", "--git-common-dir", "--show-toplevel",
	}})
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	switch {
	case len(lines) >= 2 && lines[1] == "true":
		return nil, fmt.Errorf("%s: %w: give the directory of the checkout", dir, ErrInsideGitDir)
	case lines[0] == "true":
		return nil, fmt.Errorf("%s: %w: clone it, or add a work tree with \"git worktree add\"", dir, ErrBare)
	case err != nil:
		var failed *Error
		if errors.As(err, &failed) && strings.Contains(failed.Stderr, "not a git repository") {
			return nil, fmt.Errorf("%s: %w: run this inside a clone, or \"git init\" one", dir, ErrNotRepository)
		}
		return nil, fmt.Errorf("%s: %w", dir, err)
	case len(lines) != 5:
		return nil, fmt.Errorf("%s: cannot understand where git says its repository is: move it to a path without line breaks", dir)
	}
	r.gitDir, r.commonDir, r.top = filepath.FromSlash(lines[2]), filepath.FromSlash(lines[3]), filepath.FromSlash(lines[4])
	if named := os.Getenv("GIT_DIR"); named != "" && !sameFile(named, r.gitDir) {
		return nil, fmt.Errorf("%s: the environment variable GIT_DIR is %q, but this directory belongs to %s: unset GIT_DIR, or work in its checkout", dir, named, r.gitDir)
	}
	return r, nil
}

// Top is the absolute path of the work tree's top directory. Paths in this
// package are relative to it and have slashes.
func (r *Repo) Top() string { return r.top }

// GitDir is the absolute path of the git directory of this work tree: where
// its index and its HEAD are. A linked work tree has one of its own.
func (r *Repo) GitDir() string { return r.gitDir }

// CommonDir is the absolute path of what all work trees of the repository
// share: objects, branches, configuration.
func (r *Repo) CommonDir() string { return r.commonDir }

// IndexFile is the absolute path of the index of this work tree. It need not
// exist: a clone without a checkout has none.
func (r *Repo) IndexFile() string { return filepath.Join(r.gitDir, "index") }

var versionNumber = regexp.MustCompile(`^git version (\d+)\.(\d+)`)

func (r *Repo) checkVersion(ctx context.Context) error {
	out, err := r.Run(ctx, Command{Args: []string{"version"}})
	if err != nil {
		return err
	}
	said := strings.TrimSpace(string(out))
	m := versionNumber.FindStringSubmatch(said)
	if m == nil {
		return fmt.Errorf("%w: %s answers %q to \"git version\"", ErrGitTooOld, r.program, said)
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	if major < minMajor || major == minMajor && minor < minMinor {
		return fmt.Errorf("%w: %s is %s.%s, and %d.%d is the first that has \"git hook run\", without which your hooks would be skipped: update git",
			ErrGitTooOld, r.program, m[1], m[2], minMajor, minMinor)
	}
	return nil
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
