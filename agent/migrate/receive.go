package migrate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/drover-mesh/drover/state"
)

// hearsay is how long a node waits to hear of a move that a peer speaks of.
const hearsay = 5 * time.Second

// receive finds an arrival that may still receive. The caller unlocks x.mu for reading.
func (a *Arrivals) receive(peer, id string) (*arrival, error) {
	x, err := a.find(peer, id)
	if err != nil {
		return nil, err
	}
	x.mu.RLock()
	if x.gone || x.taken {
		x.mu.RUnlock()
		return nil, fmt.Errorf("move %s receives nothing more", id)
	}
	return x, nil
}

// Layer receives the blob of a read-only layer.
func (a *Arrivals) Layer(ctx context.Context, peer, id string, d state.Digest, r io.Reader) error {
	x, err := a.receive(peer, id)
	if err != nil {
		return err
	}
	defer x.mu.RUnlock()
	return a.dest.ImportLayer(ctx, x.plan, d, r)
}

// Upper receives a generation of the pod's writable layer.
func (a *Arrivals) Upper(ctx context.Context, peer, id string, r io.Reader) error {
	x, err := a.receive(peer, id)
	if err != nil {
		return err
	}
	defer x.mu.RUnlock()
	if err := a.dest.ApplyUpper(ctx, x.plan, r); err != nil {
		return x.cargo.broke(fmt.Errorf("receiving the writable layer: %w", err))
	}
	x.cargo.addUpper()
	return nil
}

// Image receives a checkpoint image, up to the end of r.
func (a *Arrivals) Image(peer, id, name string, r io.Reader) error {
	x, err := a.receive(peer, id)
	if err != nil {
		return err
	}
	defer x.mu.RUnlock()
	f, err := a.image(x, name, r)
	if err != nil {
		return x.cargo.broke(fmt.Errorf("receiving image %q: %w", name, err))
	}
	x.cargo.addImage(f)
	return nil
}

func (a *Arrivals) image(x *arrival, name string, r io.Reader) (File, error) {
	if name == "" || name == "." || name == ".." || filepath.Base(name) != name {
		return File{}, errors.New("this can't be the name of an image")
	}
	f, err := a.dest.CreateImage(x.plan, name)
	if err != nil {
		return File{}, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), r)
	if err = errors.Join(err, f.Close()); err != nil {
		return File{}, err
	}
	return File{Name: name, Size: n, Digest: state.Digest("sha256:" + hex.EncodeToString(sum.Sum(nil)))}, nil
}
