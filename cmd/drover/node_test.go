package main

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/api/apitest"
)

// nodesFake is fake with what the commands about nodes need.
func nodesFake() *apitest.Backend {
	b := fake()
	b.NodeDetails = []api.NodeDetails{{
		Node: b.Nodes[0], CPUFlags: []string{"avx", "avx2"}, Drained: []string{"web"}, Moves: b.Migrations[2:3],
		PodList: []api.NodePod{
			{Name: "job", Phase: api.PodFailed, Requested: api.Resources{CPUMilli: 250}, Pinned: "its volume data is the node's own directory /data"},
			{Name: "redis", Phase: api.PodRunning, Requested: api.Resources{CPUMilli: 1000, MemoryBytes: 1 << 30}},
		},
	}}
	b.OnRemoveNode = func(_ string, o api.RemoveNodeOptions) (api.Removal, error) {
		if o.DeletePods {
			return api.Removal{Pods: []string{"redis", "web"}, Volumes: []string{"data"}}, nil
		}
		return api.Removal{}, nil
	}
	b.OnExplain = func(pod string, manifest []byte, _ string) (api.Explanation, error) {
		x := api.Explanation{Pod: "redis", Node: "ams", Target: "fra", Nodes: []api.Candidate{
			{Node: "fra", Site: "frankfurt", Fits: true, Score: 87, Reasons: []string{"2 pods with it, taking 20 % of the CPU and 6 % of the memory"}},
			{Node: "ams", Site: "amsterdam", Reasons: []string{"the pod is there"}},
			{Node: "nyc", Site: "new-york", Reasons: []string{"it does not answer", "it is cordoned"}},
		}}
		if len(manifest) > 0 {
			x.Node = ""
		}
		if pod == "job" {
			x.Pod, x.Target, x.Nodes = "job", "", x.Nodes[1:]
		}
		return x, nil
	}
	b.OnDrain = aDrain
	return b
}

// aDrain has one pod that moves, one that is refused once, one that stays.
func aDrain(_ context.Context, node string, o api.DrainOptions, p api.DrainProgress) (api.DrainReport, error) {
	r := aReport()
	p.Planned([]string{"db", "redis"})
	p.Started(api.Move{Pod: "db", From: "ams", To: "nyc"})
	p.Event("db", api.Event{Step: "preflight", Node: "nyc", State: api.StepStarted})
	p.Event("db", api.Event{Step: "preflight", Node: "nyc", State: api.StepFailed, Note: "no room"})
	p.Started(api.Move{Pod: "redis", From: "ams", To: "fra"})
	p.Event("redis", api.Event{Step: "final", Node: "ams", State: api.StepProgress, BytesDone: 8 << 20, BytesTotal: 16 << 20})
	stays := api.DrainedPod{
		Pod: "db", From: "ams", Outcome: api.DrainStays, Reason: "no node fits", Cure: "see drover pod explain db",
		Nodes:    []api.NodeReason{{Node: "fra", Why: "it lacks the label disk=ssd"}, {Node: "nyc", Why: "no room"}},
		Refusals: []api.Refusal{{Node: "ams", Container: "main", Process: "db", PID: 7, HostPID: 4711, Reason: "it has an io_uring", Cure: "turn that off"}},
	}
	moved := api.DrainedPod{Pod: "redis", From: "ams", To: "fra", Outcome: api.DrainMoved, Report: &r}
	if o.DryRun {
		moved.Outcome, moved.Report = api.DrainWouldMove, nil
	}
	p.Ended(stays)
	p.Ended(moved)
	report := api.DrainReport{Node: node, Cordoned: true, Pods: []api.DrainedPod{stays, moved}}
	if o.Return {
		report.Cordoned, report.Pods = false, report.Pods[1:]
		return report, nil
	}
	return report, api.Errorf(api.FailedPrecondition, "draining "+node, "not moved: 1 of 2 pods").WithCure("mend it")
}

func TestNodeOutput(t *testing.T) {
	b := nodesFake()
	nobody := api.PeerClient(func(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody listens") })
	socket := apitest.Serve(t, b, nobody)
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"node-ls-labels":      {args: []string{"node", "ls", "--show-labels"}},
		"node-describe":       {args: []string{"node", "describe", "ams"}},
		"node-describe-dead":  {args: []string{"node", "get", "nyc"}},
		"node-label":          {args: []string{"node", "label", "ams", "rack=r1", "disk-", "--overwrite"}},
		"node-cordon":         {args: []string{"node", "cordon", "ams"}},
		"node-uncordon":       {args: []string{"node", "uncordon", "fra"}},
		"node-rm":             {args: []string{"node", "rm", "nyc"}},
		"node-rm-pods":        {args: []string{"node", "rm", "nyc", "--delete-pods"}},
		"node-drain":          {args: []string{"node", "drain", "ams"}, code: exitRefused},
		"node-drain-dry-run":  {args: []string{"node", "drain", "ams", "--dry-run"}, code: exitRefused},
		"node-undrain-return": {args: []string{"node", "undrain", "ams", "--return"}},
		"pod-explain":         {args: []string{"pod", "explain", "redis"}},
		"pod-explain-nowhere": {args: []string{"pod", "explain", "job"}},
		"pod-explain-file":    {args: []string{"pod", "explain", "-f", "-"}},
	} {
		for _, format := range []string{"table", "json"} {
			t.Run(name+"/"+format, func(t *testing.T) {
				d, code := drover(t, socket, append(c.args, "--output", format), func(c *cli) { c.in = strings.NewReader("kind: Pod") })
				require.Equal(t, c.code, code, &d.stderr)
				golden(t, name+"."+format, d.stdout.String())
				assert.Equal(t, c.code == exitOK, d.stderr.Len() == 0)
			})
		}
	}
	assert.Contains(t, b.Calls(), "label ams map[rack:r1] [disk] true")
}

func TestWhatDrainedPodsAreLeftToDo(t *testing.T) {
	b := nodesFake()
	report := api.DrainReport{Node: "ams", Cordoned: true}
	b.OnDrain = func(_ context.Context, _ string, _ api.DrainOptions, p api.DrainProgress) (api.DrainReport, error) {
		p.Planned(nil)
		return report, nil
	}
	socket := apitest.Serve(t, b, nil)
	c, code := drover(t, socket, []string{"node", "drain", "ams"})
	require.Equal(t, exitOK, code)
	assert.Equal(t, "ams is drained: it has no pods.\n", c.stdout.String())
	report.Cordoned = false
	c, code = drover(t, socket, []string{"node", "undrain", "ams"})
	require.Equal(t, exitOK, code)
	assert.Equal(t, "ams is open to pods.\nMoved away before, and still elsewhere: web\n  drover node undrain ams --return moves them back\n", c.stdout.String())
}

func TestDrainOnATerminal(t *testing.T) {
	var b strings.Builder
	p := &drainProgress{screen: screen{out: &b, width: columns(80)}, steps: map[string]string{}}
	_, err := aDrain(t.Context(), "ams", api.DrainOptions{}, p)
	require.Error(t, err)
	golden(t, "node-drain.terminal", strings.NewReplacer("\r", "<CR>", "\x1b", "<ESC>").Replace(b.String()))
	// What was shown in place is gone, and a person ends up with what a pipe gets.
	var plain strings.Builder
	_, err = aDrain(t.Context(), "ams", api.DrainOptions{}, &drainProgress{screen: screen{out: &plain}, steps: map[string]string{}})
	require.Error(t, err)
	var left []string
	for line := range strings.Lines(b.String()) {
		parts := strings.Split(line, "\r\x1b[K")
		left = append(left, parts[len(parts)-1])
	}
	assert.Equal(t, plain.String(), strings.Join(left, ""))
}

// drainInterrupted runs drover node drain, and interrupts it that many times once it has begun.
func drainInterrupted(t *testing.T, interrupts int, onCancel func(end chan struct{}) error) (*call, int) {
	t.Helper()
	begun, end := make(chan struct{}), make(chan struct{})
	b := nodesFake()
	b.OnDrain = func(ctx context.Context, node string, _ api.DrainOptions, p api.DrainProgress) (api.DrainReport, error) {
		p.Planned([]string{"redis"})
		close(begun)
		select {
		case <-end:
			stays := api.DrainedPod{Pod: "redis", From: "ams", Outcome: api.DrainStays, Reason: "moving redis to fra: it was cancelled"}
			p.Ended(stays)
			return api.DrainReport{Node: node, Cordoned: true, Stopped: "it was cancelled", Pods: []api.DrainedPod{stays}},
				api.Errorf(api.Aborted, "draining ams", "it was cancelled").WithCure("drover node undrain ams")
		case <-ctx.Done():
			return api.DrainReport{}, ctx.Err()
		}
	}
	b.OnCancelDrain = func(string) error { return onCancel(end) }
	return drover(t, apitest.Serve(t, b, nil), []string{"node", "drain", "ams"}, func(c *cli) {
		c.notify = func(to chan<- os.Signal) func() {
			go func() {
				<-begun
				for range interrupts {
					to <- os.Interrupt
				}
			}()
			return func() {}
		}
	})
}

func TestInterruptUndoesTheDrain(t *testing.T) {
	c, code := drainInterrupted(t, 1, func(end chan struct{}) error { close(end); return nil })
	assert.Equal(t, exitAborted, code)
	assert.Equal(t, "Pods to move: redis\n[1/1] redis stays on ams: moving redis to fra: it was cancelled\n", c.stdout.String())
	assert.Contains(t, c.stderr.String(), "drover: draining ams: it was cancelled\n  drover node undrain ams\n")
}

func TestSecondInterruptLeavesTheDrain(t *testing.T) {
	c, code := drainInterrupted(t, 2, func(chan struct{}) error { return nil })
	assert.Equal(t, exitInterrupted, code)
	assert.Contains(t, c.stderr.String(), "moves that have begun come to their end")
}

func TestWrongUsageOfNodes(t *testing.T) {
	for _, args := range [][]string{
		{"node", "describe"}, {"node", "label", "ams"}, {"node", "label", "ams", "disk"}, {"node", "cordon"}, {"node", "rm"}, {"node", "drain"},
		{"node", "drain", "ams", "--parallel", "x"}, {"node", "drain", "ams", "--timeout", "5"}, {"node", "undrain", "ams", "--to", "fra"},
		{"pod", "explain"}, {"pod", "explain", "redis", "-f", "-"}, {"pod", "explain", "a", "b"},
	} {
		c, code := drover(t, "/no/such/socket", args)
		assert.Equal(t, exitUsage, code, args)
		assert.Empty(t, c.stdout.String(), args)
	}
	socket := apitest.Serve(t, nodesFake(), nil)
	_, code := drover(t, socket, []string{"node", "drain", "ams", "--parallel", "-1"})
	assert.Equal(t, exitUsage, code)
	_, code = drover(t, socket, []string{"node", "drain", "gru"})
	assert.Equal(t, exitNotFound, code)
}
