package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/pin-cmp/pin-cmp/internal/demo"
	"github.com/pin-cmp/pin-cmp/verify"
)

func newDemo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole story on this machine, with nothing installed",
		Long: `Show the whole story, on this machine and in a temporary directory: a registry, a
repository with code and a Kustomize application, what Argo CD says when its image
floats, is missing or is a placeholder, and the branch that puts it right.
It takes seconds, needs no network, and cleans up after itself.`,
		Example: `  pin-cmp demo`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			executable, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			if err := demo.Run(cmd.Context(), cmd.OutOrStdout(), executable); err != nil {
				return &exitError{code: verify.ExitRefused, err: err}
			}
			return nil
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:    "build-image",
		Short:  "The build command of the demo's component",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := demo.BuildImage(cmd.Context()); err != nil {
				return &exitError{code: verify.ExitRefused, err: err}
			}
			return nil
		},
	})
	return cmd
}
