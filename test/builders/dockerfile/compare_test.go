// Package dockerfile compares what package build/dockerfile reads with what BuildKit
// does.
package dockerfile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/pin-cmp/pin-cmp/build/dockerfile"
)

// arm is the platform that the comparison is for.
const arm = "linux/arm64"

// byBuildKit returns the images that BuildKit's own parser finds, with the rules of
// its dockerfile2llb (buildDispatchStates, buildStageDependencyGraph).
func byBuildKit(content string, args map[string]string) ([]string, error) {
	parsed, err := parser.Parse(strings.NewReader(content))
	if err != nil {
		return nil, err
	}
	stages, meta, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return nil, err
	}
	if len(stages) == 0 {
		return nil, fmt.Errorf("no stages")
	}
	target := stages[len(stages)-1].Name
	if target == "" {
		target = "default"
	}
	env := map[string]string{
		"TARGETPLATFORM": arm, "TARGETOS": "linux", "TARGETARCH": "arm64", "TARGETVARIANT": "", "TARGETOSVERSION": "", "TARGETSTAGE": target,
		"BUILDPLATFORM": "linux/amd64", "BUILDOS": "linux", "BUILDARCH": "amd64", "BUILDVARIANT": "", "BUILDOSVERSION": "",
	}
	for name := range env {
		if given, ok := args[name]; ok {
			env[name] = given
		}
	}
	lex := shell.NewLex(parsed.EscapeToken)
	list := func() shell.EnvGetter {
		var pairs []string
		for name, value := range env {
			pairs = append(pairs, name+"="+value)
		}
		return shell.EnvsFromSlice(pairs)
	}
	for _, command := range meta {
		for _, pair := range command.Args {
			if given, ok := args[pair.Key]; ok {
				env[pair.Key] = given
			} else if pair.Value != nil {
				value, _, err := lex.ProcessWord(*pair.Value, list())
				if err != nil {
					return nil, err
				}
				env[pair.Key] = value
			}
		}
	}
	var images []string
	before := map[string]bool{}
	all := map[string]bool{}
	for _, stage := range stages {
		all[stage.Name] = true
	}
	add := func(image string) {
		if image != "" && image != "scratch" && !slices.Contains(images, image) {
			images = append(images, image)
		}
	}
	for _, stage := range stages {
		base, _, err := lex.ProcessWord(stage.BaseName, list())
		if err != nil || base == "" {
			return nil, fmt.Errorf("base %q: %w", base, err)
		}
		if !before[strings.ToLower(base)] {
			add(base)
		}
		if stage.Name != "" {
			before[stage.Name] = true
		}
		for _, command := range stage.Commands {
			switch command := command.(type) {
			case *instructions.CopyCommand:
				index := -1
				if _, err := fmt.Sscanf(command.From, "%d", &index); err == nil && fmt.Sprint(index) == command.From {
					continue
				}
				if !all[strings.ToLower(command.From)] || command.From == "" {
					add(command.From)
				}
			case *instructions.RunCommand:
				for _, mount := range instructions.GetMounts(command) {
					if !all[strings.ToLower(mount.From)] || mount.From == "" {
						add(mount.From)
					}
				}
			}
		}
	}
	return images, nil
}

// compare: what we read, BuildKit reads. What BuildKit reads and we refuse is
// something that we say we can't tell.
func compare(t *testing.T, content string, args map[string]string) {
	t.Helper()
	ours, err := dockerfile.Images([]byte(content), dockerfile.Options{Args: args, Platforms: []string{arm}})
	theirs, theirErr := byBuildKit(content, args)
	if err != nil {
		if theirErr == nil && !slices.ContainsFunc([]string{
			"has no value", "is a shell's own", "a ${ without a name", "is not understood here", "differs from one to the next", "TARGETOSVERSION is not known", "too deep",
			"longer than any reference", "is no stage before this one", "no variable can stand there",
		}, func(reason string) bool { return strings.Contains(err.Error(), reason) }) {
			t.Errorf("%q: we say %v, BuildKit %q", content, err, theirs)
		}
		return
	}
	if theirErr != nil {
		return // it does not build
	}
	var references []string
	for _, image := range ours {
		references = append(references, image.Reference)
	}
	if !slices.Equal(references, theirs) {
		t.Errorf("%q: we find %q, BuildKit %q", content, references, theirs)
	}
}

// The Dockerfiles of BuildKit's own tests, and a few of ours.
func TestDockerfilesAgainstBuildKit(t *testing.T) {
	dir := moduleDir(t, "github.com/moby/buildkit")
	count := 0
	err := filepath.WalkDir(filepath.Join(dir, "frontend", "dockerfile"), func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.Contains(entry.Name(), "Dockerfile") && filepath.Base(filepath.Dir(filepath.Dir(name))) != "testfiles" {
			return err
		}
		content, err := os.ReadFile(name)
		if err == nil {
			compare(t, string(content), map[string]string{"GO_VERSION": "9"})
			count++
		}
		return err
	})
	if err != nil || count < 30 {
		t.Errorf("%d files, %v", count, err)
	}
	for _, content := range seeds() {
		compare(t, content, map[string]string{"A": "given"})
	}
}

func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func seeds() []string {
	list := []string{
		"ARG A=1\nARG B=${A:-x}\nFROM --platform=$BUILDPLATFORM go:$B AS Build\nRUN --mount=type=bind,from=tool,target=/t x\nFROM scratch\nCOPY --from=build / /\nCOPY --from=0 /a /b\n",
		"FROM a\nRUN <<EOF cat <<-\"X Y\"\nFROM b\nEOF\nCOPY --from=c / /\n\tX Y\nCOPY <<1 <<2 /\nFROM d\n1\nFROM e\n2\nFROM f\n",
		"# escape=`\n# syntax=x\nFROM `\n a `\n# c\n\nAS b\nRUN c:\\\nFROM d",
		"#!x\n# escape=`\nFROM \\\na",
		"FROM a\nRUN echo \\\\\nFROM b\nRUN x \\ \t\n FROM c\nENV a=<<X\nFROM d",
		"FROM a\nRUN echo ${x:-a <<EOF}\nFROM b\nEOF}\nRUN [\"<<E\"]\nRUN ${x[1]} <<E\nFROM c",
		"FROM a\nRUN echo ${x#<<E} ${y/<<a/<<b} \"$(<<F)\" '<<G' \\<<H 3<<I\nFROM b\nI\nF",
		"ARG Q='a b' R=\"$A\" S=\\$x\nFROM ${Q:+x}${R}\"'\"\nCOPY --from='st\"r' / /",
		"ARG TARGETARCH\nARG V=${TARGETARCH}\nFROM x-$V-${TARGETVARIANT:-none}-${TARGETVARIANT-unset}${NO:+y}",
		"FROM a\nONBUILD RUN <<E\nFROM b\nE\nonbuild copy --from=c / /\nCOPY -- --from=d /x\nCOPY --from=e -- / /",
		"\ufeffFROM a\r\nRUN <<E\r\nFROM b\r\nE\r\nFROM c\r",
		"FROM a\nRUN --mount=\"type=bind,from=b\" --mount='from=\"c,d\"' --mount=FROM=e x\nRUN --mount=from=a\\ b x",
		"FROM a\vAS\fb\nFROM\tb",
		"FROM a AS b\nFROM B\nFROM c AS b\nFROM b",
	}
	return list
}

// Whatever people write: see compare.
func FuzzDockerfilesAgainstBuildKit(f *testing.F) {
	for _, content := range seeds() {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content string) {
		compare(t, content, map[string]string{"A": "given", "TARGETVARIANT": "v9"})
	})
}
