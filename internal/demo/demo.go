// Package demo tells the whole story on one machine: a registry, a repository,
// what Argo CD would show, and how a branch is put right. Nothing in it is
// staged: every text is printed by the program itself, started the way Argo CD
// or a developer starts it.
package demo

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pin-cmp/pin-cmp/internal/trialregistry"
)

// repository is the monorepo of the story. REGISTRY stands for the
// registry's address, EXECUTABLE for this program.
//
//go:embed all:repository
var repository embed.FS

// A scene changes one line of the repository and looks at what the gate says.
type scene struct {
	title string
	// images is the entry of the overlay's images: for the web server.
	images string
	// exit is the exit status of the gate, says a part of what it says.
	exit int
	says string
}

// Run tells the story on w. Executable is this program. The error says which
// scene did not end as it should.
func Run(ctx context.Context, w io.Writer, executable string) (err error) {
	dir, err := os.MkdirTemp("", "pin-cmp-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	registry, err := trialregistry.Start(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, registry.Close()) }()
	image, err := Push(ctx, registry.Addr+"/acme/web", "1.3.9", "the server, version 1.3.9\n")
	if err != nil {
		return err
	}
	s := &stage{w: w, executable: executable, dir: dir, registry: registry.Addr}
	if err := s.setUp(); err != nil {
		return err
	}
	absent := "sha256:" + strings.Repeat("4", 64)
	scenes := []scene{
		{"by a tag: what runs would be whatever 1.3.9 means at the moment", "newTag: 1.3.9", 1, "names a tag"},
		{"by a digest that the registry does not hold: the push never happened", "newTag: 1.3.9\n    digest: " + absent, 1, "absent"},
		{"by the digest of the image that was pushed: this passes", "newTag: 1.3.9\n    digest: " + image.String(), 0, "kind: Deployment"},
		{"by a placeholder: a developer changed the code and marked the component, for a new minor version", "newTag: 1.3.9\n    digest: build+minor", 1, "placeholder"},
	}
	s.introduce(image)
	for i, scene := range scenes {
		if err := s.play(ctx, i+1, scene); err != nil {
			return fmt.Errorf("scene %d, %s: %w", i+1, scene.title, err)
		}
	}
	if _, err := exec.LookPath("git"); err != nil {
		fmt.Fprint(w, "\ngit is not installed here, so the rewrite of that branch can't be shown.\n")
		return nil
	}
	if err := s.rewrite(ctx); err != nil {
		return fmt.Errorf("the rewrite: %w", err)
	}
	fmt.Fprint(w, "\nCode and configuration changed in one commit, and only a digest that was reviewed in git,\nand that the registry holds, reaches the cluster. Next: README.md, docs/rewrite.md,\ndocs/install.md.\n")
	return nil
}

// rewrite puts the branch right: the developer's one command, and the gate
// again.
func (s *stage) rewrite(ctx context.Context) error {
	fmt.Fprint(s.w, "\n5. … and on that branch the developer runs pin-cmp rewrite --commit, before the merge\n\n")
	for _, args := range [][]string{
		{"init", "-q", "-b", "feature"}, {"add", "."}, {"commit", "-q", "-m", "Serve faster"},
	} {
		if out, err := s.git(ctx, args...); err != nil {
			return fmt.Errorf("git %s: %w\n%s", args[0], err, out)
		}
	}
	cmd := s.command(ctx, s.executable, "rewrite", "--commit", "--quiet")
	out, err := cmd.CombinedOutput()
	fmt.Fprint(s.w, indent(string(out)))
	if err != nil {
		return fmt.Errorf("pin-cmp rewrite: %w", err)
	}
	shown, err := s.git(ctx, "show", "--format=%n   commit %h: %s%n", "-U0", "HEAD")
	if err != nil {
		return fmt.Errorf("git show: %w\n%s", err, shown)
	}
	for line := range strings.Lines(string(shown)) {
		switch {
		case strings.HasPrefix(line, "   commit"):
			fmt.Fprint(s.w, "\n"+line)
		case strings.HasPrefix(line, "-") || strings.HasPrefix(line, "+"):
			fmt.Fprint(s.w, "   "+line)
		}
	}
	fmt.Fprint(s.w, "\n   and the gate:\n")
	return s.judge(ctx, scene{exit: 0, says: "1.4.0@sha256:"})
}

// git runs git in the repository, as a developer whose own configuration does
// not matter here.
func (s *stage) git(ctx context.Context, args ...string) ([]byte, error) {
	return s.command(ctx, "git", args...).CombinedOutput()
}

// command is a program that the developer runs in the repository.
func (s *stage) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = filepath.Join(s.dir, "repository")
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "PIN_CMP_POLICY=" + s.policy(),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_AUTHOR_NAME=Dev", "GIT_AUTHOR_EMAIL=dev@example.com",
		"GIT_COMMITTER_NAME=Dev", "GIT_COMMITTER_EMAIL=dev@example.com",
	}
	return cmd
}

// Push pushes an image of one small layer and returns its digest, and tags it if
// tag is not empty. The registry is asked over HTTP.
func Push(ctx context.Context, repository, tag, content string) (v1.Hash, error) {
	layer := static.NewLayer([]byte(content), types.OCIUncompressedLayer)
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("make the demo's image: %w", err)
	}
	digest, err := image.Digest()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("make the demo's image: %w", err)
	}
	repo, err := name.NewRepository(repository, name.Insecure)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("make the demo's image: %w", err)
	}
	var ref name.Reference = repo.Digest(digest.String())
	if tag != "" {
		ref = repo.Tag(tag)
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
		return v1.Hash{}, fmt.Errorf("push the demo's image: %w", err)
	}
	return digest, nil
}

// stage is where the story happens.
type stage struct {
	w          io.Writer
	executable string
	dir        string
	registry   string
}

const (
	app     = "overlays/prod"
	overlay = app + "/kustomization.yaml"
)

// setUp writes the repository, and the policy of the cluster's administrator:
// this registry speaks plain HTTP.
func (s *stage) setUp() error {
	files, err := fs.Sub(repository, "repository")
	if err != nil {
		return fmt.Errorf("the demo's files: %w", err)
	}
	err = fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(s.dir, "repository", filepath.FromSlash(path))
		if entry.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		content, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		filled := strings.NewReplacer("REGISTRY", s.registry, "EXECUTABLE", s.executable).Replace(string(content))
		return os.WriteFile(to, []byte(filled), 0o644)
	})
	if err != nil {
		return fmt.Errorf("write the demo's repository: %w", err)
	}
	policy := fmt.Sprintf("apiVersion: pin-cmp/v1\nkind: Policy\nregistries:\n  plainHTTP: [%q]\npresence:\n  cacheDir: %q\n",
		s.registry, filepath.Join(s.dir, "cache"))
	if err := os.WriteFile(s.policy(), []byte(policy), 0o644); err != nil {
		return fmt.Errorf("write the demo's policy: %w", err)
	}
	return nil
}

func (s *stage) policy() string { return filepath.Join(s.dir, "policy.yaml") }

func (s *stage) introduce(image v1.Hash) {
	fmt.Fprintf(s.w, "A registry runs on %s and holds one image, web 1.3.9,\n%s.\nA repository with a Kustomize application, overlays/prod, deploys it. This is what Argo CD\nwould show in the Application guestbook when its overlay names the image by …\n", s.registry, image)
}

// play plays a scene.
func (s *stage) play(ctx context.Context, number int, scene scene) error {
	file := filepath.Join(s.dir, "repository", filepath.FromSlash(overlay))
	content := fmt.Sprintf("resources:\n  - ../../base\nimages:\n  - name: web\n    newName: %s/acme/web\n    %s\n", s.registry, scene.images)
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		return fmt.Errorf("write the overlay: %w", err)
	}
	fmt.Fprintf(s.w, "\n%d. … %s\n\n", number, scene.title)
	for line := range strings.Lines(content) {
		fmt.Fprintf(s.w, "   | %s", line)
	}
	fmt.Fprintln(s.w)
	return s.judge(ctx, scene)
}

// judge runs the gate and shows what Argo CD would.
func (s *stage) judge(ctx context.Context, scene scene) error {
	exit, stdout, stderr, err := s.generate(ctx)
	if err != nil {
		return err
	}
	if exit == 0 {
		fmt.Fprintf(s.w, "   Synced: %d objects applied\n", bytes.Count(stdout, []byte("\nkind: ")))
	} else {
		fmt.Fprint(s.w, indent(condition(exit, stderr)))
	}
	if exit != scene.exit || !strings.Contains(string(stdout)+stderr, scene.says) {
		return fmt.Errorf("the gate ended with %d and %q, not with %d and a mention of %q", exit, stderr, scene.exit, scene.says)
	}
	if exit != 0 && len(stdout) > 0 {
		return errors.New("the gate refused and wrote to stdout all the same")
	}
	return nil
}

// generate runs the gate as argocd-cmp-server does: in the application's
// directory, with Argo CD's variables in the environment.
func (s *stage) generate(ctx context.Context) (exit int, stdout []byte, stderr string, err error) {
	cmd := exec.CommandContext(ctx, s.executable, "generate")
	cmd.Dir = filepath.Join(s.dir, "repository", filepath.FromSlash(app))
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + s.dir,
		"PIN_CMP_POLICY=" + s.policy(),
		"ARGOCD_APP_NAME=guestbook",
		"ARGOCD_APP_SOURCE_PATH=" + app,
		"ARGOCD_APP_PARAMETERS=null",
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		return 0, nil, "", fmt.Errorf("start the gate: %w", err)
	}
	return cmd.ProcessState.ExitCode(), out.Bytes(), strings.TrimSpace(errs.String()), nil
}

// condition is what Argo CD 3.5 puts around a plugin's words (controller/state.go,
// reposerver/repository/repository.go and cmpserver/plugin/plugin.go).
func condition(exit int, stderr string) string {
	return fmt.Sprintf("ComparisonError: Failed to load target state: failed to generate manifest for source 1 of 1: "+
		"rpc error: code = Unknown desc = CMP processing failed for application \"guestbook\": "+
		"error generating manifests in cmp: rpc error: code = Unknown desc = error generating manifests: "+
		"`pin-cmp generate` failed exit status %d: %s\n", exit, stderr)
}

func indent(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString("   " + line)
	}
	return b.String()
}
