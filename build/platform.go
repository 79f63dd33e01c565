package build

// defaultPlatform is what an image is for that declares no platform, never this
// machine's own: the key would be the same, and the image another.
const defaultPlatform = "linux/amd64"

// targets are the platforms to build for, where the builder chooses.
func (c Component) targets() []string {
	if len(c.Platforms) == 0 {
		return []string{defaultPlatform}
	}
	return c.Platforms
}
