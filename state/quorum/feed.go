package quorum

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/drover-mesh/drover/state"
)

// Snapshots that a server sends at a time: each takes as much memory as the state has bytes.
const snapshotsAtOnce = 4

// feed serves the nodes that follow a server: a snapshot if they need one, then each command as it is applied. All
// read the one tail of the server's machine, so that one that is slow holds no memory of its own but a batch: it
// falls off the tail, and gets a snapshot.
type feed struct {
	*seat
	snapshots chan struct{}
}

func newFeed(s *seat) *feed { return &feed{s, make(chan struct{}, snapshotsAtOnce)} }

// run serves until the streams are shut.
func (f *feed) run() {
	for {
		c, err := f.follows.Accept()
		if err != nil {
			return
		}
		if !f.tasks.spawn(func() { f.serve(c) }) {
			_ = c.Close()
		}
	}
}

// serve feeds one follower until it goes, or takes too long.
func (f *feed) serve(c net.Conn) {
	defer c.Close()
	conn := patient{c, f.timing.rpc, f.timing.stall()}
	var h hello
	if err := readMessage(conn, frameHello, &h); err != nil {
		f.log.Debug("a stream of a follower began badly", "from", c.RemoteAddr(), "error", err)
		return
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	if !f.tasks.spawn(func() {
		_, _ = c.Read(make([]byte, 1)) // followers say nothing more: it has hung up
		cancel()
	}) {
		return
	}
	t := telling{feed: f, w: bufio.NewWriterSize(conn, maxPart), at: h.At}
	switch err := t.run(ctx); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.log.Warn("a node that follows this server is too slow, and was dropped", "follower", h.Node)
	case err != nil && ctx.Err() == nil:
		f.log.Debug("a node does not follow this server any more", "follower", h.Node, "error", err)
	}
}

// telling is what one follower is told.
type telling struct {
	*feed
	w      *bufio.Writer
	at     position // how far it has come
	leader string   // as it was told
	beat   *time.Ticker
}

// run writes news, and what the follower has not got yet, until ctx ends.
func (t *telling) run(ctx context.Context) error {
	changed := t.machine.board.watch(ctx)
	t.beat = time.NewTicker(t.timing.beat())
	defer t.beat.Stop()
	if err := t.news(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		more, err := t.advance(ctx)
		if err != nil {
			return err
		}
		if more {
			continue
		}
		if t.seat.leader() != t.leader {
			err = t.news()
		}
		if err = errors.Join(err, t.w.Flush()); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-t.beat.C:
			if err := t.news(); err != nil {
				return err
			}
			if t.replaced(ctx) {
				err = t.snapshot(ctx, true)
			}
			if err != nil {
				return err
			}
		case <-ctx.Done():
		}
	}
	return nil
}

// advance writes what comes next, or some of it, and returns whether there may be more.
func (t *telling) advance(ctx context.Context) (more bool, err error) {
	entries, err := t.machine.after(t.at)
	if err != nil {
		return true, t.snapshot(ctx, errors.Is(err, errDiverged))
	}
	for _, e := range entries {
		if err := writeEntry(t.w, e); err != nil {
			return false, err
		}
		t.at = e.at
	}
	return len(entries) == batch, nil
}

// news says how this server sees the mesh.
func (t *telling) news() error {
	m := t.members()
	n := news{Mesh: t.machine.view().MeshID(), Era: t.era, Leader: t.seat.leader(), Term: t.raft.CurrentTerm(), Voters: m.voters, Joining: m.joining}
	t.leader = n.Leader
	return errors.Join(writeMessage(t.w, frameNews, n), t.w.Flush())
}

// snapshot writes the whole state.
func (t *telling) snapshot(ctx context.Context, replaced bool) error {
	if replaced && t.seat.leader() == "" {
		return errors.New("it has another history, and this server has no leader that could say whose is right")
	}
	for waiting := true; waiting; {
		select {
		case t.snapshots <- struct{}{}:
			defer func() { <-t.snapshots }()
			waiting = false
		case <-t.beat.C:
			if err := t.news(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	v := t.machine.view()
	if err := errors.Join(writeSnapshot(t.w, v, replaced), t.w.Flush()); err != nil {
		return fmt.Errorf("sending a snapshot: %w", err)
	}
	t.at = positionOf(v)
	return nil
}

// replaced says whether the follower has surely come farther than the mesh: then what it has isn't in the mesh's
// history any more. Only the leader can know.
func (t *telling) replaced(ctx context.Context) bool {
	ahead := func() bool { return t.at.Index > t.machine.view().Index() }
	return ahead() && t.leads() && t.barrier(ctx) == nil && ahead()
}

// writeSnapshot writes a view.
func writeSnapshot(w *bufio.Writer, v state.View, replaced bool) error {
	if err := writeMessage(w, frameSnapshot, snapshotHead{positionOf(v), replaced}); err != nil {
		return err
	}
	if err := v.Snapshot(partWriter{w}); err != nil {
		return err
	}
	return writeFrame(w, framePart)
}
