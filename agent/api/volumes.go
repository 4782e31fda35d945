package api

import (
	"context"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

type volumesHandler struct{ *handler }

func (h volumesHandler) List(ctx context.Context, _ *droverv1.ListVolumesRequest) (*droverv1.ListVolumesResponse, error) {
	volumes, err := h.backend.ListVolumes(ctx)
	if err != nil {
		return nil, err
	}
	return &droverv1.ListVolumesResponse{Volumes: each(volumes, func(v Volume) *droverv1.Volume {
		return &droverv1.Volume{Name: v.Name, Node: v.Node, Pod: v.Pod}
	})}, nil
}

func (h volumesHandler) Remove(ctx context.Context, req *droverv1.RemoveVolumeRequest) (*droverv1.RemoveVolumeResponse, error) {
	volumes, err := h.backend.ListVolumes(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		if v.Name != req.GetName() {
			continue
		}
		at, err := h.at(ctx, v.Node)
		if err != nil {
			return nil, err
		}
		return &droverv1.RemoveVolumeResponse{}, at.RemoveVolume(ctx, v.Name)
	}
	return nil, Errorf(NotFound, "removing volume "+req.GetName(), "the mesh has no such volume").WithCure("drover volume ls shows the volumes")
}

// ListVolumes returns the named volumes of the mesh.
func (c *Client) ListVolumes(ctx context.Context) ([]Volume, error) {
	resp, err := c.volumes.List(ctx, &droverv1.ListVolumesRequest{})
	return each(resp.GetVolumes(), func(v *droverv1.Volume) Volume {
		return Volume{Name: v.GetName(), Node: v.GetNode(), Pod: v.GetPod()}
	}), c.wrap(err)
}

// RemoveVolume deletes a volume that no pod uses.
func (c *Client) RemoveVolume(ctx context.Context, name string) error {
	_, err := c.volumes.Remove(ctx, &droverv1.RemoveVolumeRequest{Name: name})
	return c.wrap(err)
}
