package forge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestMain is also gh, glab, tea and ssh, when it is called by that name: what the
// tools promise of their arguments and their output, in front of a stand-in.
func TestMain(m *testing.M) {
	name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	switch name {
	case "gh", "glab", "tea", "ssh":
		os.Exit(fakeTool(name, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// install puts the named tools on a PATH of their own, and returns an environment
// with it. FAKE_LOGIN is the host that gh, glab and tea are logged in to.
func install(t *testing.T, server, login string, names ...string) []string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if runtime.GOOS == "windows" {
			name += ".exe"
		}
		if os.Symlink(self, filepath.Join(dir, name)) == nil {
			continue
		}
		program, err := os.ReadFile(self)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), program, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return []string{"PATH=" + dir, "FAKE_SERVER=" + server, "FAKE_LOGIN=" + login, "FAKE_LOG=" + filepath.Join(dir, "log"), "HOME=" + dir, "GH_HOST=", "GH_FORCE_TTY=1", "GORACE=atexit_sleep_ms=0", "SYSTEMROOT=" + os.Getenv("SYSTEMROOT")}
}

// calls are the command lines of the tools that install installed.
func calls(t *testing.T, env []string) []string {
	t.Helper()
	log, err := os.ReadFile(newEnviron(env)["FAKE_LOG"])
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(log)), "\n")
}

// The placeholders of gh (pkg/cmd/api/api.go) and of glab: a branch must not
// become one.
var placeholders = map[string]*regexp.Regexp{
	"gh":   regexp.MustCompile(`:(owner|repo|branch)\b|\{[a-z]+\}`),
	"glab": regexp.MustCompile(`:(fullpath|id|user|username|group|namespace|repo|branch)\b`),
	"tea":  regexp.MustCompile(`\{(owner|repo|branch)\}`),
}

func fakeTool(name string, args []string) int {
	if f, err := os.OpenFile(os.Getenv("FAKE_LOG"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err == nil {
		_, _ = fmt.Fprintln(f, name, strings.Join(args, " "))
		_ = f.Close()
	}
	fail := func(format string, v ...any) int {
		_, _ = fmt.Fprintf(os.Stderr, format+"\n", v...)
		return 1
	}
	login := os.Getenv("FAKE_LOGIN")
	switch line := strings.Join(args, " "); {
	case name == "ssh":
		fmt.Printf("user git\nhostname %s\nport 22\n", os.Getenv("FAKE_SSH"))
		return 0
	case os.Getenv("GH_FORCE_TTY") != "" || os.Getenv("NO_COLOR") == "":
		return fail("would print colours")
	case name == "gh" && line == "auth token --hostname "+login:
		fmt.Println("s3cret-of-gh")
		return 0
	case name == "glab" && line == "auth status --hostname "+login:
		return map[bool]int{true: 0}[fail("%s\n  ✓ Logged in to %s as ada (/home/ada/.config/glab-cli/config.yml)", login, login) == 1]
	case name == "glab" && args[0] == "auth" && os.Getenv("FAKE_OLD") != "":
		return map[bool]int{true: 0}[fail("x %s has not been authenticated with glab", args[len(args)-1]) == 1]
	case name == "tea" && line == "api --help" && os.Getenv("FAKE_OLD") == "":
		fmt.Println("OPTIONS:\n   --include, -i  Include HTTP status and response headers in output (written to stderr)")
		return 0
	case args[0] != "api":
		return fail("not logged in")
	}
	method, hostname, endpoint, include, hasBody := "GET", "", "", false, false
	header := http.Header{}
	rest := args[1:]
	for len(rest) > 0 {
		flag := rest[0]
		value := ""
		if len(rest) > 1 {
			value = rest[1]
		}
		switch {
		case flag == "--include":
			include, rest = true, rest[1:]
			continue
		case flag == "--method":
			method = value
		case flag == "--hostname" && name != "tea":
			hostname = value
		case strings.HasPrefix(flag, "--login=") && name == "tea":
			hostname, rest = strings.TrimPrefix(flag, "--login="), rest[1:]
			continue
		case flag == "--header" && name != "tea":
			key, v, _ := strings.Cut(value, ":")
			header.Add(key, strings.TrimSpace(v))
		case flag == "--input" && value == "-" && name != "tea", flag == "--data" && value == "@-" && name == "tea":
			hasBody = true
		case !strings.HasPrefix(flag, "-") && endpoint == "" && len(rest) == 1:
			endpoint, rest = flag, rest[1:]
			continue
		default:
			return fail("unknown flag: %s", flag)
		}
		rest = rest[2:]
	}
	if hostname != login || placeholders[name].MatchString(endpoint) || !include {
		return fail("%s: not logged in, or a placeholder in %s", hostname, endpoint)
	}
	var body io.Reader
	if hasBody {
		data, err := io.ReadAll(os.Stdin)
		if err != nil || name == "tea" && !json.Valid(data) {
			return fail("--data/-d value from stdin is not valid JSON")
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, os.Getenv("FAKE_SERVER")+"/"+endpoint, body)
	if err != nil {
		return fail("%v", err)
	}
	req.Header = header
	req.Header.Set("Authorization", "Bearer s3cret-token")
	if name == "tea" {
		req.Header.Set("Authorization", "token s3cret-token")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return fail("error connecting to %s\ncheck your internet connection or https://githubstatus.com", login)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fail("%v", err)
	}
	var keys []string
	for key := range resp.Header {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	head, eol := os.Stdout, "\r\n"
	if name == "tea" {
		head, eol = os.Stderr, "\n"
		_, _ = fmt.Fprintln(head, "NOTE: no gitea login detected, falling back to login 'work'")
	}
	_, _ = fmt.Fprintf(head, "%s %s\n", resp.Proto, resp.Status)
	for _, key := range keys {
		_, _ = fmt.Fprintf(head, "%s: %s%s", key, strings.Join(resp.Header[key], ", "), eol)
	}
	_, _ = fmt.Fprint(head, eol)
	_, _ = os.Stdout.Write(data)
	if resp.StatusCode > 299 && name != "tea" {
		return fail("%s: HTTP %d", name, resp.StatusCode)
	}
	return 0
}

// write writes a file below a directory of the test.
func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustParse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
