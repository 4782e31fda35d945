package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/state"
)

// lookEvery is how often this node looks for containers that have ended, and initEvery while it waits for an init container.
const (
	lookEvery = time.Second
	initEvery = 20 * time.Millisecond
)

// due are the containers of a pod that are to be started now: the init containers one after the other, each once it has
// succeeded, then all others; and those that have ended and whose restartPolicy and back-off ask for it.
func due(m *pod.Manifest, s pod.Status, ended func(pod.ContainerStatus) bool) []string {
	var start []string
	for _, c := range s.Containers {
		switch {
		case c.Phase == pod.Created:
			start = append(start, c.Name)
		case c.Phase == pod.Exited && wantsRestart(m, c) && ended(c):
			start = append(start, c.Name)
		}
		if c.Init && !succeeded(c) {
			return start // what comes after it waits
		}
	}
	return start
}

func succeeded(c pod.ContainerStatus) bool { return c.Phase == pod.Exited && c.ExitCode == 0 }

// begun says whether every container that isn't an init container has been started, or never will be.
func begun(m *pod.Manifest, s pod.Status) bool {
	for _, c := range s.Containers {
		if c.Init && c.Phase == pod.Exited && c.ExitCode != 0 {
			return true // it is started again later, or the pod has failed: nothing to wait for
		}
		if !c.Init && c.Phase == pod.Created {
			return false
		}
	}
	return true
}

// ended says whether a pod has come to its end, and how: no container runs or will again.
func ended(m *pod.Manifest, s pod.Status) (over bool, reason string) {
	for _, c := range s.Containers {
		switch {
		case c.Phase == pod.Exited && c.Init && c.ExitCode != 0 && !wantsRestart(m, c):
			return true, endOf(c)
		case c.Init && succeeded(c):
		case c.Phase != pod.Exited || wantsRestart(m, c):
			return false, ""
		case c.ExitCode != 0 && reason == "":
			reason = endOf(c)
		}
	}
	return true, reason
}

// endOf says in words how a container ended.
func endOf(c pod.ContainerStatus) string {
	kind := "container"
	if c.Init {
		kind = "init container"
	}
	return fmt.Sprintf("%s %s ended with code %d", kind, c.Name, c.ExitCode)
}

// create makes a pod's network, files and bundles; nothing runs yet.
func (p *pods) create(ctx context.Context, s state.Pod) error {
	netns, err := p.router.PreparePod(ctx, s.UID, s.Addr, false)
	if err != nil {
		return err
	}
	spec, err := p.spec(ctx, s, netns)
	if err != nil {
		return err
	}
	return p.runtime.Create(ctx, spec)
}

// start creates a pod and starts it; it returns when all of its containers were started, or one of the init containers has
// failed, which is no error.
func (p *pods) start(ctx context.Context, s state.Pod) error {
	if err := p.create(ctx, s); err != nil {
		return err
	}
	m, err := pod.ParseManifest(s.Manifest)
	if err != nil {
		return err
	}
	if err := p.fenced.await(ctx, s, leaseWait); err != nil {
		return err
	}
	for {
		status, err := p.advance(ctx, s, m)
		if err != nil || begun(m, status) {
			return err
		}
		if !wait(ctx, initEvery) {
			return ctx.Err()
		}
	}
}

// advance starts the containers that are due, and returns what the pod does then.
func (p *pods) advance(ctx context.Context, s state.Pod, m *pod.Manifest) (pod.Status, error) {
	status, err := p.runtime.Status(s.UID)
	if err != nil {
		return status, err
	}
	now := time.Now()
	start := due(m, status, func(c pod.ContainerStatus) bool {
		if !p.backOffs.due(rootID(s.UID, c.Name), c.Exited, now) {
			return false
		}
		p.log.Info("a container has ended and is started again", "pod", s.Name, "container", c.Name, "exit_code", c.ExitCode)
		return true
	})
	if len(start) > 0 {
		if err := p.fenced.allowed(ctx, s); err != nil {
			return status, err
		}
	}
	var errs []error
	for _, name := range start {
		errs = append(errs, p.runtime.Start(ctx, s.UID, name))
	}
	if err := errors.Join(errs...); err != nil || len(start) == 0 {
		return status, err
	}
	return p.runtime.Status(s.UID)
}

// keepRunning goes on with the pods of this node, as their containers end, until ctx ends. arriving says which are on their
// way to here: those are a move's.
func (p *pods) keepRunning(ctx context.Context, arriving func(uid string) bool) {
	for wait(ctx, lookEvery) {
		for _, s := range p.ledger.View().Pods() {
			if _, ok := p.owned(s); !ok || s.Deleting || s.Stopped || arriving(s.UID) || p.settled(s) || !p.take(s.UID) {
				continue
			}
			// It may have been moved or removed since the look.
			if now, ok := p.owned(s); ok && now.Epoch == s.Epoch && !now.Deleting && !now.Stopped {
				if err := p.goOn(ctx, now); err != nil && ctx.Err() == nil {
					p.log.Error("going on with a pod", "pod", s.Name, "err", err)
				}
			}
			p.give(s.UID)
		}
	}
}

// settled says that no container of a pod is to be started, or limited after a move. It need not be taken then, from who may
// want to move it just now.
func (p *pods) settled(s state.Pod) bool {
	if anew, err := p.awaitsStart(s); anew || err != nil { // what is here is of an earlier life
		return true
	}
	if !p.runtime.Ready(s.UID) {
		return true
	}
	m, err := pod.ParseManifest(s.Manifest)
	if err != nil || !p.runtime.Settled(s.UID) {
		return false
	}
	status, err := p.runtime.Status(s.UID)
	return err == nil && len(due(m, status, func(pod.ContainerStatus) bool { return true })) == 0
}

// goOn advances a pod that was created since this host's last boot.
func (p *pods) goOn(ctx context.Context, s state.Pod) error {
	if !p.runtime.Ready(s.UID) {
		return nil
	}
	if err := p.runtime.Settle(ctx, s.UID); err != nil {
		return err
	}
	m, err := pod.ParseManifest(s.Manifest)
	if err != nil {
		return err
	}
	_, err = p.advance(ctx, s, m)
	return err
}
