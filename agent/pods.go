package agent

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/state"
)

// newID returns a name that nothing else has: of a pod, or with a prefix of a move.
func newID() string {
	// rand.Text has 26 letters and digits of base32; the first 12 hold 60 bits.
	id := []byte(rand.Text()[:12])
	for i, c := range id {
		if 'A' <= c && c <= 'Z' {
			id[i] = c + 'a' - 'A'
		}
	}
	return string(id)
}

// pods runs the pods that this node owns.
type pods struct {
	*host
	images *images
	ledger currentLedger

	backOffs backOffs // of whoever has taken the pod
	probes   *probes

	mu   sync.Mutex
	busy map[string]bool // UIDs that somebody starts, removes or moves now
	// troubles say, by their UIDs, why pods that are to begin anew here could not yet.
	troubles map[string]string
}

// take claims a pod for one who changes it; the caller gives it back.
func (p *pods) take(uid string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy[uid] {
		return false
	}
	p.busy[uid] = true
	return true
}

func (p *pods) give(uid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, uid)
}

func (p *pods) isBusy(uid string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy[uid]
}

// run creates a pod here and returns when it runs; if that fails nothing is left of it.
func (p *pods) run(ctx context.Context, m *pod.Manifest) (state.Pod, error) {
	what := "running pod " + m.Name()
	containers, err := p.containers(ctx, m)
	if err != nil {
		return state.Pod{}, err
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return state.Pod{}, err
	}
	if m.Failover() != state.FailoverNone {
		if err := p.fenced.able(); err != nil {
			return state.Pod{}, api.Errorf(api.FailedPrecondition, what, "%s can't fence pods with a failover policy: %w", p.node, err).
				WithCure("see drover doctor there; --node chooses another node; without the annotation drover.dev/failover the pod needs no fence")
		}
	}
	uid := newID()
	p.take(uid)
	defer p.give(uid)
	r, err := p.ask(ctx, what, state.CreatePod{
		Name: m.Name(), UID: uid, Manifest: manifest, Containers: containers, Needs: m.Needs(), Failover: m.Failover(),
		Node: p.node, Created: time.Now(),
	})
	if err != nil {
		return state.Pod{}, err
	}
	if !r.OK {
		code := api.FailedPrecondition
		if r.Pod != nil {
			code = api.AlreadyExists
		}
		return state.Pod{}, api.Errorf(code, what, "%s", r.Reason).WithCure(r.Cure)
	}
	if err := p.start(ctx, *r.Pod); err != nil {
		undo := context.WithoutCancel(ctx)
		return state.Pod{}, errors.Join(fmt.Errorf("%s: %w", what, err), p.erase(undo, *r.Pod))
	}
	return *r.Pod, nil
}

// containers makes the images of a pod's containers be on this node.
func (p *pods) containers(ctx context.Context, m *pod.Manifest) ([]state.Container, error) {
	var all []state.Container
	for _, c := range m.Containers() {
		image, err := p.images.Ensure(ctx, c.Image, c.PullPolicy, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, state.Container{Name: c.Name, Init: c.Init, Image: c.Image, Layers: image.Layers, Config: image.Config})
	}
	return all, nil
}

// patience is how long a person waits for the mesh to agree to something: an election, and some round trips.
const patience = 15 * time.Second

// ask proposes what a person wants and waits for.
func (p *pods) ask(ctx context.Context, what string, c state.Command) (state.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := p.ledger.Propose(ctx, c)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("the mesh has not agreed within %s", patience)
	}
	if err != nil {
		return r, api.Errorf(api.Unavailable, what, "%w", err).
			WithCure("it needs a majority of its servers: see drover status. It may still agree later: see drover pod ls")
	}
	return r, nil
}

// erase removes a pod from this host and then from the mesh.
func (p *pods) erase(ctx context.Context, s state.Pod) error {
	if err := p.removePod(ctx, s, false); err != nil {
		return err
	}
	r, err := p.ledger.Propose(ctx, state.DeletePod{Name: s.Name, UID: s.UID})
	if err != nil {
		return err
	}
	if !r.OK {
		return errors.New(r.Reason)
	}
	return nil
}

// remove stops a pod of this node and removes it.
func (p *pods) remove(ctx context.Context, s state.Pod) error {
	what := "removing pod " + s.Name
	s, err := p.hold(what, s)
	if err != nil {
		return err
	}
	defer p.give(s.UID)
	if err := p.agree(ctx, what, state.MarkDeleting{Name: s.Name, UID: s.UID}); err != nil {
		return err
	}
	if err := p.runtime.Stop(ctx, s.UID, -1); err != nil && !errors.Is(err, pod.ErrNotFound) {
		return err
	}
	return p.erase(context.WithoutCancel(ctx), s)
}

// owned returns the record of a pod as it is now, if this node owns it and no move of it is open. Whoever has claimed
// the pod can rely on that: it takes this node's part for the pod to leave.
func (p *pods) owned(s state.Pod) (state.Pod, bool) {
	now, ok := p.ledger.View().Pod(s.Name)
	return now, ok && now.UID == s.UID && now.Node == p.node && now.Migration == ""
}

// stillOwned is owned by what the mesh has agreed on until now. Of a pod that has just moved away this node may hear late: it
// ends the move by the answer to a command, which may come by way of another server when its own view stands still.
func (p *pods) stillOwned(ctx context.Context, s state.Pod) (bool, error) {
	if err := p.ledger.Sync(ctx); err != nil {
		return false, fmt.Errorf("making sure that pod %s is still this node's: %w", s.Name, err)
	}
	now, ok := p.owned(s)
	return ok && now.Epoch == s.Epoch, nil
}

// recover starts again what a reboot of the host ended, and goes on with removals that an earlier agent had begun. Pods
// that run were never touched by the agent's end, and are not by its start.
func (p *pods) recover(ctx context.Context, arriving func(uid string) bool) error {
	var errs []error
	for _, s := range p.ledger.View().Pods() {
		if err := p.recoverClaimed(ctx, s, arriving); err != nil {
			errs = append(errs, fmt.Errorf("pod %s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}

// recoverClaimed recovers a pod if this node owns it and nobody else is at work on it.
func (p *pods) recoverClaimed(ctx context.Context, s state.Pod, arriving func(uid string) bool) error {
	if _, ok := p.owned(s); !ok || !p.take(s.UID) {
		return nil
	}
	defer p.give(s.UID)
	// Starting one takes a while, in which the others may have moved: what was read before the claim is stale.
	now, ok := p.owned(s)
	if !ok || arriving(s.UID) {
		return nil
	}
	return p.recoverOne(ctx, now)
}

// keepRecovering recovers again and again until ctx ends: a pod may be on its way from a move that is settled later, or
// be removed by another node while this one was off the mesh.
func (p *pods) keepRecovering(ctx context.Context, arriving func(uid string) bool) {
	said := ""
	for {
		err := p.recover(ctx, arriving)
		if now := fmt.Sprint(err); now != said && ctx.Err() == nil {
			said = now
			if err != nil {
				p.log.Error("recovering pods", "err", err)
			}
		}
		if !wait(ctx, repairEvery) {
			return
		}
	}
}

func (p *pods) recoverOne(ctx context.Context, s state.Pod) error {
	if s.Deleting {
		return p.erase(ctx, s)
	}
	if s.Stopped {
		return p.keepStopped(ctx, s)
	}
	switch anew, err := p.awaitsStart(s); {
	case err != nil:
		return err
	case anew:
		return p.startOver(ctx, s)
	}
	if p.runtime.Ready(s.UID) {
		return nil
	}
	status, err := p.runtime.Status(s.UID)
	missing := errors.Is(err, pod.ErrNotFound)
	if err != nil && !missing {
		return err
	}
	// A pod that came here in a move was running when it came. If nothing is known of it, its state is lost, and
	// starting it from its image would hide that. Of one that begins anew after a failover something is known by now.
	if missing && s.Epoch > 1 {
		return p.admitLoss(ctx, s)
	}
	if missing {
		if ours, err := p.stillOwned(ctx, s); err != nil || !ours {
			return err
		}
	}
	m, err := pod.ParseManifest(s.Manifest)
	if err != nil {
		return err
	}
	if !missing {
		if over, _ := ended(m, status); over {
			return nil
		}
		if err := p.runtime.Reset(ctx, s.UID); err != nil {
			return err
		}
	}
	return p.start(ctx, s)
}
