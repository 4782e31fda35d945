//go:build root

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// All of a site lives by its own clocks: what its init started, and what is started in it from outside.
func TestSitesHaveTheirOwnClocks(t *testing.T) {
	noLeaks(t, "t-clock")
	o := testOptions("t-clock")
	o.Sites = 3
	o.AgentCommand = []string{"/bin/sh", "-c", "read up rest < /proc/uptime; echo $up > /run/up; exec sleep 1000"}
	ahead := map[string]time.Duration{"ams": 0, "fra": 100_000*time.Second + 250*time.Millisecond, "nyc": -1500 * time.Millisecond, ClientSite: time.Hour}
	o.Hosts = map[string]Host{}
	for site, offset := range ahead {
		o.Hosts[site] = Host{Clock: offset}
	}
	l := up(t, o)
	before := uptime(t, "/proc/uptime")
	for site, offset := range ahead {
		out := inSite(t, l, site, "sh", "-c", "read up rest < /proc/uptime; echo $up; readlink /proc/1/ns/time /proc/self/ns/time")
		lines := strings.Fields(out)
		require.InDelta(t, before+offset.Seconds(), parse(t, lines[0]), 10, site)
		require.Equal(t, lines[1], lines[2], "one time namespace a site")
	}
	for _, site := range l.Sites() {
		path, err := l.Path(site.Name, "/run/up")
		require.NoError(t, err)
		eventually(t, "the agent told its clock", func() bool { return fileExists(path) && len(read(path)) > 0 })
		require.InDelta(t, before+ahead[site.Name].Seconds(), uptime(t, path), 10, site.Name)
		status, err := l.SiteStatus(t.Context(), site.Name)
		require.NoError(t, err)
		require.InDelta(t, ahead[site.Name].Seconds(), status.ClockS, 1e-9)
	}
	// The fractions, which the seconds above don't show.
	init, err := l.init("fra")
	require.NoError(t, err)
	require.Equal(t, "monotonic 100000 250000000 boottime 100000 250000000", strings.Join(strings.Fields(read(fmt.Sprintf("/proc/%d/timens_offsets", init))), " "))
	init, err = l.init("nyc")
	require.NoError(t, err)
	require.Equal(t, "monotonic -2 500000000 boottime -2 500000000", strings.Join(strings.Fields(read(fmt.Sprintf("/proc/%d/timens_offsets", init))), " "))
}

func TestClocksBelowZeroAreRefused(t *testing.T) {
	noLeaks(t, "t-below")
	o := testOptions("t-below")
	o.Hosts = map[string]Host{"fra": {Clock: -time.Duration(uptime(t, "/proc/uptime")+60) * time.Second}}
	_, err := Up(t.Context(), o, func(string) {})
	require.ErrorContains(t, err, "site fra: clock -")
	require.ErrorContains(t, err, "the kernel refuses a ")
	require.NoDirExists(t, filepath.Join(stateRoot, "t-below"))
	o.Hosts = map[string]Host{"nyc": {Clock: time.Second}}
	_, err = Up(t.Context(), o, func(string) {})
	require.ErrorContains(t, err, `no site "nyc": want one of [ams fra client]`)
}

// uptime is the first number of a file, in seconds.
func uptime(t *testing.T, path string) float64 {
	t.Helper()
	first, _, _ := strings.Cut(strings.TrimSpace(read(path)), " ")
	return parse(t, first)
}

func parse(t *testing.T, number string) float64 {
	t.Helper()
	value, err := strconv.ParseFloat(number, 64)
	require.NoError(t, err)
	return value
}

func read(path string) string {
	text, _ := os.ReadFile(path) // without it the caller's comparison fails
	return string(text)
}
