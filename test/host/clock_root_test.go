//go:build root

package host

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/workload"
	"github.com/drover-mesh/drover/test/workload/clocks"
)

// apart is what the clocks of the sites show: hosts have been up for different times.
func apart() map[string]lab.Host {
	return map[string]lab.Host{"fra": {Clock: 100_000 * time.Second}, "nyc": {Clock: 50_000 * time.Second}}
}

// slack is what a busy machine may add to a step of a clock that is read every 2 ms, and to a timer.
const slack = time.Second

// A pod goes to and fro between hosts whose clocks are 100,000 s apart. Its own never go back, and stand still or go on by no
// more than the downtime; and whatever it waits for comes when it is due. So it is for a process that came into the pod later.
func TestClocksNeverGoBack(t *testing.T) {
	m := begin(t)
	image, err := workload.MetronomeImage(t.Context(), t.TempDir())
	require.NoError(t, err)
	require.NoError(t, m.load(t.Context(), "ams", "metronome", image))
	pod := m.run(t, "ams", workload.Metronome)
	addresses := []string{net.JoinHostPort(pod.Address, workload.MetronomePort)}
	first := m.metronome(t, addresses[0])
	for i, to := range []string{"fra", "ams", "nyc", "fra", "nyc", "ams"} {
		if i == 1 || i == 4 { // the pod has moved, and its host's clocks are not the pod's
			address := fmt.Sprintf(":%d", 7001+i)
			out, errs, code := m.drover(t, "nyc", "pod", "exec", "metronome", "--", "/metronome", "--background", address)
			require.Zero(t, code, "%s%s", out, errs)
			addresses = append(addresses, pod.Address+address)
		}
		report, err := m.migrate(t.Context(), t, "ams", "metronome", to)
		require.NoError(t, err, "move %d, to %s", i+1, to)
		downtime := time.Duration(report.DowntimeMS * float64(time.Millisecond))
		for _, address := range addresses {
			seen := m.metronome(t, address)
			t.Logf("at %s: downtime %v, longest step of monotonic %v, of boottime %v", address, downtime.Round(time.Millisecond),
				seen.Clocks["monotonic"].Step.Round(time.Millisecond), seen.Clocks["boottime"].Step.Round(time.Millisecond))
			requireSteady(t, seen, downtime)
			for name, clock := range first.Clocks {
				require.Less(t, clock.Now, seen.Clocks[name].Now, name)
				require.Less(t, seen.Clocks[name].Now, clock.Now+time.Hour, "the pod's own %s, not a host's", name)
			}
		}
	}
	m.awaitSettled(t, "metronome")
}

// metronome returns what one saw since it was last asked, once every timer has fired since.
func (m *mesh) metronome(t *testing.T, address string) (all clocks.Report) {
	t.Helper()
	eventually(t, "the metronome answers, and its timers fire", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r, err := workload.AskMetronome(ctx, m.Dialer(lab.ClientSite), address)
		if err != nil {
			return err
		}
		all = all.With(r)
		return all.Complete()
	})
	return all
}

// requireSteady compares what was seen with what a move may do.
func requireSteady(t *testing.T, r clocks.Report, downtime time.Duration) {
	t.Helper()
	for name, c := range r.Clocks {
		require.Zero(t, c.Back, "clock %s went back", name)
		require.Less(t, c.Step, downtime+slack, "clock %s jumped", name)
	}
	for name, timer := range r.Timers {
		require.Empty(t, timer.Error, "timer %s", name)
		require.Zero(t, timer.Early, "timer %s fired before it was due", name)
		require.Less(t, timer.Late, downtime+slack, "timer %s fired late", name)
	}
}
