package quorum

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// resume opens what a server remembers and starts Raft on it. If that is nothing it returns the disk instead. One that is
// damaged is set aside: to go on with it might be to vote again, or to lack an entry that this server said it had.
func (q *Quorum) resume() (*seat, *disk, error) {
	d, err := openDisk(q.cfg.Dir, newLogger(q.log))
	if errors.Is(err, errDamaged) {
		q.log.Error("what this server remembers is damaged: it is set aside, and the server joins the others anew",
			"cause", err, "dir", filepath.Join(q.cfg.Dir, damagedDir))
		if err = setAside(q.cfg.Dir); err == nil {
			d, err = openDisk(q.cfg.Dir, newLogger(q.log))
		}
	}
	if err != nil {
		return nil, nil, err
	}
	blank, err := d.blank()
	if blank {
		return nil, d, nil
	}
	var s *seat
	if err == nil {
		err = d.recovering()
	}
	if err == nil {
		s, err = q.sit(d)
	}
	if err != nil {
		return nil, nil, errors.Join(err, d.Close())
	}
	return s, nil, nil
}

// serve is the life of a server. It has a seat, or a blank disk on which to get one. When the seat is taken away it
// begins anew; it ends with the quorum.
func (q *Quorum) serve(s *seat, d *disk) error {
	m := newMachine(q.board)
	for {
		stop, was := func() {}, s != nil
		if !was {
			stop = q.startFollowing(m)
			s = q.join(d)
		}
		if s == nil {
			return d.Close()
		}
		ctx, cancel := context.WithCancel(q.ctx)
		if !q.tasks.spawn(func() { q.lookForLaterEras(ctx) }) {
			cancel()
		}
		out := q.keep(s, was, stop)
		cancel()
		stop()
		q.seat.Store(nil)
		err := s.close()
		switch {
		case !out:
			return err
		case q.outdated(s):
			q.log.Error("the mesh was recovered without this server, which joins it anew; what it alone had heard of is lost", "dir", q.cfg.Dir, "error", err)
		default:
			q.log.Warn("the mesh has taken this server out; its log is removed", "dir", q.cfg.Dir, "error", err)
		}
		m = s.machine // from where it has come it follows the others
		if d = q.forget(); d == nil {
			return nil
		}
		s = nil
	}
}

// join waits until a server with a blank disk may start Raft, and does so. It returns nil when the quorum is closed.
func (q *Quorum) join(d *disk) *seat {
	for {
		s, why, err := q.tryJoin(d)
		if s != nil {
			q.waitFor("")
			return s
		}
		if err != nil {
			why = err.Error()
		}
		q.waitFor(why)
		if !q.sleep(q.cfg.timing.heartbeat) {
			return nil
		}
	}
}

func (q *Quorum) tryJoin(d *disk) (s *seat, why string, err error) {
	switch ok, why := q.mayFound(q.ctx); {
	case ok:
		if err := q.found(d); err != nil {
			return nil, "", err
		}
		s, err := q.sit(d)
		return s, "", err
	case why != "":
		return nil, why, nil
	}
	a, err := q.askMembership(request{Join: &joining{Node: q.cfg.Node, Blank: true}})
	switch {
	case err != nil:
		q.log.Debug("asking the leader for a place in the mesh", "error", err)
		return nil, "no leader of the mesh answers", nil
	case a.Member != "":
		return nil, "the mesh takes out the server of this name first, whose log is not in this directory", nil
	case !a.Server:
		return nil, notRegistered, nil
	}
	if a.Era > 0 {
		if err := d.SetUint64([]byte(eraKey), a.Era); err != nil {
			return nil, "", err
		}
	}
	s, err = q.sit(d)
	return s, "", err
}

// keep holds the seat until the quorum is closed, or the mesh has taken it away: then it returns true. was says that
// the seat was taken before. settled is called when it has a vote.
func (q *Quorum) keep(s *seat, was bool, settled func()) (out bool) {
	for q.sleep(q.cfg.timing.heartbeat) {
		if q.outdated(s) {
			return true
		}
		m := s.members()
		was = was || m.suffrage(q.cfg.Node) != ""
		votes := m.suffrage(q.cfg.Node) == voter
		if votes {
			settled()
			_ = os.RemoveAll(filepath.Join(q.cfg.Dir, damagedDir)) // of use to nobody now
			q.waitFor("")
			if s.leader() != "" {
				continue
			}
		}
		a, err := q.askMembership(request{Join: &joining{Node: q.cfg.Node, Term: s.raft.CurrentTerm(), Applied: s.raft.AppliedIndex()}})
		switch {
		case err != nil:
			q.log.Debug("asking the leader for a place in the mesh", "error", err)
		case a.Member == "" && was:
			return true
		case a.Member == "" && !a.Server:
			q.waitFor(notRegistered)
		case !votes:
			q.waitFor("it catches up with the mesh, and gets a vote then")
		}
	}
	return false
}

// forget wipes the directory and opens it again, blank, however often that fails. It returns nil when the quorum is
// closed.
func (q *Quorum) forget() *disk {
	for {
		err := wipe(q.cfg.Dir)
		if err == nil {
			var d *disk
			if d, err = openDisk(q.cfg.Dir, newLogger(q.log)); err == nil {
				return d
			}
		}
		q.waitFor(fmt.Sprintf("its directory can't be emptied: %v", err))
		if !q.sleep(q.cfg.timing.heartbeat) {
			return nil
		}
	}
}

// retire takes a plain node that was a server out of Raft's configuration. Until the leader says that it is out, what
// it remembers stays: it may have to be a server again if the mesh can't spare it.
func (q *Quorum) retire() {
	for {
		n, ago, _ := q.follower.Load().told()
		if ago >= 0 {
			m := members{n.Voters, n.Joining}
			if !remembers(q.cfg.Dir) && m.suffrage(q.cfg.Node) == "" {
				return
			}
			if q.tryRetire() {
				return
			}
		}
		if !q.sleep(q.cfg.timing.heartbeat) {
			return
		}
	}
}

func (q *Quorum) tryRetire() bool {
	a, err := q.askMembership(request{Leave: q.cfg.Node})
	if err == nil && a.Member == "" {
		if err = wipe(q.cfg.Dir); err == nil {
			_ = os.Remove(q.cfg.Dir) // unless something else is in it
			q.waitFor("")
			return true
		}
	}
	if err != nil {
		q.log.Debug("asking the leader to be taken out of the servers", "error", err)
	}
	q.waitFor("it is to be taken out of the servers")
	return false
}

const notRegistered = "the mesh does not know this node as a server"

// askMembership asks the leader about this node's place in Raft's configuration.
func (q *Quorum) askMembership(r request) (answer, error) {
	ctx, cancel := context.WithTimeout(q.ctx, 2*q.cfg.timing.rpc)
	defer cancel()
	return q.ask(ctx, r)
}

// sleep returns false when the quorum is closed, and true sooner when there is news of a later era.
func (q *Quorum) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-q.newEra:
		return true
	case <-q.ctx.Done():
		return false
	}
}

// waitFor says what this node waits for, for people; "" is nothing.
func (q *Quorum) waitFor(what string) {
	if before := q.waiting.Swap(&what); what != "" && (before == nil || *before != what) {
		q.log.Info("waiting for a place in the mesh's agreement", "cause", what)
	}
}
