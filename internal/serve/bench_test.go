package serve

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkGenerate is a request whose repository is packed already: of 1 and of
// 5,000 files, the digest known.
func BenchmarkGenerate(b *testing.B) {
	for _, files := range []int{1, 5000} {
		b.Run(fmt.Sprint(files), func(b *testing.B) {
			w := start(b, nil)
			content := map[string]string{"app/kustomization.yaml": "resources: [p.yaml]\n", "app/p.yaml": pod(w.push(b))}
			for i := len(content); i < files; i++ {
				content[fmt.Sprintf("other/%d/%d.yaml", i%100, i)] = strings.Repeat(fmt.Sprintf("key: %x\n", i*i), 100)
			}
			s := request(b, "app", content)
			b.SetBytes(int64(len(s.archive)))
			for b.Loop() {
				client, hangUp := w.connect(b)
				if _, err := s.generate(b.Context(), client); err != nil {
					b.Fatal(err)
				}
				hangUp()
			}
		})
	}
}
