package agent

import (
	"cmp"
	"context"
	"errors"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/state"
)

// PlacePod implements [api.Backend].
func (b *backend) PlacePod(ctx context.Context, manifest []byte, node string) (string, error) {
	m, err := parse(manifest)
	if err != nil {
		return "", err
	}
	what := "running pod " + m.Name()
	v, err := b.view(ctx, what)
	if err != nil {
		return "", err
	}
	r := state.Request{Needs: m.Needs(), To: cmp.Or(node, m.NodeName()), Ready: b.ready()}
	d := state.Schedule(v, r)
	if d.Node == "" {
		return "", nowhere(what, r, d)
	}
	return d.Node, nil
}

// parse reads a manifest; the fields that it can't take are named.
func parse(manifest []byte) (*pod.Manifest, error) {
	m, err := pod.ParseManifest(manifest)
	var wrong *pod.ManifestError
	if errors.As(err, &wrong) {
		e := api.Errorf(api.InvalidArgument, "reading the manifest", "%d of its fields can't be accepted", len(wrong.Problems)).WithCure("nothing was changed")
		for _, p := range wrong.Problems {
			e.Violations = append(e.Violations, api.Violation{Field: p.Field, Why: p.Reason})
		}
		return nil, e
	}
	if err != nil {
		return nil, api.Errorf(api.InvalidArgument, "reading the manifest", "%v", err)
	}
	return m, nil
}

// RunPod implements [api.Pods].
func (b *backend) RunPod(ctx context.Context, manifest []byte, _ string) (api.Pod, error) {
	m, err := parse(manifest)
	if err != nil {
		return api.Pod{}, err
	}
	p, err := b.pods.run(ctx, m)
	if err != nil {
		return api.Pod{}, err
	}
	return b.describe(p), nil
}

// ListPods implements [api.Pods].
func (b *backend) ListPods(ctx context.Context, local bool) ([]api.Pod, error) {
	v, err := b.view(ctx, "listing pods")
	if err != nil {
		return nil, err
	}
	var all []api.Pod
	for _, p := range v.Pods() {
		if !local || p.Node == b.config.Node {
			all = append(all, b.describe(p))
		}
	}
	return all, nil
}

// GetPod implements [api.Pods].
func (b *backend) GetPod(ctx context.Context, name string) (api.Pod, error) {
	p, err := b.pod(ctx, name)
	if err != nil {
		return api.Pod{}, err
	}
	out := b.describe(p)
	out.Manifest = p.Manifest
	if p.Node != b.config.Node { // it is asked next; gossip may not have noticed yet that it won't answer
		out.Reason = fate(b.quorum.View(), p, b.ready())
	}
	return out, nil
}

func (b *backend) pod(ctx context.Context, name string) (state.Pod, error) {
	what := "looking for pod " + name
	v, err := b.view(ctx, what)
	if err != nil {
		return state.Pod{}, err
	}
	p, ok := v.Pod(name)
	if !ok {
		return p, api.Errorf(api.NotFound, what, "the mesh has no such pod").WithCure("see drover pod ls")
	}
	return p, nil
}

// describe says what this node knows of a pod.
func (b *backend) describe(p state.Pod) api.Pod {
	out := api.Pod{
		Name: p.Name, UID: p.UID, Address: p.Addr.String(), Node: p.Node,
		Epoch: p.Epoch, Migration: p.Migration, Created: p.Created, Phase: api.PodUnknown,
		Failover: string(p.Failover), Origin: originOf(p.Origin),
	}
	if n, ok := b.quorum.View().Node(p.Node); ok {
		out.Site = n.Site
	}
	here := p.Node == b.config.Node
	var status pod.Status
	var err error
	if here {
		status, err = b.pods.runtime.Status(p.UID)
	}
	known := map[string]pod.ContainerStatus{}
	for _, c := range status.Containers {
		known[c.Name] = c
	}
	for _, c := range p.Containers {
		out.Containers = append(out.Containers, describeContainer(c, known[c.Name]))
	}
	if !here {
		out.Reason = b.lost(p)
		return out
	}
	if why, ok := b.pods.beginning(p); ok && !p.Deleting && !p.Stopped {
		out.Phase, out.Reason = api.PodPending, why
		return out
	}
	m, broken := pod.ParseManifest(p.Manifest)
	for i := range out.Containers {
		c := &out.Containers[i]
		c.Ready = broken == nil && c.State == string(pod.Running) && b.pods.probes.ready(p, c.Name, m.Probes(c.Name))
	}
	switch {
	case p.Deleting:
		out.Phase = api.PodTerminating
	case p.Migration != "":
		out.Phase = api.PodMigrating
	case p.Stopped:
		out.Phase = api.PodStopped
	case errors.Is(err, pod.ErrNotFound) && b.pods.isBusy(p.UID):
		out.Phase = api.PodPending
	case err != nil || broken != nil:
		out.Phase, out.Reason = api.PodFailed, errors.Join(err, broken).Error()
	default:
		out.Phase, out.Reason = podPhase(m, status)
		if since, fenced := b.pods.fenced.frozenSince(p.UID); fenced && out.Phase == api.PodFrozen {
			out.Reason = "no lease since " + since.UTC().Format("2006-01-02 15:04:05 MST") + ": this node doesn't reach a majority of the servers, and another may have taken the pod over"
		}
	}
	return out
}

func describeContainer(c state.Container, s pod.ContainerStatus) api.Container {
	out := api.Container{Name: c.Name, Init: c.Init, Image: c.Image, State: string(s.Phase), PID: s.Pid, ExitCode: s.ExitCode, Restarts: max(0, s.Starts-1)}
	for _, d := range c.Layers {
		out.Layers = append(out.Layers, string(d))
	}
	return out
}

// podPhase is what people are told of a pod that this node owns.
func podPhase(m *pod.Manifest, s pod.Status) (api.PodPhase, string) {
	if over, reason := ended(m, s); over {
		if reason != "" {
			return api.PodFailed, reason
		}
		return api.PodSucceeded, "all of its containers have ended"
	}
	reason, initialized, live := "", true, false
	for _, c := range s.Containers {
		initialized = initialized && (!c.Init || succeeded(c))
		live = live || !c.Init && c.Pid != 0
		switch {
		case c.Phase == pod.Exited && wantsRestart(m, c) && reason == "":
			reason = endOf(c) + " and is started again, after a back-off"
		case c.Init && c.Pid != 0 && reason == "":
			reason = "init container " + c.Name + " runs"
		}
	}
	switch {
	case s.Phase == pod.Frozen:
		return api.PodFrozen, reason
	case initialized && live:
		return api.PodRunning, reason
	}
	return api.PodPending, reason
}

// RemovePod implements [api.Pods].
func (b *backend) RemovePod(ctx context.Context, name string) error {
	p, err := b.pod(ctx, name)
	if err != nil {
		return err
	}
	return b.pods.remove(ctx, p)
}
