package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/drover-mesh/drover/agent/criu"
	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/agent/route"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes"
)

// drainFor bounds how long a pod's sockets may take to empty before it is frozen all the same: a sender that its peer's
// window limits never does.
const drainFor = 10 * time.Millisecond

// source is this host as a pod leaves it.
type source struct{ *host }

var _ migrate.Source = source{}

// Layer implements [migrate.Source].
func (s source) Layer(ctx context.Context, d state.Digest, w io.Writer) error {
	return s.layers.Export(ctx, d, w)
}

// Upper implements [migrate.Source].
func (s source) Upper(p state.Pod) (migrate.Upper, error) {
	root, err := s.root(p)
	if err != nil {
		return nil, err
	}
	return &upper{host: s.host, pod: p, dir: root.Upper}, nil
}

// upper packs what changed in a directory since it was last packed.
type upper struct {
	host *host
	pod  state.Pod
	dir  string
	last volumes.Manifest
}

// Pack implements [migrate.Upper].
func (u *upper) Pack(ctx context.Context, w io.Writer, final bool) error {
	if !final {
		// From here on a store through a shared mapping shows in the file's time.
		if err := volumes.SyncFS(u.dir); err != nil {
			return err
		}
	}
	mapped, err := mappedFiles(u.host.runtime.Freezer(u.pod.UID).Path())
	if err != nil {
		return err
	}
	m, _, err := volumes.Pack(ctx, w, u.dir, u.last, func(path string) bool { return mapped[path] })
	u.last = m
	return err
}

// Cutover implements [migrate.Source].
func (s source) Cutover(_ context.Context, p state.Pod, target string) (migrate.Cutover, error) {
	c, err := s.router.Cutover(p.UID, target)
	if err != nil {
		return nil, err
	}
	return cutover{c}, nil
}

type cutover struct{ *route.Cutover }

// Drain implements [migrate.Cutover].
func (c cutover) Drain(ctx context.Context) error {
	_, err := c.Cutover.Drain(ctx, drainFor)
	return err
}

// Dump implements [migrate.Source].
func (s source) Dump(ctx context.Context, p migrate.Plan) (migrate.Dump, error) {
	c, err := s.runtime.Checkpoint(p.Pod.UID)
	if err != nil {
		return nil, err
	}
	dir := s.moveDir(p.ID)
	images, work := filepath.Join(dir, "images"), filepath.Join(dir, "dump")
	if err := freshDirs(images, work); err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	watcher, err := criu.Watch(life, images)
	if err != nil {
		cancel()
		return nil, err
	}
	d, err := criu.StartDump(ctx, criu.DumpOptions{
		Pid: c.Pid, Root: c.Root, NetNS: c.NetNS, Freezer: c.Freezer, External: c.External, Tmpfs: c.Tmpfs,
		Descriptors: c.Descriptors, Images: images, Work: work,
	})
	if err != nil {
		cancel()
		return nil, err
	}
	x := &dump{Dump: d, watcher: watcher, stop: cancel, images: make(chan string)}
	go x.forward(life, images)
	return x, nil
}

// dump is a dump and the watch over its images.
type dump struct {
	*criu.Dump
	watcher *criu.Watcher
	stop    context.CancelFunc
	images  chan string
	ran     bool
}

// Images implements [migrate.Dump].
func (d *dump) Images() <-chan string { return d.images }

func (d *dump) forward(ctx context.Context, dir string) {
	defer close(d.images)
	for name := range d.watcher.Names() {
		select {
		case d.images <- filepath.Join(dir, name):
		case <-ctx.Done():
		}
	}
}

// Run implements [migrate.Dump].
func (d *dump) Run(ctx context.Context, onLock, onDumped func() error) error {
	d.ran = true
	// All images are there once CRIU says that it has dumped: what it does after is to let go of the pod.
	finish := d.watcher.Finish
	err := d.Dump.Run(ctx, onLock, func() error {
		finish()
		finish = func() {}
		return onDumped()
	})
	finish()
	return errors.Join(err, ctx.Err())
}

// Cancel implements [migrate.Dump].
func (d *dump) Cancel() error {
	defer d.stop()
	if d.ran {
		return nil
	}
	d.watcher.Finish()
	return d.Dump.Cancel()
}

// Freeze implements [migrate.Source].
func (s source) Freeze(ctx context.Context, p state.Pod) error { return s.runtime.Freeze(ctx, p.UID) }

// Thaw implements [migrate.Source].
func (s source) Thaw(ctx context.Context, p migrate.Plan) error {
	dir := s.moveDir(p.ID)
	if err := criu.AwaitDump(ctx, filepath.Join(dir, "dump")); err != nil {
		return err
	}
	c, err := s.router.Cutover(p.Pod.UID, "") // whether the mesh still knows the target doesn't matter
	if errors.Is(err, route.ErrNoPod) {
		return s.thawAlone(ctx, p)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	gone, err := s.gone(p.Pod.UID)
	if err != nil {
		return err
	}
	if gone { // it has ended, as a frozen pod can't by itself, and is started again as others are
		return errors.Join(c.OpenEgress(), c.Undivert(), os.RemoveAll(dir))
	}
	// The egress comes first: what the thawed pod sends must leave, or its peers wait for a time-out.
	if err := c.OpenEgress(); err != nil {
		return err
	}
	if err := s.runtime.Thaw(ctx, p.Pod.UID); err != nil {
		return err
	}
	if err := c.Undivert(); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// thawAlone thaws a pod that has no place in the network any more. As a rule it is gone with it, by a reboot, and is
// started again as the node's other pods are; if it is not, it does better without a network than frozen for ever.
func (s source) thawAlone(ctx context.Context, p migrate.Plan) error {
	gone, err := s.gone(p.Pod.UID)
	if err != nil {
		return err
	}
	if !gone {
		s.log.Error("a pod goes on without its network, which somebody has removed", "pod", p.Pod.Name, "move", p.ID)
		if err := s.runtime.Thaw(ctx, p.Pod.UID); err != nil {
			return err
		}
	}
	return os.RemoveAll(s.moveDir(p.ID))
}

// gone says that no process of the pod is left.
func (s source) gone(uid string) (bool, error) {
	status, err := s.runtime.Status(uid)
	if errors.Is(err, pod.ErrNotFound) {
		return true, nil
	}
	return err == nil && status.Pid == 0, err
}

// Retire implements [migrate.Source].
func (s source) Retire(ctx context.Context, p migrate.Plan) error {
	dir := s.moveDir(p.ID)
	if err := criu.AwaitDump(ctx, filepath.Join(dir, "dump")); err != nil {
		return err
	}
	if err := s.removePod(ctx, p.Pod.UID); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
