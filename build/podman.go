package build

import "context"

// Podman builds a Dockerfile or a Containerfile with podman build; see [Docker]
// for what the fields mean and [Buildah] for what differs.
//
// On a Mac or Windows, podman writes the digest of what it pushes since 4.6.
type Podman struct {
	Context   string   `yaml:"context"`
	File      string   `yaml:"file"`
	Target    string   `yaml:"target"`
	Args      Args     `yaml:"args"`
	Secrets   []string `yaml:"secrets"`
	SSH       []string `yaml:"ssh"`
	CacheFrom []string `yaml:"cacheFrom"`
	CacheTo   []string `yaml:"cacheTo"`
	Options   []string `yaml:"options"`
}

var _ Recipe = (*Podman)(nil)

func (p *Podman) containers() containers {
	return containers{
		recipeFile: recipeFile{
			kind: "podman", context: p.Context, file: p.File, target: p.Target, args: p.Args, options: p.Options,
			own: containerOptions, names: []string{"Containerfile", "Dockerfile"},
		},
		program: "podman", secrets: p.Secrets, ssh: p.SSH, cacheFrom: p.CacheFrom, cacheTo: p.CacheTo,
	}
}

// Check implements [Recipe].
func (p *Podman) Check(c Component) error { return p.containers().check(c) }

// Program implements [Recipe].
func (p *Podman) Program() Program {
	return Program{Name: "podman", Get: "https://podman.io/docs/installation"}
}

// Bases implements [Recipe].
func (p *Podman) Bases(c Component, read func(string) ([]byte, error)) ([]Base, error) {
	return p.containers().bases(c, read)
}

// Build implements [Builder].
func (p *Podman) Build(ctx context.Context, request Request) (string, error) {
	return p.containers().build(ctx, request)
}
