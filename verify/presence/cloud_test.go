package presence

import (
	"context"
	"encoding/base64"
	"io"
	"testing"

	"github.com/sirupsen/logrus"
)

// A cloud's credentials go to its own registries and to nobody who is called
// alike.
func TestCloudsOwnTheirHostsOnly(t *testing.T) {
	clouds := map[string]cloud{googleName: &googleCloud{}, awsName: aws{}, azureName: azure{}}
	for host, owner := range map[string]string{
		"gcr.io":                         googleName,
		"eu.gcr.io":                      googleName,
		"europe-docker.pkg.dev":          googleName,
		"gcr.io.example.org":             "",
		"notgcr.io":                      "",
		"pkg.dev":                        "",
		"pkg.dev.example.org":            "",
		"public.ecr.aws":                 awsName,
		"public.ecr.aws.example.org":     "",
		"acme.azurecr.io":                azureName,
		"acme.azurecr.cn":                azureName,
		"acme.azurecr.io.example.org":    "",
		"azurecr.io":                     "",
		"mcr.microsoft.com":              "",
		"ghcr.io":                        "",
		"index.docker.io":                "",
		"localhost:5000":                 "",
		"127.0.0.1:5000":                 "",
		"amazonaws.com":                  "",
		"dkr.ecr.eu-west-1.amazonaws.co": "",
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com":             awsName,
		"123456789012.dkr.ecr-fips.us-east-1.amazonaws.com":        awsName,
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn":         awsName,
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.org": "",
	} {
		for name, c := range clouds {
			if got, want := c.owns(host), name == owner; got != want {
				t.Errorf("%s owns %s: %v, want %v", name, host, got, want)
			}
		}
	}
}

// The identity of a cloud's credential is where it comes from: it outlives a
// rotated token, and not a change of the account.
func TestCloudIdentity(t *testing.T) {
	dir := home(t)
	token := func(subject, issued string) string {
		part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
		return part(`{"alg":"RS256"}`) + "." + part(`{"iss":"k8s","sub":"`+subject+`","iat":`+issued+`}`) + ".c2ln"
	}
	path := write(t, dir+"/token", token("system:serviceaccount:argocd:repo-server", "1"))
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/a")
	const host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
	first := aws{}.identity(host)
	write(t, path, token("system:serviceaccount:argocd:repo-server", "2"))
	if (aws{}).identity(host) != first {
		t.Error("a rotated token is another identity")
	}
	write(t, path, token("system:serviceaccount:other:repo-server", "2"))
	second := aws{}.identity(host)
	if second == first {
		t.Error("another service account is the same identity")
	}
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/b")
	if (aws{}).identity(host) == second {
		t.Error("another role is the same identity")
	}

	write(t, dir+"/.config/gcloud/application_default_credentials.json", `{"client_id":"a"}`)
	google := (&googleCloud{}).identity("gcr.io")
	write(t, dir+"/.config/gcloud/application_default_credentials.json", `{"client_id":"b"}`)
	if (&googleCloud{}).identity("gcr.io") == google {
		t.Error("another Google account is the same identity")
	}
}

// A file that is named and missing is the user's mistake, not anonymity.
func TestMissingGoogleFile(t *testing.T) {
	dir := home(t)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", dir+"/key.json")
	_, err := resolve(t, DefaultKeychain(), "gcr.io/acme/web")
	want := dir + "/key.json: GOOGLE_APPLICATION_CREDENTIALS names this file, which can't be read; make it readable, or unset GOOGLE_APPLICATION_CREDENTIALS"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	// It doesn't matter to anybody else's registry.
	if got, err := resolve(t, DefaultKeychain(), "ghcr.io/acme/web"); got != "anonymous" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
}

// A broken AWS configuration is a credential that can't be had, and the
// package's log stays out of Argo CD's error text.
func TestBrokenAWSConfig(t *testing.T) {
	dir := home(t)
	t.Setenv("AWS_CONFIG_FILE", write(t, dir+"/config", "[profile x]\nrole_arn = arn:aws:iam::1:role/a\nsource_profile = nowhere\n"))
	t.Setenv("AWS_PROFILE", "x")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	_, err := aws{}.credential(context.Background(), "123456789012.dkr.ecr.eu-west-1.amazonaws.com")
	if err == nil {
		t.Error("no error")
	}
	if out := logrus.StandardLogger().Out; out != io.Discard {
		t.Errorf("logs to %v", out)
	}
}
