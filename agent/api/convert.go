package api

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

func podToProto(p Pod) *droverv1.Pod {
	return &droverv1.Pod{
		Name: p.Name, Uid: p.UID, Address: p.Address, Node: p.Node, Site: p.Site,
		Epoch: p.Epoch, Phase: string(p.Phase), Migration: p.Migration, Created: timeToProto(p.Created),
		Reason: p.Reason, Manifest: p.Manifest, Containers: each(p.Containers, containerToProto),
		Failover: p.Failover, Origin: originToProto(p.Origin),
	}
}

func podFromProto(p *droverv1.Pod) Pod {
	return Pod{
		Name: p.GetName(), UID: p.GetUid(), Address: p.GetAddress(),
		Node: p.GetNode(), Site: p.GetSite(), Epoch: p.GetEpoch(), Phase: PodPhase(p.GetPhase()), Migration: p.GetMigration(),
		Created: timeFromProto(p.GetCreated()), Reason: p.GetReason(),
		Manifest: p.GetManifest(), Containers: each(p.GetContainers(), containerFromProto),
		Failover: p.GetFailover(), Origin: originFromProto(p.GetOrigin()),
	}
}

func originToProto(o *Origin) *droverv1.Origin {
	if o == nil {
		return nil
	}
	return &droverv1.Origin{Epoch: o.Epoch, From: o.From, Kind: o.Kind, Move: o.Move, At: timeToProto(o.At), Reason: o.Reason, Lost: o.Lost}
}

func originFromProto(o *droverv1.Origin) *Origin {
	if o == nil {
		return nil
	}
	return &Origin{
		Epoch: o.GetEpoch(), From: o.GetFrom(), Kind: o.GetKind(), Move: o.GetMove(), At: timeFromProto(o.GetAt()),
		Reason: o.GetReason(), Lost: o.GetLost(),
	}
}

func containerToProto(c Container) *droverv1.Container {
	return &droverv1.Container{
		Name: c.Name, Init: c.Init, Image: c.Image, Layers: c.Layers, State: c.State, Pid: int32(c.PID), ExitCode: int32(c.ExitCode),
		Restarts: int32(c.Restarts), Ready: c.Ready,
	}
}

func containerFromProto(c *droverv1.Container) Container {
	return Container{
		Name: c.GetName(), Init: c.GetInit(), Image: c.GetImage(), Layers: c.GetLayers(), State: c.GetState(), PID: int(c.GetPid()),
		ExitCode: int(c.GetExitCode()), Restarts: int(c.GetRestarts()), Ready: c.GetReady(),
	}
}

func statusToProto(s Status) *droverv1.StatusResponse {
	return &droverv1.StatusResponse{
		Node: s.Node, Site: s.Site, Version: s.Version, Started: timeToProto(s.Started), PodCidr: s.PodCIDR, Leader: s.Leader,
		Role: s.Role, Servers: s.Servers, AppliedIndex: s.AppliedIndex, NodesAlive: int32(s.NodesAlive),
		NodesKnown: int32(s.NodesKnown), PodsHere: int32(s.PodsHere), PodsTotal: int32(s.PodsTotal),
		Migrations: each(s.Migrations, migrationToProto), Problems: s.Problems,
	}
}

func statusFromProto(s *droverv1.StatusResponse) Status {
	return Status{
		Node: s.GetNode(), Site: s.GetSite(), Version: s.GetVersion(), Started: timeFromProto(s.GetStarted()),
		PodCIDR: s.GetPodCidr(), Leader: s.GetLeader(), Role: s.GetRole(), Servers: each(s.GetServers(), same),
		AppliedIndex: s.GetAppliedIndex(), NodesAlive: int(s.GetNodesAlive()), NodesKnown: int(s.GetNodesKnown()),
		PodsHere: int(s.GetPodsHere()), PodsTotal: int(s.GetPodsTotal()),
		Migrations: each(s.GetMigrations(), migrationFromProto), Problems: each(s.GetProblems(), same),
	}
}

func same(s string) string { return s }

func migrationToProto(m Migration) *droverv1.Migration {
	out := &droverv1.Migration{
		Id: m.ID, Pod: m.Pod, From: m.From, To: m.To, Epoch: m.Epoch, Phase: string(m.Phase), Reason: m.Reason, Step: m.Step,
	}
	if m.Report != nil {
		out.Report = reportToProto(*m.Report)
	}
	return out
}

func migrationFromProto(m *droverv1.Migration) Migration {
	out := Migration{
		ID: m.GetId(), Pod: m.GetPod(), From: m.GetFrom(), To: m.GetTo(), Epoch: m.GetEpoch(),
		Phase: MigrationPhase(m.GetPhase()), Reason: m.GetReason(), Step: m.GetStep(),
	}
	if m.GetReport() != nil {
		r := reportFromProto(m.GetReport())
		out.Report = &r
	}
	return out
}

func moveToProto(m Move) *droverv1.MigrationStarted {
	return &droverv1.MigrationStarted{Id: m.ID, Pod: m.Pod, From: m.From, To: m.To, Mode: m.Mode}
}

func moveFromProto(m *droverv1.MigrationStarted) Move {
	return Move{ID: m.GetId(), Pod: m.GetPod(), From: m.GetFrom(), To: m.GetTo(), Mode: m.GetMode()}
}

func eventToProto(e Event) *droverv1.MigrationEvent {
	return &droverv1.MigrationEvent{
		Step: e.Step, Node: e.Node, State: string(e.State), Ms: e.MS, BytesDone: e.BytesDone, BytesTotal: e.BytesTotal, Note: e.Note,
	}
}

func eventFromProto(e *droverv1.MigrationEvent) Event {
	return Event{
		Step: e.GetStep(), Node: e.GetNode(), State: StepState(e.GetState()), MS: e.GetMs(), BytesDone: e.GetBytesDone(),
		BytesTotal: e.GetBytesTotal(), Note: e.GetNote(),
	}
}

func reportToProto(r Report) *droverv1.MigrationReport {
	return &droverv1.MigrationReport{
		Id: r.ID, Pod: r.Pod, From: r.From, To: r.To, Mode: r.Mode, DowntimeMs: r.DowntimeMS, TotalMs: r.TotalMS,
		BytesSent: r.BytesSent, FrozenBytes: r.FrozenBytes,
		Steps: each(r.Steps, func(s Step) *droverv1.MigrationStep { return &droverv1.MigrationStep{Name: s.Name, Ms: s.MS} }),
	}
}

func reportFromProto(r *droverv1.MigrationReport) Report {
	return Report{
		ID: r.GetId(), Pod: r.GetPod(), From: r.GetFrom(), To: r.GetTo(), Mode: r.GetMode(), DowntimeMS: r.GetDowntimeMs(),
		TotalMS: r.GetTotalMs(), BytesSent: r.GetBytesSent(), FrozenBytes: r.GetFrozenBytes(),
		Steps: each(r.GetSteps(), func(s *droverv1.MigrationStep) Step { return Step{Name: s.GetName(), MS: s.GetMs()} }),
	}
}

// each returns f of every element, never nil, so that an empty list is "[]" in JSON too.
func each[A, B any](as []A, f func(A) B) []B {
	bs := make([]B, 0, len(as))
	for _, a := range as {
		bs = append(bs, f(a))
	}
	return bs
}

func timeToProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeFromProto(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
