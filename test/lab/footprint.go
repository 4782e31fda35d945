package lab

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
)

// Footprint is all that a site has of pods and moves.
type Footprint struct {
	things  []string // files, mounts, cgroups and processes
	network State    // links, addresses, routes, rules, nft tables
}

// look lists a site's own things. What is left out belongs to no pod: Raft's log and images. Processes are
// counted by name, so that the agent and this script, which are there each time, cancel out.
const look = `
find /run/drover /var/lib/drover -path /var/lib/drover/raft -prune -o -path '*/volumes/layers/*' -prune -o -path '*/volumes/images/*' -prune -o -path '*/volumes/blobs/*' -prune -o -print 2>/dev/null || true
while read -r _ _ _ _ point _; do echo "mount $point"; done < /proc/1/mountinfo
find /sys/fs/cgroup -mindepth 1 -type d 2>/dev/null || true
ls -d /run/netns/* 2>/dev/null || true
for f in /proc/[0-9]*/comm; do read -r name < $f && echo "process $name" || true; done 2>/dev/null
`

// Footprint looks at a site.
func (l *Lab) Footprint(ctx context.Context, site string) (Footprint, error) {
	f := Footprint{}
	cmd := l.Exec(ctx, site, "/bin/sh", "-ec", look)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return f, fmt.Errorf("looking at site %s: %w: %s", site, err, errs.String())
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line == "mount /run/netns" || strings.HasSuffix(line, "/pods") {
			continue // the first pod's coming made it, and the next ones use it
		}
		f.things = append(f.things, line)
	}
	slices.Sort(f.things)
	err = l.InNetwork(site, func() (err error) {
		f.network, err = Snapshot()
		return err
	})
	return f, err
}

// Beyond returns what f has and before had not.
func (f Footprint) Beyond(before Footprint) (more []string) {
	had := map[string]int{}
	for _, thing := range before.things {
		had[thing]++
	}
	for _, thing := range f.things {
		if had[thing]--; had[thing] < 0 {
			more = append(more, thing)
		}
	}
	for _, leak := range before.network.Diff(f.network) {
		if slices.Contains([]string{"link", "address", "route", "rule", "nft"}, leak.Kind) {
			more = append(more, leak.String())
		}
	}
	return more
}
