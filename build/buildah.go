package build

import "context"

// Buildah builds a Dockerfile or a Containerfile with buildah build. See [Docker]
// for what the fields mean, with these differences: CacheFrom and CacheTo are
// repositories (and turn --layers on), the file is Context/Containerfile or
// Context/Dockerfile if none is given, and a syntax directive is a comment.
//
// Storage, isolation, credentials and certificates are those that the user's
// buildah has. Where the Dockerfile mixes bases of registries over HTTP and over
// TLS, registries.conf has to say which is which.
type Buildah struct {
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

var _ Recipe = (*Buildah)(nil)

func (b *Buildah) containers() containers {
	return containers{
		recipeFile: recipeFile{
			kind: "buildah", context: b.Context, file: b.File, target: b.Target, args: b.Args, options: b.Options,
			own: containerOptions, names: []string{"Containerfile", "Dockerfile"},
		},
		program: "buildah", secrets: b.Secrets, ssh: b.SSH, cacheFrom: b.CacheFrom, cacheTo: b.CacheTo,
	}
}

// Check implements [Recipe].
func (b *Buildah) Check(c Component) error { return b.containers().check(c) }

// Program implements [Recipe].
func (b *Buildah) Program() Program {
	return Program{Name: "buildah", Get: "apt install buildah, or https://github.com/containers/buildah/blob/main/install.md"}
}

// Bases implements [Recipe].
func (b *Buildah) Bases(c Component, read func(string) ([]byte, error)) ([]Base, error) {
	return b.containers().bases(c, read)
}

// Build implements [Builder].
func (b *Buildah) Build(ctx context.Context, request Request) (string, error) {
	return b.containers().build(ctx, request)
}
