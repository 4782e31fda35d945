package api

import droverv1 "github.com/drover-mesh/drover/agent/api/v1"

func nodeToProto(n Node) *droverv1.Node {
	return &droverv1.Node{
		Name: n.Name, Site: n.Site, Address: n.Address, Gossip: n.Gossip, State: string(n.State), Role: n.Role,
		Version: n.Version, Arch: n.Arch, RttMs: n.RTTms, Pods: int32(n.Pods), Cordoned: n.Cordoned, Labels: n.Labels,
		Capacity: resourcesToProto(n.Capacity), Requested: resourcesToProto(n.Requested), Criu: n.CRIU, Kernel: n.Kernel,
	}
}

func nodeFromProto(n *droverv1.Node) Node {
	labels := n.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	return Node{
		Name: n.GetName(), Site: n.GetSite(), Address: n.GetAddress(), Gossip: n.GetGossip(), State: NodeState(n.GetState()),
		Role: n.GetRole(), Version: n.GetVersion(), Arch: n.GetArch(), RTTms: n.GetRttMs(), Pods: int(n.GetPods()),
		Cordoned: n.GetCordoned(), Labels: labels, Capacity: resourcesFromProto(n.GetCapacity()),
		Requested: resourcesFromProto(n.GetRequested()), CRIU: n.GetCriu(), Kernel: n.GetKernel(),
	}
}

func resourcesToProto(r Resources) *droverv1.Resources {
	return &droverv1.Resources{CpuMilli: r.CPUMilli, MemoryBytes: r.MemoryBytes}
}

func resourcesFromProto(r *droverv1.Resources) Resources {
	return Resources{CPUMilli: r.GetCpuMilli(), MemoryBytes: r.GetMemoryBytes()}
}

func nodeDetailsToProto(d NodeDetails) *droverv1.GetNodeResponse {
	return &droverv1.GetNodeResponse{
		Node: nodeToProto(d.Node), CpuFlags: d.CPUFlags, Draining: d.Draining, Drained: d.Drained, Moves: each(d.Moves, migrationToProto),
		Pods: each(d.PodList, func(p NodePod) *droverv1.NodePod {
			return &droverv1.NodePod{Name: p.Name, Phase: string(p.Phase), Requested: resourcesToProto(p.Requested), Pinned: p.Pinned}
		}),
	}
}

func nodeDetailsFromProto(d *droverv1.GetNodeResponse) NodeDetails {
	return NodeDetails{
		Node: nodeFromProto(d.GetNode()), CPUFlags: each(d.GetCpuFlags(), same), Draining: d.GetDraining(),
		Drained: each(d.GetDrained(), same), Moves: each(d.GetMoves(), migrationFromProto),
		PodList: each(d.GetPods(), func(p *droverv1.NodePod) NodePod {
			return NodePod{Name: p.GetName(), Phase: PodPhase(p.GetPhase()), Requested: resourcesFromProto(p.GetRequested()), Pinned: p.GetPinned()}
		}),
	}
}

func drainedToProto(p DrainedPod) *droverv1.DrainedPod {
	out := &droverv1.DrainedPod{
		Pod: p.Pod, From: p.From, To: p.To, Outcome: string(p.Outcome), Reason: p.Reason, Cure: p.Cure, Nodes: each(p.Nodes, nodeReasonToProto),
		Refusals: each(p.Refusals, refusalToProto),
	}
	if p.Report != nil {
		out.Report = reportToProto(*p.Report)
	}
	return out
}

func drainedFromProto(p *droverv1.DrainedPod) DrainedPod {
	out := DrainedPod{
		Pod: p.GetPod(), From: p.GetFrom(), To: p.GetTo(), Outcome: DrainOutcome(p.GetOutcome()), Reason: p.GetReason(), Cure: p.GetCure(),
		Nodes: each(p.GetNodes(), nodeReasonFromProto), Refusals: each(p.GetRefusals(), refusalFromProto),
	}
	if p.GetReport() != nil {
		r := reportFromProto(p.GetReport())
		out.Report = &r
	}
	return out
}

func drainReportToProto(r DrainReport) *droverv1.DrainReport {
	return &droverv1.DrainReport{Node: r.Node, Cordoned: r.Cordoned, Pods: each(r.Pods, drainedToProto), Stopped: r.Stopped}
}

func drainReportFromProto(r *droverv1.DrainReport) DrainReport {
	return DrainReport{Node: r.GetNode(), Cordoned: r.GetCordoned(), Pods: each(r.GetPods(), drainedFromProto), Stopped: r.GetStopped()}
}

func explanationToProto(x Explanation) *droverv1.ExplainResponse {
	return &droverv1.ExplainResponse{
		Pod: x.Pod, Node: x.Node, Target: x.Target, Lost: x.Lost,
		Nodes: each(x.Nodes, func(c Candidate) *droverv1.Candidate {
			return &droverv1.Candidate{Node: c.Node, Site: c.Site, Fits: c.Fits, Score: int32(c.Score), Reasons: c.Reasons}
		}),
	}
}

func explanationFromProto(x *droverv1.ExplainResponse) Explanation {
	return Explanation{
		Pod: x.GetPod(), Node: x.GetNode(), Target: x.GetTarget(), Lost: x.GetLost(),
		Nodes: each(x.GetNodes(), func(c *droverv1.Candidate) Candidate {
			return Candidate{Node: c.GetNode(), Site: c.GetSite(), Fits: c.GetFits(), Score: int(c.GetScore()), Reasons: each(c.GetReasons(), same)}
		}),
	}
}

func nodeReasonToProto(r NodeReason) *droverv1.NodeReason {
	return &droverv1.NodeReason{Node: r.Node, Why: r.Why}
}

func nodeReasonFromProto(r *droverv1.NodeReason) NodeReason {
	return NodeReason{Node: r.GetNode(), Why: r.GetWhy()}
}
