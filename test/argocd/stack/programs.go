package stack

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// ArgoCD is a release of Argo CD, built in the module that the tests are in.
type ArgoCD struct {
	// Module is its module path, and Version its version without the v.
	Module, Version string
	// Kubernetes is the directory of the module that builds kube-apiserver and
	// kubectl, relative to the tests.
	Kubernetes string
}

// kubernetesVersion is that of the k8s.io/kubernetes which v3/go.mod names; the
// program itself is told it by the linker.
const kubernetesVersion = "1.36.1"

// Programs are paths of what the stack runs.
type Programs struct {
	ArgoCD, APIServer, Kubectl, PinCmp string
	Etcd, Redis, Registry, Git         string
	// Source is the directory of Argo CD's module, which holds its manifests and
	// scripts.
	Source string
}

// installed are the programs that the system brings, by Debian package.
var installed = []struct{ program, pkg string }{
	{"etcd", "etcd-server"},
	{"redis-server", "redis-server"},
	{"docker-registry", "docker-registry"},
	{"git", "git"},
}

// build builds, or finds in the user's cache, what an Argo CD needs. The first
// build of one takes several minutes.
func build(a ArgoCD) (Programs, error) {
	var p Programs
	for _, i := range installed {
		path, err := exec.LookPath(i.program)
		if err != nil {
			return p, fmt.Errorf("%s is not installed: sudo apt-get install --no-install-recommends %s", i.program, i.pkg)
		}
		switch i.program {
		case "etcd":
			p.Etcd = path
		case "redis-server":
			p.Redis = path
		case "docker-registry":
			p.Registry = path
		case "git":
			p.Git = path
		}
	}
	source, err := goCommand(".", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", a.Module)
	if err != nil {
		return p, err
	}
	p.Source = source
	if p.Source == "" { // in the go.mod, and not yet downloaded
		if _, err := goCommand(".", "mod", "download", a.Module); err != nil {
			return p, err
		}
		if p.Source, err = goCommand(".", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", a.Module); err != nil {
			return p, err
		}
	}

	argocd, err := cached(".", "argocd-"+a.Version, "-X "+a.Module+"/common.version="+a.Version, "./argocd")
	if err != nil {
		return p, err
	}
	number := strings.Split(kubernetesVersion, ".")
	version := "k8s.io/component-base/version"
	kubernetes, err := cached(a.Kubernetes, "kubernetes-"+kubernetesVersion,
		fmt.Sprintf("-X %s.gitVersion=v%s -X %s.gitMajor=%s -X %s.gitMinor=%s", version, kubernetesVersion, version, number[0], version, number[1]),
		"k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kubectl")
	if err != nil {
		return p, err
	}
	p.ArgoCD = filepath.Join(argocd, "argocd")
	p.APIServer = filepath.Join(kubernetes, "kube-apiserver")
	p.Kubectl = filepath.Join(kubernetes, "kubectl")
	return p, nil
}

// cached builds packages of the module in dir into a directory of the user's
// cache, unless they are there. Linking alone takes longer than many a test. The
// directory's name holds all that the programs depend on: the module's files, the
// Go release and the flags.
func cached(dir, name, ldflags string, packages ...string) (string, error) {
	key := sha256.New()
	fmt.Fprintln(key, runtime.Version(), runtime.GOOS, runtime.GOARCH, os.Getenv("CGO_ENABLED"), ldflags, packages)
	files := []string{filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")}
	for _, pkg := range packages {
		if !strings.HasPrefix(pkg, "./") {
			continue
		}
		sources, err := filepath.Glob(filepath.Join(dir, pkg, "*.go"))
		if err != nil {
			return "", err
		}
		files = append(files, sources...)
		files = append(files, filepath.Join(dir, "../stack/client/call.go"))
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(key, filepath.Base(file), len(content))
		key.Write(content)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	base = filepath.Join(base, "pin-cmp-test")
	target := filepath.Join(base, name+"-"+hex.EncodeToString(key.Sum(nil))[:12])
	if _, err := os.Stat(target); err == nil {
		return target, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	// Aside and renamed into place: what is there is whole.
	building, err := os.MkdirTemp(base, name+"-building-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(building) }()
	fmt.Fprintf(os.Stderr, "building %s: minutes, with an empty Go build cache\n", name)
	args := append([]string{"build", "-mod=readonly", "-buildvcs=false", "-ldflags", "-s -w " + ldflags, "-o", building + "/"}, packages...)
	if _, err := goCommand(dir, args...); err != nil {
		return "", err
	}
	if err := os.Rename(building, target); err != nil {
		if _, there := os.Stat(target); there == nil { // somebody else was faster
			return target, nil
		}
		return "", err
	}
	return target, nil
}

// pinCmp builds the program under test as the Dockerfile does, static, for it
// runs under other users' eyes.
func pinCmp(dir string) (string, error) {
	repository, err := filepath.Abs("../../..")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "pin-cmp")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "./cmd/pin-cmp")
	cmd.Dir = repository
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build pin-cmp: %w\n%s", err, out)
	}
	return program, nil
}

// goCommand runs go in a directory, outside any workspace, and returns its
// output without the last newline.
func goCommand(dir string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}
