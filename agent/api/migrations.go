package api

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

type migrationsHandler struct{ *handler }

func (h migrationsHandler) Migrate(ctx context.Context, req *droverv1.MigrateRequest, stream *connect.ServerStream[droverv1.MigrateResponse]) error {
	if req.GetTo() == "" {
		return &Error{Code: InvalidArgument, What: "moving " + req.GetPod(), Violations: []Violation{{"to", "is missing: a node or a site"}}}
	}
	at, err := h.atOwner(ctx, req.GetPod())
	if err != nil {
		return err
	}
	if req.GetDryRun() {
		p, err := at.Preflight(ctx, req.GetPod(), req.GetTo())
		if err != nil {
			return err
		}
		return stream.Send(&droverv1.MigrateResponse{Part: &droverv1.MigrateResponse_Preflight{Preflight: preflightToProto(p)}})
	}
	progress := moveRelay{startRelay(stream, moveNews)}
	report, err := at.Migrate(ctx, req.GetPod(), req.GetTo(), progress)
	progress.finish()
	if err != nil {
		return err
	}
	return stream.Send(&droverv1.MigrateResponse{Part: &droverv1.MigrateResponse_Report{Report: reportToProto(report)}})
}

func (h migrationsHandler) Cancel(ctx context.Context, req *droverv1.CancelRequest) (*droverv1.CancelResponse, error) {
	at, name, err := h.atSource(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	m, err := at.CancelMigration(ctx, name)
	if err != nil {
		return nil, err
	}
	return &droverv1.CancelResponse{Migration: migrationToProto(m)}, nil
}

// atSource returns who answers for the open migration of that id or pod. Before a migration is reserved only its source
// knows of it, which is the pod's owner.
func (h migrationsHandler) atSource(ctx context.Context, name string) (API, string, error) {
	migrations, err := h.backend.ListMigrations(ctx)
	if err != nil {
		return nil, "", err
	}
	for _, m := range migrations {
		if (m.ID == name || m.Pod == name) && m.Phase.Open() {
			at, err := h.at(ctx, m.From)
			return at, m.ID, err
		}
	}
	at, err := h.atOwner(ctx, name)
	if e, ok := errors.AsType[*Error](err); ok && e.Code == NotFound {
		return nil, "", Errorf(NotFound, "", "no open migration has the id, and no pod the name, %q", name)
	}
	return at, name, err
}

func (h migrationsHandler) List(ctx context.Context, _ *droverv1.ListMigrationsRequest) (*droverv1.ListMigrationsResponse, error) {
	migrations, err := h.backend.ListMigrations(ctx)
	if err != nil {
		return nil, err
	}
	return &droverv1.ListMigrationsResponse{Migrations: each(migrations, migrationToProto)}, nil
}

func (h migrationsHandler) Get(ctx context.Context, req *droverv1.GetMigrationRequest) (*droverv1.GetMigrationResponse, error) {
	m, err := h.backend.GetMigration(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	if m.From != h.config.Node && forwardedBy(ctx) == "" {
		ctx, cancel := context.WithTimeout(ctx, peerPatience)
		defer cancel()
		if said, err := h.peer(m.From).GetMigration(ctx, m.ID); err == nil {
			m = said // the source knows more than what is committed
		}
	}
	return &droverv1.GetMigrationResponse{Migration: migrationToProto(m)}, nil
}
