// Pin-cmp is explicit GitOps on Argo CD: what runs in the cluster is exactly
// what a commit says, every image named by its digest.
//
// See https://github.com/pin-cmp/pin-cmp for what it does, and pin-cmp help for
// how.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pin-cmp/pin-cmp/render"
	"github.com/pin-cmp/pin-cmp/verify"
)

func main() {
	render.ChildMain() // a render runs in this binary, started again
	os.Exit(run(os.Args[1:]))
}

// run is main with an exit code, for the tests.
func run(args []string) int {
	// A terminal that is closed, or a reader that went away, must not leave builds
	// behind that nobody sees: they are process groups of their own.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return verify.ExitPassed
	}
	ui := newTerminal(root)
	var exit *exitError
	if !errors.As(err, &exit) { // cobra's own: a flag or an argument is wrong
		exit = &exitError{code: verify.ExitMisuse, err: err, hint: "pin-cmp help shows the commands and flags"}
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		exit.err = errors.New("stopped")
	}
	ui.fail(exit)
	return exit.code
}

// exitError ends the program with a code.
type exitError struct {
	code int
	err  error // nil where everything has been said
	hint string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return "failed"
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// misuse is a mistake in how the program is called or configured.
func misuse(err error, hint string) error {
	return &exitError{code: verify.ExitMisuse, err: err, hint: hint}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "pin-cmp",
		Short: "Explicit GitOps on Argo CD: every image is a digest that a commit names",
		Long: `Explicit GitOps on Argo CD: what runs in the cluster is exactly what a commit
says, and every image is named by its digest, never by something that can move.

pin-cmp generate is the gate, an Argo CD config management plugin: it renders an
Application and refuses it unless every image reference is a digest that its
registry holds. pin-cmp verify says the same on your own machine.

pin-cmp rewrite works on a feature branch: it builds and pushes what placeholders
like ghcr.io/acme/web@build name, and puts the digests into their places.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().BoolP("quiet", "q", false, "say nothing but results and errors")
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(newGenerate(), newVerify(), newPlan(), newRewrite(), newRegistry(), newDemo(), newServe(), newHealthcheck())
	return root
}
