package agent

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/state/quorum"
)

// lookForLossEvery is how often the leader looks for nodes that it has to give up.
const lookForLossEvery = 500 * time.Millisecond

// leader is what a server can do while it leads; see [quorum.Quorum.FailOver].
type leader interface {
	FailOver(decide func(state.View, state.Loss) []state.Command) []quorum.Outcome
}

// failovers starts pods of lost nodes elsewhere, on the server that leads. What is decided, [state.Failovers] says.
type failovers struct {
	leader leader
	ready  func() readiness
	log    *slog.Logger
	said   string // why pods were stranded, when that was told last
}

// keep looks again and again until ctx ends.
func (f *failovers) keep(ctx context.Context) {
	for wait(ctx, lookForLossEvery) {
		f.look()
	}
}

func (f *failovers) look() {
	var stranded []state.Stranded
	outcomes := f.leader.FailOver(func(v state.View, l state.Loss) (commands []state.Command) {
		l.Ready = f.ready()
		commands, stranded = state.Failovers(v, l)
		return commands
	})
	for _, o := range outcomes {
		f.report(o)
	}
	f.tell(stranded)
}

func (f *failovers) report(o quorum.Outcome) {
	switch p := o.Result.Pod; {
	case o.Err != nil:
		f.log.Warn("nobody knows yet what a failover came to", "command", o.Command, "err", o.Err)
	case !o.Result.OK:
		f.log.Info("a failover was refused", "command", o.Command, "reason", o.Result.Reason)
	case p != nil && p.Origin != nil:
		f.log.Warn("a pod is started elsewhere", "pod", p.Name, "from", p.Origin.From, "to", p.Node, "epoch", p.Origin.Epoch,
			"state", p.Origin.Kind, "move", p.Origin.Move, "reason", p.Origin.Reason, "lost", p.Origin.Lost)
	}
}

// tell logs which pods have nowhere to go, when that has changed.
func (f *failovers) tell(stranded []state.Stranded) {
	all := make([]string, len(stranded))
	for i, s := range stranded {
		all[i] = "pod " + s.Pod + ": " + s.Reason
	}
	now := strings.Join(all, "; ")
	if now != f.said && now != "" {
		f.log.Error("pods of lost nodes can't be started elsewhere yet", "why", now)
	}
	f.said = now
}
