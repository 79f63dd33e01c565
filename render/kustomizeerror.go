package render

import (
	"path"
	"regexp"
	"strings"
)

// kustomizeFix is advice by a part of kustomize's message.
func kustomizeFix() [][2]string {
	return [][2]string{
		{"is not in or below", "a kustomization reads files of its own directory only; move the file there, or make its directory a base"},
		{"no matches for Id", "the patch names an object that no resource has: check its kind, name and namespace"},
		{"no resource matches", "check kind, name and namespace against the resources"},
		{"unable to find patch target", "check the target's kind, name and namespace against the resources"},
		{"may not add resource with an already registered id", "two resources have the same kind, namespace and name: rename or remove one"},
		{"must specify --enable-helm", "Helm charts in a kustomization are not rendered yet"},
		{"external plugins disabled", "commit what the plugin makes as resources or patches"},
		{"already in kustomization file", "set forceCommonLabels or forceCommonAnnotations to overwrite it, or take it out of one of the two"},
	}
}

// kustomizeError is the useful end of an error of kustomize: what failed last,
// in the innermost kustomization, with paths as they are in the checkout. file
// is the application's kustomization.
func kustomizeError(err error, file string) *Error {
	// The steps that kustomize wraps around an error, one for each level of the
	// overlays and one for each of its attempts.
	kustomizeStep := regexp.MustCompile(`^(?:` + strings.Join([]string{
		`accumulating (?:resources|components)`,
		`accumulateDirectory`,
		`accumulation err='accumulating resources from '[^']*': (?:'[^']*' must resolve to a file|.*? must resolve to a file)'`,
		`accumulating resources from '[^']*'`,
		`recursed (?:accumulation of|merging from) path '[^']*'`,
		`couldn't make target for path '[^']*'`,
		`merging resources from '[^']*'`,
		`loader\.New`,
		"trouble configuring builtin [A-Za-z]+ with config: (?s:`.*?`)",
	}, "|") + `): `)
	kustomizePath := regexp.MustCompile(`(?:of|from|for) path '([^']*)'|resources from '([^']*)'`)
	// A path is tried as a file, then as a directory. If it is a file, the first
	// attempt has the reason.
	fileAttempt := regexp.MustCompile(`(?s)^accumulation err='(.*)': must build at directory: (?:not a valid directory: )?'[^']*': file is not directory$`)
	quotedStep := regexp.MustCompile(`^"(.*)"$`)
	errorLine := regexp.MustCompile(`yaml: (?:unmarshal errors:\s*)?line (\d+): `)
	rootedPath := regexp.MustCompile(regexp.QuoteMeta(kustomizeRoot) + `(/|\b)`)

	text := err.Error()
	where := ""
	for {
		text = strings.TrimSpace(text)
		if m := quotedStep.FindStringSubmatch(text); m != nil {
			text = strings.NewReplacer(`\"`, `"`, `\n`, "\n", `\\`, `\`).Replace(m[1])
			continue
		}
		step := kustomizeStep.FindString(text)
		if step == "" {
			if m := fileAttempt.FindStringSubmatch(text); m != nil {
				text = m[1]
				continue
			}
			break
		}
		if m := kustomizePath.FindStringSubmatch(step); m != nil {
			switch {
			case m[1] != "":
				where = m[1]
			case m[2] != "" && strings.HasPrefix(step, "accumulating"), m[2] != "" && strings.HasPrefix(step, "merging"):
				where = path.Join(kustomizeDirOf(where, file), m[2])
			}
		}
		text = text[len(step):]
	}
	e := &Error{File: file}
	if where != "" {
		e.File = relativeToCheckout(where)
	}
	if m := errorLine.FindStringSubmatch(text); m != nil {
		text = strings.Replace(text, m[0], "", 1)
		_, e.Line = yamlErrorText("line " + m[1] + ": ")
	}
	text = rootedPath.ReplaceAllStringFunc(text, func(s string) string {
		if strings.HasSuffix(s, "/") {
			return ""
		}
		return "."
	})
	e.Message = "kustomize: " + strings.TrimSuffix(strings.Join(strings.Fields(text), " "), ".")
	for _, fix := range kustomizeFix() {
		if strings.Contains(text, fix[0]) {
			e.Fix = fix[1]
			break
		}
	}
	return e
}

// kustomizeDirOf is the directory against which a resource's path is relative.
func kustomizeDirOf(where, file string) string {
	if where == "" {
		return path.Join(kustomizeRoot, path.Dir(file))
	}
	return where
}

func relativeToCheckout(p string) string {
	if p = path.Clean(p); p == kustomizeRoot {
		return "."
	}
	return strings.TrimPrefix(p, kustomizeRoot+"/")
}
