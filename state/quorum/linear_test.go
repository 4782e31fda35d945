package quorum

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// a history is recorded by clients that move pods about, each at a node, while others do the same and the mesh suffers.
type history struct {
	net  *memnet
	read func(ctx context.Context, q *Quorum) error // before a client looks at the View

	clock atomic.Int64 // orders calls and returns
	moves atomic.Int64
	mu    sync.Mutex
	ops   []porcupine.Operation
	ids   map[string][]state.Migration // of each pod, whatever became of them
	lost  int                          // unknown outcomes
}

func (h *history) quorum(node string) *Quorum {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.net.quorums[node]
}

// client works at a node until ctx ends.
func (h *history) client(ctx context.Context, id int, node string, r *rand.Rand) {
	for ctx.Err() == nil {
		<-time.After(time.Duration(r.IntN(200)) * time.Millisecond)
		q := h.quorum(node)
		if q == nil { // it's down
			continue
		}
		in := asked{pod: fmt.Sprintf("pod-%d", r.IntN(2))}
		if r.IntN(3) > 0 {
			in.command = h.choose(q.View(), in.pod, r)
		}
		within, cancel := context.WithTimeout(ctx, time.Duration(100+r.IntN(3000))*time.Millisecond)
		call := h.clock.Add(1)
		out, happened := h.do(within, q, in)
		cancel()
		back := h.clock.Add(1)
		if out.unknown {
			back = math.MaxInt64
		}
		if !happened {
			continue
		}
		h.mu.Lock()
		h.ops = append(h.ops, porcupine.Operation{ClientId: id, Input: in, Call: call, Output: out, Return: back})
		if out.unknown {
			h.lost++
		}
		h.mu.Unlock()
	}
}

// do carries an operation out. It returns false if it surely has not happened.
func (h *history) do(ctx context.Context, q *Quorum, in asked) (out answered, happened bool) {
	if in.command != nil {
		result, err := q.Propose(ctx, in.command)
		return answered{unknown: err != nil, ok: result.OK}, !errors.Is(err, ErrNotProposed)
	}
	if h.read(ctx, q) != nil {
		return out, false
	}
	v := q.View()
	pod, ok := v.Pod(in.pod)
	if !ok {
		return out, false // it was looked at before anything was heard
	}
	g, _ := v.Migration(pod.Migration)
	return answered{owner: pod.Node, epoch: pod.Epoch, open: pod.Migration, phase: g.Phase}, true
}

// choose returns a command about a pod that makes sense as far as the client knows, or one that comes too late.
func (h *history) choose(v state.View, name string, r *rand.Rand) state.Command {
	h.mu.Lock()
	defer h.mu.Unlock()
	pod, _ := v.Pod(name)
	g, open := v.Migration(pod.Migration)
	if ids := h.ids[name]; r.IntN(8) == 0 && len(ids) > 0 {
		g, open = ids[max(0, len(ids)-1-r.IntN(20))], true // not so late that it is forgotten: state.FinishedMigrations
	}
	if !open {
		g = state.Migration{
			ID: fmt.Sprintf("m-%d", h.moves.Add(1)), Pod: name, UID: "u-" + name,
			Source: pod.Node, Target: servers[r.IntN(len(servers))], Epoch: pod.Epoch + 1,
		}
		h.ids[name] = append(h.ids[name], g)
		return state.Reserve{Migration: g.ID, Pod: name, Source: g.Source, Target: g.Target}
	}
	switch n := r.IntN(12); {
	case n < 3:
		return state.Activate{Migration: g.ID, Node: g.Target, Epoch: g.Epoch}
	case n < 5:
		return state.Abort{Migration: g.ID, Reason: "test", UID: g.UID, Epoch: g.Epoch}
	case n < 9:
		return state.Complete{Migration: g.ID, Node: g.Target}
	case n < 11:
		return state.Return{Migration: g.ID, Node: g.Target, Reason: "test"}
	}
	return state.Reserve{Migration: g.ID, Pod: name, Source: g.Source, Target: g.Target}
}

// unreliable has a node's calls lose their answers now and then, come twice, or come late.
func unreliable(cfg Config, r *rand.Rand) Config {
	forward := cfg.Forward
	var mu sync.Mutex
	dice := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return r.IntN(n)
	}
	cfg.Forward = func(ctx context.Context, to string, data []byte) ([]byte, error) {
		switch dice(20) {
		case 0:
			<-time.After(time.Duration(dice(500)) * time.Millisecond)
		case 1:
			_, _ = forward(ctx, to, data)
		case 2:
			if _, err := forward(ctx, to, data); err != nil {
				return nil, err
			}
			return nil, errors.New("the answer was lost")
		}
		return forward(ctx, to, data)
	}
	return cfg
}

// suffer has something happen to the mesh.
func (m *mesh) suffer(r *rand.Rand, all []string) {
	leader := ""
	for _, node := range m.up() {
		if m.nodes[node].Status().Role == "leader" {
			leader = node
		}
	}
	switch n := r.IntN(6); {
	case n == 0:
		m.net.isolate(all[r.IntN(len(all))], all, true)
	case n == 1:
		m.net.set(all[r.IntN(len(all))], all[r.IntN(len(all))], true)
	case n == 2 && leader != "":
		m.net.isolate(leader, all, true)
	case n == 3 && leader != "" && len(m.up()) == len(servers):
		m.kill(leader)
	default:
		m.net.heal()
		for _, node := range servers {
			if m.nodes[node] == nil {
				m.openAs(node, unreliable(m.config(node), rand.New(rand.NewPCG(r.Uint64(), 0))))
			}
		}
	}
}

// recorded has clients work for some time, and returns what they saw.
func recorded(t *testing.T, seed uint64, read func(context.Context, *Quorum) error) (h *history) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 4))
		all := append([]string{plain, "lim"}, servers...)
		m := emptyMesh(t, time.Millisecond, quick(), servers...)
		for _, node := range all {
			m.openAs(node, unreliable(m.config(node), rand.New(rand.NewPCG(r.Uint64(), 0))))
		}
		m.found(m.leader(servers...))
		for i := range 2 {
			name := fmt.Sprintf("pod-%d", i)
			require.True(t, m.propose("ams", create(name, "u-"+name)).OK)
		}
		m.agree(all...)
		h = &history{net: m.net, read: read, ids: map[string][]state.Migration{}}
		ctx, cancel := context.WithCancel(context.Background())
		var clients sync.WaitGroup
		for i, node := range all {
			dice := rand.New(rand.NewPCG(r.Uint64(), 0))
			clients.Go(func() { h.client(ctx, i, node, dice) })
		}
		for range 40 {
			<-time.After(time.Duration(200+r.IntN(1500)) * time.Millisecond)
			m.suffer(r, all)
		}
		cancel()
		clients.Wait()
		m.net.heal()
	})
	return h
}

// TestOwnershipIsLinear records histories of the register of who owns a pod, under partitions, deaths of leaders, and calls
// whose answers are lost or that come twice: each has an order in which every operation has its effect at once.
func TestOwnershipIsLinear(t *testing.T) {
	sync := func(ctx context.Context, q *Quorum) error { return q.Sync(ctx) }
	for seed := range uint64(2) {
		h := recorded(t, seed, sync)
		done := map[string]int{}
		for _, o := range h.ops {
			c, out := o.Input.(asked).command, o.Output.(answered)
			switch {
			case c == nil:
				done["read"]++
			case out.ok:
				done[string(c.Kind())]++
			}
		}
		t.Logf("seed %d: %d operations, %d of unknown outcome: %v", seed, len(h.ops), h.lost, done)
		result, info := porcupine.CheckOperationsVerbose(registers("ams"), h.ops, time.Minute)
		if result != porcupine.Ok {
			path := fmt.Sprintf("%s/ownership-%d.html", t.ArtifactDir(), seed)
			require.NoError(t, porcupine.VisualizePath(registers("ams"), info, path))
			t.Fatalf("seed %d: the history is %s: see %s", seed, result, path)
		}
	}
}

// TestAStaleReadIsNotLinear has clients look without asking whether they have heard of everything: the check finds it.
func TestAStaleReadIsNotLinear(t *testing.T) {
	look := func(context.Context, *Quorum) error { return nil }
	h := recorded(t, 1, look)
	require.Equal(t, porcupine.Illegal, porcupine.CheckOperationsTimeout(registers("ams"), h.ops, time.Minute))
}
