package yamledit

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// manifests returns about size bytes of Deployments.
func manifests(size int) []byte {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, `---
# component %d
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-%[1]d
  labels: {app: web, tier: "front"}
spec:
  replicas: 3
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
      - name: web
        image: ghcr.io/acme/web:1.4.0@build  # released
        ports:
        - containerPort: 8080
        env:
        - {name: A, value: 'b'}
        resources:
          limits: {cpu: 500m, memory: 128Mi}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: web-%[1]d
data:
  values.yaml: |
    image:
      repository: ghcr.io/acme/web
      tag: 1.4.0@build
    replicas: 3
  run.sh: |
    #!/bin/sh
    exec /web --listen :8080
`, i)
	}
	return []byte(b.String())
}

var sizes = []int{1 << 10, 100 << 10}

// BenchmarkScalars is Parse and a walk over all scalars.
func BenchmarkScalars(b *testing.B) {
	for _, size := range sizes {
		data := manifests(size)
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				f, err := Parse("a.yaml", data)
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for s := range f.Scalars() {
					n += len(s.Value)
				}
				if n == 0 {
					b.Fatal("nothing")
				}
			}
		})
	}
}

// BenchmarkDecode is what yaml/v3 takes of BenchmarkScalars: the parse of the
// file, without what its blocks hold.
func BenchmarkDecode(b *testing.B) {
	for _, size := range sizes {
		data := manifests(size)
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodeYAML(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkApply is one edit of a parsed file, verification included.
func BenchmarkApply(b *testing.B) {
	for _, size := range sizes {
		data := manifests(size)
		f, err := Parse("a.yaml", data)
		if err != nil {
			b.Fatal(err)
		}
		var s Scalar
		for s = range f.Scalars() {
			if strings.HasSuffix(s.Value, "@build") {
				break
			}
		}
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Apply(Edit{s, "ghcr.io/acme/web:1.4.0@" + someDigest}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFile parses the file that PIN_CMP_BENCH_FILE names.
func BenchmarkFile(b *testing.B) {
	path := os.Getenv("PIN_CMP_BENCH_FILE")
	if path == "" {
		b.Skip("PIN_CMP_BENCH_FILE names no file")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Parse(path, data); err != nil {
			b.Fatal(err)
		}
	}
}
