package state

import "fmt"

// A MigrationPhase says how far a migration has got, as far as ownership is concerned:
//
//	Reserved -> Activated -> Done | Returned | FailedOver
//	Reserved -> Aborted
type MigrationPhase string

// The phases of a migration.
const (
	// Reserved: the source owns the pod. It may freeze it, and thaws it only after a won Abort.
	Reserved MigrationPhase = "Reserved"
	// Activated: the target owns the pod and may resume it. The source keeps its frozen copy.
	Activated MigrationPhase = "Activated"
	// Done: the pod runs at the target. The source may destroy its copy.
	Done MigrationPhase = "Done"
	// Returned: the target gave the pod back without having resumed it. The source owns it again.
	Returned MigrationPhase = "Returned"
	// FailedOver: the target was given up. The source owns the pod again and goes on from its frozen copy, unless it was given up
	// too: the pod's Origin tells. Nothing that is left at the target may run.
	FailedOver MigrationPhase = "FailedOver"
	// Aborted: the source owns the pod as if nothing had been; or it was given up, and another node begins the pod anew. The
	// pod's Origin tells, see [Pod.Continues].
	Aborted MigrationPhase = "Aborted"
)

// Open says whether the migration still binds its pod.
func (p MigrationPhase) Open() bool { return p == Reserved || p == Activated }

// A Migration is the record that Activate and Abort compare and swap.
type Migration struct {
	ID string `json:"id"`
	// Pod and UID are those of the pod that moves.
	Pod    string `json:"pod"`
	UID    string `json:"uid"`
	Source string `json:"source"`
	Target string `json:"target"`
	// Epoch is the one that Activate gives to the pod.
	Epoch uint64         `json:"epoch"`
	Phase MigrationPhase `json:"phase"`
	// Drain says that the source was cordoned when it began: once it is done, the pod remembers where it was.
	Drain bool `json:"drain,omitempty"`
	// Reason says why it was aborted, returned or failed over, for people.
	Reason string `json:"reason,omitempty"`
}

// String names the migration in sentences: "migration m-1 from ams to fra".
func (g Migration) String() string {
	if g.Target == "" { // aborted before it was reserved, see [Abort]
		return fmt.Sprintf("migration %s from %s", g.ID, g.Source)
	}
	return fmt.Sprintf("migration %s from %s to %s", g.ID, g.Source, g.Target)
}

// Longest reason that is kept, in bytes: room for a line of a log.
const maxReason = 1024

// FinishedMigrations is how many finished migrations are remembered, the latest ones.
const FinishedMigrations = 100
