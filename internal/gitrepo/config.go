package gitrepo

import (
	"context"
	"strings"
)

// Config is the configuration that git would use in this checkout: system,
// global, repository, work tree, command line, with includes.
type Config map[string][]string

// noValue marks a key that stands alone in the file, which means true.
const noValue = "\x00"

// Config reads the configuration.
func (r *Repo) Config(ctx context.Context) (Config, error) {
	out, err := r.Run(ctx, Command{Args: []string{"config", "--list", "-z"}})
	if err != nil {
		return nil, err
	}
	c := Config{}
	for record := range strings.SplitSeq(string(out), "\x00") {
		if record == "" {
			continue
		}
		key, value, ok := strings.Cut(record, "\n")
		if !ok {
			value = noValue
		}
		c[key] = append(c[key], value)
	}
	return c, nil
}

// Get returns the value of key that counts, the last one, or "". Section and
// variable name are matched without regard to case, a subsection as it is.
func (c Config) Get(key string) string {
	values := c[canonicalKey(key)]
	if len(values) == 0 || values[len(values)-1] == noValue {
		return ""
	}
	return values[len(values)-1]
}

// Bool returns whether key is true as git reads it.
func (c Config) Bool(key string) bool {
	values := c[canonicalKey(key)]
	if len(values) == 0 {
		return false
	}
	switch value := strings.ToLower(values[len(values)-1]); value {
	case noValue, "true", "yes", "on":
		return true
	case "false", "no", "off", "":
		return false
	default:
		return strings.Trim(value, "+-0") != "" // a number
	}
}

func canonicalKey(key string) string {
	first, last := strings.Index(key, "."), strings.LastIndex(key, ".")
	if first < 0 {
		return strings.ToLower(key)
	}
	return strings.ToLower(key[:first]) + key[first:last] + strings.ToLower(key[last:])
}
