package main

import (
	"errors"
	"strconv"
	"strings"
)

// sizeUnits are what a size may end with, in whatever case; a longer suffix comes before its end.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"b", 1}, {"", 1}}

// parseSize reads a number of bytes such as 512, 64KiB or 500mb.
func parseSize(text string) (int64, error) {
	lower := strings.ToLower(strings.TrimSpace(text))
	for _, unit := range sizeUnits {
		number, ok := strings.CutSuffix(lower, unit.suffix)
		if !ok {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 32); err == nil && n >= 0 {
			return n * unit.bytes, nil
		}
		break
	}
	return 0, errors.New("want a size such as 8MiB or 500mb")
}
