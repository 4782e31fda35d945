package agent

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes"
)

// made is a pod that was made when its image was that.
func made(s *registryServer, ref string, image volumes.Image) state.Pod {
	return state.Pod{Name: "shop", Containers: []state.Container{{Name: "main", Image: s.host() + "/" + ref, Layers: image.Layers}}}
}

func requireLayers(t *testing.T, i *images, p state.Pod) {
	t.Helper()
	for _, layer := range p.Layers() {
		require.True(t, i.store.Has(layer), "layer %s", layer)
	}
}

// The name of its image stands for another by now, everywhere: a pod still begins with the layers that it was made of.
func TestAPodBeginsWithTheLayersThatItWasMadeOf(t *testing.T) {
	s, fra, nyc := newRegistryServer(t), newImageStore(t), newImageStore(t)
	s.push(t, "tool:1", runtime.GOARCH, 2)
	p := made(s, "tool:1", pulledBy(t, s, fra, "tool:1"))
	s.push(t, "tool:1", runtime.GOARCH, 3)
	require.NotEqual(t, p.Containers[0].Layers, pulledBy(t, s, nyc, "tool:1").Layers)
	asked := s.asked.Load()
	i := imagesOf(t, s, &memoryPeers{nodes: []string{"sin", "nyc", "fra"}, stores: map[string]*volumes.Store{"fra": fra, "nyc": nyc}})
	require.NoError(t, i.EnsureLayers(t.Context(), p))
	requireLayers(t, i, p)
	require.Equal(t, asked, s.asked.Load(), "no registry is needed")
	i.peers = &memoryPeers{}
	require.NoError(t, i.EnsureLayers(t.Context(), p), "they are here now")
}

func TestLayersThatNoNodeHasComeFromTheRegistry(t *testing.T) {
	s := newRegistryServer(t)
	s.push(t, "tool:1", runtime.GOARCH, 2)
	p := made(s, "tool:1", pulledBy(t, s, newImageStore(t), "tool:1"))
	i := imagesOf(t, s, &memoryPeers{nodes: []string{"fra"}})
	require.NoError(t, i.EnsureLayers(t.Context(), p))
	requireLayers(t, i, p)

	s.push(t, "tool:1", runtime.GOARCH, 2)
	err := imagesOf(t, s, &memoryPeers{nodes: []string{"fra"}}).EnsureLayers(t.Context(), p)
	require.ErrorContains(t, err, "of container main: no node has layer")
	require.ErrorContains(t, err, "(it is out of order)")
	require.ErrorContains(t, err, "its registry has another image of that name", "another one is no substitute")
}
