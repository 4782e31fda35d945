//go:build root

package route

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryoneReachesEveryone(t *testing.T) {
	w := newWorld(t, "ams", "fra", "nyc")
	ams, fra, nyc := w.sites[0], w.sites[1], w.sites[2]
	w.set(map[int]string{5: "ams", 6: "fra", 7: "ams"})
	p5, p6, p7 := ams.pod(5, false), fra.pod(6, false), ams.pod(7, false)
	p5.echo(80)
	p6.echo(80)

	client := w.attach("client", 250)
	w.wan.route(testCIDR.String(), nyc.cfg.Underlay.String()) // any node is a gateway
	nyc.echo(81)
	ams.echo(81)

	require.Equal(t, podAddr(6), p6.reaches(podAddr(6), 80), "itself")
	require.Equal(t, podAddr(7), p7.reaches(podAddr(5), 80), "a pod beside it")
	require.Equal(t, podAddr(6), p6.reaches(podAddr(5), 80), "a pod elsewhere")
	require.Equal(t, ams.cfg.Underlay, ams.reaches(podAddr(5), 80), "host to its pod")
	require.Equal(t, nyc.cfg.Underlay, nyc.reaches(podAddr(5), 80), "host to a pod elsewhere")
	require.Equal(t, podAddr(5), p5.reaches(ams.cfg.Underlay, 81), "pod to its host")
	require.Equal(t, podAddr(6), p6.reaches(nyc.cfg.Underlay, 81), "pod to another host")
	client.reaches(podAddr(5), 80)
	client.reaches(podAddr(6), 80)
}
