package main

import (
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/pin-cmp/pin-cmp/internal/trialregistry"
)

func newRegistry() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "Run a container registry for trials, in memory",
		Long: `Run a container registry for trials, until it is interrupted. It keeps everything
in memory, asks nobody for a password and speaks plain HTTP: for a laptop or a
test, not for a cluster. Its address is the one line on stdout.`,
		Example: `  pin-cmp registry &
  crane copy busybox:1.37 127.0.0.1:5000/busybox:1.37
  pin-cmp verify --plain-http 127.0.0.1:5000 deploy.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ui := newTerminal(cmd)
			host, _, err := net.SplitHostPort(listen)
			if err != nil {
				return misuse(fmt.Errorf("--listen %s is no host:port", listen), "")
			}
			if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
				ui.warn("anyone who can reach " + listen + " can read and write this registry")
			}
			r, err := trialregistry.Start(cmd.Context(), listen)
			if err != nil {
				return misuse(err, "--listen 127.0.0.1:0 picks a free port")
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), r.Addr); err != nil {
				return fmt.Errorf("write the address: %w", err)
			}
			ui.say("the registry runs until it is interrupted, and forgets everything then")
			return r.Wait(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:5000", "host:port to listen on")
	return cmd
}
