package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/state"
)

// beginsAnew says that the mesh has decided to start this pod from its image, on the node that owns it now: its node was lost,
// and with it all there was of it. No other pod is ever started from its image again; its state is the point.
func beginsAnew(s state.Pod) bool {
	return s.Origin != nil && s.Origin.Kind == state.OriginImage && s.Origin.Epoch == s.Epoch
}

// awaitsStart says that the pod is to begin here, and has not: what this host may have of it is of an earlier life.
func (h *host) awaitsStart(s state.Pod) (bool, error) { return awaitsStart(h.runtime, s) }

func awaitsStart(r *pod.Runtime, s state.Pod) (bool, error) {
	if !beginsAnew(s) {
		return false, nil
	}
	spec, err := r.Spec(s.UID)
	if errors.Is(err, pod.ErrNotFound) {
		return true, nil
	}
	return err == nil && spec.Epoch < s.Epoch, err
}

// startOver starts a pod from its image, and with nothing of an earlier life of it on this host.
func (p *pods) startOver(ctx context.Context, s state.Pod) error {
	begun := time.Now()
	if err := p.removePod(ctx, s, false); err != nil {
		return fmt.Errorf("removing an earlier copy: %w", err)
	}
	if err := p.images.EnsureLayers(ctx, s); err != nil {
		return err
	}
	if err := p.start(ctx, s); err != nil {
		return err
	}
	p.log.Warn("a pod that was lost has begun anew here, from its image", "pod", s.Name, "from", s.Origin.From, "epoch", s.Epoch,
		"lost", s.Origin.Lost, "ms", time.Since(begun).Milliseconds())
	return nil
}

// admitLoss is for a pod of which nothing is on this host, though it came here with its state. One with a failover policy begins
// anew, and the mesh is told so; of any other a start would hide the loss.
func (p *pods) admitLoss(ctx context.Context, s state.Pod) error {
	const lost = "its state is not on this host any more"
	if !s.NeedsLease() {
		return errors.New(lost)
	}
	r, err := p.ledger.Propose(ctx, state.StartOver{UID: s.UID, Node: p.node, Epoch: s.Epoch, At: time.Now(), Reason: lost})
	switch {
	case err != nil:
		return fmt.Errorf("%s: telling the mesh: %w", lost, err)
	case !r.OK:
		return fmt.Errorf("%s: %s", lost, r.Reason)
	}
	return p.startOver(ctx, *r.Pod)
}

// keepStartingOver starts pods of lost nodes as soon as this node hears that they are to begin here, until ctx ends. What fails, or
// waits for a move to be cleared away, is tried again every second.
func (p *pods) keepStartingOver(ctx context.Context, arriving func(uid string) bool) {
	changes := p.ledger.Watch(ctx)
	for {
		var again <-chan time.Time
		for _, s := range p.ledger.View().Pods() {
			if _, ours := p.owned(s); !ours || !beginsAnew(s) {
				continue
			}
			err := p.recoverClaimed(ctx, s, arriving)
			if p.trouble(s.UID, err) && ctx.Err() == nil {
				p.log.Error("starting a pod of a lost node", "pod", s.Name, "from", s.Origin.From, "err", err)
			}
			if waits, _ := p.awaitsStart(s); waits && again == nil {
				again = time.After(lookEvery)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case <-again:
		}
	}
}

// trouble notes why a pod could not begin anew, nil if it could, and returns whether that is news of a failure.
func (p *pods) trouble(uid string, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.troubles[uid]
	if err == nil {
		delete(p.troubles, uid)
		return false
	}
	if p.troubles == nil {
		p.troubles = map[string]string{}
	}
	p.troubles[uid] = err.Error()
	return before != err.Error()
}

// beginning says of a pod that waits to begin anew here what it waits for; ok is false of any other.
func (p *pods) beginning(s state.Pod) (why string, ok bool) {
	if waits, err := p.awaitsStart(s); err != nil || !waits {
		return "", false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	why = "it begins anew here, since " + s.Origin.From + " was lost"
	if trouble := p.troubles[s.UID]; trouble != "" {
		why += "; the last try: " + trouble
	}
	return why, true
}
