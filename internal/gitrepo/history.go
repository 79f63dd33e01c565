package gitrepo

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ListTree lists all that a commit has under some paths, directories and files,
// by its path from the root: files, links and submodules. "." is the root.
func (r *Repo) ListTree(ctx context.Context, rev string, under []string) (map[string]TreeEntry, error) {
	if slices.Contains(under, ".") {
		return r.lsTree(ctx, rev, nil, "-r")
	}
	return r.lsTree(ctx, rev, under, "-r")
}

// Uncommitted returns the paths under others that differ from the last commit,
// in the index or in the work tree, and files that git does not track and does
// not ignore, sorted. "." is the root.
func (r *Repo) Uncommitted(ctx context.Context, under []string) ([]string, error) {
	args := []string{"status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all"}
	if !slices.Contains(under, ".") {
		args = append(append(args, "--"), under...)
	}
	out, err := r.Run(ctx, Command{Args: args})
	if err != nil {
		return nil, err
	}
	var paths []string
	for record := range strings.SplitSeq(string(out), "\x00") {
		if len(record) > len("XY ") {
			paths = append(paths, strings.TrimSuffix(record[len("XY "):], "/"))
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// LastChange returns the newest commit in the history of rev that changed
// something under some paths but for others, and its committer's time. The hash
// is empty if there is none.
func (r *Repo) LastChange(ctx context.Context, rev string, under, except []string) (hash string, at time.Time, err error) {
	args := []string{"log", "-1", "--format=%H %ct", rev, "--"}
	size := 0
	for _, path := range under {
		args = append(args, ":(top,literal)"+path)
		size += len(path)
	}
	for _, path := range except {
		if size += len(path) + len(":(top,literal,exclude)"); size > argBytes {
			break // an older answer than the best is an answer
		}
		args = append(args, ":(top,literal,exclude)"+path)
	}
	out, err := r.Run(ctx, Command{Args: args, Env: []string{"GIT_LITERAL_PATHSPECS=0"}})
	if err != nil {
		return "", time.Time{}, err
	}
	hash, seconds, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
	if !ok {
		return "", time.Time{}, nil
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("git log: cannot understand %q", out)
	}
	return hash, time.Unix(n, 0).UTC(), nil
}

// FirstWith returns the oldest commit in the history of rev that brought a text
// into one of the files, "" if none did.
func (r *Repo) FirstWith(ctx context.Context, rev, text string, files []string) (string, error) {
	out, err := r.Run(ctx, Command{Args: append([]string{"log", "--format=%H", "-S" + text, rev, "--"}, files...)})
	if err != nil {
		return "", err
	}
	hashes := strings.Fields(string(out))
	if len(hashes) == 0 {
		return "", nil
	}
	return hashes[len(hashes)-1], nil
}

// Subjects returns the short hash and the first line of each commit that is in
// the history of to, not in that of from, and changed something under some paths;
// the newest first, at most limit.
func (r *Repo) Subjects(ctx context.Context, from, to string, under []string, limit int) ([]Subject, error) {
	args := []string{"log", "--no-merges", "--format=%h%x00%s", "-n", strconv.Itoa(limit), "^" + from, to, "--"}
	if !slices.Contains(under, ".") {
		args = append(args, under...)
	}
	out, err := r.Run(ctx, Command{Args: args})
	if err != nil {
		return nil, err
	}
	var subjects []Subject
	for line := range strings.Lines(string(out)) {
		hash, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\x00")
		if ok {
			subjects = append(subjects, Subject{hash, text})
		}
	}
	return subjects, nil
}

// Subject is a commit in one line.
type Subject struct {
	// Hash is abbreviated.
	Hash, Text string
}

// Changed returns the paths that two commits have differently, sorted.
func (r *Repo) Changed(ctx context.Context, from, to string) ([]string, error) {
	out, err := r.Run(ctx, Command{Args: []string{"diff-tree", "-r", "-z", "--name-only", "--no-renames", from, to}})
	if err != nil {
		return nil, err
	}
	var paths []string
	for path := range strings.SplitSeq(string(out), "\x00") {
		if path != "" {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// DefaultBranch returns the remote-tracking branch ("origin/main") that a remote
// had as its HEAD when it was cloned, or else the first there is of main, master
// and trunk; "" if there is none of them.
func (r *Repo) DefaultBranch(ctx context.Context, remote string) (string, error) {
	out, err := r.Run(ctx, Command{Args: []string{"symbolic-ref", "-q", "--short", "refs/remotes/" + remote + "/HEAD"}})
	if err == nil {
		return strings.TrimSpace(string(out)), nil
	}
	if !failedWith(err, 1) && !failedWith(err, 128) {
		return "", err
	}
	for _, name := range []string{"main", "master", "trunk"} {
		hash, err := r.RevParse(ctx, "refs/remotes/"+remote+"/"+name)
		if err != nil {
			return "", err
		}
		if hash != "" {
			return remote + "/" + name, nil
		}
	}
	return "", nil
}

// Touching returns the newest commits in the history of rev that changed one of
// the files, the newest first, at most limit.
func (r *Repo) Touching(ctx context.Context, rev string, files []string, limit int) ([]string, error) {
	out, err := r.Run(ctx, Command{Args: append([]string{"log", "--format=%H", "-n", strconv.Itoa(limit), rev, "--"}, files...)})
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(out)), nil
}
