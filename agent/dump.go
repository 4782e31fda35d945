package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/drover-mesh/drover/agent/criu"
	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/agent/pod"
)

// recordImage is the image that holds the history of the pod's containers: a [pod.Record].
const recordImage = "pod.json"

// dump is the dump of a pod: one of CRIU's for each container that runs, all of them at the same steps at the same time. None
// reads a socket before all of them hold their processes, and none lets go before all are done: what containers say to each
// other is in their images as it was at one moment.
type dump struct {
	parts  []*partDump
	images chan migrate.Image
	stop   context.CancelFunc // ends the watch over the images
	ran    bool
}

// partDump is the dump of one container.
type partDump struct {
	*criu.Dump
	container string
	dir       string
	watcher   *criu.Watcher
	finished  sync.Once
}

// Dump implements [migrate.Source].
func (s source) Dump(ctx context.Context, p migrate.Plan) (_ migrate.Dump, err error) {
	c, err := s.runtime.Checkpoint(p.Pod.UID)
	if err != nil {
		return nil, err
	}
	if err := s.runtime.Hurry(p.Pod.UID); err != nil { // it would only take longer
		s.log.Warn("a pod is dumped under its limits", "pod", p.Pod.Name, "err", err)
	}
	dir := s.moveDir(p.ID)
	if err := freshDirs(filepath.Join(dir, "images"), filepath.Join(dir, "dump")); err != nil {
		return nil, err
	}
	if holder, err := s.sharedMemoryUser(p.Pod); err != nil {
		return nil, err
	} else if holder != "" {
		c.Record.IPC = holder
	}
	record, err := json.Marshal(c.Record)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "images", recordImage), record, 0o600); err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d := &dump{images: make(chan migrate.Image), stop: cancel}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Cancel())
		}
	}()
	found, err := s.lookAt(ctx, p.Pod) // again: it has run on since
	if err != nil {
		return nil, err
	}
	if refusals := s.refusals(found); len(refusals) > 0 {
		return nil, &migrate.RefusedError{Target: p.Target, Refusals: refusals}
	}
	for i, one := range c.Containers {
		memory := c.Memory // one of them packs what they share
		if i > 0 {
			memory = nil
		}
		part, err := startPart(ctx, life, dir, c, one, memory, found.Watched[one.Name])
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", one.Name, err)
		}
		d.parts = append(d.parts, part)
	}
	go d.forward(life, filepath.Join(dir, "images"))
	return d, nil
}

// startPart starts CRIU for a container. The watch over its images goes on for life.
func startPart(ctx, life context.Context, dir string, of pod.Checkpoint, c pod.ContainerCheckpoint, memory map[string]string, watched []string) (*partDump, error) {
	images, work := filepath.Join(dir, "images", c.Name), filepath.Join(dir, "dump", c.Name)
	if err := freshDirs(images, work); err != nil {
		return nil, err
	}
	watcher, err := criu.Watch(life, images)
	if err != nil {
		return nil, err
	}
	d, err := criu.StartDump(ctx, criu.DumpOptions{
		Pid: c.Pid, Root: c.Root, NetNS: of.NetNS, Freezer: c.Freezer, External: c.External, Tmpfs: memory,
		Descriptors: c.Descriptors, Watched: watched, Images: images, Work: work,
		Apart: of.Apart,
	})
	if err != nil {
		watcher.Finish()
		return nil, err
	}
	return &partDump{Dump: d, container: c.Name, dir: images, watcher: watcher}, nil
}

// finish says that the container's images are all there.
func (p *partDump) finish() { p.finished.Do(p.watcher.Finish) }

// Images implements [migrate.Dump].
func (d *dump) Images() <-chan migrate.Image { return d.images }

// forward merges what the watches tell.
func (d *dump) forward(ctx context.Context, dir string) {
	defer close(d.images)
	send := func(i migrate.Image) {
		select {
		case d.images <- i:
		case <-ctx.Done():
		}
	}
	send(migrate.Image{Name: recordImage, Path: filepath.Join(dir, recordImage)})
	var watches sync.WaitGroup
	defer watches.Wait()
	for _, p := range d.parts {
		watches.Go(func() {
			for name := range p.watcher.Names() {
				send(migrate.Image{Name: p.container + "/" + name, Path: filepath.Join(p.dir, name)})
			}
		})
	}
}

// Run implements [migrate.Dump].
func (d *dump) Run(ctx context.Context, onLock, onDumped func() error) error {
	d.ran = true
	g, together := errgroup.WithContext(ctx)
	locked := newRendezvous(len(d.parts), onLock)
	dumped := newRendezvous(len(d.parts), func() error {
		for _, p := range d.parts { // what CRIU does from here on is to let go of the pod
			p.finish()
		}
		return onDumped()
	})
	for _, p := range d.parts {
		g.Go(func() error {
			defer p.finish()
			err := p.Dump.Run(together, func() error { return locked.arrive(together) }, func() error { return dumped.arrive(together) })
			if err != nil && len(d.parts) > 1 {
				err = fmt.Errorf("container %s: %w", p.container, err)
			}
			return err
		})
	}
	return errors.Join(g.Wait(), ctx.Err())
}

// Cancel implements [migrate.Dump].
func (d *dump) Cancel() error {
	defer d.stop()
	if d.ran {
		return nil
	}
	var errs []error
	for _, p := range d.parts {
		p.finish()
		errs = append(errs, p.Dump.Cancel())
	}
	return errors.Join(errs...)
}

// awaitDump waits for the end of what an earlier agent has begun to dump in that directory of a move.
func awaitDump(ctx context.Context, dir string) error {
	parts, err := os.ReadDir(filepath.Join(dir, "dump"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, p := range parts {
		if err := criu.AwaitDump(ctx, filepath.Join(dir, "dump", p.Name())); err != nil {
			return err
		}
	}
	return nil
}

// rendezvous is a point that several reach together: the last to come does once what is to be done there.
type rendezvous struct {
	do   func() error
	done chan struct{} // closed once err is set

	mu   sync.Mutex
	wait int // for so many
	err  error
}

func newRendezvous(n int, do func() error) *rendezvous {
	return &rendezvous{do: do, done: make(chan struct{}), wait: n}
}

// arrive returns when all have come and the deed is done, with what became of it.
func (r *rendezvous) arrive(ctx context.Context) error {
	r.mu.Lock()
	r.wait--
	last := r.wait == 0
	r.mu.Unlock()
	if last {
		r.err = r.do()
		close(r.done)
		return r.err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
