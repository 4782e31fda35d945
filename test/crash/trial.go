package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/drill"
	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/workload"
)

const (
	podName = "redis"
	fill    = 1 << 20
	// reachWithin is how long a move may take to its point.
	reachWithin = 20 * time.Second
	// asks is how often a move is asked for that could not even begin, as when the other end's agent has just been started anew
	// and this one has not noticed.
	asks = 3
	// settleWithin is how long a healed mesh may take to serve the pod again, or to say honestly that it can't.
	settleWithin = 30 * time.Second
	// cleanWithin is how long what a pod has left may stay after it was removed.
	cleanWithin = 15 * time.Second
)

// trial is a case while it is tried.
type trial struct {
	testCase
	ground         *ground
	source, target string
	pod            api.Pod
	counter        *workload.Counter
	moved          chan struct{} // closed when whoever asked for the move has an answer
	answer         error
	began          atomic.Bool // the move has come to the point
}

func (t *trial) site(e end) string {
	if e == source {
		return t.source
	}
	return t.target
}

// try tries a case on a whole mesh without pods, and leaves it so.
func (g *ground) try(ctx context.Context, c testCase, seed uint64) result {
	begun := time.Now()
	t := &trial{testCase: c, ground: g, moved: make(chan struct{})}
	r := t.result()
	if err := t.begin(ctx, seed, &r); err != nil {
		r.fail("it could not begin: %v", err)
		r.Dirty = true
		r.Seconds = time.Since(begun).Seconds()
		return r
	}
	t.run(ctx, &r)
	t.compare(ctx, &r)
	g.clear(ctx, &r)
	r.Seconds = time.Since(begun).Seconds()
	return r
}

// result is the case before it begins.
func (t *trial) result() result {
	r := result{Name: t.name(), Point: string(t.point), Fault: t.fault.name, logs: map[string]int64{}}
	for _, s := range t.ground.Sites() {
		if info, err := os.Stat(t.ground.AgentLog(s.Name)); err == nil {
			r.logs[s.Name] = info.Size()
		}
	}
	return r
}

// begin chooses who moves where, and starts the pod and its client.
func (t *trial) begin(ctx context.Context, seed uint64, r *result) error {
	g := t.ground
	if err := until(ctx, 60*time.Second, g.whole); err != nil {
		return err
	}
	leader, err := g.leader(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, s := range g.Sites() {
		if t.fault.name != "leader" || s.Name != leader { // a third server's death, not that of an end
			names = append(names, s.Name)
		}
	}
	dice := rand.New(rand.NewPCG(seed, 1))
	dice.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	t.source, t.target = names[0], names[1]
	r.From, r.To, r.Leader = t.source, t.target, leader
	if t.pod, err = g.client(t.source).RunPod(ctx, manifest(t.fault.policy), t.source); err != nil {
		return err
	}
	t.counter, err = g.count(ctx, t.pod)
	return err
}

// manifest is that of a Redis, which others take over or not.
func manifest(policy bool) []byte {
	const name = "metadata:\n  name: redis\n"
	if !policy {
		return workload.Redis
	}
	return bytes.Replace(workload.Redis, []byte(name), []byte(name+"  annotations: {drover.dev/failover: restart}\n"), 1)
}

// count starts a client outside the mesh that has filled the pod and counts, over one connection.
func (g *ground) count(ctx context.Context, pod api.Pod) (*workload.Counter, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	counter, err := workload.NewCounter(ctx, g.Dialer(lab.ClientSite), net.JoinHostPort(pod.Address, "6379"))
	if err != nil {
		return nil, err
	}
	if err := counter.Fill(ctx, fill); err != nil {
		return nil, errors.Join(err, counter.Close())
	}
	counter.Start()
	return counter, counter.Await(ctx, 5)
}

// run moves the pod, strikes, heals, and looks at what has become of it.
func (t *trial) run(ctx context.Context, r *result) {
	g := t.ground
	w := g.watch(t.pod.UID)
	defer func() {
		if r.TwoRunning = w.stop(); len(r.TwoRunning) > 0 {
			r.fail("it ran at two places: %s", strings.Join(r.TwoRunning, ", "))
		}
		r.Looks, r.LongestLook = w.looks, float64(w.longest.Microseconds())/1e3
	}()
	point := filepath.Join(g.DrillDir(t.site(t.point.end())), string(t.point))
	if err := os.WriteFile(point, nil, 0o600); err != nil {
		r.fail("arming %s: %v", t.point, err)
		r.over = true
		return
	}
	call, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	source := g.client(t.source)
	go func() {
		defer close(t.moved)
		for range asks {
			_, t.answer = source.Migrate(call, podName, t.target, silent{})
			if t.began.Load() || t.answer == nil || api.AsError(t.answer).Code != api.Unavailable {
				return
			}
		}
	}()
	defer func() { cancel(); <-t.moved }()
	err := t.reached(ctx, point)
	if err == nil {
		err = t.fault.strike(ctx, t)
		r.Hit = err == nil
	}
	if err != nil {
		r.fail("the fault did not strike: %v", err)
	}
	_ = os.Remove(point)
	_ = os.Remove(point + drill.Suffix)
	if r.Hit {
		_ = pause(ctx, t.fault.least)
		select {
		case <-t.moved:
		case <-time.After(t.fault.most - t.fault.least):
		case <-ctx.Done():
		}
	}
	if t.fault.heal != nil {
		if err := t.fault.heal(ctx, t); err != nil {
			r.fail("healing: %v", err)
			r.Dirty, r.over = true, true
			return
		}
	}
	healed := time.Now()
	t.judge(ctx, r)
	r.Settled = time.Since(healed).Seconds()
	select {
	case <-t.moved:
		if r.Answer = "moved"; t.answer != nil {
			r.Answer = t.answer.Error()
		}
	case <-time.After(settleWithin):
		r.fail("whoever asked for the move has no answer")
	}
}

// reached waits until the move stands at the point.
func (t *trial) reached(ctx context.Context, point string) error {
	return until(ctx, reachWithin, func(context.Context) error {
		if _, err := os.Stat(point + drill.Suffix); err == nil {
			t.began.Store(true)
			return nil
		}
		select {
		case <-t.moved:
			return fmt.Errorf("the move ended before it came to %s: %v", t.point, t.answer) //nolint:errorlint // for people
		default:
			return fmt.Errorf("the move has not come to %s", t.point)
		}
	})
}
