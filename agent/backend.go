package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/gossip"
	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/state/quorum"
	"github.com/drover-mesh/drover/transport"
	"github.com/drover-mesh/drover/volumes"
)

// backend answers the control API for this node.
type backend struct {
	config    configs.Config
	version   string
	started   time.Time
	pods      *pods
	moves     *moves
	gossip    *gossip.Mesh
	quorum    *quorum.Quorum
	transport *transport.Transport
}

var _ api.Backend = (*backend)(nil)

// PlacePod implements [api.Backend].
func (b *backend) PlacePod(_ context.Context, manifest []byte, node string) (string, error) {
	m, err := parse(manifest)
	if err != nil {
		return "", err
	}
	if node == "" {
		node = m.NodeName()
	}
	if node == "" {
		return b.config.Node, nil
	}
	if _, ok := b.quorum.View().Node(node); !ok {
		return "", api.Errorf(api.NotFound, "running pod "+m.Name(), "there is no node %s", node).WithCure("see drover node ls")
	}
	return node, nil
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
func (b *backend) ListPods(_ context.Context, local bool) ([]api.Pod, error) {
	v, err := b.view("listing pods")
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
func (b *backend) GetPod(_ context.Context, name string) (api.Pod, error) {
	p, err := b.pod(name)
	if err != nil {
		return api.Pod{}, err
	}
	out := b.describe(p)
	out.Manifest = p.Manifest
	return out, nil
}

// view is the committed state as this node knows it; one that has just started knows nothing, and must not say so of the
// mesh.
func (b *backend) view(what string) (state.View, error) { return heard(b.quorum.View(), what) }

func heard(v state.View, what string) (state.View, error) {
	if v.Index() == 0 {
		return v, api.Errorf(api.Unavailable, what, "this node has just started, and has not heard of the mesh yet").
			WithCure("try again in some seconds; if that lasts, see drover status")
	}
	return v, nil
}

func (b *backend) pod(name string) (state.Pod, error) {
	what := "looking for pod " + name
	v, err := b.view(what)
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
		Name: p.Name, UID: p.UID, ImageDigest: string(p.Image), Address: p.Addr.String(), Node: p.Node,
		Epoch: p.Epoch, Migration: p.Migration, Created: p.Created, Phase: api.PodUnknown,
	}
	if n, ok := b.quorum.View().Node(p.Node); ok {
		out.Site = n.Site
	}
	m, err := pod.ParseManifest(p.Manifest)
	if err == nil {
		out.Image = m.Image()
	}
	if p.Node != b.config.Node {
		return out
	}
	status, err := b.pods.runtime.Status(p.UID)
	again := m != nil && wantsRestart(m, status.ExitCode)
	out.PID, out.ExitCode = status.Pid, status.ExitCode
	switch {
	case p.Deleting:
		out.Phase = api.PodTerminating
	case p.Migration != "":
		out.Phase = api.PodMigrating
	case errors.Is(err, pod.ErrNotFound) && b.pods.isBusy(p.UID):
		out.Phase = api.PodPending
	case err != nil:
		out.Phase, out.Reason = api.PodFailed, err.Error()
	case status.Phase == pod.Running:
		out.Phase = api.PodRunning
	case status.Phase == pod.Frozen:
		out.Phase = api.PodFrozen
	case status.Phase == pod.Exited && again:
		out.Phase, out.Reason = api.PodPending, fmt.Sprintf("it ended with code %d and is started again, after a back-off", status.ExitCode)
	case status.Phase == pod.Exited && status.ExitCode == 0:
		out.Phase, out.Reason = api.PodSucceeded, "it ended at "+status.Exited.Format(time.RFC3339)
	case status.Phase == pod.Exited:
		out.Phase, out.Reason = api.PodFailed, fmt.Sprintf("it ended with code %d", status.ExitCode)
	default:
		out.Phase = api.PodPending
	}
	return out
}

// PodLogs implements [api.Pods].
func (b *backend) PodLogs(ctx context.Context, name string, follow bool, w io.Writer) error {
	p, err := b.pod(name)
	if err != nil {
		return err
	}
	return b.pods.logs(ctx, p, follow, w)
}

// RemovePod implements [api.Pods].
func (b *backend) RemovePod(ctx context.Context, name string) error {
	p, err := b.pod(name)
	if err != nil {
		return err
	}
	return b.pods.remove(ctx, p)
}

// LoadImage implements [api.Images].
func (b *backend) LoadImage(ctx context.Context, name, _ string, tar io.Reader) (api.Image, error) {
	i, err := b.pods.layers.Load(ctx, name, tar)
	var refused *volumes.RefusedError
	what := "loading image " + name
	switch {
	case errors.As(err, &refused), errors.Is(err, volumes.ErrCorrupt), errors.Is(err, volumes.ErrTooLarge):
		return api.Image{}, api.Errorf(api.InvalidArgument, what, "%v", err).WithCure("nothing was kept of it")
	case errors.Is(err, volumes.ErrFull):
		return api.Image{}, api.Errorf(api.FailedPrecondition, what, "%v", err).WithCure("free some space in " + b.config.StateDir + "; nothing was kept of the image")
	case err != nil:
		return api.Image{}, err
	}
	return b.image(i), nil
}

// ListImages implements [api.Images].
func (b *backend) ListImages(_ context.Context, _ string) ([]api.Image, error) {
	images, err := b.pods.layers.Images()
	if err != nil {
		return nil, err
	}
	out := make([]api.Image, len(images))
	for i, x := range images {
		out[i] = b.image(x)
	}
	return out, nil
}

func (b *backend) image(i volumes.Image) api.Image {
	return api.Image{Name: i.Name, Digest: string(i.Digest), Size: i.Size, Created: i.Created, Node: b.config.Node}
}

// GetStatus implements [api.Mesh].
func (b *backend) GetStatus(ctx context.Context) (api.Status, error) {
	v := b.quorum.View()
	nodes, err := b.ListNodes(ctx)
	if err != nil {
		return api.Status{}, err
	}
	s := api.Status{
		Node: b.config.Node, Site: b.config.Site, Version: b.version, Started: b.started,
		Leader: b.quorum.Leader(), Role: b.quorum.Status().Role, Servers: b.config.Servers, AppliedIndex: v.Index(), NodesKnown: len(nodes),
	}
	if v.PodCIDR().IsValid() {
		s.PodCIDR = v.PodCIDR().String()
	}
	for _, n := range nodes {
		if n.State == api.NodeAlive {
			s.NodesAlive++
		} else {
			s.Problems = append(s.Problems, fmt.Sprintf("node %s is %s", n.Name, n.State))
		}
	}
	for _, p := range v.Pods() {
		s.PodsTotal++
		if p.Node == b.config.Node {
			s.PodsHere++
			if d := b.describe(p); d.Phase == api.PodFailed {
				s.Problems = append(s.Problems, fmt.Sprintf("pod %s failed: %s", p.Name, d.Reason))
			}
		}
	}
	if s.Leader == "" {
		s.Problems = append(s.Problems, "the mesh has no leader: pods run on, but nothing can be started, moved or removed until a majority of the servers is reached")
	}
	for _, m := range v.Migrations() {
		if m.Phase.Open() {
			s.Migrations = append(s.Migrations, b.migration(m))
		}
	}
	return s, nil
}

// ListNodes implements [api.Mesh].
func (b *backend) ListNodes(context.Context) ([]api.Node, error) {
	v := b.quorum.View()
	alive := map[string]api.NodeState{}
	for _, m := range b.gossip.Members() {
		alive[m.Node] = api.NodeState(m.State)
	}
	count := map[string]int{}
	for _, p := range v.Pods() {
		count[p.Node]++
	}
	var out []api.Node
	for _, n := range v.Nodes() {
		x := api.Node{
			Name: n.Name, Site: n.Site, Address: n.Addr.String(), Gossip: n.Gossip.String(), State: api.NodeUnknown,
			Role: b.role(n.Name), Version: n.Version, Arch: n.Arch, Pods: count[n.Name],
			RTTms: api.Milliseconds(b.transport.RTT(n.Name)),
		}
		if s, ok := alive[n.Name]; ok {
			x.State = s
		}
		out = append(out, x)
	}
	return out, nil
}

func (b *backend) role(node string) string {
	switch {
	case node == b.quorum.Leader():
		return "leader"
	case slices.Contains(b.config.Servers, node):
		return "voter"
	}
	return "client"
}

// Migrate implements [api.Migrations].
func (b *backend) Migrate(ctx context.Context, name, to string, progress api.Progress) (api.Report, error) {
	p, err := b.pod(name)
	if err != nil {
		return api.Report{}, err
	}
	target, err := b.moves.target(b.quorum.View(), p, to)
	if err != nil {
		return api.Report{}, err
	}
	x, err := b.moves.begin(p, target)
	if err != nil {
		return api.Report{}, err
	}
	return b.moves.follow(ctx, x, progress)
}

// CancelMigration implements [api.Migrations].
func (b *backend) CancelMigration(ctx context.Context, name string) (api.Migration, error) {
	what := "cancelling " + name
	x, ok := b.moves.find(name)
	if !ok {
		return api.Migration{}, api.Errorf(api.NotFound, what, "no move of that id or pod is under way at %s", b.config.Node)
	}
	x.cancel()
	select {
	case <-x.done:
	case <-ctx.Done():
		return api.Migration{}, ctx.Err()
	}
	if x.err == nil {
		return api.Migration{}, api.Errorf(api.FailedPrecondition, what, "it was past its point of no return: the pod runs on %s", x.plan.Target)
	}
	m, err := x.outcome(ctx, b.quorum)
	if err != nil {
		return api.Migration{}, err
	}
	return b.migration(m), nil
}

// ListMigrations implements [api.Migrations].
func (b *backend) ListMigrations(context.Context) ([]api.Migration, error) {
	v, err := b.view("listing migrations")
	if err != nil {
		return nil, err
	}
	var out []api.Migration
	for _, m := range v.Migrations() {
		out = append(out, b.migration(m))
	}
	return out, nil
}

// GetMigration implements [api.Migrations].
func (b *backend) GetMigration(_ context.Context, id string) (api.Migration, error) {
	what := "looking for migration " + id
	v, err := b.view(what)
	if err != nil {
		return api.Migration{}, err
	}
	m, ok := v.Migration(id)
	if !ok {
		return api.Migration{}, api.Errorf(api.NotFound, what, "the mesh has none of that id")
	}
	return b.migration(m), nil
}

func (b *backend) migration(m state.Migration) api.Migration {
	out := api.Migration{
		ID: m.ID, Pod: m.Pod, From: m.Source, To: m.Target, Epoch: m.Epoch, Phase: api.MigrationPhase(strings.ToLower(string(m.Phase))), Reason: m.Reason,
		Report: b.moves.reportOf(m.ID),
	}
	if x, ok := b.moves.find(m.ID); ok {
		out.Step = x.step()
	}
	return out
}
