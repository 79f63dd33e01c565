package rewrite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// attacked is a checkout with a registry, and real builds.
type attacked struct {
	checkout
	host    string
	options Options

	mu    sync.Mutex
	built []string
	// during is called after each build, before anybody believes it.
	during func(component string)
}

// attack makes a repository of files, in which HOST is the registry.
func attack(t *testing.T, files map[string]string) *attacked {
	t.Helper()
	host := startRegistry(t).Addr
	for name, content := range files {
		files[name] = strings.ReplaceAll(content, "HOST", host)
	}
	checker, err := presence.NewRemote(presence.RemoteOptions{PlainHTTP: []string{host}})
	if err != nil {
		t.Fatal(err)
	}
	a := &attacked{checkout: newCheckout(t, files), host: host}
	a.options = Options{
		Builder: a, Commit: true, Jobs: 2,
		Registry: &build.Registry{Presence: checker, PlainHTTP: map[string]bool{host: true}},
	}
	return a
}

// Build implements build.Builder: by the recipe, with a witness.
func (a *attacked) Build(ctx context.Context, request build.Request) (string, error) {
	digest, err := build.ByRecipe{}.Build(ctx, request)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.built = append(a.built, request.Component.Name)
	if a.during != nil {
		a.during(request.Component.Name)
	}
	return digest, err
}

func (a *attacked) repo() *gitrepo.Repo {
	a.t.Helper()
	repo, err := gitrepo.Open(a.t.Context(), a.dir)
	if err != nil {
		a.t.Fatal(err)
	}
	return repo
}

// run rewrites, and returns what was built meanwhile, sorted.
func (a *attacked) run(o Options) (*Plan, []string, error) {
	a.t.Helper()
	a.built = nil
	plan, err := Run(a.t.Context(), a.repo(), o)
	slices.Sort(a.built)
	return plan, a.built, err
}

// done rewrites without an error.
func (a *attacked) done(o Options) (*Plan, []string) {
	a.t.Helper()
	plan, built, err := a.run(o)
	if err != nil {
		a.t.Fatal(err)
	}
	return plan, built
}

func (a *attacked) plan(o Options) *Plan {
	a.t.Helper()
	plan, err := Prepare(a.t.Context(), a.repo(), o)
	if err != nil {
		a.t.Fatal(err)
	}
	return plan
}

// put writes a file, HOST replaced, and commits everything.
func (a *attacked) put(path, content string) {
	a.t.Helper()
	a.write(path, strings.ReplaceAll(content, "HOST", a.host))
	a.git("add", "-A")
	a.git("commit", "-qm", "change "+path)
}

// declares is a pin.yaml of one component that puts its directory into an image.
func declares(name, more string) string {
	return "apiVersion: pin-cmp/v1\nkind: Component\nimage: HOST/acme/" + name + "\n" + more
}

const itself = "build: {layers: {files: [{from: ., to: /srv/}]}}\n"

func messages(problems []Problem) string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// Two build sections that make two images have two keys, however alike YAML takes
// their values to be: a version 1.20 is no 1.2.
func TestKeyOfValuesAsWritten(t *testing.T) {
	key := func(value string) string {
		list, err := build.ParseComponents("pin.yaml", []byte("apiVersion: pin-cmp/v1\nkind: Component\nimage: ghcr.io/acme/web\n"+
			"build: {docker: {args: {V: "+value+"}}}\n"))
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		ingredients, err := list[0].Ingredients(nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		return ingredients.Key()
	}
	for _, pair := range [][2]string{
		{"1.20", "1.2"}, {"0x10", "16"}, {"1e3", "1000.0"}, {"true", "True"}, {"2001-01-01", "2001-01-01T00:00:00Z"}, {"1_000", "1000"},
	} {
		if key(pair[0]) == key(pair[1]) {
			t.Errorf("%s and %s have one key", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{{`"1.20"`, "1.20"}, {"'a'", "a"}, {"!!str 1.20", "1.20"}} {
		if key(pair[0]) != key(pair[1]) {
			t.Errorf("%s and %s have two keys", pair[0], pair[1])
		}
	}
}

// A mark in parts is one word, build; other words of that spelling stay.
func TestMarkInPartsInBuildSection(t *testing.T) {
	a := attack(t, map[string]string{
		"base/pin.yaml": declares("base", itself), "base/f": "base",
		"web/pin.yaml": declares("web", `build:
  layers:
    base: HOST/acme/base@build
    files: [{from: ., to: /srv/}]
    labels: {image: HOST/acme/base, digest: build, how: build}
`), "web/f": "web",
		"deploy.yaml": "image: HOST/acme/web@build\n",
	})
	a.done(a.options)
	if got := a.read("web/pin.yaml"); !strings.Contains(got, "how: build}") {
		t.Errorf("the file has %s", got)
	}
	a.put("deploy.yaml", "image: HOST/acme/web@build\n")
	if _, built := a.done(a.options); len(built) > 0 {
		t.Errorf("%v built again, so what was built is not what the pin.yaml says", built)
	}
}

// What git was told not to look at is an input all the same.
func TestHiddenChanges(t *testing.T) {
	for _, test := range []struct {
		name string
		hide func(a *attacked)
		want string
	}{
		{"assume unchanged", func(a *attacked) {
			a.git("update-index", "--assume-unchanged", "web/f")
			a.write("web/f", "other")
		}, "web/f"},
		{"assume unchanged, a new mode", func(a *attacked) {
			a.git("update-index", "--assume-unchanged", "web/f")
			if err := os.Chmod(filepath.Join(a.dir, "web/f"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "web/f"},
		{"assume unchanged, removed", func(a *attacked) {
			a.git("update-index", "--assume-unchanged", "web/f")
			_ = os.Remove(filepath.Join(a.dir, "web/f"))
		}, "web/f"},
		{"assume unchanged, a declaration", func(a *attacked) {
			a.git("update-index", "--assume-unchanged", "web/pin.yaml")
			a.write("web/pin.yaml", strings.ReplaceAll(a.read("web/pin.yaml"), "/srv/", "/other/"))
		}, "says how web is built and has uncommitted changes"},
		{"skip worktree, changed", func(a *attacked) {
			a.git("update-index", "--skip-worktree", "web/f")
			a.write("web/f", "other")
		}, "web/f"},
		{"sparse", func(a *attacked) {
			a.git("sparse-checkout", "set", "--no-cone", "/*", "!/web/f")
		}, "web/f"},
		{"a submodule that is ignored", func(a *attacked) {
			a.git("config", "submodule.sub.ignore", "all")
			a.write("web/sub/f", "other")
		}, "web/sub"},
		{"a submodule's new file", func(a *attacked) {
			a.git("config", "diff.ignoreSubmodules", "all")
			a.write("web/sub/new", "new")
		}, "web/sub"},
		{"a submodule at another commit", func(a *attacked) {
			a.git("config", "submodule.sub.ignore", "all")
			a.git("-C", "web/sub", "commit", "--allow-empty", "-qm", "other")
		}, "web/sub"},
		{"a submodule that is not checked out", func(a *attacked) {
			a.git("submodule", "deinit", "-f", "web/sub")
		}, "git submodule update --init --recursive web/sub"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := attack(t, map[string]string{
				"web/pin.yaml": declares("web", itself), "web/f": "web", "web/g": "web",
				"deploy.yaml": "image: HOST/acme/web@build\n",
			})
			other := newCheckout(t, map[string]string{"f": "sub"})
			a.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", "--name", "sub", other.dir, "web/sub")
			a.git("commit", "-qm", "sub")
			if plan := a.plan(a.options); len(plan.Problems) > 0 {
				t.Fatal(messages(plan.Problems))
			}
			test.hide(a)
			plan := a.plan(a.options)
			if !strings.Contains(messages(plan.Problems), test.want) {
				t.Errorf("the problems are %q", messages(plan.Problems))
			}
		})
	}
}

// The same commit is other bytes where git writes CRLF: a script that is built into
// an image there must not be found by those who would get another one.
func TestKeyOfLineEnds(t *testing.T) {
	a := attack(t, map[string]string{
		"web/pin.yaml": declares("web", itself), "web/run.sh": "#!/bin/sh\n", "web/logo": "x\n", "web/.gitattributes": "logo -text\n",
		"deploy.yaml": "image: HOST/acme/web@build\n",
	})
	a.options.Commit = false
	key := func(settings ...string) string {
		t.Helper()
		for i := 0; i < len(settings); i += 2 {
			a.git("config", settings[i], settings[i+1])
			defer a.git("config", "--unset", settings[i])
		}
		plan := a.plan(a.options)
		if len(plan.Problems) > 0 {
			t.Fatal(messages(plan.Problems))
		}
		return plan.Targets[0].Key
	}
	plain := key()
	if key("core.autocrlf", "input") != plain || key("core.autocrlf", "false") != plain || key("core.eol", "crlf") != plain || key("filter.x.smudge", "cat") != plain {
		t.Error("what changes no file changes the key")
	}
	if key("core.autocrlf", "true") == plain {
		t.Error("core.autocrlf does not count")
	}
	a.put(".gitattributes", "*.sh text eol=crlf\n")
	crlf := key()
	if crlf == plain {
		t.Error("an attribute that stands beside the inputs does not count")
	}
	if key("core.autocrlf", "input") != crlf {
		t.Error("what changes no file changes the key")
	}
	a.put(".gitattributes", "*.sh text eol=lf\n")
	if key() != plain || key("core.eol", "crlf") != plain {
		t.Error("LF is what git has")
	}
	a.put(".gitattributes", "*.sh text\n")
	if key("core.eol", "crlf") == plain {
		t.Error("core.eol does not count")
	}
	a.put(".gitattributes", "*.sh filter=x\n")
	if key("filter.x.smudge", "sed s/a/b/") == plain {
		t.Error("a filter does not count")
	}
}

// tagged tells what the registry has under the key of the last plan.
func (a *attacked) tagged(t *Target) string {
	a.t.Helper()
	digest, err := a.options.Registry.Find(a.t.Context(), t.Image, build.TagPrefix+t.Key, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return digest
}

// What is edited while a build reads the work tree makes no image of what was
// there before.
func TestInputChangesDuringBuild(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := fmt.Sprintf("build: {command: [%q, %s]}\n", self, buildCommand)
	redeclare := func(a *attacked) {
		a.put("web/pin.yaml", a.read("web/pin.yaml")+"source: https://example.com/web\n")
	}
	for _, test := range []struct {
		name, recipe string
		change       func(a *attacked)
		want         string // in the error, "" for none
		builds       int
	}{
		{"edited", command, func(a *attacked) { a.write("web/f", "edited") }, "web/pin.yaml:1: web/f changed while web was built", 1},
		{"a new file", command, func(a *attacked) { a.write("web/new", "new") }, "web/new", 1},
		{"committed", command, func(a *attacked) { a.put("web/f", "edited") }, "web/f", 1},
		{"hidden", command, func(a *attacked) {
			a.git("update-index", "--assume-unchanged", "web/f")
			a.write("web/f", "edited")
		}, "web/f", 1},
		{"another branch", command, func(a *attacked) {
			a.git("switch", "-qc", "other")
			a.git("rm", "-q", "web/f")
			a.git("commit", "-qm", "other")
		}, "web/f", 1},
		{"the declaration", command, redeclare, "web/pin.yaml", 1},
		{"something else is edited", command, func(a *attacked) { a.write("notes", "edited") }, "", 1},
		{"something else is committed", command, func(a *attacked) { a.put("notes", "committed") }, "", 1},
		{"what has its own copy, edited", itself, func(a *attacked) { a.write("web/f", "edited") }, "", 1},
		{"what has its own copy, committed", itself, func(a *attacked) { a.put("web/f", "edited") }, "", 2},
		{"what has its own copy, the declaration", itself, redeclare, "", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := attack(t, map[string]string{
				"web/pin.yaml": declares("web", test.recipe), "web/f": "web", "web/g": "web", "notes": "notes",
				"deploy.yaml": "image: HOST/acme/web@build\n",
			})
			planned := a.plan(a.options).Targets[0]
			once := sync.OnceFunc(func() { test.change(a) })
			a.during = func(string) { once() }
			_, built, err := a.run(a.options)
			if len(built) != test.builds {
				t.Errorf("built %v", built)
			}
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("the error is %v", err)
				}
				if digest := a.tagged(planned); digest != "" {
					t.Errorf("the registry has %s under the key", digest)
				}
				if got := a.read("deploy.yaml"); !strings.Contains(got, "@build") {
					t.Errorf("deploy.yaml is %s", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// What is pinned is the image of what is committed.
			a.git("checkout", "-q", ".")
			a.put("deploy.yaml", "image: HOST/acme/web@build\n")
			if _, built := a.done(a.options); len(built) > 0 {
				t.Errorf("%v built again", built)
			}
		})
	}
}

// A tool that pushes the tag by itself has pushed it: whoever runs this has to know.
func TestTagPushedBeforeTheInputsChanged(t *testing.T) {
	a := attack(t, map[string]string{
		"web/pin.yaml": declares("web", "build: {command: [git, --version]}\n"), "web/f": "web",
		"deploy.yaml": "image: HOST/acme/web@build\n",
	})
	a.options.Builder = builderFunc(func(ctx context.Context, request build.Request) (string, error) {
		digest, err := pushImage(request.Component.Image, "web")
		if err == nil {
			err = request.Registry.Keep(ctx, request.Component.Image, request.Tag, digest)
		}
		a.write("web/f", "edited")
		return digest, err
	})
	_, _, err := a.run(a.options)
	if err == nil || !strings.Contains(err.Error(), "before that delete the tag "+a.host+"/acme/web:pin-") {
		t.Error(err)
	}
}

type builderFunc func(ctx context.Context, request build.Request) (string, error)

func (f builderFunc) Build(ctx context.Context, request build.Request) (string, error) {
	return f(ctx, request)
}

// A base by its tag that moves while a tool builds on it, which looks it up itself.
func TestFloatingBaseMovesDuringBuild(t *testing.T) {
	tools := t.TempDir()
	if err := os.WriteFile(filepath.Join(tools, "buildah"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", tools+string(os.PathListSeparator)+os.Getenv("PATH"))
	a := attack(t, map[string]string{
		"web/pin.yaml": declares("web", "build: {buildah: {}}\n"), "web/Dockerfile": "FROM HOST/third/base:1\n",
		"deploy.yaml": "image: HOST/acme/web@build\n",
	})
	base := a.host + "/third/base"
	set := func(content string) {
		digest, err := pushImage(base, content)
		if err == nil {
			_, err = a.options.Registry.Mark(t.Context(), base, "1", digest)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	set("one")
	a.options.ResolveBases = true
	moves := true
	a.options.Builder = builderFunc(func(_ context.Context, request build.Request) (string, error) {
		if given := request.Bases[base+":1"]; !strings.HasPrefix(given, base+":1@sha256:") {
			t.Errorf("the builder is to build on %q", given)
		}
		if moves {
			set("two")
		}
		return pushImage(request.Component.Image, "web")
	})
	if _, _, err := a.run(a.options); err == nil || !strings.Contains(err.Error(), "the base "+base+":1 of web was set to another image while it was built") {
		t.Error(err)
	}
	moves = false
	a.done(a.options)
}

// An image that was built at one commit is not pinned on top of another that it
// isn't made from: here while a second component is built.
func TestInputsCommittedAfterTheBuild(t *testing.T) {
	a := attack(t, map[string]string{
		"base/pin.yaml": declares("base", itself), "base/f": "base",
		"web/pin.yaml": declares("web", "build: {layers: {base: HOST/acme/base@build, files: [{from: ., to: /srv/}]}}\n"), "web/f": "web",
		"deploy.yaml": "image: HOST/acme/web@build\n---\nimage: HOST/acme/base@build\n",
	})
	once := sync.OnceFunc(func() { a.put("base/f", "meanwhile") })
	a.during = func(component string) {
		if component == "web" {
			once()
		}
	}
	_, built := a.done(a.options)
	if fmt.Sprint(built) != "[base base web web]" {
		t.Errorf("built %v", built)
	}
	a.during = nil
	a.put("deploy.yaml", "image: HOST/acme/web@build\n---\nimage: HOST/acme/base@build\n")
	if _, built := a.done(a.options); len(built) > 0 {
		t.Errorf("what was pinned is not made from what is committed: %v", built)
	}
}

// Where files hold pins, they are nobody's inputs, tracked or not, there or just
// deleted.
func TestPinsThatAreNotInGitYet(t *testing.T) {
	a := attack(t, map[string]string{
		"web/pin.yaml": declares("web", itself), "web/f": "web",
		"web/old.yaml": "image: HOST/acme/web@sha256:1111111111111111111111111111111111111111111111111111111111111111\n",
		"deploy.yaml":  "image: HOST/acme/web@build\n",
	})
	o := a.options
	o.Commit, o.Untracked = false, true
	a.write("web/new.yaml", "image: "+a.host+"/acme/web@build\n")
	_ = os.Remove(filepath.Join(a.dir, "web/old.yaml"))
	a.done(o)
	if got := a.read("web/new.yaml"); !strings.Contains(got, "@sha256:") {
		t.Error(got)
	}
	a.git("add", "-A")
	a.git("commit", "-qm", "pins")
	a.put("deploy.yaml", "image: HOST/acme/web@build\n")
	if _, built := a.done(a.options); len(built) > 0 {
		t.Errorf("%v built again", built)
	}
}

// pinned is a repository where everything is pinned on main, and the branch that
// is checked out starts from there.
func pinned(t *testing.T, files map[string]string) *attacked {
	t.Helper()
	a := attack(t, files)
	a.done(a.options)
	a.git("switch", "-qc", "feature")
	a.options.Changed, a.options.Base = true, "main"
	return a
}

// A digest that an alias puts beside another image is not moved in secret.
func TestChangedSharedDigest(t *testing.T) {
	a := pinned(t, map[string]string{
		"web/pin.yaml": declares("web", itself), "web/f": "web",
		"values.yaml": "web: {repository: HOST/acme/web, digest: &d build}\nmirror: {repository: mirror.example.com/acme/web, digest: sha256:0}\n",
	})
	text := a.read("values.yaml")
	a.put("values.yaml", strings.ReplaceAll(text, "digest: sha256:0", "digest: *d"))
	a.put("web/f", "changed")
	before := a.read("values.yaml")
	_, built, err := a.run(a.options)
	if err == nil || !strings.Contains(err.Error(), "values.yaml:2: ") || !strings.Contains(err.Error(), "mirror.example.com/acme/web") || len(built) > 0 {
		t.Errorf("built %v: %v", built, err)
	}
	if a.read("values.yaml") != before {
		t.Error(a.read("values.yaml"))
	}
}

// What still names the old image afterwards is told: it is no pin, or none that can
// be found or moved.
func TestChangedTellsWhatStays(t *testing.T) {
	a := pinned(t, map[string]string{
		"web/pin.yaml": declares("web", itself), "web/f": "web",
		"deploy.yaml":                 "image: HOST/acme/web@build\n",
		"chart/Chart.yaml":            "name: chart\n",
		"chart/templates/deploy.yaml": "x\n", "broken.yaml": "x\n", "args.yaml": "x: 1\n", "comment.yaml": "x: 1\n", "prod.yaml": "x: 1\n", "both.yaml": "x: 1\n",
	})
	_, digest, _ := strings.Cut(strings.TrimSpace(a.read("deploy.yaml")), "@")
	a.write("chart/templates/deploy.yaml", "{{ if .Values.on }}\nimage: "+a.host+"/acme/web@"+digest+"\n{{ end }}\n")
	a.write("broken.yaml", "a: [\nimage: "+a.host+"/acme/web@"+digest+"\n")
	a.write("args.yaml", "args: [--sidecar="+a.host+"/acme/web@"+digest+"]\n")
	a.write("comment.yaml", "a: 1 # "+a.host+"/acme/web@"+digest+"\n")
	a.write("prod.yaml", "image:\n  digest: "+digest+"\n") // over a values.yaml that has the repository
	a.put("both.yaml", "{repository: HOST/acme/web, tag: 1.0.0@"+digest+", digest: "+digest+"}\n")
	a.put("web/f", "changed")
	plan, built := a.done(a.options)
	if len(built) != 1 {
		t.Errorf("built %v", built)
	}
	for _, want := range []string{
		"args.yaml:1: ", "broken.yaml:2: ", "chart/templates/deploy.yaml:2: ", "prod.yaml:2: ", "both.yaml:1: ", "comment.yaml:1: ",
	} {
		if !strings.Contains(messages(plan.Warnings), want) {
			t.Errorf("nothing is said of %s: %s", want, messages(plan.Warnings))
		}
	}
	if got := strings.Count(messages(plan.Warnings), "\n"); got > 5 {
		t.Errorf("too much is said: %s", messages(plan.Warnings))
	}
}

// Named components alone are spoken of.
func TestChangedNamedComponents(t *testing.T) {
	a := pinned(t, map[string]string{
		"base/pin.yaml": declares("base", itself), "base/f": "base",
		"web/pin.yaml": declares("web", "build: {layers: {base: HOST/acme/base@build, files: [{from: ., to: /srv/}]}}\n"), "web/f": "web",
		"deploy.yaml": "image: HOST/acme/web@build\n",
	})
	a.put("base/f", "changed")
	o := a.options
	o.Components = []string{"base"}
	plan := a.plan(o)
	if strings.Contains(messages(plan.Warnings), "no file pins it") {
		t.Error(messages(plan.Warnings))
	}
}

// Work that is not committed is not what --changed compares, and that is said.
func TestChangedUncommitted(t *testing.T) {
	a := pinned(t, map[string]string{
		"web/pin.yaml": declares("web", itself), "web/f": "web", "deploy.yaml": "image: HOST/acme/web@build\n",
	})
	a.write("web/f", "edited")
	plan := a.plan(a.options)
	if !plan.Empty() || !strings.Contains(messages(plan.Warnings), "web/f") {
		t.Errorf("%v, %s", plan.Pins, messages(plan.Warnings))
	}
}

// What is asked for by name is built with what it is built on, and nothing else is.
func TestNamedWithItsBases(t *testing.T) {
	a := attack(t, map[string]string{
		"root/pin.yaml": declares("root", "build: {layers: {base: HOST/third/x:1@resolve, files: [{from: ., to: /srv/}]}}\n"), "root/f": "root",
		"base/pin.yaml": declares("base", "build: {layers: {base: HOST/acme/root@build, files: [{from: ., to: /srv/}]}}\n"), "base/f": "base",
		"web/pin.yaml": declares("web", "build: {layers: {base: HOST/acme/base@build, files: [{from: ., to: /srv/}]}}\n"), "web/f": "web",
		"api/pin.yaml": declares("api", "build: {layers: {base: HOST/third/x:1@resolve, files: [{from: ., to: /srv/}]}}\n"), "api/f": "api",
		"deploy.yaml": "image: HOST/acme/web@build\n---\nimage: HOST/acme/api@build\n---\nimage: HOST/third/x:1@resolve\n",
	})
	digest, err := pushImage(a.host+"/third/x", "x")
	if err == nil {
		err = a.options.Registry.Keep(t.Context(), a.host+"/third/x", "1", digest)
	}
	if err != nil {
		t.Fatal(err)
	}
	o := a.options
	o.Components = []string{"web"}
	var names []string
	o.Jobs, o.Builder = 1, builderFunc(func(_ context.Context, request build.Request) (string, error) {
		names = append(names, request.Component.Name)
		return pushImage(request.Component.Image, request.Component.Name)
	})
	plan, _ := a.done(o)
	if fmt.Sprint(names) != "[root base web]" || len(plan.Pins) != 4 {
		t.Errorf("built %v, pins %v", names, plan.Pins)
	}
	if got := a.read("deploy.yaml"); strings.Count(got, "@build") != 1 || strings.Count(got, "@resolve") != 1 {
		t.Errorf("deploy.yaml is %s", got)
	}
	if got := a.read("api/pin.yaml"); !strings.Contains(got, "@resolve") {
		t.Errorf("api/pin.yaml is %s", got)
	}
}

// A version that is used up is said by the plan that asks the registries.
func TestPlanTellsOfUsedVersion(t *testing.T) {
	a := pinned(t, map[string]string{
		"web/pin.yaml": declares("web", itself), "web/f": "web", "deploy.yaml": "image: HOST/acme/web:1.0.0@build\n",
	})
	a.put("web/f", "changed")
	plan := a.plan(a.options)
	_ = plan.LookUp(t.Context(), a.options)
	if !strings.Contains(messages(plan.Problems), "--bump") {
		t.Errorf("%s", messages(plan.Problems))
	}
}

// A pin that came with the resolution of a merge's conflict.
func TestWhyOfMerge(t *testing.T) {
	a := attack(t, map[string]string{
		"web/pin.yaml": declares("web", itself), "web/f": "web", "deploy.yaml": "image: HOST/acme/web@build\n",
	})
	a.git("switch", "-qc", "side")
	a.put("notes", "side")
	a.git("switch", "-q", "main")
	a.put("other", "main")
	a.git("merge", "-q", "--no-commit", "--no-ff", "side")
	a.write("deploy.yaml", "image: "+a.host+"/acme/web@sha256:1111111111111111111111111111111111111111111111111111111111111111\n")
	a.git("commit", "-qam", "merge")
	a.put("web/f", "changed")
	a.put("deploy.yaml", "image: HOST/acme/web@build\n")
	o := a.options
	o.Why = true
	plan := a.plan(o)
	if why := plan.Targets[0].Why; why == nil || len(why.Changes) != 1 || why.Changes[0].What != "web/f" {
		t.Errorf("%+v", why)
	}
}

// Revisions of all sorts, named as people and machines do.
func TestOddBases(t *testing.T) {
	a := pinned(t, map[string]string{
		"web/pin.yaml": declares("web", itself), "web/f": "web", "deploy.yaml": "image: HOST/acme/web@build\n",
	})
	a.put("web/f", "changed")
	// A tag of the name of what it is compared with, somewhere else.
	a.git("tag", "origin/main")
	a.git("update-ref", "refs/remotes/origin/main", "main")
	for base, want := range map[string]string{
		"": "", "main": "", "HEAD~1": "", ":/Pin": "", "@{-1}": "", "main^{commit}": "",
		"-x": "git has no commit -x here", "--all": "git has no commit --all here", ":/no such": "git has no commit :/no such here",
		"HEAD:web": "git has no commit HEAD:web here", "main..HEAD": "git has no commit main..HEAD here", "main\nHEAD": "git has no commit",
	} {
		o := a.options
		o.Base = base
		plan, err := Prepare(t.Context(), a.repo(), o)
		switch {
		case want == "" && (err != nil || len(plan.Targets) != 1):
			t.Errorf("--base %q: %v, %v", base, err, plan)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("--base %q: %v", base, err)
		}
	}
}

// A branch without a commit has nothing to compare.
func TestChangedUnborn(t *testing.T) {
	a := pinned(t, map[string]string{"web/pin.yaml": declares("web", itself), "web/f": "web", "deploy.yaml": "image: HOST/acme/web@build\n"})
	a.git("switch", "-q", "--orphan", "other")
	a.write("web/pin.yaml", strings.ReplaceAll(declares("web", itself), "HOST", a.host))
	a.git("add", ".")
	if _, err := Prepare(t.Context(), a.repo(), a.options); !errors.Is(err, gitrepo.ErrUnborn) {
		t.Error(err)
	}
}

// A CI that names a branch which is not here is not compared with another.
func TestBaseOfCINotFetched(t *testing.T) {
	a := pinned(t, map[string]string{
		"web/pin.yaml": declares("web", itself), "web/f": "web", "deploy.yaml": "image: HOST/acme/web@build\n",
	})
	a.git("update-ref", "refs/remotes/origin/main", "main")
	t.Setenv("GITHUB_BASE_REF", "release-1")
	o := a.options
	o.Base = ""
	if _, err := Prepare(t.Context(), a.repo(), o); err == nil || !strings.Contains(err.Error(), "GITHUB_BASE_REF says release-1, which git does not have here; git fetch origin +refs/heads/release-1:refs/remotes/origin/release-1") {
		t.Error(err)
	}
}

// untagged are files that pin one component and no version.
var untagged = map[string]string{
	"deployment.yaml":    "kind: Pod\nspec:\n  containers:\n  - {name: a, image: HOST/acme/NAME@build}  # here\n",
	"kustomization.yaml": "images:\n- name: x\n  newName: HOST/acme/NAME\n  digest: build\n",
	"values.yaml":        "one: &one {repository: HOST/acme/NAME, digest: &d build}\ntwo:\n  <<: *one\nthree: {registry: HOST, repository: acme/NAME, digest: *d}\nfour: {image: HOST/acme/NAME, sha: build}\n",
	"app.yaml": `kind: Application
spec:
  source:
    kustomize: {images: [x=HOST/acme/NAME@build]}
    helm:
      parameters: [{name: i.digest, value: build}, {name: i.repository, value: HOST/acme/NAME}]
      values: |
        image: {repository: HOST/acme/NAME, digest: build}
`,
	"pod.json": `{"a": {"image": "HOST/acme/NAME@build"}, "b": {"repository": "HOST/acme/NAME", "digest": "build"}}`,
}

// Wherever pins lie, in whatever form, and whatever is built on what: what a
// rewrite has built is found again at the commit that it makes, and at that of
// --changed.
func TestEverythingIsFoundAgain(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 6 {
		names := []string{"a", "b", "c", "d"}
		files := map[string]string{"lib/shared": "shared", "lib/pins.yaml": "x: 1\n"}
		pins := map[string]string{} // what they pin, by file
		dirs := []string{"deploy", "deploy/prod", "lib", "a", "b", "c/deploy", "d/x/y"}
		for i, name := range names {
			base := ""
			if i > 0 && random.IntN(2) == 0 {
				base = fmt.Sprintf("base: HOST/acme/%s@build, ", names[random.IntN(i)])
			}
			inputs := ""
			if random.IntN(2) == 0 {
				inputs = "inputs: [., ../lib]\n"
			}
			files[name+"/pin.yaml"] = declares(name, inputs+"build: {layers: {"+base+"files: [{from: ., to: /srv/}]}}\n")
			files[name+"/source"] = name
			forms := slices.Sorted(maps.Keys(untagged))
			for n := range 1 + random.IntN(4) {
				form := forms[random.IntN(len(forms))]
				text := strings.ReplaceAll(untagged[form], "NAME", name)
				if random.IntN(3) == 0 && form != "pod.json" {
					text = "\ufeff" + strings.ReplaceAll(text, "\n", "\r\n")
				}
				file := fmt.Sprintf("%s/%s%d/%s", dirs[random.IntN(len(dirs))], name, n, form)
				files[file], pins[file] = text, name
			}
		}
		a := attack(t, files)
		a.options.Commit = true
		foundAgain := func(when string) {
			t.Helper()
			if _, built := a.done(a.options); len(built) > 0 {
				t.Errorf("%s, %v were built again", when, built)
			}
			var marks strings.Builder
			for _, name := range names {
				fmt.Fprintf(&marks, "- image: HOST/acme/%s@build\n", name)
			}
			a.put(dirs[random.IntN(len(dirs))]+"/marks.yaml", marks.String())
			o := a.options
			o.Changed = false
			plan, built := a.done(o)
			if len(built) > 0 || len(plan.Pins) != len(names) {
				t.Errorf("%s and marked, %v were built again; pins %v", when, built, plan.Pins)
			}
		}
		if _, built := a.done(a.options); len(built) != len(names) {
			t.Fatalf("built %v", built)
		}
		foundAgain("after a rewrite")
		a.git("tag", "released")
		a.options.Changed, a.options.Base = true, "released"
		changed := names[random.IntN(len(names))] + "/source"
		if random.IntN(3) == 0 {
			changed = "lib/shared"
		}
		a.put(changed, "changed")
		plan, built := a.done(a.options)
		pinned := map[string]bool{}
		for _, pin := range plan.Pins {
			if !strings.HasSuffix(pin.File, "/pin.yaml") {
				pinned[pin.Component] = true
			}
		}
		if len(pinned) != len(built) || len(plan.Warnings) > 0 || len(built) == 0 && changed != "lib/shared" {
			t.Errorf("%s changed, built %v, moved %v, %s", changed, built, pinned, messages(plan.Warnings))
		}
		foundAgain("after --changed")
		// All that is pinned to one component is one digest.
		for file, component := range pins {
			text, digest := a.read(file), a.digestOf(component)
			if strings.Contains(text, "build") || !strings.Contains(text, strings.TrimPrefix(digest, "sha256:")) {
				t.Errorf("%s is\n%s\nand %s is %s", file, text, component, digest)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// digestOf is what marks.yaml, the last that was written, says of a component.
func (a *attacked) digestOf(component string) string {
	a.t.Helper()
	out := a.git("grep", "-h", "/acme/"+component+"@sha256:", "--", "*marks.yaml")
	_, digest, _ := strings.Cut(strings.TrimSpace(out), "@")
	digest, _, _ = strings.Cut(digest, "\n")
	return digest
}

// Of two clones that build the same at once, by a command that makes another image
// each time, the later one takes the image of the first, which the tag keeps.
func TestTwoClonesAtOnce(t *testing.T) {
	a := attack(t, map[string]string{
		"web/pin.yaml": declares("web", "build: {command: [git, --version]}\n"), "web/f": "web",
		"deploy.yaml": "image: HOST/acme/web@build\n",
	})
	b := &attacked{checkout: a.copyOf(t), host: a.host, options: a.options}
	begun := make(chan struct{})
	building := func(content string, wait func()) build.Builder {
		return builderFunc(func(_ context.Context, request build.Request) (string, error) {
			wait()
			return pushImage(request.Component.Image, content)
		})
	}
	a.options.Builder = building("one", func() { <-begun })
	var first *Plan
	b.options.Builder = building("another", func() {
		close(begun)
		first, _ = a.done(a.options)
	})
	second, _ := b.done(b.options)
	one, two := first.Targets[0], second.Targets[0]
	if held := a.tagged(one); one.Digest != two.Digest || held != one.Digest {
		t.Errorf("%s and %s, and the tag names %s", one.Digest, two.Digest, held)
	}
	if a.read("deploy.yaml") != b.read("deploy.yaml") {
		t.Error(b.read("deploy.yaml"))
	}
}

// A clone that is cut off knows no more than it has, and a moved declaration is no
// new one.
func TestWhyInShallowCloneAndAfterMove(t *testing.T) {
	a := attack(t, map[string]string{
		"web/pin.yaml": declares("web", itself), "web/f": "web", "deploy.yaml": "image: HOST/acme/web@build\n",
	})
	a.done(a.options)
	a.put("web/f", "changed")
	a.put("notes", "notes")
	a.git("mv", "web", "site")
	a.git("commit", "-qm", "move")
	o := a.options
	o.Changed, o.Base, o.Why = true, "HEAD~1", true
	plan := a.plan(o)
	if target := plan.Targets[0]; target.Reason != "changed the build section, and 2 more" || target.Why.Shallow {
		t.Errorf("%s, %+v", target.Reason, target.Why)
	}
	var text strings.Builder
	shallow := &attacked{checkout: checkout{t, t.TempDir()}, host: a.host}
	shallow.git("clone", "-q", "--depth", "2", "file://"+a.dir, ".")
	plan = shallow.plan(o)
	if !plan.Targets[0].Why.Shallow {
		t.Errorf("%+v", plan.Targets[0].Why)
	}
	if err := plan.WriteText(&text, false); err != nil || !strings.Contains(text.String(), ", or before: this clone is shallow\n") {
		t.Errorf("%v: %s", err, text.String())
	}
}

// Whatever the versions of a file were, the commit is found that brought the digest
// which it has, and few versions are read for it.
func TestWhyManyVersions(t *testing.T) {
	const one, two = "1111111111111111111111111111111111111111111111111111111111111111", "2222222222222222222222222222222222222222222222222222222222222222"
	for _, versions := range [][2]int{{0, 1}, {1, 1}, {1, 2}, {3, 1}, {1, 9}, {5, 12}} {
		a := attack(t, map[string]string{"web/pin.yaml": declares("web", itself), "web/f": "web"})
		for i := range versions[0] {
			a.put("deploy.yaml", fmt.Sprintf("image: HOST/acme/web@sha256:%s\nversion: %d\n", one, i))
		}
		want := ""
		for i := range versions[1] {
			a.put("deploy.yaml", fmt.Sprintf("image: HOST/acme/web@sha256:%s\nversion: %d\n", two, i))
			if i == 0 {
				want = strings.TrimSpace(a.git("rev-parse", "HEAD"))
				a.put("web/f", "changed")
			}
		}
		a.put("deploy.yaml", "image: HOST/acme/web@build\n")
		a.git("config", "log.showSignature", "true")
		o := a.options
		o.Why = true
		if why := a.plan(o).Targets[0].Why; why.Commit != want || len(why.Changes) != 1 || why.Changes[0].String() != "changed web/f" {
			t.Errorf("%v: %+v, not %s", versions, why, want)
		}
	}
}

// What people write in commits is shown, and does nothing.
func TestBodyOfHostileCommits(t *testing.T) {
	r := &Release{Images: []Repinned{{Name: "web", Image: "ghcr.io/acme/web", After: Version{"1.0.0", "sha256:" + strings.Repeat("1", 64)}}}}
	subjects := []string{
		"@acme/everyone closes #1", "`` ` ``` @team", "| a | b |", "<!-- /pin-cmp -->", "[x](http://example.com)", "`", "a\r/close", "\u202edesrever", "",
		"\x1b[31mred", "broken \xff", "a\u2028- b", "`a", "a`", "<details>", "``````",
	}
	for _, text := range subjects {
		r.Images[0].Commits = append(r.Images[0].Commits, gitrepo.Subject{Hash: "abc1234", Text: text})
	}
	lines := strings.Split(strings.TrimSpace(r.Body()), "\n")
	lines = lines[len(lines)-len(subjects):]
	for i, line := range lines {
		span, ok := strings.CutPrefix(line, "- abc1234 ")
		if !ok {
			t.Fatalf("%q is %q", subjects[i], line)
		}
		// A span ends with the first run of as many backticks as it begins with.
		fence := span[:len(span)-len(strings.TrimLeft(span, "`"))]
		inner := strings.TrimPrefix(span, fence)
		inner, closed := strings.CutSuffix(inner, fence)
		if fence == "" || !closed || strings.HasSuffix(inner, "`") || slices.ContainsFunc(runs(inner), func(n int) bool { return n == len(fence) }) {
			t.Errorf("%q becomes %q", subjects[i], span)
		}
		if strings.ContainsFunc(inner, func(r rune) bool { return r < ' ' || r == '\u202e' || r == '\u2028' }) || strings.TrimSpace(inner) == "" || !utf8.ValidString(inner) {
			t.Errorf("%q becomes %q", subjects[i], inner)
		}
	}
}

// runs are the lengths of the runs of backticks.
func runs(text string) []int {
	var all []int
	for text != "" {
		_, rest, found := strings.Cut(text, "`")
		if !found {
			break
		}
		n := 1
		for strings.HasPrefix(rest, "`") {
			n, rest = n+1, rest[1:]
		}
		all, text = append(all, n), rest
	}
	return all
}
