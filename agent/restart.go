package agent

import (
	"time"

	"github.com/drover-mesh/drover/agent/pod"
)

const (
	// The kubelet's back-off: none before the first restart, then doubling from firstBackOff to lastBackOff; a container that ran
	// for forgiveAfter starts anew (pkg/kubelet/kubelet.go, MaxContainerBackOff and backOffPeriod).
	firstBackOff = 10 * time.Second
	lastBackOff  = 5 * time.Minute
	forgiveAfter = 10 * time.Minute
)

// backOff is how long a container waits for its next start.
type backOff struct {
	wait    time.Duration
	started time.Time // when it was last started again
}

// next returns when a container that ended at that time may be started again, and the back-off after that.
func (b backOff) next(ended time.Time) (at time.Time, after backOff) {
	if b.started.IsZero() || ended.Sub(b.started) >= forgiveAfter {
		return ended, backOff{}
	}
	wait := max(firstBackOff, min(2*b.wait, lastBackOff))
	return ended.Add(wait), backOff{wait: wait}
}

// wantsRestart says whether a container that has ended is to be started again.
func wantsRestart(m *pod.Manifest, c pod.ContainerStatus) bool {
	switch policy := m.RestartPolicy(); {
	case c.Init: // it has to succeed once
		return c.ExitCode != 0 && policy != "Never"
	case policy == "Never":
		return false
	case policy == "OnFailure":
		return c.ExitCode != 0
	}
	return true // Always, which is Kubernetes' default
}

// backOffs are those of a node's containers, by their ids.
type backOffs map[string]backOff

// due says whether a container that has ended may be started again now, and notes that it is.
func (b backOffs) due(id string, ended, now time.Time) bool {
	at, after := b[id].next(ended)
	if now.Before(at) {
		return false
	}
	after.started = now
	b[id] = after
	return true
}
