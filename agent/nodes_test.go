package agent

import (
	"log/slog"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/criu"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/state"
)

// What this host says of itself can be registered, and is small enough to be said at each start.
func TestThisHostDescribesItself(t *testing.T) {
	a := &agent{
		config:  configs.Config{Node: "ams", Site: "amsterdam", Role: configs.Server, Labels: map[string]string{"disk": "ssd"}},
		version: "v1", log: slog.New(slog.DiscardHandler),
		host: &host{known: &criu.Features{Version: criu.Version{4, 2, 1}, KernelRelease: "6.12.0"}},
	}
	n := a.self(t.Context())
	require.Positive(t, n.Capacity.Memory)
	require.GreaterOrEqual(t, n.Capacity.CPU, int64(1000))
	require.Equal(t, []string{"4.2.1", "6.12.0", runtime.GOARCH}, []string{n.CRIU, n.Kernel, n.Arch})
	require.True(t, n.Server)
	require.True(t, slices.IsSorted(n.CPUFlags))
	m := state.New()
	r := m.Apply(state.RegisterNode{Node: n})
	require.True(t, r.OK, r.Reason)
	data, err := state.Encode("p-1", state.RegisterNode{Node: n})
	require.NoError(t, err)
	require.Less(t, len(data), 4<<10)
	kept, _ := m.View().Node("ams")
	require.Equal(t, "ssd", kept.Labels()["disk"])
}

func TestWhichNodesMayBeRemoved(t *testing.T) {
	pods, volumes := api.Removal{Node: "ams", Pods: []string{"a", "b"}, Volumes: []string{"data"}}, api.Removal{Node: "ams", Volumes: []string{"data"}}
	force, give := api.RemoveNodeOptions{Force: true}, api.RemoveNodeOptions{DeletePods: true}
	both := api.RemoveNodeOptions{Force: true, DeletePods: true}
	for name, c := range map[string]struct {
		alive bool
		has   api.Removal
		o     api.RemoveNodeOptions
		why   string // "" if it may
		cure  string
	}{
		"dead and empty":              {},
		"alive and empty":             {alive: true, why: "its agent is alive", cure: "--force"},
		"alive, forced":               {alive: true, o: force},
		"alive with pods":             {alive: true, has: pods, why: "it runs a, b", cure: "drover node drain ams"},
		"alive with pods, all forced": {alive: true, has: pods, o: both, why: "it runs a", cure: "drover node drain ams"},
		"alive with volumes":          {alive: true, has: volumes, o: force, why: "it has volume data", cure: "--delete-pods"},
		"alive, volumes given up":     {alive: true, has: volumes, o: give, why: "its agent is alive", cure: "--force"},
		"alive, volumes forced":       {alive: true, has: volumes, o: both},
		"dead with pods":              {has: pods, why: "it has a, b, volume data", cure: "All that they had is lost"},
		"dead with pods, forced":      {has: pods, o: force, why: "it has a", cure: "--delete-pods"},
		"dead, pods given up":         {has: pods, o: give},
	} {
		gone := "it does not answer"
		if c.alive {
			gone = ""
		}
		err := removalRefused("removing node ams", gone, c.has, c.o)
		if c.why == "" {
			require.Nil(t, err, name)
			continue
		}
		require.NotNil(t, err, name)
		require.Equal(t, api.FailedPrecondition, err.Code, name)
		require.Contains(t, err.Why, c.why, name)
		require.Contains(t, err.Cure, c.cure, name)
	}
}

func TestWhyAPodFitsNowhere(t *testing.T) {
	v, _ := placed(t)
	pod, _ := v.Pod("redis")
	for name, c := range map[string]struct {
		r     state.Request
		v     state.View
		code  api.Code
		why   string
		nodes int
	}{
		"no mesh":          {code: api.Unavailable, why: "no node yet"},
		"no such place":    {v: v, r: state.Request{To: "mars"}, code: api.NotFound, why: "no node or site mars"},
		"where it is":      {v: v, r: state.Request{Pod: &pod, To: "ams1"}, code: api.FailedPrecondition, why: "no other node"},
		"none fits":        {v: v, r: state.Request{Needs: state.Needs{Selector: map[string]string{"a": "b"}}}, code: api.FailedPrecondition, why: "no node fits", nodes: 5},
		"none of the site": {v: v, r: state.Request{To: "fra-site", Needs: state.Needs{Selector: map[string]string{"a": "b"}}}, code: api.FailedPrecondition, why: "doesn't fit there", nodes: 3},
	} {
		d := state.Schedule(c.v, c.r)
		require.Empty(t, d.Node, name)
		err := nowhere("what", c.r, d)
		require.Equal(t, c.code, err.Code, name)
		require.Contains(t, err.Why, c.why, name)
		require.Len(t, err.Violations, c.nodes, name)
	}
}
