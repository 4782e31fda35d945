//go:build root

package host

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/test/lab"
)

// footprint is all that a site has of pods and moves.
type footprint struct {
	things  []string  // files, mounts, cgroups and processes
	network lab.State // links, addresses, routes, rules, nft tables
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

func (m *mesh) footprint(t *testing.T, site string) footprint {
	t.Helper()
	f := footprint{}
	for line := range strings.Lines(m.inSite(t, site, look)) {
		line = strings.TrimSpace(line)
		if line == "mount /run/netns" || strings.HasSuffix(line, "/pods") {
			continue // the first pod's coming made it, and the next ones use it
		}
		f.things = append(f.things, line)
	}
	slices.Sort(f.things)
	require.NoError(t, m.InNetwork(site, func() (err error) {
		f.network, err = lab.Snapshot()
		return err
	}))
	return f
}

func (m *mesh) footprints(t *testing.T) map[string]footprint {
	t.Helper()
	all := map[string]footprint{}
	for _, s := range m.Sites() {
		all[s.Name] = m.footprint(t, s.Name)
	}
	return all
}

// requireFootprints waits until every site has again what it had, and nothing more.
func (m *mesh) requireFootprints(t *testing.T, before map[string]footprint) {
	t.Helper()
	eventually(t, "nothing is left on any site", func() error {
		for _, s := range m.Sites() {
			if more := m.footprint(t, s.Name).beyond(before[s.Name]); len(more) > 0 {
				return errors.New(s.Name + " has still: " + strings.Join(more, ", "))
			}
		}
		return nil
	})
}

// beyond returns what f has and before had not.
func (f footprint) beyond(before footprint) (more []string) {
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
