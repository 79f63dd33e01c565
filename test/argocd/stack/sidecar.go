//go:build linux

package stack

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// PluginName is the plugin's, as plugin.yaml names it.
const PluginName = "pin-cmp"

// Front is a way to run pin-cmp as a plugin.
type Front struct {
	// Name is "generate" or "serve", the command of pin-cmp that answers.
	Name string
	// program returns what to run in the sidecar, with which arguments.
	program func(s *Stack, config string) (program string, args []string)
	// Drains is true if it ends by itself after SIGTERM, having answered what it
	// was asked. The stock server does not: it unlinks its socket and stays.
	Drains bool
}

// Fronts are all of them.
var Fronts = []Front{
	{
		Name: "generate",
		program: func(s *Stack, config string) (string, []string) {
			return s.ArgoCD, []string{"argocd-cmp-server", "--config-dir-path", config, "--logformat", "text"}
		},
	},
	{
		Name: "serve",
		program: func(_ *Stack, config string) (string, []string) {
			return "/usr/local/bin/pin-cmp", []string{PluginName, "serve", "--config-dir", config}
		},
		Drains: true,
	},
}

// Sidecar is a running plugin.
type Sidecar struct {
	*Process
	Front Front
	s     *Stack
	owner *testing.T
	env   []string
	dir   string
}

// policy is what the sidecar's administrator demands, unless a test has another.
const policy = `apiVersion: pin-cmp/v1
kind: Policy
registries:
  plainHTTP: [registry.example.com]
`

// Policy is the policy that sidecars have, with more of the presence section.
func Policy(presence string) string {
	if presence == "" {
		return policy
	}
	return policy + "presence:\n" + presence
}

// Sidecar starts a plugin behind a front, set up as manifests/ sets it up, with a
// policy, and waits until its socket is there. It ends with the test.
func (s *Stack) Sidecar(t *testing.T, front Front, policy string) *Sidecar {
	t.Helper()
	dir, err := os.MkdirTemp(s.Dir, "sidecar")
	if err != nil {
		t.Fatal(err)
	}
	sc := &Sidecar{Front: front, s: s, owner: t, dir: dir}
	for _, d := range []string{"tmp", "config"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	plugin, err := os.ReadFile(filepath.Join(s.Repository(), "plugin.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "config/plugin.yaml"), string(plugin))
	write(t, filepath.Join(dir, "credentials/config.json"), dockerConfig())
	sc.SetPolicy(t, policy)
	sc.env = []string{
		"PATH=/usr/local/bin", "HOME=" + filepath.Join(dir, "tmp"), "TMPDIR=" + filepath.Join(dir, "tmp"),
		"PIN_CMP_POLICY=" + filepath.Join(dir, "policy/policy.yaml"),
		"DOCKER_CONFIG=" + filepath.Join(dir, "credentials"),
		"ARGOCD_PLUGINSOCKFILEPATH=" + s.Plugins(),
	}
	sc.Start(t)
	return sc
}

// SetPolicy replaces the policy file.
func (sc *Sidecar) SetPolicy(t *testing.T, policy string) {
	t.Helper()
	write(t, filepath.Join(sc.dir, "policy/policy.yaml"), policy)
}

// Start starts it, also again after it was killed.
func (sc *Sidecar) Start(t *testing.T) {
	t.Helper()
	program, args := sc.Front.program(sc.s, filepath.Join(sc.dir, "config"))
	// Its name in the logs and, for Argo CD's programs, which of them it is.
	sc.Process = sc.s.start(sc.owner, args[0], program, sc.env, args[1:]...)
	sc.ready(t, func() error { return answers(sc.Socket()) })
}

// answers succeeds if somebody speaks HTTP/2 at a socket: a server speaks first.
func answers(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = conn.Read(make([]byte, 9))
	return err
}

// Socket is the path of the plugin's socket.
func (sc *Sidecar) Socket() string { return filepath.Join(sc.s.Plugins(), PluginName+".sock") }
