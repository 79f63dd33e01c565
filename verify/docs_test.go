package verify

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The example in the documentation is a policy that loads, and shows every field
// that there is.
func TestPolicyDocumentation(t *testing.T) {
	text, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	if match == nil {
		t.Fatal("no example")
	}
	if _, err := ParsePolicy("docs/policy.md", match[1]); err != nil {
		t.Error(err)
	}
	for _, field := range fieldsOf(reflect.TypeFor[Policy]()) {
		name := field[strings.LastIndexByte(field, '.')+1:]
		if !regexp.MustCompile(`\b` + name + `:`).Match(match[1]) {
			t.Errorf("the example does not show %s", field)
		}
	}
}

// The schema knows the fields that the program knows, and no others.
func TestPolicySchema(t *testing.T) {
	text, err := os.ReadFile("../docs/policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	got, want := schemaFields("", schema), fieldsOf(reflect.TypeFor[Policy]())
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the schema has\n%s\nthe program has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// fieldsOf lists the YAML fields of a struct: a, a.b, a[].c.
func fieldsOf(t reflect.Type) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == "" {
			continue
		}
		names = append(names, name)
		for _, below := range fieldsOf(t.Field(i).Type) {
			names = append(names, name+"."+below)
		}
	}
	return names
}

func schemaFields(prefix string, schema map[string]any) []string {
	if items, ok := schema["items"].(map[string]any); ok {
		schema = items
	}
	properties, _ := schema["properties"].(map[string]any)
	var names []string
	for name, below := range properties {
		names = append(names, prefix+name)
		names = append(names, schemaFields(prefix+name+".", below.(map[string]any))...)
	}
	return names
}
