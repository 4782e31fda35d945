package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/gossip"
	"github.com/drover-mesh/drover/state"
)

// readiness says of a node why it can't take a pod just now, or "".
type readiness func(node string) (why string)

// ready goes by what gossip has heard last.
func (b *backend) ready() readiness {
	heard := map[string]gossip.State{}
	for _, m := range b.gossip.Members() {
		heard[m.Node] = m.State
	}
	return func(node string) string {
		switch s, ok := heard[node]; {
		case node == b.config.Node, s == gossip.Alive:
			return ""
		case !ok:
			return "nothing has been heard of it since the agent of " + b.config.Node + " started"
		case s == gossip.Left:
			return "its agent has stopped"
		}
		return "it does not answer"
	}
}

// target finds the node to which a pod shall move: that of the name to, or the best of the site of that name.
func target(v state.View, p state.Pod, to string, ready readiness) (string, error) {
	what := fmt.Sprintf("moving %s to %s", p.Name, to)
	if to == p.Node {
		return "", api.Errorf(api.FailedPrecondition, what, "it is there already")
	}
	here, _ := v.Node(p.Node)
	if _, isNode := v.Node(to); !isNode && here.Site == to {
		return "", api.Errorf(api.FailedPrecondition, what, "it is there already, on %s", p.Node).WithCure("to move it within the site name a node: drover node ls")
	}
	r := state.Request{Pod: &p, To: to, Ready: ready}
	d := state.Schedule(v, r)
	if d.Node == "" {
		return "", nowhere(what, r, d)
	}
	return d.Node, nil
}

// nowhere says of each node why the pod can't run there.
func nowhere(what string, r state.Request, d state.Decision) *api.Error {
	switch {
	case len(d.Nodes) == 0 && r.To == "":
		return api.Errorf(api.Unavailable, what, "the mesh has no node yet")
	case len(d.Nodes) == 0:
		return api.Errorf(api.NotFound, what, "there is no node or site %s", r.To).WithCure("see drover node ls")
	}
	e := api.Errorf(api.FailedPrecondition, what, "no node fits")
	if r.To != "" {
		e.Why = "it doesn't fit there"
	}
	for _, f := range d.Nodes {
		if r.Pod == nil || f.Node != r.Pod.Node {
			e.Violations = append(e.Violations, api.Violation{Field: f.Node, Why: strings.Join(f.Reasons, "; ")})
		}
	}
	if len(e.Violations) == 0 {
		e.Why = "there is no other node"
	}
	if r.Pod != nil {
		e.Cure = "see drover pod explain " + r.Pod.Name
	}
	return e
}

// explanation is a decision as it is told.
func explanation(p state.Pod, d state.Decision) api.Explanation {
	x := api.Explanation{Pod: p.Name, Node: p.Node, Target: d.Node, Nodes: []api.Candidate{}}
	for _, f := range d.Nodes {
		x.Nodes = append(x.Nodes, api.Candidate{Node: f.Node, Site: f.Site, Fits: f.Fits, Score: f.Score, Reasons: slices.Clone(f.Reasons)})
	}
	return x
}
