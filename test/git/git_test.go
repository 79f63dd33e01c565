//go:build linux

// Package git drives package transaction with what the main module's tests
// cannot ask of every machine: real signing keys and a real full disk. It needs
// gpg, ssh-keygen and the right to mount; without them it fails.
package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/internal/transaction"
)

func TestMain(m *testing.M) {
	home, err := os.MkdirTemp("", "git-test-") // short: a socket of gpg-agent is in it
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	config := filepath.Join(home, "gitconfig")
	_ = os.WriteFile(config, []byte("[user]\n\tname = Ada\n\temail = ada@example.com\n[init]\n\tdefaultBranch = main\n"), 0o644)
	for name, value := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": home, "GNUPGHOME": home, "GIT_CONFIG_GLOBAL": config, "GIT_CONFIG_NOSYSTEM": "1",
	} {
		_ = os.Setenv(name, value)
	}
	code := m.Run()
	_ = exec.Command("gpgconf", "--kill", "all").Run()
	_ = os.RemoveAll(home)
	os.Exit(code)
}

func run(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

const (
	before = "image: ghcr.io/acme/web@build\n"
	after  = "image: ghcr.io/acme/web@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
)

func repository(t *testing.T, dir string) *gitrepo.Repo {
	t.Helper()
	run(t, dir, "git", "init", "-q")
	if err := os.WriteFile(filepath.Join(dir, "web.yaml"), []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "git", "add", ".")
	run(t, dir, "git", "commit", "-qm", "first")
	repo, err := gitrepo.Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

var change = []transaction.Change{{Path: "web.yaml", Old: []byte(before), New: []byte(after)}}

func commit(t *testing.T, repo *gitrepo.Repo) string {
	t.Helper()
	hash, err := transaction.Commit(context.Background(), repo, change, transaction.CommitOptions{Message: "pin web"})
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestSignedWithSSHKey(t *testing.T) {
	keys, dir := t.TempDir(), t.TempDir()
	run(t, keys, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada@example.com", "-f", "key")
	public, err := os.ReadFile(filepath.Join(keys, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	allowed := filepath.Join(keys, "allowed")
	if err := os.WriteFile(allowed, []byte("ada@example.com "+string(public)), 0o644); err != nil {
		t.Fatal(err)
	}
	repo := repository(t, dir)
	run(t, dir, "git", "config", "gpg.format", "ssh")
	run(t, dir, "git", "config", "user.signingKey", filepath.Join(keys, "key"))
	run(t, dir, "git", "config", "gpg.ssh.allowedSignersFile", allowed)
	run(t, dir, "git", "config", "commit.gpgSign", "true")
	hash := commit(t, repo)
	if said := run(t, dir, "git", "verify-commit", hash); !strings.Contains(said, `Good "git" signature for ada@example.com`) {
		t.Error(said)
	}
}

func TestSignedWithGPGKey(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, "gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", "Ada <ada@example.com>", "ed25519", "sign", "never")
	repo := repository(t, dir)
	run(t, dir, "git", "config", "commit.gpgSign", "true")
	hash := commit(t, repo)
	if said := run(t, dir, "git", "verify-commit", hash); !strings.Contains(said, `Good signature from "Ada <ada@example.com>"`) {
		t.Error(said)
	}
	// A key that is not there: the commit fails, and nothing has happened.
	run(t, dir, "git", "config", "user.signingKey", "nobody@example.com")
	back := []transaction.Change{{Path: "web.yaml", Old: []byte(after), New: []byte(before)}}
	if _, err := transaction.Commit(context.Background(), repo, back, transaction.CommitOptions{Message: "back"}); err == nil || !strings.Contains(err.Error(), "gpg failed to sign the data") {
		t.Error(err)
	}
	if got := run(t, dir, "git", "rev-parse", "HEAD"); got != hash+"\n" {
		t.Errorf("HEAD is %s", got)
	}
	if got := run(t, dir, "git", "status", "--porcelain"); got != "" {
		t.Errorf("git status: %s", got)
	}
}

// A file that belongs to somebody else, changed by root, still does.
func TestKeepsTheOwner(t *testing.T) {
	dir := t.TempDir()
	repo := repository(t, dir)
	if err := os.Chown(filepath.Join(dir, "web.yaml"), 65534, 65533); err != nil {
		t.Fatalf("this test gives a file away, so it needs root: %v", err)
	}
	commit(t, repo)
	info, err := os.Stat(filepath.Join(dir, "web.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 65534 || stat.Gid != 65533 {
		t.Errorf("the file belongs to %d:%d", stat.Uid, stat.Gid)
	}
}

// A disk with less and less room: at one size after the other the commit gives
// up at another point, and every time all or nothing has happened.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatalf("this test mounts a small disk, so it needs root: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	}()
	dir := filepath.Join(disk, "repo")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "git", "init", "-q")
	var changes, back []transaction.Change
	for i := range 20 {
		path := fmt.Sprintf("d%d/web.yaml", i)
		old := fmt.Sprintf("# %d\n%s%s", i, before, strings.Repeat("# padding\n", 500))
		next := strings.Replace(old, before, after, 1)
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(old), 0o644); err != nil {
			t.Fatal(err)
		}
		changes = append(changes, transaction.Change{Path: path, Old: []byte(old), New: []byte(next)})
		back = append(back, transaction.Change{Path: path, Old: []byte(next), New: []byte(old)})
	}
	run(t, dir, "git", "add", ".")
	run(t, dir, "git", "commit", "-qm", "first")
	if err := os.WriteFile(filepath.Join(dir, "untracked"), []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	repo, err := gitrepo.Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(disk, "filler")
	refused, steps := 0, map[string]bool{}
	for free := int64(0); ; free += 4096 {
		fill(t, disk, filler, free)
		head := run(t, dir, "git", "rev-parse", "HEAD")
		_, err := transaction.Commit(context.Background(), repo, changes, transaction.CommitOptions{Message: "pin"})
		if removeErr := os.Remove(filler); removeErr != nil {
			t.Fatal(removeErr)
		}
		if entries, readErr := filepath.Glob(filepath.Join(dir, ".git", "*pin-cmp*")); readErr != nil || len(entries) > 0 {
			t.Fatalf("%d bytes free: left behind: %v", free, entries)
		}
		if got := run(t, dir, "git", "status", "--porcelain"); got != "?? untracked\n" {
			t.Fatalf("%d bytes free, %v: git status:\n%s", free, err, got)
		}
		if err == nil {
			if got := run(t, dir, "git", "rev-parse", "HEAD~"); got != head {
				t.Errorf("the parent is %s", got)
			}
			run(t, dir, "git", "fsck", "--strict", "--no-dangling")
			break
		}
		refused++
		text := err.Error()
		if !errors.Is(err, syscall.ENOSPC) && !strings.Contains(strings.ToLower(text), "space") && !strings.Contains(text, "unable to") && !strings.Contains(text, "not enough") {
			t.Errorf("%d bytes free: the error does not say why: %v", free, err)
		}
		first, _, _ := strings.Cut(text, ":")
		steps[first] = true
		if got := run(t, dir, "git", "rev-parse", "HEAD"); got != head {
			t.Fatalf("%d bytes free: HEAD went from %s to %s", free, head, got)
		}
		run(t, dir, "git", "fsck", "--strict", "--no-dangling")
	}
	if refused < 20 {
		t.Errorf("only %d sizes were too small", refused)
	}
	t.Logf("%d sizes refused, failing in %d places: %v", refused, len(steps), steps)
	if _, err := transaction.Commit(context.Background(), repo, back, transaction.CommitOptions{Message: "back"}); err != nil {
		t.Error(err)
	}
}

// fill leaves free bytes on the disk.
func fill(t *testing.T, disk, filler string, free int64) {
	t.Helper()
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var stat syscall.Statfs_t
	if err := syscall.Statfs(disk, &stat); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, int64(stat.Bavail)*stat.Bsize-free)); err != nil {
		t.Fatal(err)
	}
}
