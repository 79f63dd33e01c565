package forge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/process"
)

// tools are the programs on the engineer's PATH, in the engineer's environment.
type tools struct {
	env environ
	dir string
}

// find returns where a program is, or "". An entry of PATH that is not absolute
// does not count: it would be the repository's to fill.
func (t tools) find(name string) string {
	for _, dir := range filepath.SplitList(t.env["PATH"]) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if program, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return program
		}
	}
	return ""
}

// quiet is what keeps the tools' output plain, and keeps them from asking,
// updating and reporting. An empty value takes the variable away.
var quiet = map[string]string{
	"NO_COLOR": "1", "CLICOLOR_FORCE": "", "GH_FORCE_TTY": "", "FORCE_HYPERLINKS": "",
	"GH_DEBUG": "", "DEBUG": "", "GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "GH_PAGER": "cat",
	"GH_HOST": "", "GH_REPO": "", // --hostname says it
	"GLAB_CHECK_UPDATE": "false", "GLAB_SEND_TELEMETRY": "false", "NO_PROMPT": "1", "GLAB_PAGER": "cat", "PAGER": "cat",
}

func (t tools) environ(more map[string]string) []string {
	env := make(environ, len(t.env))
	for name, value := range t.env {
		env[name] = value
	}
	for name, value := range more {
		if value == "" {
			delete(env, name)
		} else {
			env[name] = value
		}
	}
	pairs := make([]string, 0, len(env))
	for name, value := range env {
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	return pairs
}

var errTooLong = errors.New("the output is too long")

// run runs a program. What it prints beyond the bound ends it.
func (t tools) run(ctx context.Context, program string, stdin []byte, args ...string) (stdout, stderr []byte, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := process.Command(ctx, program, args...)
	cmd.Dir, cmd.Env = t.dir, t.environ(quiet)
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	out := &bounded{most: longestAnswer, full: func() { cancel(errTooLong) }}
	errs := &bounded{most: 64 << 10}
	cmd.Stdout, cmd.Stderr = out, errs
	err = process.Run(ctx, cmd)
	if out.over {
		err = errTooLong
	}
	return out.kept.Bytes(), errs.kept.Bytes(), err
}

// bounded keeps the first bytes of what is written to it.
type bounded struct {
	kept bytes.Buffer // not embedded: its ReadFrom knows no bound
	most int
	over bool
	full func() // called when there is more; nil drops it
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.most - b.kept.Len()
	if len(p) <= room {
		return b.kept.Write(p)
	}
	_, _ = b.kept.Write(p[:room])
	b.over = true
	if b.full != nil {
		b.full()
	}
	return len(p), nil
}

var _ io.Writer = (*bounded)(nil)

// gh returns where gh is if it has a login for host, without asking the network.
// "auth token" is asked first because "auth status" fails for any one of several
// accounts, and uses GraphQL; gh before 2.17 has "auth status" alone. The token
// goes nowhere.
func (t tools) gh(ctx context.Context, host string) (program string) {
	if program = t.find("gh"); program == "" {
		return ""
	}
	if out, _, err := t.run(ctx, program, nil, "auth", "token", "--hostname", host); err == nil && len(bytes.TrimSpace(out)) > 0 {
		return program
	}
	if _, _, err := t.run(ctx, program, nil, "auth", "status", "--hostname", host); err == nil {
		return program
	}
	return ""
}

// glab returns where glab is if it is logged in to host. Its exit status says
// nothing before 1.41.
func (t tools) glab(ctx context.Context, host string) (program string) {
	if program = t.find("glab"); program == "" {
		return ""
	}
	out, errs, err := t.run(ctx, program, nil, "auth", "status", "--hostname", host)
	if err != nil || !strings.Contains(string(out)+string(errs), "Logged in to "+host) {
		return ""
	}
	return program
}

// loggedIn returns the kind of a host that one of the tools is logged in to.
func (t tools) loggedIn(ctx context.Context, host string) string {
	switch {
	case t.gh(ctx, host) != "":
		return GitHub
	case t.glab(ctx, host) != "":
		return GitLab
	}
	if _, ok := t.teaLogin(site{host: host}); ok {
		return Gitea
	}
	return ""
}

var sshHostname = regexp.MustCompile(`(?m)^hostname (\S+)$`)

// sshHost returns the host behind one of an ssh remote: people have aliases such
// as github-work in their ssh configuration. A full name that leads to an address
// or an inner name is still the name of the forge.
func (t tools) sshHost(ctx context.Context, host string) string {
	if front := sshFront[host]; front != "" {
		return front
	}
	if wellKnown(host) != "" {
		return host
	}
	program := t.find("ssh")
	if program == "" {
		return host
	}
	out, _, err := t.run(ctx, program, nil, "-G", "--", host)
	found := sshHostname.FindSubmatch(out)
	if err != nil || found == nil {
		return host
	}
	name := strings.ToLower(string(found[1]))
	if front := sshFront[name]; front != "" {
		name = front
	}
	if wellKnown(name) != "" || !strings.Contains(host, ".") && hostName.MatchString(name) {
		return name
	}
	return host
}
