package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/pin-cmp/pin-cmp/build"
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

	dryRun   bool
	commit   bool
	push     bool
	remote   string
	noVerify bool
	discard  bool
	jobs     int
}

func (f *rewriteFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.policy.register(flags)
	flags.StringVarP(&f.output, "output", "o", "text", "text or json")
	flags.BoolVar(&f.untracked, "untracked", false, "search files that git does not track, too")
	flags.StringSliceVar(&f.exclude, "exclude", nil, "leave out files whose path matches; * matches slashes")
	flags.BoolVar(&f.floating, "floating", false, "pin every tag of the repository to what it means now, too: the way in")
	flags.StringSliceVar(&f.plainHTTP, "plain-http", nil, "registries, host[:port], to ask over HTTP")
}

const notation = `
  image: ghcr.io/acme/web@build              build the component that owns it
  image: ghcr.io/acme/web:1.4.0@build        the same, and keep the tag 1.4.0
  image: ghcr.io/acme/web:1.3.9@build+minor  compute 1.4.0 (+patch, +minor, +major)
  image: nginx:1.27@resolve                  what this tag means now, never built
  images: [{name: web, newTag: 1.4.0, digest: build}]       in a kustomization
  {repository: ghcr.io/acme/web, tag: 1.4.0@build}          in Helm values`

func newPlan() *cobra.Command {
	var flags rewriteFlags
	cmd := &cobra.Command{
		Use:   "plan [COMPONENT]...",
		Short: "Show what rewrite would do, and why; build and write nothing",
		Long: `Show what rewrite would do: which images it would build or look up, and every
place that would get a digest, with a diff. Exit status 1 if something stands in
the way.
`,
		Example: `  pin-cmp plan
  pin-cmp plan web --output json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.dryRun = true
			return flags.run(cmd, args)
		},
	}
	flags.register(cmd)
	return cmd
}

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
		Example: `  pin-cmp rewrite --commit --push   # on a feature branch, then open the pull request
  pin-cmp rewrite web               # one component, files only
  pin-cmp rewrite --floating        # pin a repository that never pinned anything`,
		RunE: flags.run,
	}
	flags.register(cmd)
	f := cmd.Flags()
	f.BoolVar(&flags.dryRun, "dry-run", false, "build and write nothing: the same as plan")
	f.BoolVar(&flags.commit, "commit", false, "commit the change, and nothing else")
	f.BoolVar(&flags.push, "push", false, "push the branch after the commit, unless it moved on the remote")
	f.StringVar(&flags.remote, "remote", "origin", "where --push pushes to")
	f.BoolVar(&flags.noVerify, "no-verify", false, "skip the hooks pre-commit and commit-msg")
	f.BoolVar(&flags.discard, "discard", false, "give up on what an interrupted run left; the files stay as they are now")
	f.IntVarP(&flags.jobs, "jobs", "j", runtime.NumCPU(), "images to build at once")
	return cmd
}

func (f *rewriteFlags) run(cmd *cobra.Command, args []string) error {
	ui := newTerminal(cmd)
	switch {
	case f.output != "text" && f.output != "json":
		return misuse(fmt.Errorf("--output %s is none of text, json", f.output), "")
	case f.push && !f.commit:
		return misuse(errors.New("--push needs --commit: there is nothing to push otherwise"), "")
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
	plan, err := rewrite.Run(cmd.Context(), repo, options)
	ui.done()
	if err != nil {
		return f.failed(cmd, plan, err)
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
	return nil
}

// failed ends a rewrite that did not happen. Where problems stand in the way,
// other programs get them as JSON.
func (f *rewriteFlags) failed(cmd *cobra.Command, plan *rewrite.Plan, err error) error {
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

func (f *rewriteFlags) plan(cmd *cobra.Command, repo *gitrepo.Repo, options rewrite.Options) error {
	plan, err := rewrite.Prepare(cmd.Context(), repo, options)
	if err != nil {
		return &exitError{code: verify.ExitRefused, err: err}
	}
	if err := f.write(cmd, plan, true); err != nil {
		return err
	}
	f.warn(newTerminal(cmd), plan)
	if len(plan.Problems) > 0 {
		return &exitError{code: verify.ExitRefused, err: &rewrite.ProblemsError{Problems: plan.Problems}}
	}
	return nil
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
		Policy:    policy,
		Commit:    f.commit,
		NoVerify:  f.noVerify,
		Jobs:      f.jobs,
		Builder:   build.Command{},
		Registry:  registry,
		Log:       os.Stderr,
		Notice:    ui.say,
	}, nil
}
