package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/state"
)

// hold claims a pod of this node for a change that a person wants; the caller gives it back.
func (p *pods) hold(what string, s state.Pod) (state.Pod, error) {
	if !p.take(s.UID) {
		return s, api.Errorf(api.FailedPrecondition, what, "it is being started, moved or removed").WithCure("try again when that has ended")
	}
	// It may have left before it was claimed; its new owner has to act then.
	now, ok := p.owned(s)
	if !ok {
		p.give(s.UID)
		return s, api.Errorf(api.Unavailable, what, "it has just been moved or removed").WithCure("try again")
	}
	return now, nil
}

// stop ends a pod's processes and keeps everything else. That it shall stand still is agreed first: it stays so after a reboot.
func (p *pods) stop(ctx context.Context, s state.Pod, grace time.Duration) error {
	what := "stopping pod " + s.Name
	s, err := p.hold(what, s)
	if err != nil {
		return err
	}
	defer p.give(s.UID)
	if err := p.agree(ctx, what, state.StopPod{Name: s.Name, UID: s.UID, Stopped: true}); err != nil {
		return err
	}
	// It is agreed: that nobody waits any more changes nothing.
	if err := p.runtime.Stop(context.WithoutCancel(ctx), s.UID, grace); err != nil && !errors.Is(err, pod.ErrNotFound) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// startStopped starts a stopped pod from its beginning. One that isn't stopped is left alone.
func (p *pods) startStopped(ctx context.Context, s state.Pod) error {
	what := "starting pod " + s.Name
	s, err := p.hold(what, s)
	if err != nil {
		return err
	}
	defer p.give(s.UID)
	if !s.Stopped {
		return nil
	}
	if err := p.agree(ctx, what, state.StopPod{Name: s.Name, UID: s.UID}); err != nil {
		return err
	}
	s.Stopped = false
	switch anew, err := p.awaitsStart(s); {
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	case anew: // its node was lost while it was stopped
		return p.startOver(ctx, s)
	}
	if err := p.runtime.Reset(ctx, s.UID); err != nil && !errors.Is(err, pod.ErrNotFound) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return p.start(ctx, s)
}

// agree proposes what a person wants; that the mesh refuses it is an error.
func (p *pods) agree(ctx context.Context, what string, c state.Command) error {
	r, err := p.ask(ctx, what, c)
	if err != nil {
		return err
	}
	if !r.OK {
		return api.Errorf(api.FailedPrecondition, what, "%s", r.Reason)
	}
	return nil
}

// keepStopped ends what still runs of a stopped pod: an agent before this one was interrupted.
func (p *pods) keepStopped(ctx context.Context, s state.Pod) error {
	status, err := p.runtime.Status(s.UID)
	if errors.Is(err, pod.ErrNotFound) || err == nil && len(status.Live()) == 0 {
		return nil
	}
	return p.runtime.Stop(ctx, s.UID, -1)
}
