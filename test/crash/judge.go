package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/workload"
)

// judge waits until the pod serves its client at one place, or is said to be lost where it had to be.
func (t *trial) judge(ctx context.Context, r *result) {
	var pod api.Pod
	lost := ""
	err := until(ctx, settleWithin, func(ctx context.Context) (err error) {
		pod, err = t.settled(ctx)
		if honest := (*lostError)(nil); errors.As(err, &honest) && !t.survives() {
			lost, err = honest.reason, nil
		}
		return err
	})
	// Given up in time it may have lost what it had, if the mesh says so.
	over := err == nil && t.fault.policy && pod.Origin != nil && pod.Origin.Lost != ""
	if over {
		lost = pod.Origin.Lost
	}
	if err == nil && t.survives() && !over {
		await, cancel := context.WithTimeout(ctx, settleWithin)
		err = t.counter.Await(await, 5)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			r.Reset = true
			r.fail("the client's connection broke, and the pod survived: %v", err)
			r.over = true
			return
		}
	}
	if err != nil {
		r.Stuck = true
		r.Dirty, r.over = true, true
		r.fail("it is stuck: %v", err)
		return
	}
	r.At, r.Lost = pod.Node, lost
	if !t.survives() || over {
		r.over = true
		if lost == "" || over { // it serves anew
			if _, err := t.ground.ping(ctx, pod); err != nil {
				r.Stuck = true
				r.fail("it is said to run and serves nobody: %v", err)
			}
		}
	}
}

// compare ends the client and compares what it was told with what the pod has.
func (t *trial) compare(ctx context.Context, r *result) {
	if r.over {
		_ = t.counter.Close()
		return
	}
	count, err := t.counter.Stop(ctx)
	r.Acknowledged = count.Acknowledged
	if err != nil || count.Resets > 0 || count.Connections != 1 {
		r.Reset = true
		r.fail("the client's connection: %+v, %v", count, err)
	}
	if count.Lost > 0 || count.Duplicated > 0 {
		r.LostAck = count.Lost + count.Duplicated
		r.fail("of what the client was told %d are lost, and %d done twice", count.Lost, count.Duplicated)
	}
}

// ping asks a pod over a new connection.
func (g *ground) ping(ctx context.Context, pod api.Pod) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	begun := time.Now()
	c, err := workload.NewCounter(ctx, g.Dialer(lab.ClientSite), net.JoinHostPort(pod.Address, "6379"))
	if err != nil {
		return 0, err
	}
	return time.Since(begun), c.Close()
}

// lostError is what the mesh says of a pod that it knows to be lost.
type lostError struct{ reason string }

func (e *lostError) Error() string { return "it is said to be lost: " + e.reason }

// settled returns the pod if no move of it is open, all agents agree who owns it, and it runs there alone.
func (t *trial) settled(ctx context.Context) (pod api.Pod, err error) {
	g := t.ground
	for i, s := range g.Sites() {
		attempt, cancel := context.WithTimeout(ctx, 3*time.Second)
		p, err := g.client(s.Name).GetPod(attempt, podName)
		cancel()
		switch {
		case err != nil:
			return pod, err
		case p.Migration != "":
			return pod, fmt.Errorf("%s says that move %s is open", s.Name, p.Migration)
		case i > 0 && (p.Node != pod.Node || p.Epoch != pod.Epoch):
			return pod, fmt.Errorf("%s says that it is on %s, another %s", s.Name, p.Node, pod.Node)
		}
		pod = p
	}
	if left := g.leftOfMoves(); left != "" {
		return pod, errors.New(left)
	}
	at := g.running(t.pod.UID)
	switch {
	case pod.Phase == api.PodRunning && slices.Equal(at, []string{pod.Node}):
		return pod, nil
	case len(at) == 0 && (pod.Phase == api.PodFailed || pod.Phase == api.PodStopped) && pod.Reason != "":
		return pod, &lostError{pod.Reason}
	}
	return pod, fmt.Errorf("%s says %s (%s); it runs at %v", pod.Node, pod.Phase, pod.Reason, at)
}

// leftOfMoves says which site has journals or images of a move.
func (g *ground) leftOfMoves() string {
	for _, s := range g.Sites() {
		for _, dir := range []string{"/var/lib/drover/moves", "/run/drover/moves"} {
			path, err := g.Path(s.Name, dir)
			if err != nil {
				return err.Error()
			}
			left, err := os.ReadDir(path)
			if err != nil {
				return err.Error()
			}
			if len(left) > 0 {
				return s.Name + " has " + dir + "/" + left[0].Name()
			}
		}
	}
	return ""
}

// clear removes the pod and looks for what it has left.
func (g *ground) clear(ctx context.Context, r *result) {
	err := until(ctx, settleWithin, func(ctx context.Context) error {
		attempt, cancel := context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
		err := g.client(r.To).RemovePod(attempt, podName)
		if api.AsError(err) != nil && api.AsError(err).Code == api.NotFound {
			return nil
		}
		return err
	})
	if err != nil {
		r.fail("removing the pod: %v", err)
		r.Dirty = true
		return
	}
	err = until(ctx, cleanWithin, func(ctx context.Context) (err error) {
		if r.Leaks, err = g.leaks(ctx); err == nil && len(r.Leaks) > 0 {
			err = errors.New(strings.Join(r.Leaks, ", "))
		}
		return err
	})
	if err != nil {
		r.fail("left behind: %v", err)
		r.Dirty = true
	}
}
