package state

import (
	"fmt"
	"slices"
	"time"
)

// How long leases are. Half of the time from a host's loss to its pods' start elsewhere is the lease; a longer one lets a pod run
// on through longer cuts.
const (
	DefaultLease = 6 * time.Second
	MinLease     = 2 * time.Second
	MaxLease     = time.Minute
)

// CheckLease returns an error unless leases may be that long.
func CheckLease(d time.Duration) error {
	if d < MinLease || d > MaxLease {
		return fmt.Errorf("a lease of %s is not between %s and %s", d, MinLease, MaxLease)
	}
	return nil
}

// FenceBound is how long after the end of a lease something of a pod may still run: the fence has frozen it by then.
const FenceBound = time.Second

// drift is what the clocks of two hosts may come apart by while a lease lasts: a tenth of it.
func drift(lease time.Duration) time.Duration { return lease / 10 }

// TakeOverAfter is how long after a node last renewed a lease nothing that the lease allowed runs any more, on any clock.
func TakeOverAfter(lease time.Duration) time.Duration { return lease + drift(lease) + FenceBound }

// RenewEvery is how often a node renews its lease: twice more than it has to.
func RenewEvery(lease time.Duration) time.Duration { return lease / 3 }

// A Lease lets a node run the pods of which it is the owner and which others may take over (see [Pod.Failover]). The leader
// grants it, and no log has it. It begins when the node sent its request, before the leader thought of it, so its end is never
// later than the leader expects. The zero Lease is over.
type Lease struct {
	// Term is that of the leader's reign.
	Term uint64
	// Index is what the node's view must have reached: it knows of every failover before this lease then.
	Index uint64
	// Duration is from when the request was sent.
	Duration time.Duration
	// Boot and Wall are when the request was sent, by two clocks of the node: that which counts suspend (CLOCK_BOOTTIME), and
	// the time of day, which an operator or a hypervisor sets when neither of the other clocks has noticed a pause.
	Boot time.Duration
	Wall time.Time
}

// Left is how long the lease lasts by both clocks, 0 once it is over. Whether it counts yet, [Lease.Valid] says.
//
// A time of day that has fallen behind the other clock since then, by more than the drift, ends it too: a clock that was set back
// can't tell of a pause.
func (l Lease) Left(boot time.Duration, wall time.Time) time.Duration {
	byBoot := boot - l.Boot
	byWall := wall.Round(0).Sub(l.Wall.Round(0)) // without the monotonic reading
	if byBoot < 0 || byWall < byBoot-drift(l.Duration) {
		return 0
	}
	return max(0, l.Duration-max(byBoot, byWall))
}

// End is when the lease ends, by the one clock and by the other.
func (l Lease) End() (boot time.Duration, wall time.Time) {
	return l.Boot + l.Duration, l.Wall.Round(0).Add(l.Duration)
}

// Valid says whether the node may run its pods at that moment, by both clocks, when its view has that index.
func (l Lease) Valid(boot time.Duration, wall time.Time, index uint64) bool {
	return index >= l.Index && l.Left(boot, wall) > 0
}

// NeedsLease says whether the pod may run only under a lease of its node.
func (p Pod) NeedsLease() bool { return p.Failover != FailoverNone }

// LeaseHolders returns, by name, the nodes that have to hold a lease: those that own a pod which needs one, and both ends of its
// move: the target before it resumes the pod, the source to be ready for its return.
func (v View) LeaseHolders() []string {
	var nodes []string
	for _, pod := range v.t.pods {
		if !pod.NeedsLease() {
			continue
		}
		nodes = append(nodes, pod.Node)
		if g, moving := v.t.migrations[pod.Migration]; moving {
			nodes = append(nodes, g.Source, g.Target)
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes)
}
