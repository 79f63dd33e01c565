package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/pin-cmp/pin-cmp/internal/gate"
	"github.com/pin-cmp/pin-cmp/verify"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

type verifyFlags struct {
	policy    policyFlags
	output    string
	recursive bool
	recurse   bool
	offline   bool
	root      string
	plainHTTP []string
	platforms []string
	jobs      int
}

func newVerify() *cobra.Command {
	var flags verifyFlags
	cmd := &cobra.Command{
		Use:   "verify [PATH|-]...",
		Short: "Verify applications, files or standard input as the gate would",
		Long: `Verify that every image is a digest that its registry holds.

A directory is rendered as the Argo CD application it is: Kustomize if it has a
kustomization, else its YAML and JSON files. A file, or - for standard input, is
taken as manifests. Without a path it is the working directory.

Exit status: 0 all passed, 1 something is refused or not readable, 2 misuse,
3 nothing is refused but a registry could not say or a render itself failed.`,
		Example: `  pin-cmp verify overlays/prod
  pin-cmp verify --recursive .                  # every application of a repository
  helm template chart | pin-cmp verify -
  pin-cmp verify --output sarif . > pins.sarif  # for a code-scanning service
  pin-cmp verify --offline .                    # the form alone, no registry asked`,
		RunE: flags.run,
	}
	f := cmd.Flags()
	flags.policy.register(f)
	f.StringVarP(&flags.output, "output", "o", "text", "text, json or sarif")
	f.BoolVarP(&flags.recursive, "recursive", "r", false, "verify every application at and below each directory")
	f.BoolVar(&flags.recurse, "directory-recurse", false, "read subdirectories of a plain directory, as spec.source.directory.recurse does")
	f.BoolVar(&flags.offline, "offline", false, "ask no registry: judge references by their form alone")
	f.StringVar(&flags.root, "root", "", "the repository's root, which bounds what is read (default: the git work tree)")
	f.StringSliceVar(&flags.plainHTTP, "plain-http", nil, "registries, host[:port], to ask over HTTP")
	f.StringSliceVar(&flags.platforms, "platform", nil, "platforms that an index must hold, such as linux/amd64")
	f.IntVarP(&flags.jobs, "jobs", "j", runtime.NumCPU(), "applications to render at once")
	return cmd
}

func (f *verifyFlags) run(cmd *cobra.Command, args []string) error {
	ui := newTerminal(cmd)
	write, err := reportWriter(f.output)
	if err != nil {
		return err
	}
	if f.jobs < 1 {
		return misuse(fmt.Errorf("--jobs is %d; at least one application is rendered at a time", f.jobs), "")
	}
	policy, err := f.loadPolicy()
	if err != nil {
		return err
	}
	g, err := gate.New(policy, ui.warn)
	if err != nil {
		return misuse(err, "")
	}
	if len(args) == 0 {
		args = []string{"."}
	}
	selection := gate.Selection{Root: f.root, Recursive: f.recursive, DirectoryRecurse: f.recurse, Stdin: cmd.InOrStdin()}
	inputs, err := selection.Inputs(args)
	if err != nil {
		return misuse(errors.New(verify.Printable(err.Error())), "")
	}
	report, err := verifyAll(cmd.Context(), g, inputs, f.jobs, ui)
	ui.done()
	if err != nil {
		return gateError(err)
	}
	if err := write(report, cmd.OutOrStdout()); err != nil {
		return &exitError{code: verify.ExitUndecided, err: err}
	}
	if code := report.ExitCode(); code != verify.ExitPassed {
		return &exitError{code: code}
	}
	return nil
}

// loadPolicy reads the policy and adds what the flags say.
func (f *verifyFlags) loadPolicy() (*verify.Policy, error) {
	policy, err := f.policy.load()
	if err != nil {
		return nil, err
	}
	if f.offline {
		check := false
		policy.Presence.Check = &check
	}
	policy.Registries.PlainHTTP = append(policy.Registries.PlainHTTP, f.plainHTTP...)
	policy.Presence.Platforms = append(policy.Presence.Platforms, f.platforms...)
	return policy, nil
}

// reportWriter returns the function that writes a report in a format.
func reportWriter(format string) (func(*verify.Report, io.Writer) error, error) {
	switch format {
	case "text":
		return (*verify.Report).WriteText, nil
	case "json":
		return (*verify.Report).WriteJSON, nil
	case "sarif":
		return func(r *verify.Report, w io.Writer) error { return r.WriteSARIF(w, version()) }, nil
	}
	return nil, misuse(fmt.Errorf("--output %s is none of text, json, sarif", format), "")
}

// verifyAll checks the inputs, several at once, and joins their reports. An
// input that can't be read is part of the report; a mistake in this program's
// configuration ends it.
func verifyAll(ctx context.Context, g *gate.Gate, inputs []gate.Input, jobs int, ui *terminal) (*verify.Report, error) {
	reports := make([]*verify.Report, len(inputs))
	var finished, digests atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(jobs)
	for i, input := range inputs {
		group.Go(func() error {
			report, err := input.Check(ctx, g, func(_, _ int) {
				ui.progress("%d of %d applications, %d digests looked up", finished.Load(), len(inputs), digests.Add(1))
			})
			var config *presence.ConfigError
			if err != nil && (errors.As(err, &config) || ctx.Err() != nil) {
				return err
			}
			if err != nil {
				report = &verify.Report{Failures: []verify.Failure{input.Failure(err)}}
			}
			reports[i] = report
			ui.progress("%d of %d applications, %d digests looked up", finished.Add(1), len(inputs), digests.Load())
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return verify.Join(reports...), nil
}
