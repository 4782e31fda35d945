package api

import (
	"context"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

type meshHandler struct{ *handler }

func (h meshHandler) Status(ctx context.Context, _ *droverv1.StatusRequest) (*droverv1.StatusResponse, error) {
	status, err := h.backend.GetStatus(ctx)
	if err != nil {
		return nil, err
	}
	return statusToProto(status), nil
}
