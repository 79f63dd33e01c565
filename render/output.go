package render

// Output returns the manifests as one YAML stream, the way the tool itself
// prints them.
func (r *Result) Output() []byte {
	size := 0
	for _, m := range r.Manifests {
		size += len(m.YAML) + len("---\n")
	}
	out := make([]byte, 0, size)
	for i, m := range r.Manifests {
		if i > 0 {
			out = append(out, "---\n"...)
		}
		out = append(out, m.YAML...)
	}
	return out
}
