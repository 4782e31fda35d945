package configs

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Rate is a number of bytes a second. 0 is unlimited.
type Rate int64

var errRate = errors.New("not a rate")

// ParseRate reads a rate as tc(8) writes them: a number of bits a second with one of the units bit, kbit, mbit and gbit, which are
// powers of 1000. "" is unlimited.
func ParseRate(s string) (Rate, error) {
	if s == "" {
		return 0, nil
	}
	s = strings.ToLower(s)
	for _, unit := range []struct {
		name string
		bits float64
	}{{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {"bit", 1}} {
		number, ok := strings.CutSuffix(s, unit.name)
		if !ok {
			continue
		}
		if strings.Trim(number, "0123456789.") != "" {
			return 0, errRate
		}
		n, err := strconv.ParseFloat(number, 64)
		bytes := math.Round(n * unit.bits / 8)
		if err != nil || bytes < 1 || bytes > math.MaxInt64/2 {
			return 0, errRate
		}
		return Rate(bytes), nil
	}
	return 0, errRate
}

// UnmarshalText is ParseRate.
func (r *Rate) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRate(string(text))
	return err
}

// String is the rate in the largest unit that keeps it whole, or "".
func (r Rate) String() string {
	bits := int64(r) * 8
	switch {
	case r == 0:
		return ""
	case bits%1e9 == 0:
		return strconv.FormatInt(bits/1e9, 10) + "gbit"
	case bits%1e6 == 0:
		return strconv.FormatInt(bits/1e6, 10) + "mbit"
	case bits%1e3 == 0:
		return strconv.FormatInt(bits/1e3, 10) + "kbit"
	}
	return strconv.FormatInt(bits, 10) + "bit"
}
