package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/fence"
	"github.com/drover-mesh/drover/agent/route"
	"github.com/drover-mesh/drover/state"
)

// leases is what this node knows of its lease, and of the pods that need one.
type leases interface {
	View() state.View
	Watch(ctx context.Context) <-chan struct{}
	Lease() state.Lease
	WatchLease(ctx context.Context) <-chan struct{}
	LeaseProblem() error
}

// guard is a fence process; see [fence.Fence].
type guard interface {
	Hold(ctx context.Context, uid string, cgroups ...string) (fence.Status, error)
	Drop(ctx context.Context, uid string) (fence.Status, error)
	Lease(ctx context.Context, end fence.Instant) (fence.Status, error)
	Thaw(ctx context.Context, uid string) (fence.Status, error)
	Status(ctx context.Context) (fence.Status, error)
	End(ctx context.Context, force bool) error
	Gone() <-chan struct{}
	Kill() error
	Close() error
}

// muter keeps pods from sending; see [fence.Mute].
type muter interface {
	Add(pod, device string) error
	Also(device string, left time.Duration) error
	Pass(devices []string, left time.Duration) error
	Remove(pod string) error
	Sweep() error
	Try() error
}

// enclosures are the cgroups of the pods of this host as a whole.
type enclosures interface {
	// Enclose makes the cgroup of a pod, if it isn't there, and returns its directory.
	Enclose(ctx context.Context, uid string) (dir string, err error)
	// Freeze stops the pod as a whole, and Frozen says whether it stands still so.
	Freeze(ctx context.Context, uid string) error
	Frozen(uid string) bool
	// Known says whether there is anything of the pod.
	Known(uid string) bool
	// Stale says whether what is here of a pod of this node is of an earlier life, and must never run again.
	Stale(s state.Pod) bool
	// Live are the UIDs of pods with a failover policy that have a process.
	Live() ([]string, error)
}

// fenced sees to it that the pods which other nodes may take over run here only under a valid lease and a fence. There is a fence
// as long as this host has such a pod.
type fenced struct {
	node    string
	version string
	leases  leases
	pods    enclosures
	mute    muter
	start   func(context.Context) (guard, error) // starts a fence
	find    func() ([]guard, error)              // those that an earlier agent has left
	clock   func() fence.Instant
	log     *slog.Logger

	arriving func(uid string) bool // of moves to here whose pods have not been let go; nil if there are none

	mu       sync.Mutex
	guard    guard           // nil if there is none
	under    map[string]bool // UIDs of the pods that it holds, or must hold once there is one
	leaving  map[string]bool // and of those that are being removed, and aren't to be fenced again
	expected map[string]bool // and of those that are on their way to here
	last     fence.Status    // what it said last
	looked   bool            // once at all that is here, of which the view may know nothing
	told     fence.Instant   // the end of the lease that it was told last
}

// leaseWait is how long a pod that is to start, or has come here, waits for a lease: a node that had none of the pods that need one
// asks for it in the moment in which it does.
const leaseWait = 3 * time.Second

// noLease is an error that says why pods with a failover policy wait.
func (f *fenced) noLease(s state.Pod) error {
	what := "running pod " + s.Name
	why := "this node has no lease, and another may take the pod over"
	if problem := f.leases.LeaseProblem(); problem != nil {
		why += ": " + problem.Error()
	}
	return api.Errorf(api.Unavailable, what, "%s", why).
		WithCure("it needs a majority of the mesh's servers: see drover status. It goes on by itself once they are reached")
}

// end is when the lease of this node ends; ok is false if it has ended, or doesn't count yet.
func (f *fenced) end(v state.View) (end fence.Instant, ok bool) {
	l, now := f.leases.Lease(), f.clock()
	end = fence.Instant{Boot: l.Boot + l.Duration, Wall: l.Wall.Add(l.Duration).UnixNano()}
	return end, l.Valid(now.Boot, time.Unix(0, now.Wall), v.Index())
}

// allowed returns nil if the pod may run here now: it needs no lease, or there is one, the fence has acknowledged the pod, and the
// kernel mutes it when the lease ends. A pod that the fence had frozen goes on.
func (f *fenced) allowed(ctx context.Context, s state.Pod) error {
	if !s.NeedsLease() {
		return nil
	}
	if f == nil {
		return fmt.Errorf("pod %s needs a fence, and this host has none", s.Name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	end, ok := f.end(f.leases.View())
	if !ok {
		return f.noLease(s)
	}
	if err := f.admit(ctx, s, end); err != nil {
		return api.Errorf(api.FailedPrecondition, "running pod "+s.Name, "it has a failover policy, and this host can't fence it: %w", err).
			WithCure("see drover doctor; without the annotation drover.dev/failover it needs no fence")
	}
	return nil
}

// admit puts a pod under the fence and the mute. f.mu is held.
func (f *fenced) admit(ctx context.Context, s state.Pod, end fence.Instant) error {
	if err := f.mute.Add(s.UID, route.DeviceOf(s.UID)); err != nil {
		return err
	}
	if err := f.ensure(ctx); err != nil {
		return err
	}
	if err := f.tell(ctx, end); err != nil {
		return err
	}
	if err := f.hold(ctx, s.UID); err != nil {
		return err
	}
	delete(f.leaving, s.UID)
	delete(f.expected, s.UID)
	if err := f.mute.Also(route.DeviceOf(s.UID), end.Left(f.clock())); err != nil {
		return err
	}
	if !frozenIn(f.last, s.UID) && !f.pods.Frozen(s.UID) {
		return nil
	}
	_, err := f.heard(f.guard.Thaw(ctx, s.UID))
	return err
}

// able returns nil if this host can fence pods, before any is made or moved here.
func (f *fenced) able() error {
	if f == nil {
		return errors.New("it has no fence")
	}
	return f.mute.Try()
}

// expect has a fence ready for a pod that comes to here, so that it doesn't wait for the start of one while it is frozen.
func (f *fenced) expect(ctx context.Context, s state.Pod) error {
	if !s.NeedsLease() || f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expected[s.UID] = true
	if err := f.mute.Add(s.UID, route.DeviceOf(s.UID)); err != nil {
		return err
	}
	return f.ensure(ctx)
}

// await is allowed for a pod that waits for the lease, at most that long.
func (f *fenced) await(ctx context.Context, s state.Pod, most time.Duration) error {
	if !s.NeedsLease() || f == nil {
		return f.allowed(ctx, s)
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	news, views := f.leases.WatchLease(ctx), f.leases.Watch(ctx)
	for {
		err := f.allowed(ctx, s)
		if err == nil || api.AsError(err).Code != api.Unavailable {
			return err
		}
		select {
		case <-news:
		case <-views:
		case <-ctx.Done():
			return err
		}
	}
}

// tell says when the lease ends, unless that was said before. f.mu is held.
func (f *fenced) tell(ctx context.Context, end fence.Instant) error {
	if f.told == end {
		return nil
	}
	_, err := f.heard(f.guard.Lease(ctx, end))
	if err == nil {
		f.told = end
	}
	return err
}

// pass lets the pods under the fence send until the lease ends, but copies of pods that are another node's by now, or of an earlier
// life: the kernel goes on to answer for them. f.mu is held.
func (f *fenced) pass(end fence.Instant) error {
	stale := map[string]bool{}
	for _, s := range f.leases.View().Pods() {
		stale[s.UID] = s.Node != f.node || f.pods.Stale(s)
	}
	var devices []string
	for uid := range f.under {
		if !stale[uid] {
			devices = append(devices, route.DeviceOf(uid))
		}
	}
	return f.mute.Pass(devices, end.Left(f.clock()))
}

// without removes a pod: fence and mute let go of it, so that what is killed can die, and don't take it up again meanwhile.
func (f *fenced) without(ctx context.Context, uid string, remove func() error) error {
	if f == nil { // nothing could run here
		return remove()
	}
	if err := f.drop(ctx, uid); err != nil {
		return err
	}
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.leaving, uid)
	}()
	if err := remove(); err != nil {
		return err
	}
	return f.unmute(uid)
}

func (f *fenced) drop(ctx context.Context, uid string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.guard != nil && f.under[uid] {
		if _, err := f.heard(f.guard.Drop(ctx, uid)); err != nil && f.guard != nil {
			return fmt.Errorf("taking pod %s from under the fence: %w", uid, err)
		}
	}
	delete(f.under, uid)
	delete(f.expected, uid)
	f.leaving[uid] = true
	return nil
}

// unmute lets the device of a pod of which nothing runs send again: what was sent to the pod may have to leave by it.
func (f *fenced) unmute(uid string) error {
	if f == nil {
		return nil
	}
	return f.mute.Remove(uid)
}

// frozenSince says since when the fence has had the pod frozen, if it has.
func (f *fenced) frozenSince(uid string) (since time.Time, ok bool) {
	if f == nil {
		return time.Time{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.last.Pods {
		if p.UID == uid && p.Frozen {
			return time.Unix(0, p.Since), true
		}
	}
	return time.Time{}, false
}

func frozenIn(s fence.Status, uid string) bool {
	for _, p := range s.Pods {
		if p.UID == uid {
			return p.Frozen
		}
	}
	return false
}

// heard notes what the fence has said. One that doesn't answer is given up. f.mu is held.
func (f *fenced) heard(s fence.Status, err error) (fence.Status, error) {
	if s.Pid != 0 {
		f.last = s
	}
	if err != nil && s.Pid == 0 {
		f.lose(err)
	}
	return s, err
}

// lose gives a fence up that has ended, or doesn't answer. f.mu is held.
func (f *fenced) lose(why error) {
	if f.guard == nil {
		return
	}
	f.log.Error("the fence is lost; another is started", "err", why)
	if err := f.guard.Kill(); err != nil {
		f.log.Error("a fence that doesn't answer may freeze pods", "err", err)
	}
	f.letGo()
}

// letGo leaves the fence to itself. f.mu is held.
func (f *fenced) letGo() {
	if f.guard != nil {
		_ = f.guard.Close() // it may be gone
	}
	f.guard, f.told = nil, fence.Instant{}
}
