//go:build root

package route

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
)

// A host that has lost its agent and its configuration is swept all the same, and keeps what is others'.
func TestSweepNeedsNoRouter(t *testing.T) {
	w := newWorld(t, "ams", "fra")
	ams, fra := w.sites[0], w.sites[1]
	other := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	other.Name = "drv-bridge"
	require.NoError(t, ams.nl.LinkAdd(other))
	before := ams.before
	ams.before = ""
	w.set(map[int]string{5: "ams", 6: "fra", 7: "ams"})
	ams.pod(5, false)
	ams.pod(7, true)
	require.NoError(t, ams.cutover(5, fra).Divert())
	require.NoError(t, ams.r.Close())
	for range 2 {
		require.NoError(t, Sweep(t.Context(), Config{NetNS: ams.cfg.NetNS, NamesDir: ams.cfg.NamesDir}))
		names, err := os.ReadDir(ams.cfg.NamesDir)
		require.NoError(t, err)
		require.Empty(t, names)
	}
	link, err := ams.nl.LinkByName(other.Name)
	require.NoError(t, err, "it is not ours")
	require.NoError(t, ams.nl.LinkDel(link))
	ams.before = before
	require.Equal(t, before, ams.dump())
	ams.open()
}
