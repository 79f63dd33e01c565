package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/pin-cmp/pin-cmp/build"
	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
	"github.com/pin-cmp/pin-cmp/rewrite"
	"github.com/pin-cmp/pin-cmp/verify"
)

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
  pin-cmp plan --why                # which file changed since it was pinned
  pin-cmp plan --lookup             # what needs no build
  pin-cmp plan web --output json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.dryRun = true
			return flags.run(cmd, args)
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&flags.lookUp, "lookup", false, "ask the registries, too: what tags mean, and which images are there already")
	cmd.Flags().BoolVar(&flags.why, "why", false, "say what changed in each component since its image was pinned")
	return cmd
}

func (f *rewriteFlags) plan(cmd *cobra.Command, repo *gitrepo.Repo, options rewrite.Options) error {
	plan, err := rewrite.Prepare(cmd.Context(), repo, options)
	if err != nil {
		return &exitError{code: verify.ExitRefused, err: err}
	}
	if f.lookUp {
		if err := plan.LookUp(cmd.Context(), options); errors.Is(err, build.ErrUndecided) {
			return &exitError{code: verify.ExitUndecided, err: err}
		} else if err != nil {
			return &exitError{code: verify.ExitRefused, err: err}
		}
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
