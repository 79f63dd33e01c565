//go:build linux

package monorepo

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// codeBlock is a block of commands, and the block of output after it, if any.
var codeBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?")

var spaces = regexp.MustCompile(` +`)

// trialRegistry is where the README's registry listens.
const trialRegistry = "127.0.0.1:5000"

// Every command of the example's README, in order, in one shell, as a newcomer
// types them; only the port is another. They print what the page shows.
func TestReadme(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(example, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	e := newEngineer(t, nil)
	checkout := filepath.Join(e.home, "pin-cmp")
	if err := os.CopyFS(filepath.Join(checkout, "examples/monorepo"), os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	const divider = "== the compilers of the next block"
	script := "set -eu\n"
	blocks := codeBlock.FindAllSubmatch(page, -1)
	for _, block := range blocks {
		for line := range strings.Lines(string(block[1])) {
			if failing, ok := strings.CutPrefix(line, "! "); ok { // which set -e overlooks
				line = "if " + strings.TrimSuffix(failing, "\n") + "; then exit 1; fi\n"
			}
			script += line
		}
		script += "echo '" + divider + "'\necho next >>" + e.compiles + "\n"
	}
	script = strings.ReplaceAll(script, trialRegistry, freePort(t))

	cmd := e.command(checkout, "bash", "-c", script)
	output, err := os.Create(filepath.Join(e.home, "output")) // no pipe, which the registry would keep open
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The registry ends with the shell, whatever happens.
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	failed := errors.Join(cmd.Wait(), output.Close())
	out, err := os.ReadFile(output.Name())
	if failed != nil || err != nil {
		t.Fatalf("%v, %v\n%s", failed, err, out)
	}
	shop := filepath.Join(checkout, "shop")
	expect(t, "git status", e.git(shop, "status", "--porcelain"), "")
	expect(t, "commits", e.git(shop, "log", "--format=%s", "--reverse"),
		"The shop\nPin api 0.1.0, worker 0.1.0, web 0.1.0, static\nTake Swedish kronor\nPin api, worker\nPin api 0.2.0, worker 0.2.0")
	said := strings.Split(string(out), divider)
	expect(t, "blocks", len(said), len(blocks)+1)
	shown := 0
	for i, block := range blocks {
		for line := range strings.Lines(string(block[2])) {
			shown++
			contains(t, spaces.ReplaceAllString(said[i], " "), spaces.ReplaceAllString(strings.TrimSpace(line), " "))
		}
	}
	if shown < 8 {
		t.Errorf("the page shows %d lines of output", shown)
	}
	compiled, err := os.ReadFile(e.compiles)
	if err != nil {
		t.Fatal(err)
	}
	var ran []string
	for block := range strings.SplitSeq(string(compiled), "next\n") {
		dirs := strings.Fields(block)
		slices.Sort(dirs)
		ran = append(ran, strings.Join(dirs, " "))
	}
	expect(t, "compilers ran in, by block", strings.Join(ran, ", "), ", api static worker, , , api worker, , , ")
}

// The Go code of the example is as good as the page says.
func TestExampleVets(t *testing.T) {
	e := newEngineer(t, nil)
	for _, args := range [][]string{{"vet", "./..."}, {"build", "-o", e.get("TMPDIR"), "./services/api", "./images/static"}} {
		if out, err := e.command(example, "go", args...).CombinedOutput(); err != nil {
			t.Errorf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	out, err := exec.Command("gofmt", "-l", example).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("gofmt: %v\n%s", err, out)
	}
}
