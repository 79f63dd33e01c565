package imageref

import (
	"strings"
	"testing"
)

const hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	digest := "sha256:" + hex
	tests := []struct {
		in         string
		state      State
		repository string
		tag        string
		reason     string // a part of it
	}{
		{"nginx", Floating, "docker.io/library/nginx", "", "latest"},
		{"nginx:1.27", Floating, "docker.io/library/nginx", "1.27", "tag, not a digest"},
		{"nginx@" + digest, Static, "docker.io/library/nginx", "", ""},
		{"nginx:1.27@" + digest, Static, "docker.io/library/nginx", "1.27", ""},
		{"index.docker.io/library/nginx:1", Floating, "docker.io/library/nginx", "1", ""},
		{"ghcr.io/acme/web@build", Symbolic, "ghcr.io/acme/web", "", "@build"},
		{"ghcr.io/acme/web:1.4.0@build", Symbolic, "ghcr.io/acme/web", "1.4.0", ""},
		{"ghcr.io/acme/web:1.3.9@build+minor", Symbolic, "ghcr.io/acme/web", "1.3.9", ""},
		{"nginx:1.27@resolve", Symbolic, "docker.io/library/nginx", "1.27", "@resolve"},
		{"ghcr.io/acme/web@" + ZeroDigest, Symbolic, "ghcr.io/acme/web", "", "all-zero"},
		{"localhost:5000/web:1", Floating, "localhost:5000/web", "1", ""},
		{"127.0.0.1:5000/web", Floating, "127.0.0.1:5000/web", "", ""},
		{"[::1]:5000/web:1", Floating, "[::1]:5000/web", "1", ""},
		{"Foo/bar:1", Floating, "Foo/bar", "1", ""}, // the parser reads an upper-case first part as a host

		{"", Invalid, "", "", "empty"},
		{"ghcr.io/acme/web@biuld", Invalid, "", "", "did you mean @build?"},
		{"ghcr.io/acme/web@reslove", Invalid, "", "", "did you mean @resolve?"},
		{"ghcr.io/acme/web@latest", Invalid, "", "", "a digest is sha256:"},
		{"web@sha256:" + strings.ToUpper(hex), Invalid, "", "", "upper case"},
		{"web@sha256:" + hex[1:], Invalid, "", "", "63 characters"},
		{"web@sha512:" + hex + hex, Invalid, "", "", "sha512"},
		{"web@md5:" + hex[:32], Invalid, "", "", "md5"},
		{"ghcr.io/acme/web@build@" + digest, Invalid, "", "", ""},
		{"ghcr.io/acme/web@" + digest + "@build", Invalid, "", "", ""},
		{"docker://nginx:1", Invalid, "", "", "scheme"},
		{"oci://host/a:1", Invalid, "", "", "scheme"},
		{"pin://web", Invalid, "", "", "scheme"},
		{"gcr.io/foo//bar", Invalid, "", "", ""},
		{"a___b", Invalid, "", "", ""},
		{"a..b", Invalid, "", "", ""},
		{"web:-x", Invalid, "", "", ""},
		{"ghcr.io/acme/Web:1", Invalid, "", "", "upper-case"},
		{hex, Invalid, "", "", ""},
		{" nginx:1", Invalid, "", "", "white space"},
		{"nginx:1\n", Invalid, "", "", "white space"},
		{"$(params.image)", Invalid, "", "", "variable"},
		{"ghcr.io/acme/web:${TAG}", Invalid, "", "", "variable"},
		{"ghcr.io/acme/web:{{ .Values.tag }}", Invalid, "", "", "variable"},
		{"ko://github.com/acme/web", Invalid, "", "", "scheme"},
		{"someone@build@example.com", Invalid, "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got := Parse(tt.in)
			if got.State != tt.state || got.Repository != tt.repository || got.Tag != tt.tag {
				t.Errorf("Parse = %s %q tag %q, want %s %q tag %q", got.State, got.Repository, got.Tag, tt.state, tt.repository, tt.tag)
			}
			if !strings.Contains(got.Reason, tt.reason) {
				t.Errorf("reason %q does not mention %q", got.Reason, tt.reason)
			}
			if (got.State == Static) != (got.Reason == "") || (got.State == Static) != (got.Digest != "") {
				t.Errorf("state %s with reason %q and digest %q", got.State, got.Reason, got.Digest)
			}
		})
	}
}

func TestParseBump(t *testing.T) {
	for _, bump := range []string{"patch", "minor", "major"} {
		if r := Parse("a/b:1.0.0@build+" + bump); r.Bump != bump || r.Verb != Build {
			t.Errorf("got verb %q bump %q", r.Verb, r.Bump)
		}
	}
	if r := Parse("a/b:1.0.0@build+tiny"); r.State != Invalid {
		t.Errorf("an unknown bump is %s", r.State)
	}
}

func TestShaped(t *testing.T) {
	for s, want := range map[string]bool{
		"ghcr.io/acme/web:1.0":           true,
		"library/nginx:1":                true,
		"ghcr.io/acme/web@build":         true,
		"ghcr.io/acme/web@sha256:" + hex: true,
		"nginx:1.27":                     false, // a key:value pair looks the same
		"apps/v1":                        false,
		"topology.kubernetes.io/zone":    false,
		"10.0.0.0/8":                     false,
		"https://example.com/x:1":        false,
		"deploy@build":                   false, // an ssh target
		"me@example.com":                 false,
		"@scope/package":                 false,
		"see ghcr.io/acme/web:1.0":       false,
		"/etc/ssl:/etc/ssl":              false,
		"a/b:{{ tag }}":                  false,
	} {
		if got := Shaped(s); got != want {
			t.Errorf("Shaped(%q) = %v, want %v", s, got, want)
		}
	}
}

// Whatever the text, a static verdict means exactly one thing.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"nginx", "a/b:1@build+minor", "a@sha256:" + hex, "x@" + ZeroDigest, "[::1]:5000/a", "a:b@c:d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := Parse(s)
		if r.State != Static {
			if r.Reason == "" || r.Digest != "" {
				t.Fatalf("%q is %s without a reason, or with a digest", s, r.State)
			}
			return
		}
		if !strings.HasSuffix(s, "@"+r.Digest) || len(r.Digest) != len(ZeroDigest) || r.Digest == ZeroDigest {
			t.Fatalf("%q is static with digest %q", s, r.Digest)
		}
		if again := Parse(r.Repository + "@" + r.Digest); again.State != Static || again.Repository != r.Repository {
			t.Fatalf("%q does not survive normalisation: %+v", s, again)
		}
	})
}
