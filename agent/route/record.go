package route

import (
	"fmt"
	"net/netip"
	"strings"
)

// record is what the alias of a pod's host device says; it outlives the agent, and flushes of routes and neighbours.
type record struct {
	uid  string
	addr netip.Addr
	state
}

func (rec record) String() string {
	s := fmt.Sprintf("drover pod=%s addr=%v", rec.uid, rec.addr)
	if rec.held {
		s += " held"
	}
	if rec.diverted.IsValid() {
		s += " diverted=" + rec.diverted.String()
	}
	return s
}

func parseRecord(alias string) (rec record, ok bool) {
	fields := strings.Fields(alias)
	if len(fields) < 3 || fields[0] != "drover" {
		return rec, false
	}
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		var err error
		switch key {
		case "pod":
			rec.uid = value
		case "addr":
			rec.addr, err = netip.ParseAddr(value)
		case "held":
			rec.held = true
		case "diverted":
			rec.diverted, err = netip.ParseAddr(value)
		}
		if err != nil {
			return record{}, false
		}
	}
	return rec, rec.addr.Is4() && uidPattern.MatchString(rec.uid)
}
