package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/spf13/cobra"

	"github.com/pin-cmp/pin-cmp/internal/trialregistry"
)

// example is a command line that the help or the documentation shows.
type example struct {
	from string // where it stands
	dir  string // of a cd before it
	args []string
}

var redirection = regexp.MustCompile(`\s*[<>|].*$`)

// examplesIn returns the pin-cmp command lines of a text: alone, after a
// prompt, at the end of a pipe or after a cd.
func examplesIn(from, text string) []example {
	var examples []example
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "$ "), "  #")
		line = strings.TrimSuffix(strings.TrimSpace(line), " &")
		e := example{from: from}
		if rest, ok := strings.CutPrefix(line, "cd "); ok {
			e.dir, line, _ = strings.Cut(rest, " && ")
		}
		if _, after, ok := strings.Cut(line, "| "); ok {
			line = after
		}
		line = strings.Replace(redirection.ReplaceAllString(line, ""), "go run ./cmd/pin-cmp", "pin-cmp", 1)
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "pin-cmp" {
			e.args = fields[1:]
			examples = append(examples, e)
		}
	}
	return examples
}

var codeBlock = regexp.MustCompile("(?ms)^```(?:sh|console|bash)?\n(.*?)^```")

// examples returns those of every command's help and of every page.
func examples(t *testing.T) []example {
	t.Helper()
	var all []example
	var commands func(*cobra.Command)
	commands = func(cmd *cobra.Command) {
		all = append(all, examplesIn(cmd.CommandPath()+" --help", cmd.Example)...)
		for _, sub := range cmd.Commands() {
			commands(sub)
		}
	}
	commands(newRoot())
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range codeBlock.FindAllSubmatch(text, -1) {
			all = append(all, examplesIn(filepath.Base(page), string(block[1]))...)
		}
	}
	return all
}

// TestExamplesParse: every command that anybody is shown exists, with its flags
// and that many arguments.
func TestExamplesParse(t *testing.T) {
	all := examples(t)
	if len(all) < 10 {
		t.Fatalf("only %d examples were found; the search for them is broken", len(all))
	}
	for _, e := range all {
		t.Run(e.from+" "+strings.Join(e.args, " "), func(t *testing.T) {
			cmd, rest, err := newRoot().Find(e.args)
			if err != nil {
				t.Fatal(err)
			}
			if !cmd.HasParent() {
				t.Fatalf("%s is no command", e.args[0])
			}
			if err := cmd.ParseFlags(rest); err != nil {
				t.Fatal(err)
			}
			if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestExamplesRun runs the examples of the gate in a repository where
// everything is as it should be. The README's first one is of a repository
// where it is not. What builds, edits or runs everything has scripts of its own
// in testdata.
func TestExamplesRun(t *testing.T) {
	registry, err := trialregistry.Start(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = registry.Close() })
	image := pushed(t, registry.Addr+"/acme/web")
	work := t.TempDir()
	deployment := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: guestbook}\nspec: {template: {spec: {containers: [{name: web, image: " + image + "}]}}}\n"
	policy := "apiVersion: pin-cmp/v1\nkind: Policy\nregistries: {plainHTTP: [\"" + registry.Addr + "\"]}\n"
	for file, content := range map[string]string{
		"overlays/prod/kustomization.yaml": "resources: [web.yaml]\n",
		"overlays/prod/web.yaml":           deployment,
		"deploy.yaml":                      deployment,
		".policy/policy.yaml":              policy,
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(work, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(work, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PIN_CMP_POLICY", filepath.Join(work, ".policy/policy.yaml"))
	t.Setenv("HOME", work)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(work, ".cache"))
	ran := 0
	for _, e := range examples(t) {
		switch e.args[0] {
		case "generate", "verify", "registry":
		default:
			continue
		}
		ran++
		t.Run(e.from+" "+strings.Join(e.args, " "), func(t *testing.T) {
			t.Chdir(filepath.Join(work, e.dir))
			args := strings.Split(strings.ReplaceAll(strings.Join(e.args, "\n"), policyFile, filepath.Join(work, ".policy/policy.yaml")), "\n")
			if args[0] == "registry" {
				runRegistry(t, args)
				return
			}
			root := newRoot()
			var stdout, stderr bytes.Buffer
			root.SetArgs(args)
			root.SetIn(strings.NewReader(deployment))
			root.SetOut(&stdout)
			root.SetErr(&stderr)
			if err := root.ExecuteContext(t.Context()); err != nil {
				t.Fatalf("%v\n%s%s", err, &stdout, &stderr)
			}
			if stdout.Len() == 0 {
				t.Error("it prints nothing")
			}
		})
	}
	if ran < 8 {
		t.Errorf("only %d examples were run", ran)
	}
}

// pushed returns the reference of an image that the registry holds.
func pushed(t *testing.T, repository string) string {
	t.Helper()
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	text := repository + "@" + digest.String()
	ref, err := name.NewDigest(text, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return text
}

// runRegistry starts the registry, on a free port, reads its address and
// interrupts it.
func runRegistry(t *testing.T, args []string) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, in := io.Pipe()
	root := newRoot()
	root.SetArgs(append(args, "--listen", "127.0.0.1:0"))
	root.SetOut(in)
	root.SetErr(io.Discard)
	ended := make(chan error, 1)
	go func() {
		ended <- root.ExecuteContext(ctx)
		_ = in.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "127.0.0.1:") {
		t.Errorf("its first line is %q, %v", line, err)
	}
	interrupt()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestReadmeRefusal: the refusal that the README shows is what the gate says,
// byte for byte.
func TestReadmeRefusal(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	for file, content := range map[string]string{
		"base/kustomization.yaml":          "resources: [web.yaml]\n",
		"base/web.yaml":                    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: web, image: web}]}}}\n",
		"overlays/prod/kustomization.yaml": "namespace: guestbook\nresources: [../../base]\nimages:\n- name: web\n  newName: ghcr.io/acme/web\n  newTag: 1.4.0\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(work, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(work, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("ARGOCD_APP_SOURCE_PATH", "overlays/prod")
	t.Setenv("HOME", work)
	t.Chdir(filepath.Join(work, "overlays/prod"))
	root := newRoot()
	root.SetArgs([]string{"generate"})
	err = root.ExecuteContext(t.Context())
	if err == nil || !strings.Contains(string(readme), "pin-cmp: "+err.Error()+"\n") {
		t.Errorf("the README does not show\npin-cmp: %v", err)
	}
}
