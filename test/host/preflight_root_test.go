//go:build root

package host

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
)

// dryRun asks whether a pod can move, as a user does, and requires that this has changed nothing.
func (m *mesh) dryRun(t *testing.T, site, pod, to string, exit int) api.Preflight {
	t.Helper()
	known, files := m.known(t), m.footprints(t)
	out, errs, code := m.drover(t, site, "migrate", pod, "--to", to, "--dry-run", "-o", "json")
	require.Equal(t, exit, code, "%s%s", out, errs)
	require.Empty(t, errs)
	var p api.Preflight
	require.NoError(t, json.Unmarshal([]byte(out), &p), out)
	require.Equal(t, known, m.known(t), "nothing has changed")
	m.requireFootprints(t, files)
	migrations, err := m.clients[site].ListMigrations(t.Context())
	require.NoError(t, err)
	for _, x := range migrations {
		require.False(t, x.Phase.Open(), "%+v", x)
	}
	return p
}

func TestDryRunOfAPodThatCanMove(t *testing.T) {
	m := begin(t)
	_, counter := m.redis(t, "ams", 1<<20)
	for _, via := range []string{"ams", "nyc"} { // the owner answers, whoever is asked
		p := m.dryRun(t, via, "redis", "fra", 0)
		t.Logf("%+v", p)
		require.Empty(t, p.Refusals)
		require.Equal(t, "ams -> fra", p.From+" -> "+p.To)
		require.Equal(t, 1, p.Processes)
		require.Greater(t, p.MemoryBytes, int64(1<<20))
		require.Less(t, p.MemoryBytes, int64(64<<20))
		require.Empty(t, p.MissingLayers, "every site has the image")
	}
	m.requireMovesOn(t, counter, "fra")
}

// A process that somebody has started in the container isn't the pod's, and would be lost.
func TestExecutedProcessIsRefused(t *testing.T) {
	m := begin(t)
	_, counter := m.redis(t, "ams", 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	exec := m.Exec(ctx, "ams", "drover", "pod", "exec", "redis", "--", "redis-cli", "-i", "1", "-r", "1000", "ping")
	require.NoError(t, exec.Start())
	t.Cleanup(func() {
		cancel()
		_ = exec.Wait()
	})
	var refused api.Refusal
	eventually(t, "the process runs", func() error {
		p := m.preflight(t, "ams", "redis", "fra")
		if len(p.Refusals) != 1 || p.Refusals[0].Process != "redis-cli" {
			return fmt.Errorf("%+v", p.Refusals)
		}
		refused = p.Refusals[0]
		return nil
	})
	require.Equal(t, []api.Refusal{refused}, m.dryRun(t, "ams", "redis", "fra", 6).Refusals)
	require.Equal(t, "ams", refused.Node)
	require.Positive(t, refused.PID)
	require.Contains(t, refused.Reason, "started in the container from outside")
	m.requireRefused(t, "ams", []string{"migrate", "redis", "--to", "fra"}, 6,
		"one thing keeps it from moving", fmt.Sprintf("redis-cli (pid %d, %d on ams)", refused.PID, refused.HostPID), "end it", "nothing was changed")
	m.inSite(t, "ams", fmt.Sprintf("kill -9 %d", refused.HostPID))
	eventually(t, "the process has ended", func() error {
		if p := m.preflight(t, "ams", "redis", "fra"); len(p.Refusals) > 0 {
			return fmt.Errorf("%+v", p.Refusals)
		}
		return nil
	})
	m.requireMovesOn(t, counter, "fra")
}

// preflight asks whether a pod can move.
func (m *mesh) preflight(t *testing.T, site, pod, to string) api.Preflight {
	t.Helper()
	p, err := m.clients[site].Preflight(t.Context(), pod, to)
	require.NoError(t, err)
	return p
}

// A target whose CPU has less names what it lacks.
func TestLesserCPUIsRefused(t *testing.T) {
	m := begin(t)
	_, counter := m.redis(t, "ams", 1<<20)
	m.inSite(t, "fra", "sed -E 's/ (avx2|sse4_2|aes)( |$)/ /g; s/ (avx2|sse4_2|aes)( |$)/ /g' /proc/cpuinfo > /run/cpuinfo; mount --bind /run/cpuinfo /proc/cpuinfo")
	undo := func() { m.inSite(t, "fra", "umount /proc/cpuinfo; rm -f /run/cpuinfo") }
	t.Cleanup(func() {
		if undo != nil {
			undo()
		}
	})
	p := m.dryRun(t, "ams", "redis", "fra", 6)
	require.Len(t, p.Refusals, 1, "%+v", p.Refusals)
	require.Equal(t, "fra", p.Refusals[0].Node)
	for _, flag := range []string{"sse4_2", "aes", "avx2"} {
		require.Contains(t, p.Refusals[0].Reason, flag)
	}
	m.requireRefused(t, "ams", []string{"migrate", "redis", "--to", "fra"}, 6, "fra: its CPU lacks", "avx2", "nothing was changed")
	undo()
	undo = nil
	m.requireMovesOn(t, counter, "fra")
}

// All that is against a move is told at once, of both ends.
func TestAllRefusalsAreToldAtOnce(t *testing.T) {
	m := begin(t)
	_, counter := m.redis(t, "ams", 1<<20)
	m.inSite(t, "fra", "mount -o remount,size=48m /run")
	t.Cleanup(func() { m.inSite(t, "fra", "mount -o remount,size=50% /run") })
	netns := m.inSite(t, "ams", "for p in $(pidof redis-server); do echo /proc/$p/ns/net; done | head -1")
	m.inSite(t, "ams", "nsenter --net="+netns+" ip link add extra0 type veth peer name extra1")
	p := m.dryRun(t, "ams", "redis", "fra", 6)
	var reasons []string
	for _, r := range p.Refusals {
		reasons = append(reasons, r.Node+": "+r.Reason)
	}
	t.Log(strings.Join(reasons, "\n"))
	require.Len(t, reasons, 3)
	require.Contains(t, strings.Join(reasons, "\n"), "ams: the pod's network has the device extra0 (veth)")
	require.Contains(t, strings.Join(reasons, "\n"), "fra: it has ")
	m.inSite(t, "ams", "nsenter --net="+netns+" ip link del extra0")
	m.inSite(t, "fra", "mount -o remount,size=50% /run")
	m.requireMovesOn(t, counter, "nyc")
}
