package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/pin-cmp/pin-cmp/internal/serve"
	"github.com/pin-cmp/pin-cmp/verify"
)

func newHealthcheck() *cobra.Command {
	var sockets socketFlags
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the plugin server of this container whether it serves",
		Long: `Ask the server that pin-cmp serve runs in this container whether it serves: a
startup and liveness probe, since Kubernetes can't probe a unix socket by itself.

Exit status: 0 it serves, 1 it does not, 2 misuse.`,
		Example: `  livenessProbe: {exec: {command: [pin-cmp, healthcheck]}, periodSeconds: 30, timeoutSeconds: 10}`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := sockets.load()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if err := serve.Healthy(ctx, config.Socket(sockets.socketDir)); err != nil {
				return &exitError{code: verify.ExitRefused, err: err}
			}
			return nil
		},
	}
	sockets.register(cmd.Flags())
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "time to wait for the answer")
	return cmd
}
