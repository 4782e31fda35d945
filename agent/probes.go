package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/state"
)

// probes puts their probes to the containers of this node. They are suspended while a pod moves, and begin anew wherever it
// runs next, with nothing counted against it: a move is never the reason for a restart.
type probes struct {
	pods *pods

	mu     sync.Mutex
	active map[string]*probed // by container id
}

// probed is a container that is being asked.
type probed struct {
	uid    string
	run    string // which run of the container, where
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	ready bool
}

func (x *probed) setReady(ready bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ready = ready
}

func newProbes(p *pods) *probes { return &probes{pods: p, active: map[string]*probed{}} }

// keep asks the containers that run here until ctx ends; then it waits for what it has begun.
func (x *probes) keep(ctx context.Context) {
	for wait(ctx, lookEvery) {
		want := map[string]bool{}
		for _, s := range x.pods.ledger.View().Pods() {
			if _, ok := x.pods.owned(s); ok && !s.Deleting && !s.Stopped {
				x.look(ctx, s, want)
			}
		}
		x.drop(func(id string, _ *probed) bool { return !want[id] })
	}
	x.drop(func(string, *probed) bool { return true })
}

// look begins to ask the containers of a pod that are not being asked yet.
func (x *probes) look(ctx context.Context, s state.Pod, want map[string]bool) {
	m, err := pod.ParseManifest(s.Manifest)
	if err != nil {
		return
	}
	status, err := x.pods.runtime.Status(s.UID)
	if err != nil {
		return
	}
	for _, c := range status.Containers {
		p := m.Probes(c.Name)
		if c.Phase != pod.Running || c.Pid == 0 || p == (pod.Probes{}) {
			continue
		}
		id, run := rootID(s.UID, c.Name), fmt.Sprintf("%d in epoch %d", c.Starts, s.Epoch)
		x.mu.Lock()
		now := x.active[id]
		x.mu.Unlock()
		if now != nil && now.run != run {
			x.drop(func(other string, _ *probed) bool { return other == id })
			now = nil
		}
		want[id] = true
		if now == nil {
			x.begin(ctx, s, c.Name, run, p)
		}
	}
}

// begin asks one container, unless somebody has just claimed its pod.
func (x *probes) begin(ctx context.Context, s state.Pod, container, run string, p pod.Probes) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.pods.isBusy(s.UID) {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	one := &probed{uid: s.UID, run: run, cancel: cancel, done: make(chan struct{})}
	x.active[rootID(s.UID, container)] = one
	a := prober{pods: x.pods, pod: s, container: container, log: x.pods.log.With("pod", s.Name, "container", container)}
	a.put = a.ask
	go func() {
		defer close(one.done)
		a.run(ctx, p, one.setReady)
	}()
}

// drop ends the asking of some containers and waits until no question to them is open.
func (x *probes) drop(which func(id string, one *probed) bool) {
	var gone []*probed
	x.mu.Lock()
	for id, one := range x.active {
		if which(id, one) {
			delete(x.active, id)
			gone = append(gone, one)
		}
	}
	x.mu.Unlock()
	for _, one := range gone {
		one.cancel()
	}
	for _, one := range gone {
		<-one.done
	}
}

// suspend ends all questions to a pod that somebody has claimed. CRIU can't take along a program that was started by exec.
func (x *probes) suspend(uid string) {
	x.drop(func(_ string, one *probed) bool { return one.uid == uid })
}

// ready says whether a container that runs can serve, as far as its probes tell.
func (x *probes) ready(s state.Pod, container string, p pod.Probes) bool {
	if p.Readiness == nil && p.Startup == nil {
		return true
	}
	x.mu.Lock()
	one := x.active[rootID(s.UID, container)]
	x.mu.Unlock()
	if one == nil {
		return false
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	return one.ready
}

// prober asks one container.
type prober struct {
	pods      *pods
	pod       state.Pod
	container string
	log       *slog.Logger
	put       func(ctx context.Context, p *pod.Probe) error // asks once
}

// run puts the startup probe, then the others side by side, until ctx ends or the container is killed for one of them.
func (a prober) run(ctx context.Context, p pod.Probes, ready func(bool)) {
	if p.Startup != nil {
		if passed := a.until(ctx, "startup", p.Startup); !passed {
			return
		}
	}
	ready(p.Readiness == nil)
	var both sync.WaitGroup
	defer both.Wait()
	if p.Readiness != nil {
		both.Go(func() { a.watch(ctx, p.Readiness, func(good bool, _ error) bool { ready(good); return true }) })
	}
	if p.Liveness != nil {
		both.Go(func() {
			a.watch(ctx, p.Liveness, func(good bool, why error) bool { return good || !a.kill(ctx, "liveness", p.Liveness, why) })
		})
	}
}

// until asks until the probe passes. If it fails the container is killed.
func (a prober) until(ctx context.Context, kind string, p *pod.Probe) (passed bool) {
	a.watch(ctx, p, func(good bool, why error) bool {
		passed = good
		return !good && !a.kill(ctx, kind, p, why)
	})
	return passed
}

// watch asks and tells each time the probe passes or fails, which takes as many answers in a row as the manifest says, until it
// is told to stop or ctx ends.
func (a prober) watch(ctx context.Context, p *pod.Probe, tell func(good bool, why error) (goOn bool)) {
	good, bad := 0, 0
	for pause := p.Delay; wait(ctx, pause); pause = p.Period {
		err := a.put(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		if good >= p.Success && !tell(true, nil) || bad >= p.Failure && !tell(false, err) {
			return
		}
	}
}

// ask puts a probe once.
func (a prober) ask(ctx context.Context, p *pod.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	switch {
	case p.HTTP != nil:
		return askHTTP(ctx, p.HTTP, a.pod.Addr.String())
	case p.TCP != nil:
		return askTCP(ctx, p.TCP, a.pod.Addr.String())
	}
	code, err := a.pods.runtime.Exec(ctx, a.pod.UID, a.container, pod.Exec{Command: p.Exec, Stdout: io.Discard, Stderr: io.Discard})
	if err == nil && code != 0 {
		err = fmt.Errorf("%s ended with code %d", p.Exec[0], code)
	}
	return err
}

// kill ends the container, which its restartPolicy may start again. It returns false if somebody else has claimed the pod.
func (a prober) kill(ctx context.Context, kind string, p *pod.Probe, why error) bool {
	if !a.pods.take(a.pod.UID) {
		return false
	}
	defer a.pods.give(a.pod.UID)
	if now, ok := a.pods.owned(a.pod); !ok || now.Epoch != a.pod.Epoch || now.Deleting || now.Stopped {
		return false
	}
	a.log.Warn("a container is ended because a probe has failed", "probe", kind, "why", why)
	if err := a.pods.runtime.StopContainer(ctx, a.pod.UID, a.container, p.Grace); err != nil && ctx.Err() == nil {
		a.log.Error("ending a container", "err", err)
	}
	return true
}
