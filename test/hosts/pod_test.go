//go:build hosts

package hosts

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
)

// runPod starts a Redis on the first host. Its client comes by way of the second.
func (w *world) runPod(t *testing.T) {
	must(t, w.h1, "cd /root && drover image load redis redis.tar && drover pod run --node h1 -f redis.yaml")
	w.address = w.awaitPod(t, w.h1).Address
	w.countAnew(t, w.h2)
}

// countAnew has a client count from 0, over one connection from a guest. The Redis may just be starting.
func (w *world) countAnew(t *testing.T, from *guest) {
	t.Helper()
	eventually(t, "a client can connect", func() (err error) {
		w.counter, err = from.count(t.Context(), w.address+":6379")
		return err
	})
	requireCounting(t, w.counter)
}

// move moves the pod with its client connected.
func (w *world) move(t *testing.T, from, to *guest) {
	t.Helper()
	before := w.awaitPod(t, from)
	w.counter.Longest()
	must(t, from, "drover migrate redis --to "+to.name)
	after := w.awaitPod(t, to)
	require.Equal(t, before.Epoch+1, after.Epoch)
	require.Equal(t, before.Address, after.Address)
	requireCounting(t, w.counter)
	say("the client waited for at most %s", w.counter.Longest().Round(time.Millisecond))
	w.awaitMesh(t)
	eventually(t, "nothing of the pod is left on "+from.name, func() error {
		_, err := from.shell.run(t.Context(), `test -z "$(ip netns)" && test -z "$(ls -A /run/drover/moves)" && ! pgrep conmon`)
		return err
	})
}

// systemdDriver moves the pod to a host where systemd makes the control groups, and back: hosts of a mesh need not be alike in that.
func (w *world) systemdDriver(t *testing.T) {
	must(t, w.h2, "drover migrate redis --to h1")
	w.awaitPod(t, w.h1)
	must(t, w.h2, "echo 'cgroupDriver: systemd' >>/etc/drover/agent.yaml && systemctl restart drover-agent")
	w.awaitMesh(t)
	w.countAnew(t, w.h1)
	w.move(t, w.h1, w.h2)
	p := w.awaitPod(t, w.h2)
	unit := "drover-" + p.UID + "-redis.scope"
	require.Equal(t, "MemoryMax=536870912 ActiveState=active", must(t, w.h2, "echo $(systemctl show --property ActiveState --property MemoryMax "+unit+")"))
	must(t, w.h2, fmt.Sprintf("grep --quiet /drover.slice/drover-%s.slice/%s$ /proc/%d/cgroup", p.UID, unit, p.Containers[0].PID))
	// What outlives the agent has scopes here, and else a cgroup: who ends the agent's unit ends none of it.
	must(t, w.h2, "systemctl kill --signal KILL drover-agent")
	w.awaitMesh(t)
	require.Equal(t, p.Containers[0].PID, w.awaitPod(t, w.h2).Containers[0].PID)
	must(t, w.h2, "grep --quiet '/drover.slice/run-.*scope$' /proc/$(pgrep conmon)/cgroup")
	w.move(t, w.h2, w.h1)
	must(t, w.h2, "test -z \"$(systemctl list-units --all --no-legend 'drover-"+p.UID+"*')\"")
	w.stopClient(t)
}

// stopClient compares what the pod has acknowledged with what it remembers.
func (w *world) stopClient(t *testing.T) {
	t.Helper()
	requireCounting(t, w.counter)
	count, err := w.counter.Stop(t.Context())
	require.NoError(t, err)
	say("%d increments over %d connection, %d lost, %d doubled, %d resets", count.Acknowledged, count.Connections, count.Lost, count.Duplicated, count.Resets)
	require.Equal(t, 1, count.Connections)
	require.Zero(t, count.Lost)
	require.Zero(t, count.Duplicated)
	require.Zero(t, count.Resets)
}

// refuseLesser boots the second host's disk as a third one, whose CPU lacks what the pod may have found at its start.
func (w *world) refuseLesser(t *testing.T) {
	must(t, w.h2, "systemctl poweroff")
	require.NoError(t, w.h2.halt(t.Context()))
	h3 := *w.h2
	h3.name, h3.cpu = "h3", lesser
	require.NoError(t, run(t.Context(), "mv", w.h2.file("disk"), h3.file("disk")))
	*w.h2 = h3 // its clean-up is that of the slot
	require.NoError(t, w.h2.boot(t.Context(), false))
	must(t, w.h2, "apt-get install --yes --quiet=2 /root/new.deb")
	w.enrol(t, w.h2)
	w.awaitMesh(t)
	before := w.awaitPod(t, w.h1)
	for _, how := range []string{"", " --dry-run"} {
		said := must(t, w.h1, "drover migrate redis --to h3"+how+" 2>&1 && exit 1 || echo exit code $?")
		require.Regexp(t, `(?s)h3.*CPU lacks.*exit code 6`, said)
	}
	after := w.awaitPod(t, w.h1)
	require.Equal(t, before.Containers[0].PID, after.Containers[0].PID, "it was left alone")
	require.Equal(t, api.PodRunning, after.Phase)
}
