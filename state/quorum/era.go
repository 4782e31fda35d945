package quorum

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// An era of a mesh begins when somebody recovers it from the loss of its majority: see Recover. Servers that come back from
// before must neither vote against the mesh of today nor overwrite it, though Raft would let them: together they may be
// the majority of the servers that they know. So servers of different eras don't speak Raft with each other, nobody takes
// the word of an earlier era, and a server that hears of a later one than its own removes its log and joins anew. The
// first era is 0, in which nothing is said of eras, so that versions that know none understand each other.

// eraKey is where a server remembers its era, recoveringKey that it was to begin one and has not yet.
const (
	eraKey        = "Era"
	recoveringKey = "Recovering"
)

// learn notes that there is an era of this node's mesh.
func (q *Quorum) learn(mesh string, era uint64) {
	if !sameMesh(mesh, q.View().MeshID()) {
		return
	}
	for {
		known := q.era.Load()
		if era <= known {
			return
		}
		if q.era.CompareAndSwap(known, era) {
			select {
			case q.newEra <- struct{}{}:
			default:
			}
			return
		}
	}
}

// outdated says that the mesh was recovered without this server.
func (q *Quorum) outdated(s *seat) bool { return s != nil && q.era.Load() > s.era }

// ofToday returns why a request from a node of this mesh is of another era than this node.
func (q *Quorum) ofToday(r request) error {
	s := q.seat.Load()
	if r.Mesh == "" || r.Era == q.era.Load() && !q.outdated(s) {
		return nil
	}
	return fmt.Errorf("%w: the mesh was recovered, and either %s has not heard of it yet or who asks", ErrNotProposed, q.cfg.Node)
}

// lookForLaterEras asks others whether the mesh was recovered while this server was away: everybody at first, before it could
// be elected, and then now and again the servers, as long as it has a seat.
func (q *Quorum) lookForLaterEras(ctx context.Context) {
	began := time.Now()
	for ctx.Err() == nil {
		nodes, wait := q.everybody(), q.cfg.timing.beat()
		if time.Since(began) > 4*q.cfg.timing.heartbeat {
			nodes, wait = q.allServers(), askPeersAfter
		}
		q.inquire(ctx, nodes)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// allServers are those that vote, and those that the committed state knows.
func (q *Quorum) allServers() []string {
	names := q.servers()
	for _, n := range q.View().Nodes() {
		if n.Server {
			names = append(names, n.Name)
		}
	}
	return names
}

// everybody is who could be asked for the servers.
func (q *Quorum) everybody() []string {
	names := q.allServers()
	if q.cfg.Peers != nil {
		names = append(names, q.cfg.Peers()...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// eraMark begins a stream of Raft between servers of an era that isn't the first; the era follows (eight bytes, big-endian).
// No message of raft.NetworkTransport begins with it: those begin with their type, which is less than 16.
const eraMark = 0xd7

var errEra = errors.New("it is of another era of the mesh")

// sayEra begins a stream that this server has dialled.
func sayEra(c net.Conn, era uint64) error {
	if era == 0 {
		return nil
	}
	_, err := c.Write(binary.BigEndian.AppendUint64([]byte{eraMark}, era))
	return err
}

// hearEra reads how a stream begins that another server has dialled: rest is what is no word about its era.
func hearEra(c io.Reader, era uint64) (rest []byte, err error) {
	var b [9]byte
	if _, err := io.ReadFull(c, b[:1]); err != nil {
		return nil, err
	}
	if b[0] != eraMark {
		if era != 0 {
			return nil, errEra
		}
		return b[:1], nil
	}
	if _, err := io.ReadFull(c, b[1:]); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint64(b[1:]) != era {
		return nil, errEra
	}
	return nil, nil
}
