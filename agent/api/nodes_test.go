package api_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
)

// drainRecorder is a DrainProgress that remembers.
type drainRecorder struct {
	mu    sync.Mutex
	told  []string
	block chan struct{} // if set, Event waits for it
}

func (r *drainRecorder) hear(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf(format, args...))
}

func (r *drainRecorder) Planned(pods []string)  { r.hear("plan %v", pods) }
func (r *drainRecorder) Started(m api.Move)     { r.hear("start %s", m.Pod) }
func (r *drainRecorder) Ended(p api.DrainedPod) { r.hear("end %s %s", p.Pod, p.Outcome) }
func (r *drainRecorder) Event(pod string, e api.Event) {
	if r.block != nil {
		<-r.block
	}
	r.hear("%s %s %s %d", pod, e.Step, e.State, e.BytesDone)
}

var drained = api.DrainReport{
	Node: "fra", Cordoned: true, Stopped: "it was cancelled",
	Pods: []api.DrainedPod{
		{Pod: "redis", From: "fra", To: "ams", Outcome: api.DrainMoved, Nodes: []api.NodeReason{}, Refusals: []api.Refusal{}, Report: &api.Report{ID: "m1", Pod: "redis", Steps: []api.Step{}}},
		{Pod: "db", From: "fra", Outcome: api.DrainStays, Reason: "no node fits", Cure: "look", Nodes: []api.NodeReason{{Node: "ams", Why: "full"}},
			Refusals: []api.Refusal{{Node: "fra", Process: "x", PID: 7, Others: []int{8}, Reason: "r", Cure: "c"}}},
	},
}

func TestDrainRunsAtItsNode(t *testing.T) {
	m := newMesh(t)
	var options []api.DrainOptions
	m.fra.OnDrain = func(_ context.Context, node string, o api.DrainOptions, p api.DrainProgress) (api.DrainReport, error) {
		options = append(options, o)
		p.Planned([]string{"redis", "db"})
		p.Started(move)
		p.Event("redis", api.Event{Step: "final", State: api.StepProgress, BytesDone: 5})
		p.Event("redis", api.Event{Step: "final", State: api.StepDone, BytesDone: 9})
		p.Ended(drained.Pods[0])
		return drained, api.Errorf(api.Aborted, "draining "+node, "it was cancelled")
	}
	got := &drainRecorder{}
	o := api.DrainOptions{Parallel: 3, To: "ams", TimeoutMS: 5000, DryRun: true}
	report, err := m.client.DrainNode(t.Context(), "fra", o, got)
	assert.Equal(t, api.Aborted, codeOf(t, err), "the report comes, and the error too")
	assert.Equal(t, drained, report)
	assert.Equal(t, "plan [redis db]", got.told[0])
	assert.Equal(t, []string{"redis final done 9", "end redis moved"}, got.told[len(got.told)-2:])

	back := api.DrainOptions{Parallel: 2, TimeoutMS: 1, Return: true}
	_, err = m.client.UndrainNode(t.Context(), "fra", back, got)
	assert.Equal(t, api.Aborted, codeOf(t, err))
	assert.Equal(t, []api.DrainOptions{o, back}, options)
	m.fra.OnCancelDrain = func(string) error { return nil }
	require.NoError(t, m.client.CancelDrain(t.Context(), "fra"))
	assert.Equal(t, []string{"drain fra", "undrain fra", "cancel drain fra"}, m.fra.Calls())

	_, err = m.client.DrainNode(t.Context(), "gru", o, got)
	assert.Equal(t, api.Unavailable, codeOf(t, err), "it is off")
	_, err = m.client.DrainNode(t.Context(), "nope", o, got)
	assert.Equal(t, api.NotFound, codeOf(t, err))
	_, err = m.client.DrainNode(t.Context(), "fra", api.DrainOptions{TimeoutMS: -1}, got)
	assert.Equal(t, api.InvalidArgument, codeOf(t, err))
}

func TestDrainHearsThatItsCallerHasGone(t *testing.T) {
	m := newMesh(t)
	ctx, leave := context.WithCancel(t.Context())
	over := make(chan struct{})
	m.fra.OnDrain = func(ctx context.Context, _ string, _ api.DrainOptions, p api.DrainProgress) (api.DrainReport, error) {
		defer close(over)
		p.Started(move)
		leave()
		<-ctx.Done() // through ams, which handed it on
		return drained, nil
	}
	_, err := m.client.DrainNode(ctx, "fra", api.DrainOptions{}, &drainRecorder{})
	assert.Equal(t, api.Canceled, codeOf(t, err))
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		t.Fatal("the node was not told")
	}
}

func TestDrainIsNotHeldUpByItsCaller(t *testing.T) {
	m := newMesh(t)
	const events = 10_000
	over := make(chan struct{})
	m.fra.OnDrain = func(_ context.Context, _ string, _ api.DrainOptions, p api.DrainProgress) (api.DrainReport, error) {
		for i := range events { // of two moves at a time
			p.Event([]string{"a", "b"}[i%2], api.Event{Step: "final", State: api.StepProgress, BytesDone: int64(i), Note: fmt.Sprintf("%1000d", i)})
		}
		close(over)
		return drained, nil
	}
	got := &drainRecorder{block: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := m.client.DrainNode(t.Context(), "fra", api.DrainOptions{}, got)
		done <- err
	}()
	select {
	case <-over: // although nobody has read an event
	case <-time.After(20 * time.Second):
		t.Fatal("the drain waits for its caller")
	}
	close(got.block)
	require.NoError(t, <-done)
	assert.Less(t, len(got.told), events, "stale news was skipped")
	assert.Subset(t, got.told, []string{"a final progress 9998", "b final progress 9999"}, "the latest of each has come")
}

func TestANodeKnowsItsPods(t *testing.T) {
	m := newMesh(t)
	details := api.NodeDetails{
		Node: api.Node{
			Name: "fra", Site: "frankfurt", State: api.NodeAlive, Cordoned: true, Labels: map[string]string{"disk": "ssd"}, CRIU: "4.2.1", Kernel: "6",
			Capacity: api.Resources{CPUMilli: 4000, MemoryBytes: 8 << 30}, Requested: api.Resources{CPUMilli: 1},
		},
		Drained: []string{"web"}, CPUFlags: []string{"avx"}, Moves: []api.Migration{{ID: "m1", Pod: "redis", Phase: api.MigrationReserved}},
		PodList: []api.NodePod{{Name: "redis", Phase: api.PodUnknown, Requested: api.Resources{CPUMilli: 1}, Pinned: "hostPath"}},
	}
	theirs := details
	theirs.Draining, theirs.State = true, api.NodeDead
	theirs.PodList = []api.NodePod{{Name: "redis", Phase: api.PodFrozen}}
	m.ams.NodeDetails, m.fra.NodeDetails = []api.NodeDetails{details}, []api.NodeDetails{theirs}
	got, err := m.client.GetNode(t.Context(), "fra")
	require.NoError(t, err)
	want := details
	want.Draining, want.PodList = true, theirs.PodList
	assert.Equal(t, want, got)

	got, err = m.client.GetNode(t.Context(), "gru")
	require.NoError(t, err, "what is committed is known without it")
	assert.Equal(t, "gru", got.Name)
	_, err = m.client.GetNode(t.Context(), "nope")
	assert.Equal(t, api.NotFound, codeOf(t, err))
}

func TestNodesAreChangedByWhoIsAsked(t *testing.T) {
	m := newMesh(t)
	m.ams.OnRemoveNode = func(name string, o api.RemoveNodeOptions) (api.Removal, error) {
		assert.Equal(t, "gru", name)
		assert.Equal(t, api.RemoveNodeOptions{Force: true, DeletePods: true}, o)
		return api.Removal{Pods: []string{"lost"}, Volumes: []string{"data"}}, nil
	}
	m.ams.OnExplain = func(pod string, manifest []byte, to string) (api.Explanation, error) {
		return api.Explanation{Pod: pod + string(manifest) + to, Node: "ams", Target: "fra", Nodes: []api.Candidate{
			{Node: "fra", Site: "f", Fits: true, Score: 50, Reasons: []string{"a", "b"}}, {Node: "ams", Reasons: []string{}},
		}}, nil
	}
	_, err := m.client.LabelNode(t.Context(), "fra", api.LabelChange{Set: map[string]string{"a": "b"}, Remove: []string{"c"}, Overwrite: true})
	require.NoError(t, err)
	n, err := m.client.CordonNode(t.Context(), "gru", true)
	require.NoError(t, err)
	assert.True(t, n.Cordoned)
	lost, err := m.client.RemoveNode(t.Context(), "gru", api.RemoveNodeOptions{Force: true, DeletePods: true})
	require.NoError(t, err)
	assert.Equal(t, api.Removal{Node: "gru", Pods: []string{"lost"}, Volumes: []string{"data"}}, lost)
	x, err := m.client.Explain(t.Context(), "redis", []byte("!"), "?")
	require.NoError(t, err)
	assert.Equal(t, api.Explanation{Pod: "redis!?", Node: "ams", Target: "fra", Nodes: []api.Candidate{
		{Node: "fra", Site: "f", Fits: true, Score: 50, Reasons: []string{"a", "b"}}, {Node: "ams", Reasons: []string{}},
	}}, x)
	assert.Equal(t, []string{"label fra map[a:b] [c] true", "cordon gru true", "remove node gru"}, m.ams.Calls())
	assert.Empty(t, m.fra.Calls())
}
