package migrate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// hearsay is how long a node waits to hear of a move that a peer speaks of.
const hearsay = 5 * time.Second

// receive finds an arrival that may still receive. The caller calls done; r is closed if the move ends before.
func (a *Arrivals) receive(peer, id string, r io.Closer) (x *arrival, done func(), err error) {
	if x, err = a.find(peer, id); err != nil {
		return nil, nil, err
	}
	x.mu.RLock()
	if !x.receives() {
		x.mu.RUnlock()
		return nil, nil, fmt.Errorf("move %s receives nothing now", id)
	}
	stop := context.AfterFunc(x.over, func() { _ = r.Close() })
	return x, func() {
		stop()
		x.driver.tell(event{in: decide.Heard{}})
		x.mu.RUnlock()
	}, nil
}

// receives says whether what the source sends is taken.
func (x *arrival) receives() bool {
	x.news.Lock()
	defer x.news.Unlock()
	return x.takes && !x.taken
}

// Layer receives the blob of a read-only layer. Here and below r is closed if the move ends meanwhile.
func (a *Arrivals) Layer(ctx context.Context, peer, id string, d state.Digest, r io.ReadCloser) error {
	x, done, err := a.receive(peer, id, r)
	if err != nil {
		return err
	}
	defer done()
	return a.dest.ImportLayer(ctx, x.plan, d, r)
}

// Upper receives a generation of the pod's writable layer.
func (a *Arrivals) Upper(ctx context.Context, peer, id string, r io.ReadCloser) error {
	x, done, err := a.receive(peer, id, r)
	if err != nil {
		return err
	}
	defer done()
	a.reach(x.over, AsTarget, "presync")
	if err := a.dest.ApplyUpper(ctx, x.plan, r); err != nil {
		return x.cargo.broke(fmt.Errorf("receiving the writable layer: %w", err))
	}
	x.cargo.addUpper()
	return nil
}

// Image receives a checkpoint image, up to the end of r.
func (a *Arrivals) Image(peer, id, name string, r io.ReadCloser) error {
	x, done, err := a.receive(peer, id, r)
	if err != nil {
		return err
	}
	defer done()
	a.reach(x.over, AsTarget, "final")
	f, err := a.image(x, name, r)
	if err != nil {
		return x.cargo.broke(fmt.Errorf("receiving image %q: %w", name, err))
	}
	x.cargo.addImage(f)
	return nil
}

// Lost says that a stream to an arrival has broken, between what it brought: a take-over that waits for more of it
// need not wait longer.
func (a *Arrivals) Lost(peer, id string, why error) {
	if x, err := a.find(peer, id); err == nil {
		_ = x.cargo.broke(fmt.Errorf("the stream from %s broke: %w", peer, why))
	}
}

func (a *Arrivals) image(x *arrival, name string, r io.Reader) (File, error) {
	if !fs.ValidPath(name) || name == "." || strings.Count(name, "/") > 1 || strings.ContainsRune(name, 0) {
		return File{}, errors.New("this can't be the name of an image")
	}
	if err := x.cargo.room(); err != nil {
		return File{}, err
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
