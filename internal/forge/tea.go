package forge

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// teaLogin is one of the logins in tea's configuration (tea,
// modules/config/login.go): the parts that are needed here.
type teaLogin struct {
	Name         string `yaml:"name"`
	URL          string `yaml:"url"`
	Token        string `yaml:"token"`
	Default      bool   `yaml:"default"`
	SSHHost      string `yaml:"ssh_host"`
	RefreshToken string `yaml:"refresh_token"` // of an OAuth login, whose token expires
}

// teaConfig are the places of tea's configuration.
func (t tools) teaConfig() []string {
	var places []string
	if dir := t.env["XDG_CONFIG_HOME"]; filepath.IsAbs(dir) {
		places = append(places, filepath.Join(dir, "tea", "config.yml"))
	}
	if home := t.env["HOME"]; filepath.IsAbs(home) {
		places = append(places,
			filepath.Join(home, ".config", "tea", "config.yml"),
			filepath.Join(home, "Library", "Application Support", "tea", "config.yml"))
	}
	if dir := t.env["LOCALAPPDATA"]; filepath.IsAbs(dir) {
		places = append(places, filepath.Join(dir, "tea", "config.yml"))
	}
	return places
}

// teaLogin finds the login for a site, the default one if there are several.
func (t tools) teaLogin(s site) (login teaLogin, ok bool) {
	for _, place := range t.teaConfig() {
		data, err := os.ReadFile(place)
		if err != nil {
			continue
		}
		var config struct {
			Logins []teaLogin `yaml:"logins"`
		}
		if yaml.Unmarshal(data, &config) != nil {
			return teaLogin{}, false
		}
		for _, l := range config.Logins {
			if l.Name != "" && l.is(s) && (!ok || l.Default) {
				login, ok = l, true
			}
		}
		return login, ok
	}
	return teaLogin{}, false
}

func (l teaLogin) is(s site) bool {
	if s.givenAPI {
		return strings.TrimRight(l.URL, "/")+apiPath[Gitea] == s.api
	}
	return hostOf(l.URL) == s.host || strings.EqualFold(l.SSHHost, s.host)
}

// api returns the base of the API of the login's server; "" if it is not https.
func (l teaLogin) api() string {
	u, err := url.Parse(strings.TrimRight(l.URL, "/"))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	return u.String() + apiPath[Gitea]
}

// hasAPI reports whether this tea has "tea api": 0.12 and later.
func (t tools) teaHasAPI(ctx context.Context, program string) bool {
	out, _, err := t.run(ctx, program, nil, "api", "--help")
	return err == nil && strings.Contains(string(out), "--include")
}
