package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/pin-cmp/pin-cmp/internal/plugin/pluginpb"
)

// ConfigFile is the name of the file that declares a plugin.
const ConfigFile = "plugin.yaml"

// Config is what a ConfigManagementPlugin says, as far as it concerns a server
// that is the plugin itself.
type Config struct {
	// Name is the plugin's, as Applications spell it in
	// spec.source.plugin.name: metadata.name, and -spec.version if there is one.
	Name string
	// Versioned is set if there is a version in Name.
	Versioned bool
	// Announcements are spec.parameters.static.
	Announcements []*pluginpb.ParameterAnnouncement
}

// configuration is the file's form (Argo CD, cmpserver/plugin/config.go). Like
// there, keys that are not known are passed over.
type configuration struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version  string          `json:"version"`
		Init     *command        `json:"init"`
		Generate *command        `json:"generate"`
		Discover json.RawMessage `json:"discover"`

		Parameters struct {
			Static  []announcement `json:"static"`
			Dynamic *command       `json:"dynamic"`
		} `json:"parameters"`
	} `json:"spec"`
}

type command struct {
	Command []string `json:"command"`
	Args    []string `json:"args"`
}

func (c *command) words() []string {
	if c == nil {
		return nil
	}
	return append(append([]string(nil), c.Command...), c.Args...)
}

type announcement struct {
	Name           string            `json:"name"`
	Title          string            `json:"title"`
	Tooltip        string            `json:"tooltip"`
	Required       bool              `json:"required"`
	ItemType       string            `json:"itemType"`
	CollectionType string            `json:"collectionType"`
	String         string            `json:"string"`
	Array          []string          `json:"array"`
	Map            map[string]string `json:"map"`
}

// ReadConfig reads plugin.yaml in dir. What only a server that runs commands
// could do is an error: it would silently not be done.
func ReadConfig(dir string) (Config, error) {
	file := filepath.Join(dir, ConfigFile)
	content, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w; mount the ConfigManagementPlugin there, or name its directory with --config-dir", file, errors.Unwrap(err))
	}
	config, err := parseConfig(content)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	return config, nil
}

func parseConfig(content []byte) (Config, error) {
	var file configuration
	if err := yaml.Unmarshal(content, &file); err != nil {
		text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "), "error unmarshaling JSON: ")
		return Config{}, errors.New(strings.Join(strings.Fields(text), " "))
	}
	const want = "ConfigManagementPlugin"
	if file.Kind != want {
		return Config{}, fmt.Errorf("kind is %q; it must be %s", file.Kind, want)
	}
	if file.Metadata.Name == "" {
		return Config{}, errors.New("metadata.name is missing: Applications name the plugin by it")
	}
	config := Config{Name: file.Metadata.Name, Versioned: file.Spec.Version != ""}
	if config.Versioned {
		config.Name += "-" + file.Spec.Version
	}
	if strings.ContainsAny(config.Name, "/\x00") || strings.HasPrefix(config.Name, ".") {
		return Config{}, fmt.Errorf("the plugin's name %q can't be that of a file", config.Name)
	}
	if len(file.Spec.Discover) > 0 && string(file.Spec.Discover) != "null" && string(file.Spec.Discover) != "{}" {
		return Config{}, errors.New("spec.discover is set, but discovery fails open: when the plugin is slow or down, Argo CD renders applications itself, unverified; remove it, and name the plugin in each Application")
	}
	if words := file.Spec.Init.words(); len(words) > 0 {
		return Config{}, fmt.Errorf("spec.init runs %s, which serve does not; remove it, or run the plugin under argocd-cmp-server", strings.Join(words, " "))
	}
	if words := file.Spec.Parameters.Dynamic.words(); len(words) > 0 {
		return Config{}, fmt.Errorf("spec.parameters.dynamic runs %s, which serve does not: it announces an application's images by itself; remove it", strings.Join(words, " "))
	}
	if words := file.Spec.Generate.words(); len(words) > 0 {
		switch {
		case len(words) < 2 || filepath.Base(words[0]) != "pin-cmp" || words[1] != "generate":
			return Config{}, fmt.Errorf("spec.generate runs %s, which serve does not; it must be pin-cmp generate, or not be there", strings.Join(words, " "))
		case len(words) > 2:
			return Config{}, fmt.Errorf("spec.generate gives %s to pin-cmp generate, which serve does not read; give it to pin-cmp serve, or by its variable (PIN_CMP_POLICY) to both", strings.Join(words[2:], " "))
		}
	}
	for i, a := range file.Spec.Parameters.Static {
		if a.Name == "" {
			return Config{}, fmt.Errorf("spec.parameters.static[%d] has no name", i)
		}
		config.Announcements = append(config.Announcements, &pluginpb.ParameterAnnouncement{
			Name: a.Name, Title: a.Title, Tooltip: a.Tooltip, Required: a.Required, ItemType: a.ItemType,
			CollectionType: a.CollectionType, String_: a.String, Array: a.Array, Map: a.Map,
		})
	}
	return config, nil
}

// Socket returns the path at which Argo CD looks for the plugin in dir.
func (c Config) Socket(dir string) string { return filepath.Join(dir, c.Name+".sock") }
