package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/agent/route"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes"
)

// spare is what must stay free beside what a pod brings, in bytes.
const spare = 64 << 20

// handBackFor is how long a target sends packets of a pod that does not come back to its source.
const handBackFor = 500 * time.Millisecond

// destination is this host as a pod comes to it.
type destination struct{ *host }

var _ migrate.Destination = destination{}

// Prepare implements [migrate.Destination].
func (d destination) Prepare(ctx context.Context, p migrate.Plan) error {
	images := filepath.Join(d.moveDir(p.ID), "images")
	dirs := []string{images}
	for _, c := range p.Pod.Containers {
		dirs = append(dirs, filepath.Join(images, c.Name))
	}
	if err := freshDirs(dirs...); err != nil {
		return err
	}
	if _, err := d.router.PreparePod(ctx, p.Pod.UID, p.Pod.Addr, true); err != nil {
		return fmt.Errorf("preparing the pod's network: %w", err)
	}
	if err := d.fenced.expect(ctx, p.Pod); err != nil {
		return fmt.Errorf("preparing the pod's fence: %w", err)
	}
	return nil
}

// ImportLayer implements [migrate.Destination].
func (d destination) ImportLayer(ctx context.Context, p migrate.Plan, digest state.Digest, r io.Reader) error {
	if !slices.Contains(p.Pod.Layers(), digest) {
		return fmt.Errorf("layer %s is none of the pod's", digest)
	}
	if d.layers.Has(digest) {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	return d.layers.Import(ctx, digest, r)
}

// CreateImage implements [migrate.Destination].
func (d destination) CreateImage(p migrate.Plan, name string) (io.WriteCloser, error) {
	f, err := os.OpenFile(filepath.Join(d.moveDir(p.ID), "images", name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &sparing{file: f, spare: spare}, nil
}

// sparing is a file that leaves some space of its file system to others: images are memory, and how much the source
// said that it would send binds nobody.
type sparing struct {
	file  *os.File
	spare int64
	left  int // bytes that may be written before it looks again
}

// lookAfter is how much may be written unseen, in bytes.
const lookAfter = 8 << 20

func (s *sparing) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left < 0 {
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(s.file.Fd()), &st); err != nil {
			return 0, fmt.Errorf("asking for free space: %w", err)
		}
		if free := int64(st.Bavail) * st.Bsize; free < s.spare {
			return 0, fmt.Errorf("%d MiB are left for %s, and %d stay free for others", free>>20, s.file.Name(), s.spare>>20)
		}
		s.left = lookAfter
	}
	return s.file.Write(p)
}

func (s *sparing) Close() error { return s.file.Close() }

// Release implements [migrate.Destination].
func (d destination) Release(ctx context.Context, p migrate.Plan) error {
	err := d.router.Release(p.Pod.UID)
	if errors.Is(err, route.ErrNoPod) { // the host was rebooted since, or the pod has left: nothing is held
		return nil
	}
	if err != nil {
		return err
	}
	d.settle(ctx, p.Pod)
	return d.keep(p.Pod)
}

// keep makes the files that came with a pod as durable as they were where it came from, before the copy there is destroyed.
func (d destination) keep(p state.Pod) error {
	trees, err := d.trees(p)
	if err != nil {
		return err
	}
	for _, t := range trees {
		if err := volumes.SyncFS(t.dir); err != nil {
			return err
		}
	}
	return nil
}

// Discard implements [migrate.Destination].
func (d destination) Discard(ctx context.Context, p migrate.Plan) error {
	if err := d.Cancel(ctx, p); err != nil {
		return err
	}
	if err := d.fenced.unmute(p.Pod.UID); err != nil {
		return err
	}
	// What is held for the pod goes back. Until the source has undone its side it sends the packets here again, and they
	// go round; so this lasts a moment. That there is nothing to hand back, or nobody, is no failure.
	switch err := d.router.HandBack(p.Pod.UID); {
	case err == nil:
		wait(ctx, handBackFor)
	case !errors.Is(err, route.ErrNoPod):
		d.log.Warn("held packets are lost", "pod", p.Pod.Name, "err", err)
	}
	if err := d.removePod(ctx, p.Pod, true); err != nil {
		return err
	}
	return os.RemoveAll(d.moveDir(p.ID))
}

// Destroy implements [migrate.Destination].
func (d destination) Destroy(ctx context.Context, p migrate.Plan) error {
	r, err := openRestore(d.moveDir(p.ID))
	if err != nil {
		return err
	}
	if err := r.destroy(ctx); err != nil {
		return err
	}
	if err := d.removePod(ctx, p.Pod, true); err != nil {
		return err
	}
	return os.RemoveAll(d.moveDir(p.ID))
}

// Forget implements [migrate.Destination].
func (d destination) Forget(_ context.Context, p migrate.Plan) error {
	return os.RemoveAll(d.moveDir(p.ID))
}
