package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/forge"
	"github.com/pin-cmp/pin-cmp/internal/gate"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/rewrite"
	"github.com/pin-cmp/pin-cmp/verify"
)

// rewriteFlags are shared by plan and rewrite.
type rewriteFlags struct {
	policy    policyFlags
	output    string
	untracked bool
	exclude   []string
	floating  bool
	plainHTTP []string

	changed bool
	base    string
	bump    string
	why     bool
	lookUp  bool
	remote  string

	dryRun    bool
	commit    bool
	push      bool
	pr        bool
	prCommand string
	prInto    string
	forge     string
	forgeAPI  string
	noVerify  bool
	discard   bool
	jobs      int
}

func (f *rewriteFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.policy.register(flags)
	flags.StringVarP(&f.output, "output", "o", "text", "text or json")
	flags.BoolVar(&f.untracked, "untracked", false, "search files that git does not track, too")
	flags.StringSliceVar(&f.exclude, "exclude", nil, "leave out files whose path matches; * matches slashes")
	flags.BoolVar(&f.floating, "floating", false, "pin every tag of the repository to what it means now, too: the way in")
	flags.StringSliceVar(&f.plainHTTP, "plain-http", nil, "registries, host[:port], to ask over HTTP")
	flags.BoolVar(&f.changed, "changed", false, "move the static pins of every component whose inputs changed on this branch, too")
	flags.StringVar(&f.base, "base", "", "what the branch started from (default the remote's default branch)")
	flags.StringVar(&f.bump, "bump", "", "with --changed: patch, minor or major; what versions beside those pins are raised by")
	flags.StringVar(&f.remote, "remote", "origin", "the remote to compare with and to push to")
}

const notation = `
  image: ghcr.io/acme/web@build              build the component that owns it
  image: ghcr.io/acme/web:1.4.0@build        the same, and keep the tag 1.4.0
  image: ghcr.io/acme/web:1.3.9@build+minor  compute 1.4.0 (+patch, +minor, +major)
  image: nginx:1.27@resolve                  what this tag means now, never built
  images: [{name: web, newTag: 1.4.0, digest: build}]       in a kustomization
  {repository: ghcr.io/acme/web, tag: 1.4.0@build}          in Helm values`

func newRewrite() *cobra.Command {
	var flags rewriteFlags
	cmd := &cobra.Command{
		Use:   "rewrite [COMPONENT]...",
		Short: "Replace symbolic references by digests: build, push, write",
		Long: `Replace the symbolic references of this branch by static ones. What they name is
built and pushed, or looked up; then every digest is written into its place, all
or none, and not one byte beside them changes.

A symbolic reference stands where the digest goes:
` + notation + `

Components are declared in pin.yaml files; see docs/rewrite.md. Without --commit
only files change. Running it again changes nothing.

Exit status: 0 done, 1 nothing was written, 2 misuse, 3 nothing was written
because a registry could not say.`,
		Example: `  pin-cmp rewrite --pr              # on a feature branch: commit, push, open the pull request
  pin-cmp rewrite --commit --push   # the same without the pull request
  pin-cmp rewrite --changed --bump patch --pr   # all that changed, without placeholders
  pin-cmp rewrite web               # one component, files only
  pin-cmp rewrite --floating        # pin a repository that never pinned anything`,
		RunE: flags.run,
	}
	flags.register(cmd)
	f := cmd.Flags()
	f.BoolVar(&flags.dryRun, "dry-run", false, "build and write nothing: the same as plan")
	f.BoolVar(&flags.commit, "commit", false, "commit the change, and nothing else")
	f.BoolVar(&flags.push, "push", false, "push the branch after the commit, unless it moved on the remote")
	f.BoolVar(&flags.pr, "pr", false, "commit, push, and open the pull request or update it")
	f.StringVar(&flags.prCommand, "pr-command", "", "program that opens the pull request instead; see docs/rewrite.md")
	f.StringVar(&flags.prInto, "pr-into", "", "repository, owner/name, that the pull request goes to (default the remote's, or what it was forked from)")
	f.StringVar(&flags.forge, "forge", "", "github, gitlab or gitea (default: found out)")
	f.StringVar(&flags.forgeAPI, "forge-api", "", "base URL of the forge's REST API (default: from the remote)")
	f.BoolVar(&flags.noVerify, "no-verify", false, "skip the hooks pre-commit and commit-msg")
	f.BoolVar(&flags.discard, "discard", false, "give up on what an interrupted run left; the files stay as they are now")
	f.IntVarP(&flags.jobs, "jobs", "j", runtime.NumCPU(), "images to build at once")
	return cmd
}

func (f *rewriteFlags) run(cmd *cobra.Command, args []string) error {
	ui := newTerminal(cmd)
	if f.pr {
		f.commit, f.push = true, true
	}
	switch {
	case f.output != "text" && f.output != "json":
		return misuse(fmt.Errorf("--output %s is none of text, json", f.output), "")
	case f.push && !f.commit:
		return misuse(errors.New("--push needs --commit: there is nothing to push otherwise"), "")
	case f.bump != "" && f.bump != "patch" && f.bump != "minor" && f.bump != "major":
		return misuse(fmt.Errorf("--bump %s is none of patch, minor, major", f.bump), "")
	case f.bump != "" && !f.changed:
		return misuse(errors.New("--bump needs --changed; a placeholder says itself how its version is raised, as in 1.3.9@build+minor"), "")
	case !f.pr && f.prCommand+f.prInto+f.forge+f.forgeAPI != "":
		return misuse(errors.New("--pr-command, --pr-into, --forge and --forge-api need --pr"), "")
	}
	repo, err := gitrepo.Open(cmd.Context(), ".")
	if err != nil {
		return misuse(err, "")
	}
	options, err := f.options(ui)
	if err != nil {
		return err
	}
	options.Components = args
	if f.dryRun {
		return f.plan(cmd, repo, options)
	}
	if f.discard {
		if err := rewrite.Discard(cmd.Context(), repo); err != nil {
			return &exitError{code: verify.ExitRefused, err: err}
		}
		ui.say("nothing is left of an interrupted run; the files stay as they are")
		return nil
	}
	if f.push {
		if err := rewrite.CheckPush(cmd.Context(), repo, f.remote); err != nil {
			return misuse(err, "")
		}
	}
	var at *forge.Forge
	if f.pr {
		if at, err = f.openForge(cmd.Context(), repo, options); err != nil {
			return misuse(err, "")
		}
	}
	plan, err := f.rewrite(cmd.Context(), ui, repo, options)
	if err != nil {
		return f.failed(cmd, ui, plan, err)
	}
	if err := f.write(cmd, plan, false); err != nil {
		return err
	}
	f.warn(ui, plan)
	if f.push {
		branch, err := rewrite.Push(cmd.Context(), repo, f.remote)
		if err != nil {
			return &exitError{code: verify.ExitRefused, err: err, hint: "the commit is made; only the push is missing"}
		}
		ui.say(fmt.Sprintf("pushed %s to %s", branch, f.remote))
	}
	if f.pr {
		return f.openPullRequest(cmd.Context(), ui, repo, options, at)
	}
	return nil
}

// rewrite runs with its builds in sight.
func (f *rewriteFlags) rewrite(ctx context.Context, ui *terminal, repo *gitrepo.Repo, options rewrite.Options) (*rewrite.Plan, error) {
	shown, done := ui.watch()
	defer done()
	options.Watcher, options.Planned = shown, shown.expect
	options.LogDir = filepath.Join(repo.GitDir(), "pin-cmp-logs")
	return rewrite.Run(ctx, repo, options)
}

// failed ends a rewrite that did not happen. Where problems stand in the way,
// other programs get them as JSON.
func (f *rewriteFlags) failed(cmd *cobra.Command, ui *terminal, plan *rewrite.Plan, err error) error {
	ui.log(err)
	var problems *rewrite.ProblemsError
	switch {
	case errors.Is(err, context.Canceled) && cmd.Context().Err() != nil && (plan == nil || plan.Commit == ""):
		return &exitError{code: verify.ExitRefused, err: errors.New("stopped; nothing was written")}
	case errors.As(err, &problems) && f.output == "json":
		if err := plan.WriteJSON(cmd.OutOrStdout()); err != nil {
			return err
		}
	case errors.Is(err, build.ErrUndecided):
		return &exitError{code: verify.ExitUndecided, err: err}
	}
	return &exitError{code: verify.ExitRefused, err: err}
}

// warn prints the warnings, for people; the JSON has them.
func (f *rewriteFlags) warn(ui *terminal, plan *rewrite.Plan) {
	if f.output != "text" {
		return
	}
	for _, warning := range plan.Warnings {
		ui.warn(warning.String())
	}
}

func (f *rewriteFlags) write(cmd *cobra.Command, plan *rewrite.Plan, withDiff bool) error {
	if f.output == "json" {
		return plan.WriteJSON(cmd.OutOrStdout())
	}
	return plan.WriteText(cmd.OutOrStdout(), withDiff)
}

func (f *rewriteFlags) options(ui *terminal) (rewrite.Options, error) {
	policy, err := f.policy.load()
	if err != nil {
		return rewrite.Options{}, err
	}
	policy.Registries.PlainHTTP = append(policy.Registries.PlainHTTP, f.plainHTTP...)
	registry, err := gate.BuildRegistry(policy)
	if err != nil {
		return rewrite.Options{}, misuse(err, "")
	}
	return rewrite.Options{
		Untracked: f.untracked,
		Exclude:   f.exclude,
		Floating:  f.floating,
		Changed:   f.changed,
		Base:      f.base,
		Bump:      f.bump,
		Why:       f.why,
		Remote:    f.remote,
		Policy:    policy,
		Commit:    f.commit,
		NoVerify:  f.noVerify,
		Jobs:      f.jobs,
		Registry:  registry,
		Notice:    ui.say,

		HookOutput: os.Stderr,

		ResolveBases: policy.FloatingBases == verify.BasesResolve,
	}, nil
}
