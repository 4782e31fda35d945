package agent

import (
	"log/slog"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes"
)

// The image of a pod is on its node alone. The node that would start the pod if that were lost has it before.
func TestLayersAreWhereAPodWouldBegin(t *testing.T) {
	s, fra := newRegistryServer(t), newImageStore(t)
	s.push(t, "tool:1", runtime.GOARCH, 2)
	image := pulledBy(t, s, fra, "tool:1")
	asked := s.asked.Load()
	l := threeNodes(t, "redis")
	r := l.machine.Apply(state.CreatePod{
		Name: "tool", UID: "u-tool", Manifest: []byte(`{}`), Node: "fra", Failover: state.FailoverRestart,
		Containers: []state.Container{{Name: "main", Image: "tool:1", Layers: image.Layers}},
	})
	require.True(t, r.OK, r.Reason)
	peers := &memoryPeers{nodes: []string{"fra"}, stores: map[string]*volumes.Store{"fra": fra}}
	node := func(name string) *pods {
		images := newImages(name, newImageStore(t), peers, imagesOf(t, s, peers).registries, slog.New(slog.DiscardHandler))
		return &pods{host: &host{node: name, layers: images.store}, images: images}
	}
	ams, nyc := node("ams"), node("nyc")
	require.NoError(t, nyc.provide(t.Context(), l.machine.View(), away()))
	require.Empty(t, peers.asked, "ams would have it")
	err := ams.provide(t.Context(), l.machine.View(), away())
	require.ErrorContains(t, err, "pod redis: no node has layer", "which is no reason to do without the others")
	require.NotContains(t, err.Error(), "pod plain", "it waits for fra")
	requireLayers(t, ams.images, made(s, "tool:1", image))

	err = nyc.provide(t.Context(), l.machine.View(), away("ams"))
	require.ErrorContains(t, err, "pod redis")
	requireLayers(t, nyc.images, made(s, "tool:1", image))
	require.Equal(t, asked, s.asked.Load(), "no registry is asked ahead of time")
}
