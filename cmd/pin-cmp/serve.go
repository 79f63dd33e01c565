package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pin-cmp/pin-cmp/internal/plugin"
	"github.com/pin-cmp/pin-cmp/internal/serve"
	"github.com/pin-cmp/pin-cmp/verify"
)

// Where Argo CD has its plugins: common/common.go, DefaultPluginConfigFilePath
// and DefaultPluginSockFilePath.
const (
	pluginConfigDir = "/home/argocd/cmp-server/config"
	pluginSocketDir = "/home/argocd/cmp-server/plugins"
)

// socketFlags say which plugin's socket is meant.
type socketFlags struct{ configDir, socketDir string }

func (f *socketFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.configDir, "config-dir", pluginConfigDir, "directory of plugin.yaml")
	flags.StringVar(&f.socketDir, "socket-dir", "", "directory of the plugins' sockets (default $ARGOCD_PLUGINSOCKFILEPATH, else "+pluginSocketDir+")")
}

// load reads plugin.yaml.
func (f *socketFlags) load() (plugin.Config, error) {
	f.socketDir = cmp.Or(f.socketDir, os.Getenv("ARGOCD_PLUGINSOCKFILEPATH"), pluginSocketDir)
	config, err := plugin.ReadConfig(f.configDir)
	if err != nil {
		return plugin.Config{}, misuse(err, "the project's own plugin.yaml is an example")
	}
	return config, nil
}

func newServe() *cobra.Command {
	var sockets socketFlags
	var policy policyFlags
	var o serve.Options
	var memory int64
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Be Argo CD's plugin: the gate as a server in the repo-server's pod",
		Long: `Answer argocd-repo-server at the plugin's socket, as argocd-cmp-server does in front
of generate: the same gate and the same plugin.yaml, but one process that stays.
What it knows about registries stays warm, renders start in children that wait,
and repositories are unpacked in memory.

The policy is read again when its file changes. SIGTERM removes the socket, lets
requests under way end for up to 20 s, and exits. The log is JSON, on stderr.`,
		Example: `  # the sidecar's command; everything else has a default there
  pin-cmp serve --metrics-address :8089

  # on a laptop
  pin-cmp serve --config-dir . --socket-dir /tmp/plugins`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Every client that hangs up is a SIGPIPE, and so is a log that nobody
			// reads: no reason for a server to stop, as it is for the other commands.
			signal.Ignore(syscall.SIGPIPE)
			ui := newTerminal(cmd)
			var err error
			if o.Config, err = sockets.load(); err != nil {
				return err
			}
			if o.Config.Versioned {
				ui.warn("spec.version is part of the plugin's name, " + o.Config.Name + ": a change of it is a change of every Application")
			}
			o.SocketDir = sockets.socketDir
			o.PolicyFile, o.PolicyOptional = policy.place()
			if o.MaxMessage, err = maxMessage(); err != nil {
				return err
			}
			if o.Concurrency < 0 || memory < 1 || o.Limits.Entries < 1 {
				return misuse(errors.New("--concurrency, --checkout-memory and --max-files are numbers greater than 0"), "")
			}
			if o.CheckoutMemory = memory << 20; o.CheckoutMemory < o.Limits.Bytes || o.Limits.Bytes == 0 {
				o.Limits.Bytes = min(plugin.DefaultBytes, o.CheckoutMemory)
			}
			if o.Ready == 0 {
				o.Ready = -1
			}
			level := slog.LevelInfo
			if ui.quiet {
				level = slog.LevelWarn
			}
			o.Log = slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			server, err := serve.New(o)
			var mistake *verify.PolicyError
			if errors.As(err, &mistake) {
				return misuse(err, "docs/policy.md describes every field")
			}
			if err != nil {
				return misuse(err, "")
			}
			if err := server.Run(cmd.Context()); err != nil {
				return &exitError{code: verify.ExitUndecided, err: err}
			}
			return nil
		},
	}
	f := cmd.Flags()
	sockets.register(f)
	policy.register(f)
	f.StringVar(&o.MetricsAddress, "metrics-address", "", "host:port to serve Prometheus metrics on, at /metrics (default none)")
	f.IntVar(&o.Ready, "ready", serve.DefaultReady, "render processes that wait for an application")
	f.IntVar(&o.Concurrency, "concurrency", 0, "applications to render at once (default two for each processor)")
	f.Int64Var(&memory, "checkout-memory", serve.DefaultCheckoutMemory>>20, "MiB that the repositories under way may take together")
	f.IntVar(&o.Limits.Entries, "max-files", plugin.DefaultEntries, "files and directories that one repository may hold")
	f.DurationVar(&o.MaxTime, "max-time", serve.DefaultMaxTime, "time for a request whose caller sets none")
	return cmd
}

// place returns the policy's file, and whether it may be missing.
func (p *policyFlags) place() (file string, optional bool) {
	if file = cmp.Or(p.file, os.Getenv("PIN_CMP_POLICY")); file != "" {
		return file, false
	}
	return policyFile, true
}

// maxMessage is the bound that Argo CD's own processes read from the same
// variable.
func maxMessage() (int, error) {
	const variable = "ARGOCD_GRPC_MAX_SIZE_MB"
	text := os.Getenv(variable)
	if text == "" {
		return serve.DefaultMaxMessage, nil
	}
	size, err := strconv.Atoi(text)
	if err != nil || size < 1 || size > 2047 {
		return 0, misuse(fmt.Errorf("%s is %q; it is a number of MiB between 1 and 2047", variable, text), "")
	}
	return size << 20, nil
}
