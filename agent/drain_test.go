package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
)

// drainMesh is a mesh whose moves are commands and nothing else. Its fields say what goes wrong.
type drainMesh struct {
	t       *testing.T
	mu      sync.Mutex
	machine *state.Machine
	changes chan struct{}
	busy    map[string]bool
	refuse  map[string]string // "pod target" -> why, as a preflight does
	fail    map[string]error  // by pod
	begun   chan string       // if not nil, a move tells that it has begun,
	goOn    chan struct{}     // and waits for this or the end of its context
	moves   []string          // "pod target", in the order of their begins
	most    int               // moves at a time
	running int
	told    []string // what the progress heard
}

// newDrainMesh has the nodes ams, fra and nyc with 4 cores each.
func newDrainMesh(t *testing.T, commands ...state.Command) *drainMesh {
	m := &drainMesh{
		t: t, machine: state.New(), changes: make(chan struct{}, 1), busy: map[string]bool{}, refuse: map[string]string{}, fail: map[string]error{},
	}
	m.apply(state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")})
	for _, name := range []string{"ams", "fra", "nyc"} {
		m.apply(state.RegisterNode{Node: state.Node{Name: name, Site: name, Capacity: state.Resources{CPU: 4000, Memory: 8 << 30}}})
	}
	for _, c := range commands {
		m.apply(c)
	}
	return m
}

func (m *drainMesh) apply(c state.Command) state.Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.machine.Apply(c)
	require.True(m.t, r.OK, "%#v: %s", c, r.Reason)
	select {
	case m.changes <- struct{}{}:
	default:
	}
	return r
}

func (m *drainMesh) view() state.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.machine.View()
}

func podAt(node, name string, needs state.Needs) state.Command {
	layers := []state.Digest{state.Digest("sha256:" + strings.Repeat("a", 64))}
	return state.CreatePod{
		Name: name, UID: "u-" + name, Node: node, Manifest: []byte(`{}`), Containers: []state.Container{{Name: "main", Layers: layers}}, Needs: needs,
	}
}

func podsAt(node string, names ...string) (all []state.Command) {
	for _, name := range names {
		all = append(all, podAt(node, name, state.Needs{CPU: 1000}))
	}
	return all
}

// drain is a drain of a node, which it cordons.
func (m *drainMesh) drain(node string, parallel int) *drain {
	m.apply(state.CordonNode{Name: node, Cordoned: true})
	return &drain{
		parallel: parallel, progress: m, changes: m.changes, move: m.move,
		pods: func() ([]state.Pod, []heldPod) {
			return toDrain(m.view(), node, func(uid string) bool { m.mu.Lock(); defer m.mu.Unlock(); return m.busy[uid] })
		},
		choose: func(p state.Pod, planned, refused map[string]string) (string, *api.Error) {
			r := state.Request{Pod: &p, Planned: planned, Exclude: refused}
			d := state.Schedule(m.view(), r)
			if d.Node == "" {
				return "", nowhere("", r, d)
			}
			return d.Node, nil
		},
	}
}

func (m *drainMesh) move(ctx context.Context, p state.Pod, target string, progress api.Progress) (api.Report, bool, error) {
	key := p.Name + " " + target
	m.mu.Lock()
	m.moves = append(m.moves, key)
	m.running++
	m.most = max(m.most, m.running)
	m.mu.Unlock()
	defer func() { m.mu.Lock(); m.running--; m.mu.Unlock() }()
	progress.Started(api.Move{Pod: p.Name, From: p.Node, To: target})
	if why := m.refuse[key]; why != "" {
		return api.Report{}, true, api.Errorf(api.FailedPrecondition, "moving "+p.Name, "%s", why)
	}
	id := "m-" + p.Name
	m.apply(state.Reserve{Migration: id, Pod: p.Name, Source: p.Node, Target: target})
	progress.Event(api.Event{Step: "reserve", State: api.StepDone})
	if m.begun != nil {
		m.begun <- p.Name
		select {
		case <-ctx.Done():
			m.apply(state.Abort{Migration: id, Reason: "cancelled"})
			return api.Report{}, false, api.Errorf(api.Aborted, "moving "+p.Name, "it was cancelled").WithCure("it goes on at " + p.Node)
		case <-m.goOn:
		}
	}
	if err := m.fail[p.Name]; err != nil {
		m.apply(state.Abort{Migration: id, Reason: err.Error()})
		return api.Report{}, false, api.Errorf(api.Aborted, "moving "+p.Name, "%v", err).WithCure("it goes on at " + p.Node)
	}
	m.apply(state.Activate{Migration: id, Node: target, Epoch: p.Epoch + 1})
	m.apply(state.Complete{Migration: id, Node: target})
	return api.Report{ID: id, Pod: p.Name, From: p.Node, To: target}, false, nil
}

func (m *drainMesh) hear(format string, args ...any) {
	m.told = append(m.told, fmt.Sprintf(format, args...)) // not locked: the drain promises one at a time
}

func (m *drainMesh) Planned(names []string)        { m.hear("plan %v", names) }
func (m *drainMesh) Started(x api.Move)            { m.hear("start %s %s", x.Pod, x.To) }
func (m *drainMesh) Event(pod string, e api.Event) { m.hear("%s %s %s", pod, e.Step, e.State) }
func (m *drainMesh) Ended(p api.DrainedPod)        { m.hear("end %s", outcome(p)) }

func outcome(p api.DrainedPod) string {
	s := fmt.Sprintf("%s %s %s", p.Pod, p.Outcome, p.To)
	for _, n := range append([]api.NodeReason{{Why: p.Reason}}, p.Nodes...) {
		if n.Why != "" {
			s += " | " + strings.TrimPrefix(n.Node+": "+n.Why, ": ")
		}
	}
	return s
}

func outcomes(all []api.DrainedPod) (lines []string) {
	for _, p := range all {
		lines = append(lines, outcome(p))
	}
	return lines
}

func (m *drainMesh) where() string {
	var all []string
	for _, p := range m.view().Pods() {
		all = append(all, p.Name+"@"+p.Node)
	}
	return strings.Join(all, " ")
}

func TestDrainMovesOnePodAfterTheOther(t *testing.T) {
	m := newDrainMesh(t, append(podsAt("ams", "a", "b", "c"), podAt("fra", "x", state.Needs{CPU: 1500}))...)
	ended := m.drain("ams", 1).run(t.Context(), t.Context())
	require.Equal(t, []string{"a moved nyc", "b moved nyc", "c moved fra"}, outcomes(ended))
	require.Equal(t, []string{"a nyc", "b nyc", "c fra"}, m.moves)
	require.Equal(t, 1, m.most)
	require.Equal(t, []string{
		"start a nyc", "a reserve done", "end a moved nyc", "start b nyc", "b reserve done", "end b moved nyc", "start c fra", "c reserve done", "end c moved fra",
	}, m.told)
	for _, p := range m.view().Pods() {
		require.Equal(t, p.Name != "x", p.DrainedFrom == "ams", p.Name)
	}
	require.Empty(t, m.drain("ams", 1).run(t.Context(), t.Context()), "nothing is left")
}

func TestDrainMovesSomePodsAtATime(t *testing.T) {
	m := newDrainMesh(t)
	for _, name := range []string{"a", "b", "c", "d"} { // two fit on each of the other nodes, not three
		m.apply(podAt("ams", name, state.Needs{CPU: 1000, Memory: 3 << 30}))
		if name == "b" {
			m.apply(state.RegisterNode{Node: state.Node{Name: "ams", Site: "ams"}})
		}
	}
	m.begun, m.goOn = make(chan string), make(chan struct{})
	done := make(chan []api.DrainedPod)
	go func() { done <- m.drain("ams", 3).run(t.Context(), t.Context()) }()
	first := []string{<-m.begun, <-m.begun, <-m.begun}
	slices.Sort(first)
	require.Equal(t, []string{"a", "b", "c"}, first)
	m.goOn <- struct{}{}
	require.Equal(t, "d", <-m.begun)
	close(m.goOn)
	require.Len(t, <-done, 4)
	require.Equal(t, 3, m.most)
	count := map[string]int{}
	for _, p := range m.view().Pods() {
		count[p.Node]++
	}
	require.Equal(t, map[string]int{"fra": 2, "nyc": 2}, count)
}

// What can't be moved is named and doesn't stop the others.
func TestDrainGoesOn(t *testing.T) {
	m := newDrainMesh(t,
		podAt("ams", "a-large", state.Needs{CPU: 3000}), podAt("ams", "b-pinned", state.Needs{Pinned: "it mounts /data"}),
		podAt("ams", "c-choosy", state.Needs{Selector: map[string]string{"disk": "ssd"}}), podAt("ams", "d-odd", state.Needs{}),
		podAt("ams", "e-broken", state.Needs{}), podAt("ams", "f-plain", state.Needs{}),
		podAt("fra", "x", state.Needs{CPU: 2000}), podAt("nyc", "y", state.Needs{CPU: 1500}),
	)
	m.refuse = map[string]string{"d-odd fra": "its kernel is too old", "d-odd nyc": "it has no room", "f-plain nyc": "no"}
	m.fail["e-broken"] = errors.New("step final failed")
	ended := m.drain("ams", 1).run(t.Context(), t.Context())
	require.Equal(t, []string{
		"a-large stays  | no node fits | fra: 3 CPU is requested, and 2 of 4 is free | nyc: 3 CPU is requested, and 2500m of 4 is free",
		"b-pinned stays  | no node fits | fra: the pod can't leave ams: it mounts /data | nyc: the pod can't leave ams: it mounts /data",
		"c-choosy stays  | no node fits | fra: it lacks the label disk=ssd | nyc: it lacks the label disk=ssd",
		"d-odd stays  | no node fits | fra: its kernel is too old | nyc: it has no room",
		"e-broken stays  | moving e-broken: step final failed",
		"f-plain moved fra",
	}, outcomes(ended))
	require.Equal(t, []string{"d-odd nyc", "d-odd fra", "e-broken nyc", "f-plain nyc", "f-plain fra"}, m.moves)
	require.Equal(t, "it goes on at ams", ended[4].Cure)
}

// What of a pod itself keeps it from moving is no reason to ask another target.
func TestDrainOfAPodThatCantMove(t *testing.T) {
	m := newDrainMesh(t, podsAt("ams", "a", "b")...)
	refusals := []api.Refusal{{Node: "ams", Process: "db", Reason: "it has an io_uring", Cure: "turn that off"}}
	d := m.drain("ams", 1)
	d.move = func(ctx context.Context, p state.Pod, target string, progress api.Progress) (api.Report, bool, error) {
		if p.Name == "b" {
			return m.move(ctx, p, target, progress)
		}
		m.moves = append(m.moves, p.Name+" "+target)
		e := api.Errorf(api.FailedPrecondition, "moving a to "+target, "one thing keeps it from moving")
		e.Refusals = refusals
		return api.Report{}, false, e
	}
	ended := d.run(t.Context(), t.Context())
	require.Equal(t, []string{"a stays  | moving a to fra: one thing keeps it from moving", "b moved fra"}, outcomes(ended))
	require.Equal(t, refusals, ended[0].Refusals)
	require.Equal(t, []string{"a fra", "b fra"}, m.moves)
}

func TestDrainIsCancelled(t *testing.T) {
	m := newDrainMesh(t, podsAt("ams", "a", "b", "c")...)
	m.begun = make(chan string)
	moving, cancel := context.WithCancel(t.Context())
	done := make(chan []api.DrainedPod)
	go func() { done <- m.drain("ams", 2).run(moving, moving) }()
	<-m.begun
	<-m.begun
	cancel()
	ended := outcomes(<-done)
	slices.Sort(ended)
	require.Equal(t, []string{
		"a stays  | moving a: it was cancelled", "b stays  | moving b: it was cancelled", "c stays  | its turn had not come",
	}, ended)
	require.Equal(t, "a@ams b@ams c@ams", m.where())
}

// If only who asked goes away, what has begun comes to its end.
func TestDrainIsLeft(t *testing.T) {
	m := newDrainMesh(t, podsAt("ams", "a", "b")...)
	m.begun, m.goOn = make(chan string), make(chan struct{})
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan []api.DrainedPod)
	go func() { done <- m.drain("ams", 1).run(ctx, t.Context()) }()
	<-m.begun
	leave()
	close(m.goOn)
	require.Equal(t, []string{"a moved fra", "b stays  | its turn had not come"}, outcomes(<-done))
}

// A target that refuses is no reason to try another once the drain is over.
func TestDrainIsLeftWhileATargetRefuses(t *testing.T) {
	m := newDrainMesh(t, podsAt("ams", "a")...)
	ctx, leave := context.WithCancel(t.Context())
	d := m.drain("ams", 1)
	d.move = func(context.Context, state.Pod, string, api.Progress) (api.Report, bool, error) {
		leave()
		return api.Report{}, true, api.Errorf(api.FailedPrecondition, "", "no")
	}
	require.Equal(t, []string{"a stays  | no"}, outcomes(d.run(ctx, t.Context())))
}

func TestDrainWaitsForWhatOthersDo(t *testing.T) {
	m := newDrainMesh(t, append(podsAt("ams", "leaving", "removed", "starting"), podAt("fra", "coming", state.Needs{}))...)
	m.apply(state.Reserve{Migration: "m-1", Pod: "coming", Source: "fra", Target: "ams"})
	m.apply(state.Reserve{Migration: "m-2", Pod: "leaving", Source: "ams", Target: "nyc"})
	m.apply(state.MarkDeleting{Name: "removed"})
	m.busy["u-starting"] = true
	d := m.drain("ams", 1)
	looked, inner := make(chan int), d.pods
	d.pods = func() ([]state.Pod, []heldPod) {
		free, held := inner()
		select {
		case looked <- len(held):
		case <-t.Context().Done():
		}
		return free, held
	}
	held := func(want int) {
		for n := range looked {
			if n == want {
				return
			}
		}
	}
	done := make(chan []api.DrainedPod)
	go func() {
		ended := d.run(t.Context(), t.Context())
		close(looked)
		done <- ended
	}()
	held(4)
	m.apply(state.Activate{Migration: "m-2", Node: "nyc", Epoch: 2})
	m.apply(state.Complete{Migration: "m-2", Node: "nyc"})
	held(3)
	m.apply(state.DeletePod{Name: "removed", UID: "u-removed"})
	held(2)
	m.apply(state.Activate{Migration: "m-1", Node: "ams", Epoch: 2})
	held(2)
	m.apply(state.Complete{Migration: "m-1", Node: "ams"})
	held(1)
	m.mu.Lock()
	m.busy["u-starting"] = false
	m.mu.Unlock()
	for range looked { //nolint:revive // until the drain is over
	}
	require.Equal(t, []string{"coming moved fra", "starting moved fra"}, outcomes(<-done))
}

func TestDrainDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newDrainMesh(t, append(podsAt("ams", "a", "stuck"), podAt("fra", "lost", state.Needs{}))...)
		m.apply(state.Reserve{Migration: "m-1", Pod: "lost", Source: "fra", Target: "ams"})
		m.busy["u-stuck"] = true
		require.Equal(t, []string{
			"a moved nyc", "lost stays  | it is moving: migration m-1 from fra to ams", "stuck stays  | it is being started, moved or removed",
		}, outcomes(m.drain("ams", 1).run(t.Context(), t.Context())))
	})
}

// Two nodes that are drained at once don't play ping-pong.
func TestTwoDrainsAtOnce(t *testing.T) {
	m := newDrainMesh(t, append(podsAt("ams", "a", "b"), podsAt("fra", "c", "d")...)...)
	one, two := m.drain("ams", 2), m.drain("fra", 2)
	var both sync.WaitGroup
	quiet := &drainMesh{}
	one.progress, two.progress = quiet, &drainMesh{}
	both.Go(func() { one.run(t.Context(), t.Context()) })
	both.Go(func() { two.run(t.Context(), t.Context()) })
	both.Wait()
	require.Equal(t, "a@nyc b@nyc c@nyc d@nyc", m.where())
	require.Len(t, m.moves, 4)
}

func TestDrainIsRehearsed(t *testing.T) {
	m := newDrainMesh(t, append(podsAt("ams", "a", "b", "c"), podAt("fra", "x", state.Needs{CPU: 1500}), podAt("ams", "p", state.Needs{Pinned: "so"}))...)
	m.busy["u-c"] = true
	before := m.view()
	d := m.drain("ams", 1)
	require.Equal(t, []string{
		"a would-move nyc", "b would-move nyc",
		"p stays  | no node fits | fra: the pod can't leave ams: so | nyc: the pod can't leave ams: so",
		"c would-move fra",
	}, outcomes(d.rehearse(t.Context())))
	require.Equal(t, before.Pods(), m.view().Pods())
}

// A rehearsal asks the targets too: one that refuses is passed over, and one that nobody can reach.
func TestDrainIsRehearsedAtTheTargets(t *testing.T) {
	m := newDrainMesh(t, podsAt("ams", "a", "b", "c")...)
	d := m.drain("ams", 1)
	d.look = func(_ context.Context, p state.Pod, target string) (bool, error) {
		e := api.Errorf(api.FailedPrecondition, "moving "+p.Name+" to "+target, "it can't move")
		switch p.Name + target {
		case "afra":
			e.Refusals = []api.Refusal{{Node: "fra", Reason: "no room", Cure: "free some"}}
			return true, e
		case "bnyc", "bfra":
			e.Refusals = []api.Refusal{{Node: "ams", Process: "db", Reason: "it has an io_uring"}}
			return false, e
		case "cnyc", "cfra":
			return true, api.Errorf(api.Unavailable, "", "nothing heard for 5s")
		}
		return false, nil
	}
	all := d.rehearse(t.Context())
	require.Equal(t, []string{
		"a would-move nyc", "b stays  | moving b to fra: it can't move", "c stays  | no node fits | fra: nothing heard for 5s | nyc: nothing heard for 5s",
	}, outcomes(all))
	require.Equal(t, "it has an io_uring", all[1].Refusals[0].Reason)
	require.Equal(t, map[string]string{"u-a": "nyc"}, d.planned)
	require.Equal(t, "no room (free some)", why(&api.Error{Refusals: []api.Refusal{{Reason: "no room", Cure: "free some"}}}))
}

func TestWhatADrainComesTo(t *testing.T) {
	moved, stays := api.DrainedPod{Outcome: api.DrainMoved}, api.DrainedPod{Outcome: api.DrainStays}
	require.NoError(t, drainError("draining ams", api.DrainReport{Pods: []api.DrainedPod{moved}}, "again", "undo"))
	require.NoError(t, drainError("draining ams", api.DrainReport{}, "again", "undo"))
	err := api.AsError(drainError("draining ams", api.DrainReport{Pods: []api.DrainedPod{moved, stays}}, "again", "undo"))
	require.Equal(t, api.FailedPrecondition, err.Code)
	err = api.AsError(drainError("draining ams", api.DrainReport{Pods: []api.DrainedPod{moved, stays}, Stopped: "it was cancelled"}, "again", "undo"))
	require.Equal(t, api.Aborted, err.Code)
}

func TestOneDrainAtATime(t *testing.T) {
	var d drains
	ctx, leave := context.WithCancel(t.Context())
	run, moving, end, err := d.begin(ctx, "draining ams", 0)
	require.NoError(t, err)
	_, _, _, err = d.begin(ctx, "draining ams", 0)
	require.Equal(t, api.FailedPrecondition, api.AsError(err).Code)
	require.True(t, d.running())
	leave()
	<-run.Done()
	require.NoError(t, moving.Err(), "who asked has gone: what moves goes on")
	require.ErrorContains(t, context.Cause(run), "has gone")
	end()
	require.False(t, d.running())

	run, moving, end, err = d.begin(t.Context(), "draining ams", 1)
	require.NoError(t, err)
	<-run.Done()
	<-moving.Done()
	require.ErrorContains(t, context.Cause(run), "longer than")
	end()

	b := &backend{}
	require.Equal(t, api.NotFound, api.AsError(b.CancelDrain(t.Context(), "ams")).Code)
	run, moving, end, err = b.drains.begin(t.Context(), "draining ams", 0)
	require.NoError(t, err)
	go func() {
		<-moving.Done()
		end()
	}()
	require.NoError(t, b.CancelDrain(t.Context(), "ams"))
	require.ErrorIs(t, context.Cause(run), errDrainCancelled)
}

func TestWhoGoesBack(t *testing.T) {
	m := newDrainMesh(t, append(podsAt("ams", "a", "b", "c"), podAt("fra", "x", state.Needs{}))...)
	m.drain("ams", 1).run(t.Context(), t.Context())
	m.apply(state.CordonNode{Name: "ams"})
	free, held := toReturn(m.view(), "ams")
	require.Len(t, free, 3)
	require.Empty(t, held)
	m.apply(state.Reserve{Migration: "m-9", Pod: "a", Source: free[0].Node, Target: "ams"})
	m.apply(state.MarkDeleting{Name: "b"})
	free, held = toReturn(m.view(), "ams")
	require.Equal(t, "c", free[0].Name)
	require.Len(t, free, 1)
	require.Equal(t, "a", held[0].Name)
	m.apply(state.Activate{Migration: "m-9", Node: "ams", Epoch: 3})
	_, held = toReturn(m.view(), "ams")
	require.Empty(t, held, "it is back")
}
