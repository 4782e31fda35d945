package api

import (
	"context"
	"fmt"
	"sync"
	"time"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

type podsHandler struct{ *handler }

func (h podsHandler) Run(ctx context.Context, req *droverv1.RunRequest) (*droverv1.RunResponse, error) {
	node, err := h.backend.PlacePod(ctx, req.GetManifest(), req.GetNode())
	if err != nil {
		return nil, err
	}
	at, err := h.atNode(ctx, node)
	if err != nil {
		return nil, err
	}
	pod, err := at.RunPod(ctx, req.GetManifest(), node)
	if err != nil {
		return nil, err
	}
	return &droverv1.RunResponse{Pod: podToProto(pod)}, nil
}

func (h podsHandler) List(ctx context.Context, req *droverv1.ListPodsRequest) (*droverv1.ListPodsResponse, error) {
	pods, err := h.backend.ListPods(ctx, req.GetLocal())
	if err != nil {
		return nil, err
	}
	if !req.GetLocal() {
		h.askOwners(ctx, pods)
	}
	for i := range pods {
		pods[i].Manifest = nil
	}
	return &droverv1.ListPodsResponse{Pods: each(pods, podToProto)}, nil
}

// askOwners replaces the pods of other nodes by what those say of them, and where a node doesn't answer in time says so.
func (h podsHandler) askOwners(ctx context.Context, pods []Pod) {
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
	defer cancel()
	byNode := make(map[string][]*Pod)
	for i := range pods {
		if node := pods[i].Node; node != "" && node != h.config.Node {
			byNode[node] = append(byNode[node], &pods[i])
		}
	}
	var asked sync.WaitGroup
	for node, theirs := range byNode {
		asked.Go(func() {
			said, err := h.peer(node).ListPods(ctx, true)
			for _, pod := range theirs {
				if err != nil {
					pod.Phase, pod.Reason = PodUnknown, sentences(node+" does not answer", pod.Reason)
				}
				for _, s := range said {
					if s.UID == pod.UID && s.Node == node {
						*pod = s
					}
				}
			}
		})
	}
	asked.Wait()
}

// sentences puts what is said of a pod together.
func sentences(first, more string) string {
	if more == "" {
		return first
	}
	return first + "; " + more
}

func (h podsHandler) Get(ctx context.Context, req *droverv1.GetPodRequest) (*droverv1.GetPodResponse, error) {
	pod, err := h.backend.GetPod(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	if pod.Node != h.config.Node && pod.Node != "" && forwardedBy(ctx) == "" {
		ctx, cancel := context.WithTimeout(ctx, peerPatience)
		defer cancel()
		if said, err := h.peer(pod.Node).GetPod(ctx, pod.Name); err == nil {
			pod = said
		} else {
			pod.Phase, pod.Reason = PodUnknown, sentences(fmt.Sprintf("%s does not answer: %v", pod.Node, err), pod.Reason)
		}
	}
	return &droverv1.GetPodResponse{Pod: podToProto(pod)}, nil
}

func (h podsHandler) Stop(ctx context.Context, req *droverv1.StopPodRequest) (*droverv1.StopPodResponse, error) {
	at, err := h.atOwner(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	if err := at.StopPod(ctx, req.GetName(), time.Duration(req.GetGraceSeconds())*time.Second); err != nil {
		return nil, err
	}
	return &droverv1.StopPodResponse{}, nil
}

func (h podsHandler) Start(ctx context.Context, req *droverv1.StartPodRequest) (*droverv1.StartPodResponse, error) {
	at, err := h.atOwner(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	if err := at.StartPod(ctx, req.GetName()); err != nil {
		return nil, err
	}
	return &droverv1.StartPodResponse{}, nil
}

func (h podsHandler) Remove(ctx context.Context, req *droverv1.RemovePodRequest) (*droverv1.RemovePodResponse, error) {
	at, err := h.atOwner(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	if err := at.RemovePod(ctx, req.GetName()); err != nil {
		return nil, err
	}
	return &droverv1.RemovePodResponse{}, nil
}
