package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/state"
)

const (
	// lookEvery is how often this node looks for pods that have ended.
	lookEvery = time.Second
	// The kubelet's back-off: none before the first restart, then doubling from firstBackOff to lastBackOff; a pod that ran
	// for forgiveAfter starts anew (pkg/kubelet/kubelet.go, MaxContainerBackOff and backOffPeriod).
	firstBackOff = 10 * time.Second
	lastBackOff  = 5 * time.Minute
	forgiveAfter = 10 * time.Minute
)

// backOff is how long a pod waits for its next start.
type backOff struct {
	wait    time.Duration
	started time.Time // when it was last started again
}

// next returns when a pod that ended at that time may be started again, and the back-off after that.
func (b backOff) next(ended time.Time) (at time.Time, after backOff) {
	if b.started.IsZero() || ended.Sub(b.started) >= forgiveAfter {
		return ended, backOff{}
	}
	wait := max(firstBackOff, min(2*b.wait, lastBackOff))
	return ended.Add(wait), backOff{wait: wait}
}

// wantsRestart says whether a pod that has ended is to be started again.
func wantsRestart(m *pod.Manifest, exitCode int) bool {
	switch m.RestartPolicy() {
	case "Never":
		return false
	case "OnFailure":
		return exitCode != 0
	}
	return true // Always, which is Kubernetes' default
}

// keepRunning starts the pods of this node again when they have ended and their restartPolicy asks for it, until ctx
// ends. arriving says which are on their way to here: those are a move's.
func (p *pods) keepRunning(ctx context.Context, arriving func(uid string) bool) {
	backOffs := map[string]backOff{}
	for wait(ctx, lookEvery) {
		for _, s := range p.ledger.View().Pods() {
			if s.Node != p.node || s.Migration != "" || s.Deleting || arriving(s.UID) {
				continue
			}
			if err := p.restart(ctx, s, backOffs); err != nil && ctx.Err() == nil {
				p.log.Error("starting a pod again", "pod", s.Name, "err", err)
			}
		}
	}
}

func (p *pods) restart(ctx context.Context, s state.Pod, backOffs map[string]backOff) error {
	status, err := p.runtime.Status(s.UID)
	if err != nil || status.Phase != pod.Exited {
		return nil // what can't be read is told by drover pod get
	}
	m, err := pod.ParseManifest(s.Manifest)
	if err != nil {
		return err
	}
	if !wantsRestart(m, status.ExitCode) {
		return nil
	}
	at, after := backOffs[s.UID].next(status.Exited)
	now := time.Now()
	if now.Before(at) || !p.take(s.UID) {
		return nil
	}
	defer p.give(s.UID)
	// It may have been moved or removed since the look.
	if current, ok := p.ledger.View().Pod(s.Name); !ok || current.UID != s.UID || current.Epoch != s.Epoch || current.Migration != "" {
		return nil
	}
	after.started = now
	backOffs[s.UID] = after
	p.log.Info("a pod has ended and is started again", "pod", s.Name, "exit_code", status.ExitCode, "restart_policy", m.RestartPolicy())
	if err := p.start(ctx, s); err != nil {
		return fmt.Errorf("after it ended with code %d: %w", status.ExitCode, err)
	}
	return nil
}
