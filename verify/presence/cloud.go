package presence

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	ecr "github.com/awslabs/amazon-ecr-credential-helper/ecr-login/api"
	"github.com/chrismellard/docker-credential-acr-env/pkg/credhelper"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/google"
	"github.com/sirupsen/logrus"
	"golang.org/x/oauth2"
	googleauth "golang.org/x/oauth2/google"
)

const (
	googleName = "Google Cloud"
	awsName    = "AWS"
	azureName  = "Azure"
)

// googleCloud finds Application Default Credentials, else asks gcloud. Unlike
// go-containerregistry's google.Keychain it can tell "none" from "none to be
// had", and is bound to no caller's context.
type googleCloud struct {
	mu     sync.Mutex
	source oauth2.TokenSource
}

func (*googleCloud) name() string { return googleName }

// owns is go-containerregistry's rule (pkg/v1/google/keychain.go, isGoogle).
func (*googleCloud) owns(host string) bool {
	return host == "gcr.io" || hasSuffix(host, ".gcr.io", ".pkg.dev", ".google.com")
}

func (g *googleCloud) credential(ctx context.Context, host string) (authn.Authenticator, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.source == nil {
		if path := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS"); path != "" {
			if _, err := os.Stat(path); err != nil {
				return nil, &ConfigError{
					File: path, Registry: host, Err: err,
					Problem: "GOOGLE_APPLICATION_CREDENTIALS names this file, which can't be read",
					Fix:     "make it readable, or unset GOOGLE_APPLICATION_CREDENTIALS",
				}
			}
		}
		// The source outlives this call, so its context must, too.
		found, err := googleauth.FindDefaultCredentials(context.Background(), "https://www.googleapis.com/auth/cloud-platform")
		switch {
		case err == nil:
			g.source = oauth2.ReuseTokenSourceWithExpiry(nil, found.TokenSource, 5*time.Minute)
		case configured(googleSources):
			return nil, err // there is one, and it is broken
		default:
			if _, err := exec.LookPath("gcloud"); err != nil {
				return nil, nil
			}
			return google.NewGcloudAuthenticator(ctx)
		}
	}
	if _, err := g.source.Token(); err != nil {
		return nil, err
	}
	return google.NewTokenSourceAuthenticator(g.source), nil
}

var googleSources = sources{
	variables: []string{"GOOGLE_APPLICATION_CREDENTIALS"},
	files: []string{
		"$GOOGLE_APPLICATION_CREDENTIALS",
		"$CLOUDSDK_CONFIG/application_default_credentials.json",
		"~/.config/gcloud/application_default_credentials.json",
	},
}

func (*googleCloud) identity(string) string {
	s := googleSources
	s.variables = append(s.variables, "CLOUDSDK_CONFIG", "CLOUDSDK_ACTIVE_CONFIG_NAME", "CLOUDSDK_CORE_ACCOUNT", "GCE_METADATA_HOST")
	s.files = append(s.files, "$CLOUDSDK_CONFIG/active_config", "~/.config/gcloud/active_config",
		"~/.config/gcloud/configurations/config_default", "~/.config/gcloud/credentials.db")
	return "google " + s.fingerprint()
}

// aws is Amazon's Elastic Container Registry.
type aws struct{}

func (aws) name() string { return awsName }

func (aws) owns(host string) bool {
	_, err := ecr.ExtractRegistry(host)
	return err == nil
}

func (a aws) credential(_ context.Context, host string) (_ authn.Authenticator, err error) {
	registry, err := ecr.ExtractRegistry(host)
	if err != nil {
		return nil, err
	}
	public := registry.Service == ecr.ServiceECRPublic
	if public && !configured(awsSources) {
		return nil, nil // readable by anybody; not worth a search for a metadata service
	}
	// The package talks to the standard logger, which nothing else here uses.
	logrus.SetOutput(io.Discard)
	defer func() {
		if p := recover(); p != nil { // its answer to a broken ~/.aws/config
			err = fmt.Errorf("reading the AWS configuration: %v", p)
		}
	}()
	var client ecr.Client
	if registry.FIPS {
		if client, err = (ecr.DefaultClientFactory{}).NewClientWithFipsEndpoint(registry.Region); err != nil {
			return nil, err
		}
	} else {
		client = ecr.DefaultClientFactory{}.NewClientFromRegion(registry.Region)
	}
	got, err := client.GetCredentials(host)
	if err != nil {
		if public {
			return nil, nil
		}
		return nil, err
	}
	return authn.FromConfig(authn.AuthConfig{Username: got.Username, Password: got.Password}), nil
}

var awsSources = sources{
	variables: []string{
		"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
	},
	files:  []string{"$AWS_CONFIG_FILE", "$AWS_SHARED_CREDENTIALS_FILE", "~/.aws/config", "~/.aws/credentials"},
	tokens: []string{"$AWS_WEB_IDENTITY_TOKEN_FILE", "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"},
}

func (aws) identity(host string) string { return "aws " + host + " " + awsSources.fingerprint() }

// azure is Azure Container Registry.
type azure struct{}

func (azure) name() string { return azureName }

// owns compares the whole end of the host: the package's own pattern is not
// anchored there, and would send a token to x.azurecr.io.example.com.
func (azure) owns(host string) bool {
	return hasSuffix(host, ".azurecr.io", ".azurecr.cn", ".azurecr.de", ".azurecr.us")
}

func (azure) credential(_ context.Context, host string) (authn.Authenticator, error) {
	user, secret, err := credhelper.NewACRCredentialsHelper().Get(host)
	if err != nil {
		return nil, err
	}
	return authn.FromConfig(authn.AuthConfig{Username: user, IdentityToken: secret}), nil
}

var azureSources = sources{
	variables: []string{"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_ENVIRONMENT"},
	tokens:    []string{"$AZURE_FEDERATED_TOKEN_FILE"},
}

func (azure) identity(string) string { return "azure " + azureSources.fingerprint() }

func hasSuffix(s string, suffixes ...string) bool {
	for _, suffix := range suffixes {
		if strings.HasSuffix(s, suffix) {
			return true
		}
	}
	return false
}

// sources is where a cloud's credential comes from: what has to be the same for
// two processes to be the same to the cloud. Where none of it is set, that is
// the machine.
type sources struct {
	variables []string
	files     []string
	// tokens are files with a Kubernetes service account's token. It is
	// replaced every hour, and only its subject counts.
	tokens []string
}

// configured tells whether any of it is there.
func configured(s sources) bool {
	for _, v := range s.variables {
		if os.Getenv(v) != "" {
			return true
		}
	}
	for _, f := range append(s.files, s.tokens...) {
		if path := expand(f); path != "" {
			if _, err := os.Stat(path); err == nil {
				return true
			}
		}
	}
	return false
}

func (s sources) fingerprint() string {
	h := sha256.New()
	part := func(name string, value []byte) {
		_, _ = fmt.Fprintf(h, "%s %d ", name, len(value))
		_, _ = h.Write(value)
	}
	for _, v := range s.variables {
		part(v, []byte(os.Getenv(v)))
	}
	for _, f := range s.files {
		if path := expand(f); path != "" {
			content, _ := os.ReadFile(path)
			part(f, content)
		}
	}
	for _, f := range s.tokens {
		if path := expand(f); path != "" {
			content, _ := os.ReadFile(path)
			part(f, subject(content))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// expand replaces a leading variable or tilde; "" if it stands for nothing.
func expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		return filepath.Join(home, rest)
	}
	if rest, ok := strings.CutPrefix(path, "$"); ok {
		variable, rest, _ := strings.Cut(rest, "/")
		value := os.Getenv(variable)
		if value == "" {
			return ""
		}
		return filepath.Join(value, rest)
	}
	return path
}

// subject returns who a JSON web token speaks for, the whole token if it can't
// be read.
func subject(token []byte) []byte {
	parts := strings.Split(strings.TrimSpace(string(token)), ".")
	if len(parts) != 3 {
		return token
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return token
	}
	var claims struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Subject == "" {
		return token
	}
	return []byte(claims.Issuer + "\n" + claims.Subject)
}
