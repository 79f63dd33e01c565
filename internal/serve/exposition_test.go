package serve

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// sample is a line of Prometheus's text format.
var sample = regexp.MustCompile(`^([a-z_]+)(\{[a-z]+="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-z]+="(?:[^"\\\n]|\\[\\"n])*")*\})? (\S+)$`)

// TestMetrics: what Prometheus reads is well-formed and says what happened.
func TestMetrics(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	w := start(t, func(o *Options) { o.MetricsAddress = address })
	image := w.push(t)
	for range 3 {
		if _, err := request(t, "app", map[string]string{"app/a.yaml": pod(image)}).generate(t.Context(), w.dial(t)); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = request(t, "app", map[string]string{"app/a.yaml": pod("nginx")}).generate(t.Context(), w.dial(t))
	_, _ = request(t, "../app", map[string]string{"app/a.yaml": pod("nginx")}).generate(t.Context(), w.dial(t))
	w.server.ready.Settle(t.Context())

	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil || response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%v %v", response, err)
	}
	typed := map[string]string{}
	values := map[string]string{}
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			typed[name] = kind
			continue
		}
		if strings.HasPrefix(line, "# HELP ") {
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("not a sample: %q", line)
			continue
		}
		family := m[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(family, suffix); ok && typed[base] == "histogram" {
				family = base
			}
		}
		if typed[family] == "" {
			t.Errorf("%s has no type before it", line)
		}
		values[m[1]+m[2]] = m[3]
	}
	host := strings.Split(image, "/")[0]
	for name, want := range map[string]string{
		`pin_cmp_generates_total{result="passed"}`:                          "3",
		`pin_cmp_generates_total{result="refused"}`:                         "1",
		`pin_cmp_generates_total{result="invalid"}`:                         "1",
		`pin_cmp_generate_seconds_count{result="passed"}`:                   "3",
		`pin_cmp_generate_seconds_bucket{result="passed",le="+Inf"}`:        "3",
		`pin_cmp_render_seconds_count`:                                      "4",
		`pin_cmp_queue_seconds_count`:                                       "4",
		`pin_cmp_verdicts_total{registry="` + host + `",verdict="present"}`: "3",
		`pin_cmp_registry_seconds_count{registry="` + host + `"}`:           "1",
		`pin_cmp_ready_children`:                                            "2",
		`pin_cmp_checkout_bytes`:                                            "0",
	} {
		if values[name] != want {
			t.Errorf("%s is %q, want %s", name, values[name], want)
		}
	}
}

// TestRegistriesAreBounded: a repository can't fill Prometheus with names.
func TestRegistriesAreBounded(t *testing.T) {
	m := newMetrics()
	for i := range 2 * maxRegistries {
		m.verdicts.add(m.registry(hostOf(presence.Image{Repository: fmt.Sprintf("host%d.example.com/a", i)})), "present")
	}
	if n := len(m.verdicts.values); n != maxRegistries+1 {
		t.Errorf("%d series", n)
	}
	if got := m.registry("host0.example.com"); got != "host0.example.com" {
		t.Errorf("a known registry became %s", got)
	}
}

func TestHistogram(t *testing.T) {
	var e exposition
	h := e.histogram("h", "A\n", "l")
	for _, v := range []float64{0.001, 0.0011, 59, 61} {
		h.observe(v, "a\"\\\n\xff")
	}
	var b strings.Builder
	if err := e.write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`h_bucket{l="a\"\\\n",le="0.001"} 1`, `le="0.0025"} 2`, `le="60"} 3`, `le="+Inf"} 4`, `h_count{l="a\"\\\n"} 4`, "h_sum{l=\"a\\\"\\\\\\n\"} 120.0021"} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, &b)
		}
	}
}

// TestLog: who and why, and nothing that a log should not hold.
func TestLog(t *testing.T) {
	w := start(t, nil)
	_, err := request(
		t, "app", map[string]string{"app/a.yaml": pod("nginx")},
		"ARGOCD_APP_NAME=shop", "ARGOCD_APP_PROJECT_NAME=team", "ARGOCD_APP_SOURCE_REPO_URL=https://user:hunter2@git.example.com/acme/deploy?token=hunter2",
		"ARGOCD_ENV_PASSWORD=hunter2", "ARGOCD_APP_REVISION=abc",
	).generate(t.Context(), w.dial(t))
	if err == nil {
		t.Fatal("passed")
	}
	for !strings.Contains(w.log.String(), `"msg":"generate"`) {
		time.Sleep(time.Millisecond)
	}
	log := w.log.String()
	for _, want := range []string{
		`"app":"shop"`, `"project":"team"`, `"repo":"https://git.example.com/acme/deploy"`, `"revision":"abc"`,
		`"code":"FailedPrecondition"`, `"result":"refused"`, `"reason":"refused 1 of 1 image: Pod/web uses nginx`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in %s", want, log)
		}
	}
	if strings.Contains(log, "hunter2") {
		t.Errorf("a secret in %s", log)
	}
	for address, want := range map[string]string{
		"git@github.com:acme/deploy.git":       "github.com:acme/deploy.git",
		"ssh://git:pw@host/x":                  "ssh://host/x",
		"https://%zz:hunter2@host/x":           "host/x",
		"https://git.example.com/a?x=hunter2#": "https://git.example.com/a",
		"":                                     "",
	} {
		if got := withoutSecret(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
