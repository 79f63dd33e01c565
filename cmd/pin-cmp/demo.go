package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/pin-cmp/pin-cmp/internal/demo"
	"github.com/pin-cmp/pin-cmp/verify"
)

func newDemo() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the whole story on this machine, with nothing installed",
		Long: `Show what the gate does, on this machine and in a temporary directory: a registry,
a repository with a Kustomize application, and what Argo CD says when its images
float, are placeholders, or are missing; then the fixed application, passing.
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
}
