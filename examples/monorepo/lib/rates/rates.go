// Package rates converts prices. rates.h does the same for C.
package rates

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed rates.def
var table string

// Convert returns what euro cents are worth in hundredths of another currency,
// rounded, and false if there is no rate for it. Cents are at most 1e9.
func Convert(cents int64, currency string) (int64, bool) {
	for line := range strings.Lines(table) {
		var millionths int64
		if n, _ := fmt.Sscanf(line, "RATE("+currency+", %d)", &millionths); n == 1 {
			return (cents*millionths + 500_000) / 1_000_000, true
		}
	}
	return 0, false
}
