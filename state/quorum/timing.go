package quorum

import (
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// timing is what depends on the distance between servers.
type timing struct {
	heartbeat time.Duration // silence after which a follower doubts its leader
	election  time.Duration // after which a candidate tries again
	lease     time.Duration // silence of the majority after which a leader steps down
	commit    time.Duration // at most twice this long until a follower hears that an entry is committed
	rpc       time.Duration // deadline of one exchange with a peer
	hedge     time.Duration // until a proposal is also sent by way of another server
	retry     time.Duration // between attempts to propose
}

// wan suits round trips of up to some 200 ms: a leader sends a heartbeat every 100 to 200 ms and waits for
// each to be answered, so two can be lost before anybody doubts it.
func wan() timing {
	return timing{
		heartbeat: 1200 * time.Millisecond,
		election:  1500 * time.Millisecond,
		lease:     1000 * time.Millisecond,
		commit:    20 * time.Millisecond,
		rpc:       2 * time.Second,
		hedge:     400 * time.Millisecond,
		retry:     100 * time.Millisecond,
	}
}

// beat is how often a server has news for those that follow it.
func (t timing) beat() time.Duration { return t.heartbeat / 4 }

// silence is after how long without a word a server is given up by those that follow it.
func (t timing) silence() time.Duration { return 2 * t.heartbeat }

// stall is how long a follower may take to take what a server sends at a time.
func (t timing) stall() time.Duration { return 5 * t.rpc }

// settle is how long a leader watches who answers before it takes anybody out, and a newcomer before it gives it a vote.
func (t timing) settle() time.Duration { return 2 * t.rpc }

// intent is for how long a leader believes that a node wants what it said, which nodes say again every heartbeat.
func (t timing) intent() time.Duration { return 2 * (t.heartbeat + t.rpc) }

// Exchanges under way with one follower. Raft tells a follower every commit interval how far the log is
// committed, also if nothing happened; with its default of two, an entry would wait for the answers to such
// calls, which is up to a round trip more. This covers 200 ms of 20 ms each, several times over.
const inFlight = 64

// Connections kept to a peer: heartbeats, the pipeline of entries, votes.
const pool = 4

func (t timing) raft(node string, logger hclog.Logger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(node)
	c.HeartbeatTimeout = t.heartbeat
	c.ElectionTimeout = t.election
	c.LeaderLeaseTimeout = t.lease
	c.CommitTimeout = t.commit
	// The state is small; a restart that replays a thousand commands takes some milliseconds.
	c.SnapshotThreshold = 1024
	c.TrailingLogs = 1024
	c.SnapshotInterval = time.Minute
	c.NoLegacyTelemetry = true
	c.Logger = logger
	return c
}

func (t timing) transport(s raft.StreamLayer, logger hclog.Logger) *raft.NetworkTransportConfig {
	return &raft.NetworkTransportConfig{
		Stream: s, MaxPool: pool, MaxRPCsInFlight: inFlight, Timeout: t.rpc, Logger: logger,
		MsgpackUseNewTimeFormat: true,
	}
}
