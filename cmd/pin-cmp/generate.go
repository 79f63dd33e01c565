package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/pin-cmp/pin-cmp/internal/argocd"
	"github.com/pin-cmp/pin-cmp/internal/gate"
	"github.com/pin-cmp/pin-cmp/render"
	"github.com/pin-cmp/pin-cmp/verify"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

func newGenerate() *cobra.Command {
	var policy policyFlags
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Render the application in this directory, or refuse it: the gate",
		Long: `Render the application in the working directory as Argo CD would, and print its
manifests only if every image is a digest that its registry holds.

This is the command that Argo CD's argocd-cmp-server runs as a plugin. Options of
the Application come in ARGOCD_APP_PARAMETERS; see docs/install.md. Outside Argo
CD it renders the working directory of a checkout.

Exit status: 0 with the manifests on stdout; otherwise nothing at all on stdout
and the reason on stderr: 1 refused, 2 misuse, 3 a registry could not say or the
render itself failed.`,
		Example: `  # what Argo CD would apply, if the gate lets it
  cd overlays/prod && pin-cmp generate

  # with a policy, as the sidecar does
  pin-cmp generate --policy /etc/pin-cmp/policy.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ui := newTerminal(cmd)
			p, err := policy.load()
			if err != nil {
				return err
			}
			app, err := requested()
			if err != nil {
				return err
			}
			g, err := gate.New(p, ui.warn)
			if err != nil {
				return misuse(err, "")
			}
			outcome, err := g.Check(cmd.Context(), app, nil)
			if err != nil {
				return gateError(err)
			}
			if message := outcome.Report.Message(); message != "" {
				return &exitError{code: outcome.Report.ExitCode(), err: errors.New(message)}
			}
			for _, warning := range outcome.Report.Warnings {
				ui.warn(warning.String())
			}
			if _, err := cmd.OutOrStdout().Write(outcome.Result.Output()); err != nil {
				return &exitError{code: verify.ExitUndecided, err: fmt.Errorf("write the manifests: %w", err)}
			}
			return nil
		},
	}
	policy.register(cmd.Flags())
	return cmd
}

// requested returns the application that Argo CD, or the working directory,
// asks for.
func requested() (render.Application, error) {
	request, err := argocd.ReadRequest(os.Environ())
	if err != nil {
		return render.Application{}, misuse(errors.New(verify.Printable(err.Error())), "the parameters are those of the Application's spec.source.plugin")
	}
	working, err := os.Getwd()
	if err != nil {
		return render.Application{}, misuse(fmt.Errorf("the working directory: %w", err), "")
	}
	place := gate.Place{Path: "."}
	if request.SourcePath != "" {
		place.Root, place.Path = request.Root(working)
	} else if place, err = gate.Find(working, ""); err != nil {
		return render.Application{}, misuse(err, "")
	}
	checkout, err := place.Open()
	if err != nil {
		return render.Application{}, misuse(err, "")
	}
	return render.Application{Checkout: checkout, Path: place.Path, Options: request.Options}, nil
}

// gateError gives an error of the gate its exit code.
func gateError(err error) error {
	var config *presence.ConfigError
	if errors.As(err, &config) {
		return misuse(err, "")
	}
	text := errors.New("could not render the application: " + verify.Printable(err.Error()))
	if gate.Undecided(err) {
		return &exitError{code: verify.ExitUndecided, err: text, hint: "this says nothing about the application; hard-refresh it"}
	}
	return &exitError{code: verify.ExitRefused, err: text}
}
