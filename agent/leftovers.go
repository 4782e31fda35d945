package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/state"
)

// leftovers removes what this host still has of pods that the mesh has started elsewhere while this node was lost. Their copies
// here are stale: they never run again, and no packet of them leaves.
type leftovers struct {
	pods *pods
	// swept are the epochs at which nothing was left of pods, by their UIDs.
	swept map[string]uint64
}

func newLeftovers(p *pods) *leftovers { return &leftovers{pods: p, swept: map[string]uint64{}} }

// keep looks again and again until ctx ends.
func (l *leftovers) keep(ctx context.Context, arriving func(uid string) bool) {
	changes := l.pods.ledger.Watch(ctx)
	for {
		if err := l.sweep(ctx, arriving); err != nil && ctx.Err() == nil {
			l.pods.log.Error("removing copies of pods that run elsewhere now", "err", err)
		}
		again, cancel := context.WithTimeout(ctx, repairEvery)
		select {
		case <-changes:
		case <-again.Done():
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
	}
}

func (l *leftovers) sweep(ctx context.Context, arriving func(uid string) bool) error {
	found, err := l.found()
	errs := []error{err}
	for _, s := range found {
		if arriving(s.UID) || !l.pods.take(s.UID) {
			continue
		}
		// What was read before the claim is stale.
		if v := l.pods.ledger.View(); !concerns(v, l.pods.node, s.UID) {
			if err := l.remove(ctx, v, s); err != nil {
				errs = append(errs, fmt.Errorf("pod %s: %w", s.Name, err))
			}
		}
		l.pods.give(s.UID)
	}
	return errors.Join(errs...)
}

func (l *leftovers) remove(ctx context.Context, v state.View, s state.Pod) error {
	if err := l.pods.removePod(ctx, s, false); err != nil {
		return err
	}
	now, _ := v.Pod(s.Name)
	l.pods.log.Warn("a copy of a pod that was started elsewhere is removed", "pod", s.Name, "uid", s.UID, "now_at", now.Node, "epoch", now.Epoch)
	l.swept[s.UID] = now.Epoch
	return nil
}

// found are the pods with a failover policy of which this host may have something, and that are none of this node's business
// any more: started elsewhere, or removed since.
func (l *leftovers) found() ([]state.Pod, error) {
	v := l.pods.ledger.View()
	var all []state.Pod
	// That an agent was killed while it removed one shows nowhere: once in its life each removes all that it may have.
	for _, s := range v.Pods() {
		if s.Origin != nil && s.Origin.From == l.pods.node && l.swept[s.UID] < s.Epoch && !concerns(v, l.pods.node, s.UID) {
			all = append(all, s)
		}
	}
	here, err := l.pods.runtime.List()
	if err != nil {
		return all, err
	}
	for _, status := range here {
		if concerns(v, l.pods.node, status.UID) || slices.ContainsFunc(all, func(s state.Pod) bool { return s.UID == status.UID }) {
			continue
		}
		spec, err := l.pods.runtime.Spec(status.UID)
		if errors.Is(err, pod.ErrNotFound) {
			continue
		}
		if err != nil {
			return all, err
		}
		if spec.Manifest.Failover() != "" {
			all = append(all, remains(spec))
		}
	}
	return all, nil
}

// remains is as much of a pod as its removal from a host takes.
func remains(spec pod.Spec) state.Pod {
	s := state.Pod{Name: spec.Name, UID: spec.UID}
	for _, c := range spec.Containers {
		s.Containers = append(s.Containers, state.Container{Name: c.Name})
	}
	return s
}

// concerns says whether a node has anything to do with a pod, as the mesh has it.
func concerns(v state.View, node, uid string) bool {
	return slices.ContainsFunc(v.Duties(node), func(d state.Duty) bool { return d.Pod.UID == uid })
}
