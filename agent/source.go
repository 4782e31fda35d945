package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/agent/route"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes"
)

// drainFor bounds how long a pod's sockets may take to empty before it is frozen all the same: a sender that its peer's
// window limits never does.
const drainFor = 10 * time.Millisecond

// source is this host as a pod leaves it.
type source struct{ *host }

var _ migrate.Source = source{}

// Layer implements [migrate.Source].
func (s source) Layer(ctx context.Context, d state.Digest, w io.Writer) error {
	return s.layers.Export(ctx, d, w)
}

// Upper implements [migrate.Source].
func (s source) Upper(p state.Pod) (migrate.Upper, error) {
	return &files{host: s.host, pod: p, last: map[string]volumes.Manifest{}, logs: map[string]logMark{}}, nil
}

// Cutover implements [migrate.Source].
func (s source) Cutover(_ context.Context, p state.Pod, target string) (migrate.Cutover, error) {
	c, err := s.router.Cutover(p.UID, target)
	if err != nil {
		return nil, err
	}
	return cutover{c}, nil
}

type cutover struct{ *route.Cutover }

// Drain implements [migrate.Cutover].
func (c cutover) Drain(ctx context.Context) error {
	_, err := c.Cutover.Drain(ctx, drainFor)
	return err
}

// Freeze implements [migrate.Source].
func (s source) Freeze(ctx context.Context, p state.Pod) error { return s.runtime.Freeze(ctx, p.UID) }

// Thaw implements [migrate.Source].
func (s source) Thaw(ctx context.Context, p migrate.Plan) error {
	return s.letGo(ctx, p, func(*route.Cutover) error { return nil })
}

// Revive implements [migrate.Source].
func (s source) Revive(ctx context.Context, p migrate.Plan) error {
	return s.letGo(ctx, p, func(c *route.Cutover) error {
		status, err := s.runtime.Status(p.Pod.UID)
		if err != nil || status.Phase != pod.Frozen { // a revival before this one had come further: what it has now is new
			return err
		}
		ended, err := c.Disconnect()
		if err == nil {
			s.log.Info("a frozen copy is revived, and its TCP connections are ended", "pod", p.Pod.Name, "move", p.ID, "connections", ended)
		}
		return err
	})
}

// letGo lets the frozen pod go on here. before is what comes first, while nothing of it runs and its egress is shut.
func (s source) letGo(ctx context.Context, p migrate.Plan, before func(*route.Cutover) error) error {
	dir := s.moveDir(p.ID)
	if err := awaitDump(ctx, dir); err != nil {
		return err
	}
	c, err := s.router.Cutover(p.Pod.UID, "") // whether the mesh still knows the target doesn't matter
	if errors.Is(err, route.ErrNoPod) {
		return s.thawAlone(ctx, p)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	gone, err := s.gone(p.Pod.UID)
	if err != nil {
		return err
	}
	if gone { // it has ended, as a frozen pod can't by itself, and is started again as others are
		return errors.Join(c.OpenEgress(), c.Undivert(), os.RemoveAll(dir))
	}
	if err := before(c); err != nil {
		return err
	}
	// The egress comes next: what the thawed pod sends must leave, or its peers wait for a time-out.
	if err := c.OpenEgress(); err != nil {
		return err
	}
	if err := s.runtime.Thaw(ctx, p.Pod.UID); err != nil {
		return err
	}
	if err := c.Undivert(); err != nil {
		return err
	}
	s.settle(ctx, p.Pod)
	return os.RemoveAll(dir)
}

// thawAlone thaws a pod that has no place in the network any more. As a rule it is gone with it, by a reboot, and is
// started again as the node's other pods are; if it is not, it does better without a network than frozen for ever.
func (s source) thawAlone(ctx context.Context, p migrate.Plan) error {
	gone, err := s.gone(p.Pod.UID)
	if err != nil {
		return err
	}
	if !gone {
		s.log.Error("a pod goes on without its network, which somebody has removed", "pod", p.Pod.Name, "move", p.ID)
		if err := s.runtime.Thaw(ctx, p.Pod.UID); err != nil {
			return err
		}
	}
	return os.RemoveAll(s.moveDir(p.ID))
}

// gone says that no process of the pod is left.
func (s source) gone(uid string) (bool, error) {
	status, err := s.runtime.Status(uid)
	if errors.Is(err, pod.ErrNotFound) {
		return true, nil
	}
	return err == nil && len(status.Live()) == 0, err
}

// Retire implements [migrate.Source].
func (s source) Retire(ctx context.Context, p migrate.Plan) error {
	dir := s.moveDir(p.ID)
	if err := awaitDump(ctx, dir); err != nil {
		return err
	}
	if err := s.removePod(ctx, p.Pod, true); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
