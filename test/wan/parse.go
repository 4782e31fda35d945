package wan

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// defaultHoldBack is for how long packets are held back if nobody says.
const defaultHoldBack = 10 * time.Millisecond

// ParseConditions reads "RATE/RTT[,KEY=VALUE...]", such as "200mbit/50ms,jitter=5ms,loss=0.1%": each
// direction gets the rate and half of the round-trip time, and the rest as ParseChange reads it.
func ParseConditions(s string) (Conditions, error) {
	words := strings.Split(s, ",")
	rate, rtt, ok := strings.Cut(words[0], "/")
	if !ok {
		return Conditions{}, fmt.Errorf("WAN %q: want RATE/RTT, for example 200mbit/50ms", s)
	}
	r, err := ParseRate(rate)
	if err != nil {
		return Conditions{}, fmt.Errorf("WAN %q: %w", s, err)
	}
	d, err := time.ParseDuration(rtt)
	if err != nil {
		return Conditions{}, fmt.Errorf("WAN %q: round-trip time: %w", s, err)
	}
	change, err := ParseChange(words[1:])
	if err != nil {
		return Conditions{}, fmt.Errorf("WAN %q: %w", s, err)
	}
	c := change.Apply(Conditions{Rate: r, Delay: d / 2})
	return c, c.Validate()
}

// keys are what ParseChange knows, in the order of its messages.
const keys = "delay, jitter, unordered, reorder, loss, duplicate, corrupt, rate, queue"

// ParseChange reads KEY=VALUE words: delay=40ms and jitter=5ms (one way), unordered=yes|no,
// reorder=1%[/10ms] (share, and how long they are held back), loss, duplicate and corrupt=0.1%,
// rate=50mbit, queue=65536 (bytes). A key that is given twice is an error.
func ParseChange(words []string) (Change, error) {
	var change Change
	seen := map[string]bool{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok || seen[key] {
			return Change{}, fmt.Errorf("%q: want KEY=VALUE, each key once: %s", word, keys)
		}
		seen[key] = true
		if err := change.parse(key, value); err != nil {
			return Change{}, fmt.Errorf("%q: %w", word, err)
		}
	}
	return change, nil
}

func (ch *Change) parse(key, value string) (err error) {
	switch key {
	case "delay":
		ch.Delay, err = pointer(time.ParseDuration(value))
	case "jitter":
		ch.Jitter, err = pointer(time.ParseDuration(value))
	case "unordered":
		ch.Unordered, err = pointer(parseYes(value))
	case "reorder":
		return ch.parseReorder(value)
	case "loss":
		ch.Loss, err = pointer(parseShare(value))
	case "duplicate":
		ch.Duplicate, err = pointer(parseShare(value))
	case "corrupt":
		ch.Corrupt, err = pointer(parseShare(value))
	case "rate":
		ch.Rate, err = pointer(ParseRate(value))
	case "queue":
		ch.Queue, err = pointer(strconv.ParseInt(value, 10, 64))
	default:
		err = fmt.Errorf("unknown key: want one of %s", keys)
	}
	return err
}

func (ch *Change) parseReorder(value string) (err error) {
	share, by, ok := strings.Cut(value, "/")
	if ch.Reorder, err = pointer(parseShare(share)); err != nil {
		return err
	}
	ch.HoldBack = new(defaultHoldBack)
	if ok {
		ch.HoldBack, err = pointer(time.ParseDuration(by))
	}
	return err
}

func pointer[T any](value T, err error) (*T, error) { return &value, err }

func parseYes(s string) (bool, error) {
	switch s {
	case "yes":
		return true, nil
	case "no":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", s)
}

// parseShare reads "0.5%" or "0.005".
func parseShare(s string) (float64, error) {
	number, percent := strings.CutSuffix(s, "%")
	value, err := strconv.ParseFloat(number, 64)
	if percent {
		value /= 100
	}
	if err != nil || !(value >= 0 && value <= 1) {
		return 0, errors.New("want a share from 0% to 100%, for example 0.5%")
	}
	return value, nil
}
