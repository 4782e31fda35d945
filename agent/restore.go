package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/drover-mesh/drover/agent/criu"
	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/agent/pod"
)

// restore is the restore of a pod: one of CRIU's for each container, in an order that is the same whoever looks.
//
// The pod has run as soon as its first container has: that one is let go first, and the others only once it is seen to
// run. So whoever finds it waiting may destroy all, and whoever finds that it ran lets the others follow.
type restore struct {
	parts []*criu.Restore
	names []string
	own   func() error // gives the containers their streams
	// allow returns nil once the pod may run here, by its node's lease.
	allow func(ctx context.Context) error
}

// orderImage says in which order the containers are let go.
const orderImage = "order.json"

// Restore implements [migrate.Destination].
func (d destination) Restore(ctx context.Context, p migrate.Plan) (migrate.Restore, error) {
	if err := d.endRestore(ctx, p); err != nil {
		return nil, err
	}
	// The files are whole now: overlayfs forbids changes below a mounted overlay.
	netns, err := d.router.PreparePod(ctx, p.Pod.UID, p.Pod.Addr, true)
	if err != nil {
		return nil, err
	}
	s, err := d.spec(ctx, p.Pod, netns)
	if err != nil {
		return nil, err
	}
	dir := d.moveDir(p.ID)
	var record pod.Record
	if err := readJSON(filepath.Join(dir, "images", recordImage), &record); err != nil {
		return nil, fmt.Errorf("reading the history of its containers: %w", err)
	}
	r, err := d.runtime.Restore(ctx, s, record)
	if err != nil {
		return nil, err
	}
	out, err := d.startRestore(ctx, dir, r, record.IPC)
	out.allow = func(ctx context.Context) error { return d.fenced.await(ctx, p.Pod, leaseWait) }
	return out, err
}

// startRestore starts CRIU for each container. ipc is the one that brings the pod's System V objects.
func (d destination) startRestore(ctx context.Context, dir string, r pod.Restore, ipc string) (restore, error) {
	out := restore{own: func() error { return d.runtime.OwnStreams(r.UID) }}
	work := filepath.Join(dir, "restore")
	if err := freshDirs(work); err != nil {
		return out, err
	}
	for _, c := range r.Containers {
		out.names = append(out.names, c.Name)
	}
	order, err := json.Marshal(out.names)
	if err != nil {
		return out, err
	}
	if err := os.WriteFile(filepath.Join(work, orderImage), order, 0o600); err != nil {
		return out, err
	}
	memory := r.Memory // the first brings what they share
	for _, c := range r.Containers {
		at := filepath.Join(work, c.Name)
		if err := freshDirs(at); err != nil {
			return out, err
		}
		part, err := criu.StartRestore(ctx, criu.RestoreOptions{
			Images: filepath.Join(dir, "images", c.Name), Work: at, Gate: c.Gate, Command: c.Command, Env: c.Env,
			MonitorPid: c.MonitorPid, CRIUConfig: c.CRIUConfig, Cgroup: c.Freezer.Path(),
			RuntimeLog: c.RuntimeLog, Tmpfs: memory, LeaveIPC: c.Name != ipc,
		})
		if err != nil {
			return out, fmt.Errorf("container %s: %w", c.Name, err)
		}
		out.parts = append(out.parts, part)
		memory = nil
	}
	return out, nil
}

// openRestore finds the restore that an earlier agent has begun in that directory of a move: all of it that was started, in
// its order. Without one it has no parts.
func openRestore(dir string) (restore, error) {
	var out restore
	work := filepath.Join(dir, "restore")
	err := readJSON(filepath.Join(work, orderImage), &out.names)
	if errors.Is(err, os.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	for i, name := range out.names {
		part, err := criu.OpenRestore(filepath.Join(work, name))
		if errors.Is(err, os.ErrNotExist) { // nor any after it
			out.names = out.names[:i]
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out.parts = append(out.parts, part)
	}
	return out, nil
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// each does something for every part at once.
func (r restore) each(do func(*criu.Restore) error) error {
	var g errgroup.Group
	for i, p := range r.parts {
		g.Go(func() error {
			err := do(p)
			if err != nil && len(r.parts) > 1 {
				err = fmt.Errorf("container %s: %w", r.names[i], err)
			}
			return err
		})
	}
	return g.Wait()
}

// Wait implements [migrate.Restore].
func (r restore) Wait(ctx context.Context) error {
	if err := r.each(func(p *criu.Restore) error { return p.Restored(ctx) }); err != nil {
		return err
	}
	return r.own()
}

// Resume implements [migrate.Restore].
func (r restore) Resume(ctx context.Context) error {
	if r.allow != nil { // what an earlier agent has resumed ran already
		if err := r.allow(ctx); err != nil {
			return err
		}
	}
	if err := r.parts[0].Resume(ctx); err != nil {
		return err
	}
	return restore{parts: r.parts[1:], names: r.names[1:]}.each(func(p *criu.Restore) error { return p.Resume(ctx) })
}

// cancel destroys what was restored, or finishes what had begun to run: then the error is criu.ErrRan.
func (r restore) cancel(ctx context.Context) error {
	for i, p := range r.parts {
		err := p.Cancel(ctx)
		if i == 0 && errors.Is(err, criu.ErrRan) {
			return errors.Join(err, r.Resume(ctx))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// destroy ends what was restored and does not run. What runs is left to who removes the pod.
func (r restore) destroy(ctx context.Context) error {
	for _, p := range r.parts {
		if err := p.Cancel(ctx); err != nil && !errors.Is(err, criu.ErrRan) {
			return err
		}
	}
	return nil
}

// Cancel implements [migrate.Destination].
func (d destination) Cancel(ctx context.Context, p migrate.Plan) error {
	r, err := openRestore(d.moveDir(p.ID))
	if err != nil {
		return err
	}
	if err := r.cancel(ctx); errors.Is(err, criu.ErrRan) {
		return fmt.Errorf("%w: %w", migrate.ErrRan, err)
	} else if err != nil {
		return err
	}
	return nil
}

// endRestore ends what an earlier agent may have begun.
func (d destination) endRestore(ctx context.Context, p migrate.Plan) error {
	if _, err := os.Stat(filepath.Join(d.moveDir(p.ID), "restore")); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := d.Cancel(ctx, p); err != nil {
		return err
	}
	// Sockets that outlive their killed pod in a network namespace keep its addresses from the next restore there.
	return d.router.RemovePod(ctx, p.Pod.UID)
}
