package presence

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// dockerConfig reads the file that docker login and podman login write, and
// that a Kubernetes Secret of type kubernetes.io/dockerconfigjson holds. It
// looks at the file again for every credential, since a mounted Secret changes
// under a running process.
type dockerConfig struct {
	mu     sync.Mutex
	path   string
	stamp  fileStamp
	parsed *configFile
}

type fileStamp struct {
	changed time.Time
	size    int64
}

// configFile is the part of the format that names credentials.
type configFile struct {
	path    string
	content []byte

	Auths       map[string]configAuth `json:"auths"`
	CredHelpers map[string]string     `json:"credHelpers"`
	CredsStore  string                `json:"credsStore"`
}

type configAuth struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// configPath returns the file to read, "" if there is none. The order is
// docker's, then podman's (containers-auth.json(5)), as in
// go-containerregistry's pkg/authn/keychain.go.
func configPath() (string, error) {
	home, _ := os.UserHomeDir()
	var candidates []string
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		candidates = append(candidates, filepath.Join(dir, "config.json"))
	} else if home != "" {
		candidates = append(candidates, filepath.Join(home, ".docker", "config.json"))
	}
	named := os.Getenv("REGISTRY_AUTH_FILE")
	if named != "" {
		candidates = append(candidates, named)
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		candidates = append(candidates, filepath.Join(dir, "containers", "auth.json"))
	}
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		candidates = append(candidates, filepath.Join(dir, "containers", "auth.json"))
	} else if home != "" {
		candidates = append(candidates, filepath.Join(home, ".config", "containers", "auth.json"))
	}
	for _, path := range candidates {
		info, err := os.Stat(path)
		switch {
		case err == nil && !info.IsDir():
			return path, nil
		case path == named:
			return "", &ConfigError{
				File: path, Problem: "REGISTRY_AUTH_FILE names this file, which can't be read",
				Fix: "make it readable, or unset REGISTRY_AUTH_FILE", Err: err,
			}
		case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
			return "", &ConfigError{
				File: path, Problem: "the file with the registry credentials can't be read",
				Fix: "make it readable for the user that runs pin-cmp", Err: err,
			}
		}
	}
	return "", nil
}

// load returns the parsed file, nil if there is none.
func (d *dockerConfig) load() (*configFile, error) {
	path, err := configPath()
	if err != nil || path == "" {
		return nil, err
	}
	unreadable := func(err error) error {
		return &ConfigError{
			File: path, Problem: "the file with the registry credentials can't be read",
			Fix: "make it readable for the user that runs pin-cmp", Err: err,
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(err)
	}
	stamp := fileStamp{info.ModTime(), info.Size()}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.parsed != nil && d.path == path && d.stamp == stamp {
		return d.parsed, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(err)
	}
	file, err := parseConfig(path, content)
	if err != nil {
		return nil, err
	}
	d.path, d.stamp, d.parsed = path, stamp, file
	return file, nil
}

func parseConfig(path string, content []byte) (*configFile, error) {
	file := &configFile{path: path, content: content}
	if len(bytes.TrimSpace(content)) == 0 {
		return file, nil
	}
	if err := json.Unmarshal(content, file); err != nil {
		line := 1
		var syntax *json.SyntaxError
		var kind *json.UnmarshalTypeError
		problem := "not valid JSON"
		switch {
		case errors.As(err, &syntax):
			line = lineAt(content, syntax.Offset)
		case errors.As(err, &kind):
			line = lineAt(content, kind.Offset)
			problem = fmt.Sprintf("%q is a %s, which it can't be", kind.Field, kind.Value)
		}
		return nil, &ConfigError{
			File: path, Line: line, Problem: "the file with the registry credentials is broken: " + problem,
			Fix: "correct it, or write it anew with docker login", Err: err,
		}
	}
	return file, nil
}

func lineAt(content []byte, offset int64) int {
	offset = min(max(offset, 0), int64(len(content)))
	return 1 + bytes.Count(content[:offset], []byte("\n"))
}

// lineOf returns the line of the value at path, 0 if there is none.
func lineOf(content []byte, path ...string) int {
	dec := json.NewDecoder(bytes.NewReader(content))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return 0
	}
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			return 0
		}
		at := dec.InputOffset()
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return 0
		}
		if k != path[0] {
			continue
		}
		start := dec.InputOffset() - int64(len(value))
		if len(path) == 1 {
			return lineAt(content, at)
		}
		if line := lineOf(value, path[1:]...); line > 0 {
			return lineAt(content, start) + line - 1
		}
	}
	return 0
}

// keys lists what a credential for target may be filed under, the closest
// first: podman and the kubelet know credentials for a part of a registry.
// Docker Hub's name has a history.
func keys(target authn.Resource) []string {
	var list []string
	for s := target.String(); strings.Contains(s, "/"); s = s[:strings.LastIndex(s, "/")] {
		list = append(list, s)
	}
	list = append(list, target.RegistryStr())
	if target.RegistryStr() == name.DefaultRegistry {
		for _, s := range slices.Clone(list) {
			list = append(list, "docker.io"+strings.TrimPrefix(s, name.DefaultRegistry))
		}
	}
	return list
}

// normalKey reduces a key of auths to host[/path]: docker login has written
// https://index.docker.io/v1/ and the like over the years.
func normalKey(k string) string {
	k = strings.TrimPrefix(strings.TrimPrefix(k, "https://"), "http://")
	k = strings.TrimSuffix(k, "/")
	for _, version := range []string{"/v1", "/v2"} {
		k = strings.TrimSuffix(k, version)
	}
	return k
}

// entry returns the key and the content of the credential for target that
// stands in the file itself.
func (f *configFile) entry(target authn.Resource) (string, configAuth, bool) {
	for _, want := range keys(target) {
		if a, ok := f.Auths[want]; ok {
			return want, a, true
		}
		var found []string
		for k := range f.Auths {
			if normalKey(k) == want {
				found = append(found, k)
			}
		}
		if len(found) > 0 {
			slices.Sort(found) // of several spellings, the same one every time
			return found[0], f.Auths[found[0]], true
		}
	}
	return "", configAuth{}, false
}

// helper returns the credential helper for target's registry and the line that
// names it.
func (f *configFile) helper(target authn.Resource) (string, int) {
	hosts := []string{target.RegistryStr()}
	if hosts[0] == name.DefaultRegistry {
		hosts = append(hosts, authn.DefaultAuthKey, "docker.io")
	}
	for _, host := range hosts {
		if h := f.CredHelpers[host]; h != "" {
			return h, lineOf(f.content, "credHelpers", host)
		}
	}
	return f.CredsStore, lineOf(f.content, "credsStore")
}

// decode returns the credential; an entry that holds none, as docker login
// leaves beside a credsStore, is nil.
func (f *configFile) decode(key string, a configAuth, registry string) (*authn.AuthConfig, error) {
	c := &authn.AuthConfig{
		Username: a.Username, Password: a.Password,
		IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}
	if a.Auth != "" {
		plain, err := base64.StdEncoding.DecodeString(a.Auth)
		user, password, ok := strings.Cut(string(plain), ":")
		if err != nil || !ok || user == "" {
			return nil, &ConfigError{
				File: f.path, Line: lineOf(f.content, "auths", key, "auth"), Registry: registry,
				Problem: fmt.Sprintf("the credential for %s is not user:password in base64", key),
				Fix:     "write it anew with docker login " + registry, Err: err,
			}
		}
		c.Username, c.Password = user, strings.TrimRight(password, "\x00")
	}
	if *c == (authn.AuthConfig{}) {
		return nil, nil
	}
	return c, nil
}

// credential returns what the file has for target, nil if that is nothing.
func (d *dockerConfig) credential(ctx context.Context, target authn.Resource) (*authn.AuthConfig, error) {
	f, err := d.load()
	if f == nil || err != nil {
		return nil, err
	}
	if helper, line := f.helper(target); helper != "" {
		c, err := f.runHelper(ctx, helper, line, target.RegistryStr())
		if c != nil || err != nil {
			return c, err
		}
	}
	key, a, ok := f.entry(target)
	if !ok {
		return nil, nil
	}
	return f.decode(key, a, target.RegistryStr())
}

// runHelper asks docker-credential-<helper>. The protocol is
// https://github.com/docker/docker-credential-helpers#development: the server
// on stdin, JSON on stdout, and one agreed sentence for "nothing here".
func (f *configFile) runHelper(ctx context.Context, helper string, line int, registry string) (*authn.AuthConfig, error) {
	program, err := f.findHelper(helper, line, registry)
	if err != nil {
		return nil, err
	}
	server := registry
	if server == name.DefaultRegistry {
		server = authn.DefaultAuthKey
	}
	cmd := exec.CommandContext(ctx, program, "get")
	cmd.Stdin = strings.NewReader(server)
	// A grandchild that keeps the pipe open must not keep us.
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	broken := func(err error) error {
		return &ConfigError{
			File: f.path, Line: line, Registry: registry,
			Problem: fmt.Sprintf("the credential helper docker-credential-%s fails for %s", helper, registry),
			Fix:     fmt.Sprintf("see what `echo %s | docker-credential-%s get` says", server, helper), Err: err,
		}
	}
	if err != nil {
		if strings.TrimSpace(string(out)) == "credentials not found in native keychain" {
			return nil, nil
		}
		return nil, broken(err)
	}
	var got struct{ Username, Secret string }
	if err := json.Unmarshal(out, &got); err != nil {
		return nil, broken(errors.New("its output is not JSON"))
	}
	if got.Username == "" && got.Secret == "" {
		return nil, nil
	}
	if got.Username == "<token>" {
		return &authn.AuthConfig{Username: got.Username, IdentityToken: got.Secret}, nil
	}
	return &authn.AuthConfig{Username: got.Username, Password: got.Secret}, nil
}

func (f *configFile) findHelper(helper string, line int, registry string) (string, error) {
	program, err := exec.LookPath("docker-credential-" + helper)
	if err == nil {
		return program, nil
	}
	return "", &ConfigError{
		File: f.path, Line: line, Registry: registry,
		Problem: fmt.Sprintf("the credential helper for %s, docker-credential-%s, is not installed", registry, helper),
		Fix:     "put it on the PATH, or take its name out of this file and put the credential under auths",
		Err:     err,
	}
}

// covers names the credential for target without fetching it.
func (d *dockerConfig) covers(target authn.Resource) (string, error) {
	f, err := d.load()
	if f == nil || err != nil {
		return target.RegistryStr(), err
	}
	if helper, _ := f.helper(target); helper != "" {
		return target.RegistryStr(), nil
	}
	if key, _, ok := f.entry(target); ok {
		return target.RegistryStr() + " " + key, nil
	}
	return target.RegistryStr(), nil
}
