package forge

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shell is a command for sh, which git brings along wherever it runs.
func shell(t *testing.T, script string) []string {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	return []string{sh, "-c", script}
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	o := Options{
		Command: shell(t, `printf '%s|%s|%s|%s\n' "$PIN_PR_TITLE" "$PIN_PR_HEAD" "$PIN_PR_BASE" "$PIN_REMOTE_URL" >seen; cat "$PIN_PR_BODY_FILE" >>seen; echo "$PIN_PR_BODY_FILE" >where
echo https://git.example.com/first; echo "see https://git.example.com/no"; echo https://git.example.com/42; echo done; echo noise >&2`),
		Environ: os.Environ(), Dir: dir, Log: &log,
	}
	for remoteURL, shown := range map[string]string{
		"https://ada:s3cret@git.example.com/acme/web": "https://git.example.com/acme/web",
		"/srv/git/web": "/srv/git/web",
	} {
		f, err := Open(t.Context(), remoteURL, o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Publish(t.Context(), PullRequest{Title: "$(id) `x`\n-", Body: "line\n\"2\"\n", Head: "pin/web"})
		if err != nil || got != (Published{URL: "https://git.example.com/42", Action: Commanded}) {
			t.Errorf("got %+v, %v", got, err)
		}
		seen, err := os.ReadFile(filepath.Join(dir, "seen"))
		if want := "$(id) `x` -|pin/web||" + shown + "\nline\n\"2\"\n"; err != nil || string(seen) != want {
			t.Errorf("saw %q, want %q, %v", seen, want, err)
		}
		if where, _ := os.ReadFile(filepath.Join(dir, "where")); len(where) == 0 {
			t.Error("no file")
		} else if _, err := os.Stat(strings.TrimSpace(string(where))); !os.IsNotExist(err) {
			t.Errorf("the file is still there: %v", err)
		}
	}
	if !strings.Contains(log.String(), "noise") || !strings.Contains(log.String(), "done") {
		t.Errorf("logged %q", log.String())
	}
}

func TestCommandThatFails(t *testing.T) {
	sh := shell(t, "")[0]
	for _, tt := range []struct {
		command []string
		want    string
		reason  error
	}{
		{shell(t, "echo https://x.example/1; echo first >&2; printf 'no \\033[2Jlogin\\n' >&2; exit 3"), "the command of --pr-command, " + sh + ", ended with exit status 3: no [2Jlogin", ErrRefused},
		{[]string{"no-such-program-at-all"}, "the command of --pr-command, no-such-program-at-all, is not here", ErrMisuse},
	} {
		f, err := Open(t.Context(), "/srv/git/web", Options{Command: tt.command})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Publish(t.Context(), feature); !errors.Is(err, tt.reason) || err.Error() != "pull request of pin/web: "+tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}

// The end of the context is the end of the command, and of what it started.
func TestCommandThatHangs(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("interrupted")
	started := writerFunc(func(p []byte) (int, error) { cancel(cause); return len(p), nil })
	f, err := Open(ctx, "/srv/git/web", Options{Command: shell(t, "echo started; sleep 1000 & wait"), Environ: os.Environ(), Log: started})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Publish(ctx, feature); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
