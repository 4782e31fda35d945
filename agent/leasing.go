package agent

import (
	"time"

	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state/quorum"
)

// leasing is this node's lease, as moves look at it.
type leasing struct{ *quorum.Quorum }

var _ migrate.Leases = leasing{}

// Clock implements [migrate.Leases].
func (leasing) Clock() (boot time.Duration, wall time.Time) { return bothClocks() }
