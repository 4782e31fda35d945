package agent

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/state/quorum"
)

// lossy is a leader of a mesh of one machine that has lost some nodes.
type lossy struct {
	machine *state.Machine
	lost    []string
}

func (l *lossy) FailOver(decide func(state.View, state.Loss) []state.Command) (outcomes []quorum.Outcome) {
	if len(l.lost) == 0 {
		return nil
	}
	for _, c := range decide(l.machine.View(), state.Loss{Nodes: l.lost, Term: 3, At: time.Unix(1000, 0)}) {
		outcomes = append(outcomes, quorum.Outcome{Command: c, Result: l.machine.Apply(c)})
	}
	return outcomes
}

// threeNodes is a mesh of ams, fra and nyc in the reign of ams, with pods on fra: those that are named need a lease.
func threeNodes(t *testing.T, leased ...string) *lossy {
	t.Helper()
	l := &lossy{machine: state.New()}
	commands := []state.Command{state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")}, state.Reign{Server: "ams", Term: 3}}
	for _, name := range []string{"ams", "fra", "nyc"} {
		commands = append(commands, state.RegisterNode{Node: state.Node{
			Name: name, Site: name, Addr: netip.MustParseAddrPort("10.77.1.1:7400"), Capacity: state.Resources{CPU: 1000, Memory: 1 << 30},
		}})
	}
	for _, name := range append([]string{"plain"}, leased...) {
		c := state.CreatePod{
			Name: name, UID: "u-" + name, Manifest: []byte(`{}`), Node: "fra", Needs: state.Needs{CPU: 300}, Failover: state.FailoverRestart,
			Containers: []state.Container{{Name: "main", Layers: []state.Digest{state.Digest("sha256:" + strings.Repeat("a", 64))}}},
		}
		if name == "plain" {
			c.Failover = state.FailoverNone
		}
		commands = append(commands, c)
	}
	for _, c := range commands {
		r := l.machine.Apply(c)
		require.True(t, r.OK, "%T: %s", c, r.Reason)
	}
	return l
}

// away says of some nodes that they don't answer.
func away(nodes ...string) readiness {
	return func(node string) string {
		if slices.Contains(nodes, node) {
			return "it does not answer"
		}
		return ""
	}
}

func leading(l *lossy, silent ...string) (*failovers, *bytes.Buffer) {
	log := new(bytes.Buffer)
	return &failovers{leader: l, ready: func() readiness { return away(silent...) }, log: slog.New(slog.NewTextHandler(log, nil))}, log
}

func where(t *testing.T, l *lossy, pod string) (node string, epoch uint64) {
	t.Helper()
	p, ok := l.machine.View().Pod(pod)
	require.True(t, ok)
	return p.Node, p.Epoch
}

func TestPodsOfALostNodeAreStartedElsewhere(t *testing.T) {
	l := threeNodes(t, "redis", "shop")
	f, log := leading(l, "ams")
	f.look()
	node, _ := where(t, l, "redis")
	require.Equal(t, "fra", node, "nobody is lost")

	l.lost = []string{"fra"}
	f.look()
	for _, name := range []string{"redis", "shop"} {
		node, epoch := where(t, l, name)
		require.Equal(t, "nyc", node, "the only one that answers")
		require.Equal(t, uint64(2), epoch)
	}
	node, epoch := where(t, l, "plain")
	require.Equal(t, "fra", node, "without a policy it waits")
	require.Equal(t, uint64(1), epoch)
	p, _ := l.machine.View().Pod("redis")
	require.Equal(t, state.OriginImage, p.Origin.Kind)
	require.Equal(t, "fra", p.Origin.From)
	require.Equal(t, 2, strings.Count(log.String(), "a pod is started elsewhere"))
	f.look()
	require.Equal(t, 2, strings.Count(log.String(), "\n"), "nothing more happens")
}

// Where no node has room a pod waits, and why is told once. With room it is started.
func TestAPodThatFitsNowhereWaits(t *testing.T) {
	l := threeNodes(t, "redis")
	for _, name := range []string{"ams", "nyc"} {
		l.machine.Apply(state.CordonNode{Name: name, Cordoned: true})
	}
	l.lost = []string{"fra"}
	f, log := leading(l)
	f.look()
	f.look()
	node, _ := where(t, l, "redis")
	require.Equal(t, "fra", node)
	require.Equal(t, 1, strings.Count(log.String(), "nyc: it is cordoned"), log.String())

	l.machine.Apply(state.CordonNode{Name: "nyc"})
	f.look()
	node, _ = where(t, l, "redis")
	require.Equal(t, "nyc", node)
	require.Empty(t, f.said)
}

func TestFateOfAPodWhoseNodeDoesNotAnswer(t *testing.T) {
	v := threeNodes(t, "redis").machine.View()
	redis, _ := v.Pod("redis")
	plain, _ := v.Pod("plain")
	require.Contains(t, fate(v, plain, away("fra")), "it waits for fra: without the annotation drover.dev/failover")
	stopped, deleting := redis, redis
	stopped.Stopped, deleting.Deleting = true, true
	require.Equal(t, "it is stopped, and waits for fra with all that it has", fate(v, stopped, away("fra")))
	require.Equal(t, "it is removed when fra is back", fate(v, deleting, away("fra")))
	require.Equal(t, "if fra stays away until its lease has run out, it is started on nyc", fate(v, redis, away("fra", "ams")))
	require.Equal(t, "no other node can take it, which is tried again and again: ams: it does not answer, nyc: it does not answer",
		fate(v, redis, away("ams", "fra", "nyc")))
	l := threeNodes(t, "redis")
	for _, c := range []state.Command{
		state.Reserve{Migration: "m1", Pod: "redis", Source: "fra", Target: "nyc"}, state.Activate{Migration: "m1", Node: "nyc", Epoch: 2},
	} {
		require.True(t, l.machine.Apply(c).OK)
	}
	v = l.machine.View()
	moving, _ := v.Pod("redis")
	require.Equal(t, "if nyc stays away until its lease has run out, it goes on at fra, from the copy that its move has left there",
		fate(v, moving, away("nyc")))
}
