package demo

import (
	"context"
	"fmt"
	"os"
)

// BuildImage is the build command of the demo's component, in the place of a
// compiler and a docker build: it puts the source into an image, pushes that,
// and reports the digest, as the contract of build.Command says.
func BuildImage(ctx context.Context) error {
	source, err := os.ReadFile("server.txt")
	if err != nil {
		return fmt.Errorf("read the source: %w", err)
	}
	digest, err := Push(ctx, os.Getenv("PIN_IMAGE"), "", string(source))
	if err != nil {
		return err
	}
	if err := os.WriteFile(os.Getenv("PIN_DIGEST_FILE"), []byte(digest.String()+"\n"), 0o644); err != nil {
		return fmt.Errorf("report the digest: %w", err)
	}
	return nil
}
