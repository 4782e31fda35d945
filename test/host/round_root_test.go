//go:build root

package host

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Redis goes round three sites, and comes by its first a second time. A client outside counts all the while.
func TestRedisGoesRoundTheSites(t *testing.T) {
	m := begin(t)
	pod, counter := m.redis(t, "ams", 8<<20)
	const moves = 5
	sites := []string{"ams", "fra", "nyc"}
	for i := range moves {
		from, to := sites[i%3], sites[(i+1)%3]
		before := m.carried(t, from, to)
		report, err := m.migrate(t.Context(), t, sites[(i+2)%3], "redis", to)
		require.NoError(t, err, "move %d", i+1)
		sent := m.carried(t, from, to) - before
		m.requireCounting(t, counter)
		t.Logf("%s to %s: downtime %.0f ms, total %.0f ms, %d bytes sent, %d carried", from, to, report.DowntimeMS, report.TotalMS, report.BytesSent, sent)

		require.Equal(t, []string{from, to, "redis"}, []string{report.From, report.To, report.Pod})
		var steps []string
		for _, s := range report.Steps {
			steps = append(steps, s.Name)
		}
		require.Equal(t, []string{"preflight", "reserve", "presync", "freeze", "final", "restore", "activate", "release", "retire"}, steps)
		// The network also carries the mesh's own talk, and the answers to the client while they go this way.
		require.InDelta(t, float64(sent), float64(report.BytesSent), 0.01*float64(sent)+64<<10, "bytes sent")
		require.Greater(t, report.FrozenBytes, int64(8<<20), "the random data crosses")
		require.LessOrEqual(t, report.FrozenBytes, report.BytesSent)

		now := m.awaitSettled(t, "redis")
		require.Equal(t, to, now.Node)
		require.Equal(t, pod.Address, now.Address)
		require.Equal(t, pod.Epoch+uint64(i)+1, now.Epoch)
	}
	m.requireUnharmed(t, counter)
}

// carried is what the network has carried from a site to another, in bytes of IP packets.
func (m *mesh) carried(t *testing.T, from, to string) int64 {
	t.Helper()
	links, err := m.WAN().Links(t.Context())
	require.NoError(t, err)
	for _, l := range links {
		if l.From == from && l.To == to {
			return int64(l.Counters.Sent.Bytes)
		}
	}
	require.Fail(t, "no link", "%s to %s", from, to)
	return 0
}

// What a program reads of the demonstration: one value on standard output, of these names.
func TestDemoTellsPrograms(t *testing.T) {
	m := begin(t)
	cmd := exec.CommandContext(t.Context(), m.binary, "lab", "demo", "--name", demoName, "--moves", "2", "--fill", "1MiB", "--output", "json")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), "%s", &errs)

	var names map[string]any
	decoder := json.NewDecoder(&out)
	text := bytes.Clone(out.Bytes())
	require.NoError(t, decoder.Decode(&names))
	require.False(t, decoder.More(), "one value alone")
	require.ElementsMatch(t, []string{"sites", "wan", "moves", "client", "leaks"}, keys(names))
	require.ElementsMatch(t, []string{"rate_bit", "rtt_ms"}, keys(names["wan"]))
	require.ElementsMatch(t, []string{"connections", "resets", "acknowledged", "lost", "duplicated"}, keys(names["client"]))
	moves, ok := names["moves"].([]any)
	require.True(t, ok)
	require.Len(t, moves, 2)
	for _, move := range moves {
		require.ElementsMatch(t, []string{
			"id", "pod", "from", "to", "mode", "downtime_ms", "client_gap_ms", "total_ms", "bytes_sent", "wan_bytes", "frozen_bytes", "steps",
		}, keys(move))
	}

	var r struct {
		Sites []string
		WAN   struct {
			Rate int64   `json:"rate_bit"`
			RTT  float64 `json:"rtt_ms"`
		}
		Moves []struct {
			Pod, From, To, Mode string
			Downtime            float64 `json:"downtime_ms"`
			Gap                 float64 `json:"client_gap_ms"`
			Total               float64 `json:"total_ms"`
			Sent                int64   `json:"bytes_sent"`
			Frozen              int64   `json:"frozen_bytes"`
			Steps               []struct {
				Name string
				MS   float64
			}
		}
		Client struct{ Connections, Resets, Acknowledged, Lost, Duplicated int64 }
		Leaks  []any
	}
	require.NoError(t, json.Unmarshal(text, &r))
	require.Equal(t, []string{"ams", "fra", "nyc"}, r.Sites)
	require.Equal(t, int64(200e6), r.WAN.Rate)
	require.InDelta(t, 50, r.WAN.RTT, 1e-9)
	for i, move := range r.Moves {
		require.Equal(t, []string{"redis", r.Sites[i], r.Sites[i+1], "stop-copy"}, []string{move.Pod, move.From, move.To, move.Mode})
		require.Positive(t, move.Downtime)
		require.Greater(t, move.Gap, move.Downtime/2)
		require.Greater(t, move.Total, move.Downtime)
		require.Greater(t, move.Sent, move.Frozen)
		require.Len(t, move.Steps, 9)
	}
	require.Equal(t, int64(1), r.Client.Connections)
	require.Zero(t, r.Client.Resets+r.Client.Lost+r.Client.Duplicated)
	require.Positive(t, r.Client.Acknowledged)
	require.NotNil(t, r.Leaks)
	require.Empty(t, r.Leaks)
}

func keys(object any) (names []string) {
	fields, _ := object.(map[string]any)
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
