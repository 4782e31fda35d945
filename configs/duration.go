package configs

import (
	"strings"
	"time"
)

// Duration is a time.Duration that is written as Go writes them. 0 is written "", and means never.
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration does, and "".
func (d *Duration) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = 0
		return nil
	}
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// String is the duration without the units that are nought, such as "10m".
func (d Duration) String() string {
	if d == 0 {
		return ""
	}
	s := time.Duration(d).String()
	for _, nought := range []string{"0s", "0m"} {
		if short, ok := strings.CutSuffix(s, nought); ok && strings.TrimRight(short, "hm") != short {
			s = short
		}
	}
	return s
}
