package serve

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// exposition is a set of metrics that writes itself in Prometheus's text format
// (https://prometheus.io/docs/instrumenting/exposition_formats/). The client
// library would be a sixth of the memory of an idle sidecar.
type exposition struct {
	families []family
}

type family interface{ write(w io.Writer) }

func (e *exposition) write(w io.Writer) error {
	out := bufio.NewWriter(w)
	for _, f := range e.families {
		f.write(out)
	}
	return out.Flush()
}

// counter is a family of counters, one for each combination of its labels'
// values.
type counter struct {
	name, help string
	labels     []string

	mu     sync.Mutex
	values map[string]float64 // by the text of the labels
}

func (e *exposition) counter(name, help string, labels ...string) *counter {
	c := &counter{name: name, help: help, labels: labels, values: map[string]float64{}}
	e.families = append(e.families, c)
	return c
}

func (c *counter) add(values ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[labelled(c.labels, values)]++
}

func (c *counter) write(w io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	header(w, c.name, c.help, "counter")
	for _, labels := range slices.Sorted(maps.Keys(c.values)) {
		fmt.Fprintf(w, "%s%s %s\n", c.name, braced(labels), number(c.values[labels]))
	}
}

// gauge is a value that is asked for when it is written.
type gauge struct {
	name, help string
	value      func() float64
}

func (e *exposition) gauge(name, help string, value func() float64) {
	e.families = append(e.families, &gauge{name, help, value})
}

func (g *gauge) write(w io.Writer) {
	header(w, g.name, g.help, "gauge")
	fmt.Fprintf(w, "%s %s\n", g.name, number(g.value()))
}

// histogram is a family of histograms of seconds.
type histogram struct {
	name, help string
	labels     []string
	bounds     []float64

	mu     sync.Mutex
	series map[string]*buckets
}

type buckets struct {
	counts []uint64 // the last is beyond every bound
	sum    float64
}

// seconds are the bounds of every histogram: a request has 60 s.
func seconds() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 60}
}

func (e *exposition) histogram(name, help string, labels ...string) *histogram {
	h := &histogram{name: name, help: help, labels: labels, bounds: seconds(), series: map[string]*buckets{}}
	e.families = append(e.families, h)
	return h
}

func (h *histogram) observe(value float64, values ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	labels := labelled(h.labels, values)
	b := h.series[labels]
	if b == nil {
		b = &buckets{counts: make([]uint64, len(h.bounds)+1)}
		h.series[labels] = b
	}
	i, _ := slices.BinarySearch(h.bounds, value)
	b.counts[i]++
	b.sum += value
}

func (h *histogram) write(w io.Writer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	header(w, h.name, h.help, "histogram")
	for _, labels := range slices.Sorted(maps.Keys(h.series)) {
		b := h.series[labels]
		var total uint64
		for i, n := range b.counts {
			total += n
			bound := "+Inf"
			if i < len(h.bounds) {
				bound = number(h.bounds[i])
			}
			le := labelled([]string{"le"}, []string{bound})
			if labels != "" {
				le = labels + "," + le
			}
			fmt.Fprintf(w, "%s_bucket%s %d\n", h.name, braced(le), total)
		}
		fmt.Fprintf(w, "%s_sum%s %s\n%s_count%s %d\n", h.name, braced(labels), number(b.sum), h.name, braced(labels), total)
	}
}

func header(w io.Writer, name, help, kind string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

var escapeLabel = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func labelled(names, values []string) string {
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `%s="%s"`, name, escapeLabel.Replace(strings.ToValidUTF8(values[i], "")))
	}
	return b.String()
}

func braced(labels string) string {
	if labels == "" {
		return ""
	}
	return "{" + labels + "}"
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
