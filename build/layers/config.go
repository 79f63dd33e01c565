package layers

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
)

// Config is the section build.layers of a pin.yaml.
type Config struct {
	// Base is the image below, repository[:tag]@sha256:…; "" and "scratch" are
	// nothing.
	Base string `yaml:"base"`
	// Command is a program and its arguments, run in the directory of the
	// pin.yaml, once for each platform; there is no shell. What it leaves in
	// $PIN_OUT can be put into the image. In the arguments $NAME and ${NAME} are
	// replaced for the variables that the builder sets, which are
	//
	//	PIN_OUT              a directory to write to, absolute, empty, of this run alone
	//	PIN_CONTEXT          the directory of the pin.yaml, absolute
	//	PIN_IMAGE            the repository that the image is for
	//	TARGETPLATFORM       as buildx has it: linux/arm/v7
	//	TARGETOS             linux
	//	TARGETARCH           arm
	//	TARGETVARIANT        v7, or nothing
	//	GOOS, GOARCH         the same, for Go
	//	GOAMD64, GOARM, GOARM64  the one of that architecture, v1, 7, v8.0 unless the
	//	                     variant says another; the others are empty
	//	CGO_ENABLED          0: with a C compiler on one machine and none on another, Go makes different programs
	//	SOURCE_DATE_EPOCH    the commit's time, seconds since 1970
	//	TZ, LC_ALL           UTC and C.UTF-8
	//
	// and stand in its environment, over the user's. A command that wants another
	// value says so: [env, CGO_ENABLED=1, go, build, …]. All other dollars stay as
	// they are: there is no way to escape one, and no need to, since a shell that
	// the command starts finds the same values.
	Command []string `yaml:"command"`
	// Files are put on the base, in this order, one layer each. Without any, all
	// that the command wrote goes to /.
	Files []Copy `yaml:"files"`

	// Entrypoint and Cmd are what runs. nil is what the base has, but an
	// Entrypoint of one's own drops the base's Cmd, as in a Dockerfile. An empty
	// list is none.
	Entrypoint []string `yaml:"entrypoint"`
	Cmd        []string `yaml:"cmd"`
	// Env and Labels are added to the base's, and win over them. Values are taken
	// as they are written.
	Env    map[string]string `yaml:"env"`
	Labels map[string]string `yaml:"labels"`
	// User is a user or user:group, names or numbers; "" is the base's.
	User string `yaml:"user"`
	// Workdir is an absolute path; "" is the base's.
	Workdir string `yaml:"workdir"`
	// Ports are numbers, or number/protocol, as 53/udp; they are added to the
	// base's.
	Ports []string `yaml:"ports"`

	// Owner is uid:gid of everything that Files put there; "" is 0:0.
	Owner string `yaml:"owner"`
	// Mtime is the time of everything that Files put there: "commit", or "" for
	// 1970-01-01.
	Mtime string `yaml:"mtime"`
}

// Copy is a file or a directory that is put into the image.
type Copy struct {
	// Out is a path below $PIN_OUT, From one from the directory of the pin.yaml, of
	// a file that git tracks or a directory with such files. One of the two is
	// given. A directory with /. behind it means its content, as with cp.
	Out  string `yaml:"out"`
	From string `yaml:"from"`
	// To is an absolute path in the image: that of the file itself, or of the
	// directory that a directory's content goes into. One that ends in a slash is
	// the directory that it goes into under its own name.
	To string `yaml:"to"`
	// Mode is octal, as "0644", for all files of it; "" is git's, or 0755 and 0644
	// by the executable bit. Directories have 0755 always.
	Mode string `yaml:"mode"`
}

// BaseReference returns Base, and "" if there is nothing below.
func (c Config) BaseReference() string {
	if c.Base == "scratch" {
		return ""
	}
	return c.Base
}

// Check returns the first mistake that can be seen without building. Its text
// begins with the field, as build.layers.files.
func (c Config) Check() error {
	for _, check := range []func() error{c.checkReference, c.checkCommand, c.checkFiles, c.checkRun, c.checkMaps} {
		if err := check(); err != nil {
			return fmt.Errorf("build.layers.%w", err)
		}
	}
	return nil
}

func (c Config) checkReference() error {
	if base := c.BaseReference(); base != "" {
		if _, err := reference.ParseNormalizedNamed(base); err != nil {
			return fmt.Errorf("base: %q is no image; it is repository@sha256:… or scratch", base)
		}
	}
	return nil
}

func (c Config) checkCommand() error {
	if c.Command == nil && len(c.Files) == 0 {
		return errors.New("files: there are none, and no command that could write any; give one of the two")
	}
	if c.Command != nil && (len(c.Command) == 0 || c.Command[0] == "") {
		return errors.New("command: has no program; it is a list of the program and its arguments, as [go, build]")
	}
	if slices.ContainsFunc(c.Command, hasNUL) {
		return errors.New("command: has a NUL in it")
	}
	return nil
}

func (c Config) checkFiles() error {
	for i, item := range c.Files {
		if err := item.check(len(c.Command) > 0); err != nil {
			return fmt.Errorf("files: item %d: %w", i+1, err)
		}
	}
	if _, err := parseOwner(c.Owner); err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	if c.Mtime != "" && c.Mtime != "commit" {
		return fmt.Errorf("mtime: %q is neither commit nor left out", c.Mtime)
	}
	return nil
}

func (i Copy) check(command bool) error {
	switch {
	case i.Out == "" && i.From == "":
		return errors.New("needs out, what the command wrote, or from, what is in the repository")
	case i.Out != "" && i.From != "":
		return errors.New("has both out and from; make two of it")
	case i.Out != "" && !command:
		return fmt.Errorf("out: %s needs a command that writes it; for a file of the repository say from", i.Out)
	case hasNUL(i.Out), hasNUL(i.From), hasNUL(i.To):
		return errors.New("has a NUL in a path")
	}
	if name := i.source(); i.Out != "" && (path.IsAbs(i.Out) || name == ".." || strings.HasPrefix(name, "../")) {
		return fmt.Errorf("out: %q is not below $PIN_OUT; give a relative path, with no .. in it", i.Out)
	}
	if path.IsAbs(i.From) {
		return fmt.Errorf("from: %q is absolute; give it from the directory of the pin.yaml", i.From)
	}
	switch to := strings.TrimSuffix(i.To, "/"); {
	case i.To == "":
		return errors.New("to: is missing: the path in the image")
	case !path.IsAbs(i.To):
		return fmt.Errorf("to: %q is not absolute; it begins with a slash", i.To)
	case to != "" && path.Clean(to) != to:
		return fmt.Errorf("to: %q is written as %s", i.To, path.Clean(i.To))
	}
	if err := checkName(i.To); err != nil {
		return fmt.Errorf("to: %w", err)
	}
	_, err := i.mode()
	return err
}

// source is what is to be put, cleaned.
func (i Copy) source() string { return path.Clean(i.Out + i.From) }

// content tells that the directory's content is meant, even if To names where it
// goes into.
func (i Copy) content() bool {
	name := i.Out + i.From
	return i.source() == "." || strings.HasSuffix(name, "/.") || path.Base(i.source()) == ".."
}

func (i Copy) String() string {
	if i.Out != "" {
		return "out: " + i.Out
	}
	return "from: " + i.From
}

// mode returns the permissions that the author gives, or -1.
func (i Copy) mode() (int64, error) {
	if i.Mode == "" {
		return -1, nil
	}
	mode, err := strconv.ParseInt(strings.TrimPrefix(i.Mode, "0o"), 8, 64)
	if err != nil || mode < 0 || mode > 0o7777 || len(i.Mode) < 3 {
		return 0, fmt.Errorf(`mode: %q is not octal; write it as "0644"`, i.Mode)
	}
	return mode, nil
}

// items are the layers to make.
func (c Config) items() []Copy {
	if len(c.Files) == 0 {
		return []Copy{{Out: ".", To: "/"}}
	}
	return c.Files
}

// maxPath is the longest path that Linux opens, less its end (PATH_MAX).
const maxPath = 4095

// checkName refuses a path that no runtime could unpack as it is meant.
func checkName(name string) error {
	if len(name) > maxPath {
		return fmt.Errorf("%s… is longer than %d bytes", strings.ToValidUTF8(name[:60], ""), maxPath)
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > 255 {
			return fmt.Errorf("%s… is a name of more than 255 bytes", strings.ToValidUTF8(part[:60], ""))
		}
		if strings.HasPrefix(part, ".wh.") {
			return fmt.Errorf("%q: a name that begins with .wh. removes a file of the layers below, so it can't be put into an image", name)
		}
	}
	return nil
}

func hasNUL(s string) bool { return strings.Contains(s, "\x00") }

// owner is who files belong to in the image.
type owner struct{ uid, gid int }

func parseOwner(text string) (owner, error) {
	if text == "" {
		return owner{}, nil
	}
	user, group, found := strings.Cut(text, ":")
	uid, err := strconv.ParseUint(user, 10, 31)
	gid, err2 := strconv.ParseUint(group, 10, 31)
	if !found || err != nil || err2 != nil {
		return owner{}, fmt.Errorf(`%q is not uid:gid; write numbers, as "65532:65532"`, text)
	}
	return owner{int(uid), int(gid)}, nil
}

var userRE = regexp.MustCompile(`^[^\s:/]+(?::[^\s:/]+)?$`)

// checkRun checks what says how the image runs.
func (c Config) checkRun() error {
	if c.User != "" && !userRE.MatchString(c.User) {
		return fmt.Errorf(`user: %q is not user or user:group, as "65532:65532"`, c.User)
	}
	if c.Workdir != "" && (!path.IsAbs(c.Workdir) || path.Clean(c.Workdir) != c.Workdir || hasNUL(c.Workdir)) {
		return fmt.Errorf("workdir: %q is not a clean absolute path", c.Workdir)
	}
	if len(c.Entrypoint) > 0 && c.Entrypoint[0] == "" {
		return errors.New("entrypoint: the program is empty")
	}
	if slices.ContainsFunc(c.Entrypoint, hasNUL) || slices.ContainsFunc(c.Cmd, hasNUL) {
		return errors.New("entrypoint: it, or cmd, has a NUL in it")
	}
	for _, port := range c.Ports {
		if _, err := parsePort(port); err != nil {
			return fmt.Errorf("ports: %w", err)
		}
	}
	return nil
}

// parsePort returns a port as image configurations have it, with its protocol.
func parsePort(text string) (string, error) {
	number, protocol, found := strings.Cut(text, "/")
	if !found {
		protocol = "tcp"
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 || !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
		return "", fmt.Errorf("%q is no port; write 8080 or 53/udp", text)
	}
	return fmt.Sprintf("%d/%s", n, protocol), nil
}

func (c Config) checkMaps() error {
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		if name == "" || strings.ContainsAny(name, "=\x00") || hasNUL(c.Env[name]) {
			return fmt.Errorf("env: %q can't be a variable: the name is not empty and has no =, and neither part has a NUL", name)
		}
	}
	if _, ok := c.Labels[""]; ok {
		return errors.New("labels: one has no name")
	}
	return nil
}

// checkEntrypoint refuses an image that can't start: its author would see it in
// the cluster first.
func (b *builder) checkEntrypoint(names *tree) error {
	if len(b.config.Entrypoint) == 0 || !path.IsAbs(b.config.Entrypoint[0]) {
		return nil
	}
	program := b.config.Entrypoint[0]
	n, err := names.lookup(program)
	switch {
	case err != nil:
		return fmt.Errorf("build.layers.entrypoint: %s is not in the image: %w", program, err)
	case n == nil:
		return fmt.Errorf("build.layers.entrypoint: %s is not in the image; put it there with files, or correct the path", program)
	case n.kind == directory:
		return fmt.Errorf("build.layers.entrypoint: %s is a directory of the image", program)
	case fs.FileMode(n.mode)&0o111 == 0:
		return fmt.Errorf(`build.layers.entrypoint: %s may not be executed, its mode is %04o; chmod +x it where it comes from, or give it mode: "0755"`, program, n.mode)
	}
	return nil
}
