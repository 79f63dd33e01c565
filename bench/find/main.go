// Command find counts what the finder sees in real manifests: how many image
// references each tier catches, and what the text of each is.
//
//	go run ./bench/find DIR...
//
// A manifest is a YAML document with apiVersion and kind in a file below one of
// the directories; a document is counted once, however often it occurs.
package main

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/pin-cmp/pin-cmp/verify"
)

func main() {
	list := flag.String("list", "", "print the references of this tier")
	flag.Parse()
	if err := run(flag.Args(), *list); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type counts struct {
	files, manifests, warnings int
	tiers                      map[string]int
	states                     map[string]int
	took                       time.Duration
}

func run(dirs []string, list string) error {
	finder, err := verify.NewFinder()
	if err != nil {
		return fmt.Errorf("the built-in rules: %w", err)
	}
	c := counts{tiers: map[string]int{}, states: map[string]int{}}
	seen := map[[sha256.Size]byte]bool{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if sum := sha256.Sum256(content); !seen[sum] {
				seen[sum] = true
				c.file(finder, path, content, list)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	c.print()
	return nil
}

func (c *counts) file(finder *verify.Finder, path string, content []byte, list string) {
	decoder := kubeyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	counted := false
	for {
		var object map[string]any
		if err := decoder.Decode(&object); err != nil {
			return // not all YAML files are manifests
		}
		if object["apiVersion"] == nil || object["kind"] == nil {
			continue
		}
		if !counted {
			c.files++
			counted = true
		}
		c.manifests++
		start := time.Now()
		images, warnings := finder.Find(object)
		c.took += time.Since(start)
		c.warnings += len(warnings)
		for _, image := range images {
			c.tiers[image.Tier.String()]++
			c.states[image.Tier.String()+" "+string(image.Reference.State)]++
			if image.Tier.String() == list {
				fmt.Printf("%s\t%v\t%s\t%s\t%s\n", path, object["kind"], image.Path, image.Reference.Text, image.Reference.State)
			}
		}
	}
}

func (c *counts) print() {
	total := 0
	for _, n := range c.tiers {
		total += n
	}
	fmt.Printf("%d files, %d manifests, %d references, %d warnings, %v in the finder\n", c.files, c.manifests, total, c.warnings, c.took.Round(time.Millisecond))
	for _, counts := range []map[string]int{c.tiers, c.states} {
		var names []string
		for name := range counts {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			fmt.Printf("%8d  %5.1f%%  %s\n", counts[name], 100*float64(counts[name])/float64(total), name)
		}
	}
}
