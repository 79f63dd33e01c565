// Package editdistance tells how far a misspelt word is from the right one.
package editdistance

// Between is the Levenshtein distance between two short texts, in bytes.
func Between(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			previous, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, previous+cost)
		}
	}
	return row[len(b)]
}

// Nearest returns the word of a list that another one may be meant for, "" if
// none is within two letters of it.
func Nearest(word string, list []string) string {
	near, least := "", 3
	for _, one := range list {
		if d := Between(word, one); d < least {
			near, least = one, d
		}
	}
	return near
}
