package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadConfig(t *testing.T) {
	for name, tt := range map[string]struct{ text, plugin, mistake string }{
		"the least":         {"kind: ConfigManagementPlugin\nmetadata: {name: pin-cmp}\n", "pin-cmp", ""},
		"a version":         {"kind: ConfigManagementPlugin\nmetadata: {name: pin-cmp}\nspec: {version: v1.0}\n", "pin-cmp-v1.0", ""},
		"other keys":        {"kind: ConfigManagementPlugin\nmetadata: {name: a, labels: {b: c}}\nspec: {preserveFileMode: true, provideGitCreds: true, later: 1}\n", "a", ""},
		"generate":          {"kind: ConfigManagementPlugin\nmetadata: {name: a}\nspec: {generate: {command: [/usr/local/bin/pin-cmp], args: [generate]}}\n", "a", ""},
		"empty discovery":   {"kind: ConfigManagementPlugin\nmetadata: {name: a}\nspec: {discover: {}}\n", "a", ""},
		"nothing":           {"", "", `kind is ""`},
		"another kind":      {"kind: ConfigMap\nmetadata: {name: a}\n", "", `kind is "ConfigMap"; it must be ConfigManagementPlugin`},
		"no name":           {"kind: ConfigManagementPlugin\n", "", "metadata.name is missing"},
		"a path":            {"kind: ConfigManagementPlugin\nmetadata: {name: ../a}\n", "", `"../a" can't be that of a file`},
		"a path in version": {"kind: ConfigManagementPlugin\nmetadata: {name: a}\nspec: {version: b/c}\n", "", `"a-b/c" can't be`},
		"discovery":         {"kind: ConfigManagementPlugin\nmetadata: {name: a}\nspec: {discover: {fileName: x}}\n", "", "discovery fails open"},
		"init":              {"kind: ConfigManagementPlugin\nmetadata: {name: a}\nspec: {init: {command: [sh, -c, ls]}}\n", "", "spec.init runs sh -c ls, which serve does not"},
		"another generate":  {"kind: ConfigManagementPlugin\nmetadata: {name: a}\nspec: {generate: {command: [kustomize, build]}}\n", "", "spec.generate runs kustomize build, which serve does not"},
		"flags":             {"kind: ConfigManagementPlugin\nmetadata: {name: a}\nspec: {generate: {command: [pin-cmp, generate, --policy, /x]}}\n", "", "spec.generate gives --policy /x to pin-cmp generate, which serve does not read"},
		"dynamic":           {"kind: ConfigManagementPlugin\nmetadata: {name: a}\nspec: {parameters: {dynamic: {command: [x]}}}\n", "", "spec.parameters.dynamic runs x"},
		"nameless":          {"kind: ConfigManagementPlugin\nmetadata: {name: a}\nspec: {parameters: {static: [{title: x}]}}\n", "", "spec.parameters.static[0] has no name"},
		"no YAML":           {"kind: [\n", "", "yaml: line"},
		"a wrong type":      {"kind: ConfigManagementPlugin\nmetadata: [a]\n", "", "metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			config, err := ReadConfig(dir)
			if tt.mistake == "" {
				if err != nil || config.Name != tt.plugin {
					t.Errorf("got %q, %v", config.Name, err)
				}
				if got := config.Socket("/plugins"); got != "/plugins/"+tt.plugin+".sock" {
					t.Errorf("socket %s", got)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.mistake) || !strings.HasPrefix(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want …%s…", err, tt.mistake)
			}
		})
	}
	if _, err := ReadConfig(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no such file or directory; mount the ConfigManagementPlugin there") {
		t.Errorf("no file: %v", err)
	}
}

// TestOurOwnConfig: the file that the image ships is one that serve takes.
func TestOurOwnConfig(t *testing.T) {
	if config, err := ReadConfig("../.."); err != nil || config.Name != "pin-cmp" || config.Versioned {
		t.Errorf("got %+v, %v", config, err)
	}
}

func TestStaticAnnouncements(t *testing.T) {
	config, err := parseConfig([]byte("kind: ConfigManagementPlugin\nmetadata: {name: a}\nspec:\n  parameters:\n    static:\n    - {name: x, title: X, tooltip: t, required: true, itemType: string, collectionType: map, map: {a: b}, array: [c], string: d}\n"))
	if err != nil || len(config.Announcements) != 1 {
		t.Fatalf("got %v, %v", config, err)
	}
	a := config.Announcements[0]
	if a.GetName() != "x" || a.GetTitle() != "X" || a.GetTooltip() != "t" || !a.GetRequired() || a.GetItemType() != "string" ||
		a.GetCollectionType() != "map" || a.GetMap()["a"] != "b" || a.GetArray()[0] != "c" || a.GetString_() != "d" {
		t.Errorf("got %v", a)
	}
}
