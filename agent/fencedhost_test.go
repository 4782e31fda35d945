package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/fence"
	"github.com/drover-mesh/drover/state"
)

// fencedHost is the node fra of threeNodes, whose fences, kernel and clocks are the test's. story is what was done, in order.
type fencedHost struct {
	*fenced
	t       *testing.T
	mesh    *lossy
	now     fence.Instant
	lease   state.Lease
	live    []string
	frozen  map[string]bool
	stale   string       // the UID of a pod of which an earlier life is here
	fences  []*fakeGuard // all that were ever started or found
	left    []guard      // by an earlier agent
	bare    string       // the UID of a pod that can't have a cgroup
	broken  error        // why none can be started
	muteErr error
	story   []string
}

func newFencedHost(t *testing.T, leased ...string) *fencedHost {
	h := &fencedHost{t: t, mesh: threeNodes(t, leased...), now: fence.Instant{Boot: time.Hour, Wall: int64(30 * time.Hour)}, frozen: map[string]bool{}}
	h.fenced = &fenced{
		node: "fra", version: "v2", leases: h, pods: h, mute: h, log: slog.New(slog.DiscardHandler), under: map[string]bool{}, leaving: map[string]bool{}, expected: map[string]bool{},
		clock: func() fence.Instant { return h.now },
		find:  func() ([]guard, error) { return h.left, nil },
		start: func(context.Context) (guard, error) {
			if h.broken != nil {
				return nil, h.broken
			}
			h.say("start")
			return h.guardOf("v2"), nil
		},
	}
	return h
}

func (h *fencedHost) say(format string, args ...any) {
	h.story = append(h.story, fmt.Sprintf(format, args...))
}

// tell returns the story since it was told last.
func (h *fencedHost) told() string {
	s := strings.Join(h.story, ", ")
	h.story = nil
	return s
}

func (h *fencedHost) guardOf(version string) *fakeGuard {
	g := &fakeGuard{host: h, id: len(h.fences) + 1, gone: make(chan struct{}), status: fence.Status{Version: version, Pid: 1}}
	h.fences = append(h.fences, g)
	return g
}

// renew grants the node a lease of 6 s from now.
func (h *fencedHost) renew() {
	h.lease = state.Lease{Term: 3, Index: h.View().Index(), Duration: 6 * time.Second, Boot: h.now.Boot, Wall: time.Unix(0, h.now.Wall)}
}

func (h *fencedHost) pass(d time.Duration) {
	h.now = fence.Instant{Boot: h.now.Boot + d, Wall: h.now.Wall + int64(d)}
}

func (h *fencedHost) pod(name string) state.Pod {
	p, ok := h.View().Pod(name)
	require.True(h.t, ok)
	return p
}

// Its lease.

func (h *fencedHost) View() state.View                               { return h.mesh.machine.View() }
func (h *fencedHost) Lease() state.Lease                             { return h.lease }
func (h *fencedHost) LeaseProblem() error                            { return errors.New("the mesh has no leader") }
func (h *fencedHost) Watch(context.Context) <-chan struct{}          { return nil }
func (h *fencedHost) WatchLease(ctx context.Context) <-chan struct{} { return ctx.Done() }

// Its kernel.

func (h *fencedHost) Add(pod, _ string) error {
	if h.muteErr == nil {
		h.say("mute %s", pod)
	}
	return h.muteErr
}

func (h *fencedHost) Also(_ string, left time.Duration) error {
	h.say("let one more send for %v", left)
	return nil
}

func (h *fencedHost) Pass(devices []string, left time.Duration) error {
	h.say("let %d send for %v", len(devices), left)
	return nil
}
func (h *fencedHost) Remove(pod string) error { h.say("unmute %s", pod); return nil }
func (h *fencedHost) Sweep() error            { h.say("sweep"); return nil }
func (h *fencedHost) Try() error              { return h.muteErr }

// Its cgroups.

func (h *fencedHost) Enclose(_ context.Context, uid string) (string, error) {
	if uid == h.bare {
		return "", errors.New("no cgroup")
	}
	return "/" + uid, nil
}
func (h *fencedHost) Freeze(_ context.Context, uid string) error {
	h.say("agent freezes %s", uid)
	h.frozen[uid] = true
	return nil
}
func (h *fencedHost) Frozen(uid string) bool  { return h.frozen[uid] }
func (h *fencedHost) Known(uid string) bool   { return slices.Contains(h.live, uid) }
func (h *fencedHost) Stale(s state.Pod) bool  { return s.UID == h.stale }
func (h *fencedHost) Live() ([]string, error) { return h.live, nil }

// fakeGuard is a fence whose deeds are noted. It freezes what it holds when the test says so.
type fakeGuard struct {
	host   *fencedHost
	id     int
	gone   chan struct{}
	status fence.Status
	deaf   bool
}

func (g *fakeGuard) did(format string, args ...any) (fence.Status, error) {
	if g.deaf {
		return fence.Status{}, errors.New("it has ended")
	}
	g.host.say("%d: "+format, append([]any{g.id}, args...)...)
	return g.status, nil
}

func (g *fakeGuard) Hold(_ context.Context, uid string, _ ...string) (fence.Status, error) {
	if !slices.ContainsFunc(g.status.Pods, func(p fence.Held) bool { return p.UID == uid }) {
		g.status.Pods = append(g.status.Pods, fence.Held{UID: uid})
	}
	return g.did("hold %s", uid)
}

func (g *fakeGuard) Drop(_ context.Context, uid string) (fence.Status, error) {
	g.status.Pods = slices.DeleteFunc(slices.Clone(g.status.Pods), func(p fence.Held) bool { return p.UID == uid })
	return g.did("drop %s", uid)
}

func (g *fakeGuard) Lease(_ context.Context, end fence.Instant) (fence.Status, error) {
	g.status.Lease = end
	return g.did("lease of %v", end.Left(g.host.now))
}

func (g *fakeGuard) Thaw(_ context.Context, uid string) (fence.Status, error) {
	g.status.Pods = slices.Clone(g.status.Pods)
	for i := range g.status.Pods {
		if g.status.Pods[i].UID == uid {
			g.status.Pods[i] = fence.Held{UID: uid}
		}
	}
	delete(g.host.frozen, uid)
	return g.did("thaw %s", uid)
}

func (g *fakeGuard) Status(context.Context) (fence.Status, error) {
	if g.deaf {
		return fence.Status{}, errors.New("it has ended")
	}
	return g.status, nil
}

func (g *fakeGuard) End(context.Context, bool) error { _, err := g.did("end"); return err }
func (g *fakeGuard) Gone() <-chan struct{}           { return g.gone }
func (g *fakeGuard) Kill() error                     { g.host.say("%d: killed", g.id); return nil }
func (g *fakeGuard) Close() error                    { return nil }

// fire freezes all that the fence holds, as at the end of a lease.
func (g *fakeGuard) fire() {
	g.status.Pods = slices.Clone(g.status.Pods)
	for i := range g.status.Pods {
		g.status.Pods[i].Frozen, g.status.Pods[i].Since = true, g.host.now.Wall
	}
}
