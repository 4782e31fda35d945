package migrate

import (
	"context"
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// Leases is what this node has of a lease. Only under one it lets pods run that others may take over.
type Leases interface {
	// Lease is the one that was granted last, the zero Lease if none was.
	Lease() state.Lease
	// WatchLease signals that Lease may have changed, and falls silent with ctx.
	WatchLease(ctx context.Context) <-chan struct{}
	// Clock reads the two clocks by which leases end.
	Clock() (boot time.Duration, wall time.Time)
}

// tenure is what a driver has told its machine of the lease.
type tenure struct {
	valid bool
	lease state.Lease // that was
	over  *time.Timer // when it ends
}

func newTenure() tenure {
	t := tenure{over: time.NewTimer(time.Hour)}
	t.over.Stop()
	return t
}

// watchLease returns what signals that the lease may have changed, nil if the pod needs none.
func (d *driver) watchLease(ctx context.Context) <-chan struct{} {
	if !d.leased() {
		return nil
	}
	return d.Leases.WatchLease(ctx)
}

func (d *driver) leased() bool { return d.Leases != nil && d.plan.Pod.NeedsLease() }

// lookAtLease tells the machine whether there is a lease, if that has changed; also that there is another one, if the one
// before had ended when it was asked for. It comes before all else that the machine hears: this host may have stood still.
func (d *driver) lookAtLease() {
	if !d.leased() {
		return
	}
	l := d.Leases.Lease()
	boot, wall := d.Leases.Clock()
	valid := l.Valid(boot, wall, d.Ledger.View().Index())
	unbroken := valid && d.tenure.valid && d.tenure.lease.Left(l.Boot, l.Wall) > 0
	told := d.tenure.valid
	d.tenure.valid, d.tenure.lease = valid, l
	if valid {
		d.tenure.over.Reset(l.Left(boot, wall))
	}
	if valid != told || valid && !unbroken {
		d.hear(event{in: decide.Lease{Valid: valid}})
	}
}
