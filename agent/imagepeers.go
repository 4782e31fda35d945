package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/gossip"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport"
	"github.com/drover-mesh/drover/volumes"
)

// imagePeers are other nodes, which may have images.
type imagePeers interface {
	// Nodes lists the nodes that are there, the nearest first.
	Nodes() []string
	// Image asks a node for an image by its name; volumes.ErrNotFound if it has none.
	Image(ctx context.Context, node, name string) (volumes.Image, error)
	// Exporter has the layers of a node.
	Exporter(node string) volumes.Exporter
}

const (
	// askPatience is how long a node may take to say whether it has an image.
	askPatience = 5 * time.Second
	// layerPatience is how long nothing of a layer may come before another node is asked for it.
	layerPatience = 20 * time.Second
)

// meshPeers are the nodes of the mesh.
type meshPeers struct {
	node      string
	gossip    *gossip.Mesh
	transport *transport.Transport
	peers     *http.Client
}

var _ imagePeers = meshPeers{}

// Nodes implements [imagePeers].
func (m meshPeers) Nodes() []string {
	var nodes []string
	for _, member := range m.gossip.Members() {
		if member.Node != m.node && member.State == gossip.Alive {
			nodes = append(nodes, member.Node)
		}
	}
	slices.SortStableFunc(nodes, func(a, b string) int { return int(m.transport.RTT(a) - m.transport.RTT(b)) })
	return nodes
}

// Image implements [imagePeers].
func (m meshPeers) Image(ctx context.Context, node, name string) (volumes.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	client := api.NewPeerClient(m.peers, m.node, node)
	i, err := client.InspectImage(ctx, name, "")
	if err != nil {
		if api.AsError(err).Code == api.NotFound {
			return volumes.Image{}, volumes.ErrNotFound
		}
		return volumes.Image{}, err
	}
	image := volumes.Image{
		Name: i.Name, Digest: state.Digest(i.Digest), Manifest: state.Digest(i.Manifest), Document: i.Document,
		Platform: i.Platform, Created: i.Created, Tagged: i.Tagged,
	}
	for _, layer := range i.Layers {
		image.Layers = append(image.Layers, state.Digest(layer))
	}
	return image, nil
}

// Exporter implements [imagePeers].
func (m meshPeers) Exporter(node string) volumes.Exporter {
	return func(ctx context.Context, layer state.Digest) (io.ReadCloser, error) {
		r, err := peer{node: node, transport: m.transport}.fetchLayer(ctx, layer)
		if err != nil {
			return nil, fmt.Errorf("from %s: %w", node, err)
		}
		return r, nil
	}
}

// fetchLayer reads a layer of another node.
func (p peer) fetchLayer(ctx context.Context, layer state.Digest) (io.ReadCloser, error) {
	s, err := p.open(ctx, transport.Bulk, frameFetch, call{Digest: layer})
	if err != nil {
		return nil, err
	}
	_ = s.SetReadDeadline(time.Now().Add(layerPatience))
	if _, err := readAnswer(s); err != nil {
		s.end()
		return nil, err
	}
	return &fetched{stream: s, body: newBody(s.Conn), node: p.node}, nil
}

// fetched is the body of a layer that is being fetched.
type fetched struct {
	*stream
	body *body
	node string
}

func (f *fetched) Read(b []byte) (int, error) {
	_ = f.SetReadDeadline(time.Now().Add(layerPatience))
	n, err := f.body.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("from %s: %w", f.node, err)
	}
	return n, err
}

// Close gives the stream back, read to its end or not.
func (f *fetched) Close() error {
	if !f.body.ended {
		f.Reset(transport.FirstUserCode)
	}
	f.end()
	return nil
}
