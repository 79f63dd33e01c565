package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// errNoKind is what Kubernetes' decoder says of an object without a kind.
var errNoKind = errors.New("the object has no kind")

// decodeObject is what Argo CD makes of one YAML document: YAML to JSON, JSON
// to an unstructured object, whole numbers as int64 (gitops-engine,
// pkg/utils/kube SplitYAML).
func decodeObject(text []byte) (map[string]any, error) {
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	var u unstructured.Unstructured
	if err := u.UnmarshalJSON(asJSON); err != nil {
		if u.Object != nil && u.GetKind() == "" {
			return nil, errNoKind
		}
		return nil, err
	}
	return u.Object, nil
}

// encodeObject returns the YAML of a decoded object, and what decodeObject
// makes of that YAML. The two objects are equal but for one thing that Argo CD
// does too: a float without a fraction (1e3) becomes a whole number.
func encodeObject(object map[string]any) ([]byte, map[string]any, error) {
	want := wholeNumbers(object)
	text, err := yaml.Marshal(object)
	if err == nil {
		var back map[string]any
		if back, err = decodeObject(text); err == nil && reflect.DeepEqual(back, want) {
			return text, back, nil
		}
		if errors.Is(err, errNoKind) {
			return nil, nil, err
		}
	}
	// sigs.k8s.io/yaml goes through JSON that it reads as YAML, which fails on
	// keys of more than 1024 characters, and on characters that YAML does not
	// allow to stand for themselves, such as DEL.
	var out bytes.Buffer
	if err := writeFlow(&out, object); err != nil {
		return nil, nil, err
	}
	out.WriteByte('\n')
	text = out.Bytes()
	back, err := decodeObject(text)
	if err != nil {
		return nil, nil, err
	}
	if !reflect.DeepEqual(back, want) {
		return nil, nil, errors.New("the object cannot be written as YAML without changing it")
	}
	return text, back, nil
}

// wholeNumbers returns object as it is after a pass through JSON.
func wholeNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			m[key] = wholeNumbers(value)
		}
		return m
	case []any:
		s := make([]any, len(v))
		for i, value := range v {
			s[i] = wholeNumbers(value)
		}
		return s
	case float64:
		text, err := json.Marshal(v)
		if err != nil {
			return v
		}
		if whole, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return whole
		}
	}
	return v
}

// writeFlow writes a value as YAML in flow style, in printable ASCII and on one
// line: JSON but for long keys and characters beyond 16 bits.
func writeFlow(out *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case map[string]any:
		out.WriteByte('{')
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				out.WriteString(", ")
			}
			out.WriteString("? ")
			writeQuoted(out, key)
			out.WriteString(" : ")
			if err := writeFlow(out, v[key]); err != nil {
				return err
			}
		}
		out.WriteByte('}')
	case []any:
		out.WriteByte('[')
		for i, value := range v {
			if i > 0 {
				out.WriteString(", ")
			}
			if err := writeFlow(out, value); err != nil {
				return err
			}
		}
		out.WriteByte(']')
	case string:
		writeQuoted(out, v)
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		out.Write(text)
	}
	return nil
}

func writeQuoted(out *bytes.Buffer, s string) {
	out.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteByte(byte(r))
		case r >= ' ' && r <= '~':
			out.WriteByte(byte(r))
		default:
			fmt.Fprintf(out, `\U%08x`, r)
		}
	}
	out.WriteByte('"')
}
