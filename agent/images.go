package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/volumes"
	"github.com/drover-mesh/drover/volumes/oci"
)

// The policies of Kubernetes' imagePullPolicy. In a mesh an image is present if a node has it.
const (
	pullAlways       = "Always"       // the registry says what the name stands for
	pullIfNotPresent = "IfNotPresent" // it is asked only if no node knows the name; the default
	pullNever        = "Never"
)

// images are the images of this node, and the ways to get more: other nodes, and registries.
type images struct {
	node       string
	store      *volumes.Store
	peers      imagePeers
	registries configs.Registries
	log        *slog.Logger

	mu    sync.Mutex
	going map[string]chan struct{} // by name: closed when whoever gets the image is done
}

func newImages(node string, store *volumes.Store, peers imagePeers, registries configs.Registries, log *slog.Logger) *images {
	return &images{node: node, store: store, peers: peers, registries: registries, log: log, going: map[string]chan struct{}{}}
}

// Ensure makes an image be on this node and returns it: it is here, or another node has it, or its registry does,
// asked with this node's own credentials; policy, as in a manifest, says which will do. progress may be nil.
func (i *images) Ensure(ctx context.Context, name, policy string, progress func(volumes.Progress)) (volumes.Image, error) {
	what := "getting image " + name
	parsed, err := oci.ParseName(name)
	if err != nil {
		return volumes.Image{}, imageError(what, err)
	}
	done, err := i.begin(ctx, parsed.String())
	if err != nil {
		return volumes.Image{}, err
	}
	defer done()
	image, err := i.find(ctx, what, parsed, policy, progress)
	if err != nil {
		return volumes.Image{}, err
	}
	if !runsHere(image) {
		return volumes.Image{}, api.Errorf(api.FailedPrecondition, what, "it is for %s, and %s is %s", image.Platform, i.node, oci.Host()).
			WithCure("choose a node of that kind, or load or pull the image for this one")
	}
	return image, nil
}

// begin lets only one get an image at a time: two would fetch the same layers.
func (i *images) begin(ctx context.Context, name string) (done func(), err error) {
	for {
		i.mu.Lock()
		other, busy := i.going[name]
		if !busy {
			mine := make(chan struct{})
			i.going[name] = mine
			i.mu.Unlock()
			return func() {
				i.mu.Lock()
				defer i.mu.Unlock()
				delete(i.going, name)
				close(mine)
			}, nil
		}
		i.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (i *images) find(ctx context.Context, what string, name oci.Name, policy string, progress func(volumes.Progress)) (volumes.Image, error) {
	if policy == pullAlways {
		return i.pull(ctx, what, pull{name: name, progress: progress})
	}
	image, err := i.store.Image(name.String())
	if !errors.Is(err, volumes.ErrNotFound) {
		return image, err
	}
	tried := []string{i.node + " does not have it"}
	image, err = i.fromPeers(ctx, name, progress)
	if err == nil {
		return image, nil
	}
	if ctx.Err() != nil {
		return volumes.Image{}, context.Cause(ctx)
	}
	tried = append(tried, err.Error())
	switch {
	case policy == pullNever:
		tried = append(tried, "its pull policy is Never")
	case !isRegistry(name.Registry):
		tried = append(tried, name.Registry+" is no registry")
	default:
		image, err = i.pull(ctx, what, pull{name: name, progress: progress})
		if err == nil || ctx.Err() != nil {
			return image, err
		}
		tried = append(tried, api.AsError(err).Why)
	}
	return volumes.Image{}, api.Errorf(api.FailedPrecondition, what, "image %s is not on %s, nor to be had: %s",
		name.Familiar(), i.node, strings.Join(tried, "; ")).
		WithCure(fmt.Sprintf("drover image load %s FILE.tar --node %s, or drover image pull %s --node NODE where its registry can be reached",
			name.Familiar(), i.node, name.Familiar()))
}

// isRegistry says whether a registry's name can be one: Podman calls images "localhost/..." that it has built.
func isRegistry(host string) bool { return host != "localhost" }

// fromPeers copies an image that other nodes have. If they know several by that name, the one that got it last counts.
func (i *images) fromPeers(ctx context.Context, name oci.Name, progress func(volumes.Progress)) (volumes.Image, error) {
	nodes := i.peers.Nodes()
	if len(nodes) == 0 {
		return volumes.Image{}, errors.New("no other node is there")
	}
	answers := make([]imageAnswer, len(nodes))
	var asking sync.WaitGroup
	for n, node := range nodes {
		asking.Go(func() {
			image, err := i.peers.Image(ctx, node, name.String())
			answers[n] = imageAnswer{node, image, err}
		})
	}
	asking.Wait()
	var best volumes.Image
	var tried []string
	for _, a := range answers {
		switch {
		case errors.Is(a.err, volumes.ErrNotFound):
			tried = append(tried, a.node+" does not have it")
		case a.err != nil:
			tried = append(tried, fmt.Sprintf("%s does not say: %v", a.node, a.err))
		case !isNamed(a.image, name):
			tried = append(tried, fmt.Sprintf("%s has %s", a.node, a.image.Name))
		case !runsHere(a.image):
			tried = append(tried, fmt.Sprintf("%s has it for %s", a.node, a.image.Platform))
		case best.Name == "" || a.image.Tagged.After(best.Tagged):
			best = a.image
		}
	}
	if best.Name == "" {
		return volumes.Image{}, errors.New(strings.Join(tried, "; "))
	}
	// Those first that have the image; of the others any may have some of its layers.
	var has, other []volumes.Exporter
	for _, a := range answers {
		if a.err == nil && a.image.Digest == best.Digest {
			has = append(has, i.peers.Exporter(a.node))
		} else {
			other = append(other, i.peers.Exporter(a.node))
		}
	}
	image, err := i.store.Copy(ctx, best, append(has, other...), progress)
	if err != nil {
		return volumes.Image{}, fmt.Errorf("copying it from other nodes: %w", err)
	}
	i.log.Info("an image was copied from other nodes", "image", image.Name, "digest", image.Digest)
	return image, nil
}

// runsHere says whether an image is for machines like this one.
func runsHere(image volumes.Image) bool {
	p, err := oci.ParsePlatform(image.Platform)
	return err == nil && oci.Fits(p, oci.Host())
}

// isNamed says whether an image is the one that a name asks for.
func isNamed(image volumes.Image, name oci.Name) bool {
	has, err := oci.ParseName(image.Name)
	if err != nil {
		return false
	}
	if name.Digest != "" && image.Manifest == name.Digest {
		return has.Registry == name.Registry && has.Repository == name.Repository
	}
	return has == name
}

// imageAnswer is what a node says of a name.
type imageAnswer struct {
	node  string
	image volumes.Image
	err   error
}
