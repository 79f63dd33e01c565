//go:build linux

package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"unsafe"
)

// inside is the variable that tells the tests what was prepared for them.
const inside = "PIN_CMP_TEST_STACK"

// prepared is what [Main] leaves to the tests.
type prepared struct {
	Programs Programs
	// Dir is an empty directory, removed at the end.
	Dir string
	// Tests is the directory of the tests.
	Tests string
}

// Addresses in the network namespace. Names and ports are the ones that a user
// would have, so that the messages in the golden files read as theirs do.
const (
	registryHost = "registry.example.com"
	gitHost      = "git.example.com"

	registryAddress = "127.0.0.2:80"
	gitAddress      = "127.0.0.3:80"
)

// Main runs a test binary's tests against a release of Argo CD: call it in
// TestMain. It builds what is missing, and starts the binary again as the first
// process of new network, mount and process namespaces. The network is a loopback
// interface and nothing else: the controller listens on all interfaces, several
// stacks may run at once, and nothing that is tested reaches the internet. It
// does not return.
func Main(m *testing.M, a ArgoCD) {
	code := 1
	var err error
	if text := os.Getenv(inside); text != "" {
		if err = enter(text); err == nil {
			code = m.Run()
		}
	} else {
		code, err = outside(a)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func outside(a ArgoCD) (code int, err error) {
	var p prepared
	if p.Programs, err = build(a); err != nil {
		return 0, err
	}
	if p.Dir, err = os.MkdirTemp("", "pin-cmp-argocd-"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, remove(p.Dir)) }()
	if p.Programs.PinCmp, err = pinCmp(p.Dir); err != nil {
		return 0, err
	}
	if p.Tests, err = os.Getwd(); err != nil {
		return 0, err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return 0, err
	}

	// Pdeathsig is sent when the thread ends that started the process.
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"="+string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the tests in namespaces of their own: %w; run them as root, or where unprivileged user namespaces are allowed", err)
	}
	if err := cmd.Wait(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() > 0 {
			return exit.ExitCode(), nil
		}
		return 0, err
	}
	return 0, nil
}

// remove removes a directory with everything, also what its owner may not list:
// the repo-server's checkouts.
func remove(dir string) error {
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, _ error) error {
		if entry != nil && entry.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// enter finishes the namespaces from within: the network's one interface, the
// names on it, and pin-cmp where plugin.yaml expects it.
func enter(text string) error {
	var p prepared
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	if err := up("lo"); err != nil {
		return fmt.Errorf("bring the loopback interface up: %w", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	// Where a container masks /proc, a user namespace may not mount a fresh one.
	// Then the outer one stays, and only what measures memory notices.
	_ = syscall.Mount("proc", "/proc", "proc", 0, "")

	hosts := filepath.Join(p.Dir, "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n127.0.0.2 "+registryHost+"\n127.0.0.3 "+gitHost+"\n"), 0o644); err != nil {
		return err
	}
	if err := bind(hosts, "/etc/hosts"); err != nil {
		return err
	}
	return overlayPrograms(p.Dir, p.Programs.PinCmp)
}

// overlayPrograms puts pin-cmp into /usr/local/bin, beside what is there.
func overlayPrograms(dir, program string) error {
	const place = "/usr/local/bin"
	old, merged := filepath.Join(dir, "local-bin"), filepath.Join(dir, "bin")
	for _, d := range []string{old, merged} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(place)
	if err != nil {
		return err
	}
	if err := bind(place, old); err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == "pin-cmp" {
			continue
		}
		if err := os.Symlink(filepath.Join(old, entry.Name()), filepath.Join(merged, entry.Name())); err != nil {
			return err
		}
	}
	if err := os.Link(program, filepath.Join(merged, "pin-cmp")); err != nil {
		return err
	}
	return bind(merged, place)
}

func bind(from, to string) error {
	if err := syscall.Mount(from, to, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", from, to, err)
	}
	return nil
}

// up is ip link set NAME up.
func up(name string) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(fd) }()
	var request struct { // struct ifreq
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], name)
	request.flags = syscall.IFF_UP
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}
