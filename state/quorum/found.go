package quorum

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
)

// standing is what a node says of itself to one that wants to know whether there is a mesh.
type standing struct {
	Stage stage `json:"stage"`
	// First are the servers with which it would begin, or has begun, a mesh.
	First []string `json:"first,omitempty"`
	// Servers are those of Raft's configuration as far as it knows; it may be one.
	Servers []string `json:"servers,omitempty"`
	// Era is the latest that it has heard of, of that mesh. Neither is there in the first.
	Era  uint64 `json:"era,omitempty"`
	Mesh string `json:"mesh,omitempty"`
}

// A stage is how far a node has come.
type stage string

const (
	blank    stage = "blank"    // a server that remembers nothing and has heard of no mesh
	founding stage = "founding" // a server that has begun a mesh, and has not heard of any vote in it
	ignorant stage = "ignorant" // a plain node that has heard of no mesh
	in       stage = "in"       // any node of a mesh
)

// standing is what this node says of itself.
func (q *Quorum) standing() *standing {
	now := q.Status()
	st := &standing{Stage: in, First: q.first(), Servers: slices.Concat(now.Voters, now.Joining)}
	if st.Era = q.era.Load(); st.Era > 0 {
		st.Mesh = q.View().MeshID()
	}
	s := q.seat.Load()
	switch {
	case s != nil && s.raft.LastIndex() == 1 && s.raft.CurrentTerm() == 1:
		st.Stage = founding
	case s != nil || q.View().Index() > 0 || now.Leader != "" || damaged(q.cfg.Dir):
	case q.cfg.Server:
		st.Stage = blank
	default:
		st.Stage = ignorant
	}
	return st
}

// first are the servers with which this node would begin a mesh, by name.
func (q *Quorum) first() []string {
	var names []string
	for _, s := range q.cfg.Bootstrap {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

// inquire asks nodes what they know of the mesh. Those that don't answer are missing in what it returns.
func (q *Quorum) inquire(ctx context.Context, nodes []string) map[string]standing {
	ctx, cancel := context.WithTimeout(ctx, q.cfg.timing.rpc)
	defer cancel()
	var (
		mu   sync.Mutex
		asks sync.WaitGroup
		said = map[string]standing{}
	)
	for _, node := range nodes {
		if node == q.cfg.Node {
			continue
		}
		asks.Go(func() {
			a, err := q.forward(ctx, node, request{Who: true})
			if err != nil || a.Standing == nil {
				q.log.Debug("a node does not say what it knows of the mesh", "peer", node, "error", err)
				return
			}
			q.learn(a.Standing.Mesh, a.Standing.Era)
			mu.Lock()
			defer mu.Unlock()
			said[node] = *a.Standing
		})
	}
	asks.Wait()
	var hint []string
	for _, s := range said {
		if s.Stage == in {
			hint = append(hint, s.Servers...)
		}
	}
	if len(hint) > 0 {
		q.hint.Store(&hint)
	}
	return said
}

// mayFound says whether this server may begin a mesh with the others: if all of them are there, mean to begin the same
// one, and nobody knows of any. Then it can't have been in it and have lost its memory: a vote that it had given, or
// an entry that it had taken, would be known to one of them. Otherwise why says what is missing; it is empty if there
// is a mesh.
func (q *Quorum) mayFound(ctx context.Context) (ok bool, why string) {
	if q.View().Index() > 0 || q.Leader() != "" {
		return false, ""
	}
	said := q.inquire(ctx, q.everybody())
	for _, s := range said {
		if s.Stage == in {
			return false, ""
		}
	}
	if damaged(q.cfg.Dir) {
		return false, "its log is damaged, and no other server of the mesh answers"
	}
	first := q.first()
	if !slices.Contains(first, q.cfg.Node) {
		return false, "no server of the mesh answers"
	}
	var missing []string
	for _, node := range first {
		switch s, answered := said[node]; {
		case node == q.cfg.Node:
		case !answered:
			missing = append(missing, node)
		case s.Stage == ignorant:
			missing = append(missing, node+" (it is no server)")
		case !slices.Equal(s.First, first):
			missing = append(missing, fmt.Sprintf("%s (it would begin with %s)", node, strings.Join(s.First, ", ")))
		}
	}
	if len(missing) > 0 {
		return false, fmt.Sprintf("a new mesh begins when all its servers are there (%s), and some are not yet: %s", strings.Join(first, ", "), strings.Join(missing, ", "))
	}
	return true, ""
}

// found writes the first configuration, the same on every server that does so.
func (q *Quorum) found(d *disk) error {
	var servers raft.Configuration
	for _, name := range q.first() {
		servers.Servers = append(servers.Servers, raft.Server{
			ID: raft.ServerID(name), Address: raft.ServerAddress(name), Suffrage: raft.Voter,
		})
	}
	q.log.Info("beginning a mesh", "servers", strings.Join(q.first(), ", "))
	conf := q.cfg.timing.raft(q.cfg.Node, newLogger(q.log))
	if err := raft.BootstrapCluster(conf, d.store, d.store, d.snapshots, nil, servers); err != nil {
		return fmt.Errorf("writing the first configuration: %w", err)
	}
	return nil
}
