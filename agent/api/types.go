package api

import "time"

// Pod is a pod as the mesh and, where it runs, its node know it.
type Pod struct {
	Name       string      `json:"name"`
	UID        string      `json:"uid"`
	Containers []Container `json:"containers"` // init containers first
	Address    string      `json:"address"`
	Node       string      `json:"node"` // the owner
	Site       string      `json:"site"`
	Epoch      uint64      `json:"epoch"`
	Phase      PodPhase    `json:"phase"`
	Migration  string      `json:"migration"` // id of the open migration, or ""
	Created    time.Time   `json:"created"`
	Reason     string      `json:"reason"`   // why the phase is what it is, for people
	Failover   string      `json:"failover"` // what becomes of it when its node is lost: "restart", or "": it waits for it
	Origin     *Origin     `json:"origin,omitempty"`
	Manifest   []byte      `json:"-"` // JSON, only from GetPod
}

// Origin says how a pod's present life began after the loss of a node.
type Origin struct {
	Epoch  uint64    `json:"epoch"` // that began then
	From   string    `json:"from"`  // the node that was lost
	Kind   string    `json:"kind"`  // "image": it began anew; "frozen": it went on from the copy that a move had left
	Move   string    `json:"move"`  // whose copy it was, or ""
	At     time.Time `json:"at"`
	Reason string    `json:"reason"` // why the node was given up, for people
	Lost   string    `json:"lost"`   // what was lost, for people
}

// Container is one of a pod's.
type Container struct {
	Name     string   `json:"name"`
	Init     bool     `json:"init"`
	Image    string   `json:"image"`     // as the manifest names it
	Layers   []string `json:"layers"`    // "sha256:<hex>", the lowest first
	State    string   `json:"state"`     // Created, Running, Frozen or Exited; "" if only its node knows
	PID      int      `json:"pid"`       // on its node; 0 if it has no process
	ExitCode int      `json:"exit_code"` // of one that has exited
	Restarts int      `json:"restarts"`
	Ready    bool     `json:"ready"` // it runs, and its probes say that it can serve
}

// PodPhase is what a pod does now.
type PodPhase string

// The phases of a pod. PodUnknown is what is said of a pod whose node doesn't answer.
const (
	PodPending     PodPhase = "Pending"
	PodRunning     PodPhase = "Running"
	PodFrozen      PodPhase = "Frozen"
	PodMigrating   PodPhase = "Migrating"
	PodTerminating PodPhase = "Terminating"
	PodSucceeded   PodPhase = "Succeeded"
	PodFailed      PodPhase = "Failed"
	PodStopped     PodPhase = "Stopped"
	PodUnknown     PodPhase = "Unknown"
)

// Status is the state of the mesh in short, as the asked node sees it.
type Status struct {
	Node         string      `json:"node"`
	Site         string      `json:"site"`
	Version      string      `json:"version"`
	Started      time.Time   `json:"started"`
	PodCIDR      string      `json:"pod_cidr"`
	Leader       string      `json:"leader"`  // "" while there is none
	Role         string      `json:"role"`    // of this node: leader, follower, candidate, joining or plain
	Servers      []string    `json:"servers"` // those that vote
	AppliedIndex uint64      `json:"applied_index"`
	NodesAlive   int         `json:"nodes_alive"`
	NodesKnown   int         `json:"nodes_known"`
	PodsHere     int         `json:"pods_here"`
	PodsTotal    int         `json:"pods_total"`
	Migrations   []Migration `json:"migrations"` // the open ones
	Problems     []string    `json:"problems"`   // what is wrong, in words
}

// Migration is a migration as committed, with what its source and target know besides.
type Migration struct {
	ID     string         `json:"id"`
	Pod    string         `json:"pod"`
	From   string         `json:"from"`
	To     string         `json:"to"`
	Epoch  uint64         `json:"epoch"`
	Phase  MigrationPhase `json:"phase"`
	Reason string         `json:"reason"`
	Step   string         `json:"step"`             // that runs now; "" if unknown
	Report *Report        `json:"report,omitempty"` // once it is done; only its source knows it
}

// MigrationPhase is a migration's place in its life, as committed.
type MigrationPhase string

// The phases of a migration.
const (
	MigrationReserved   MigrationPhase = "reserved"
	MigrationActivated  MigrationPhase = "activated"
	MigrationDone       MigrationPhase = "done"
	MigrationReturned   MigrationPhase = "returned"
	MigrationFailedOver MigrationPhase = "failedover" // its target was lost after it had taken the pod over
	MigrationAborted    MigrationPhase = "aborted"
)

// Open says whether the migration is still going on.
func (p MigrationPhase) Open() bool { return p == MigrationReserved || p == MigrationActivated }

// Move is a migration that has begun.
type Move struct {
	ID   string `json:"id"`
	Pod  string `json:"pod"`
	From string `json:"from"`
	To   string `json:"to"`
	Mode string `json:"mode"`
}

// Event is something that happened to one step of a migration.
type Event struct {
	Step       string    `json:"step"`
	Node       string    `json:"node"` // where the step runs
	State      StepState `json:"state"`
	MS         float64   `json:"ms"` // since the step began
	BytesDone  int64     `json:"bytes_done"`
	BytesTotal int64     `json:"bytes_total"` // 0 is unknown
	Note       string    `json:"note"`        // for people, one line
}

// StepState is what an Event says of its step.
type StepState string

// The states of a step.
const (
	StepStarted  StepState = "started"
	StepProgress StepState = "progress"
	StepDone     StepState = "done"
	StepFailed   StepState = "failed"
	StepUndone   StepState = "undone"
)

// Report is what a finished migration did and cost.
type Report struct {
	ID          string  `json:"id"`
	Pod         string  `json:"pod"`
	From        string  `json:"from"`
	To          string  `json:"to"`
	Mode        string  `json:"mode"`
	DowntimeMS  float64 `json:"downtime_ms"`
	TotalMS     float64 `json:"total_ms"`
	BytesSent   int64   `json:"bytes_sent"`
	FrozenBytes int64   `json:"frozen_bytes"` // of them sent while the pod was frozen
	Steps       []Step  `json:"steps"`
}

// Step is one step of a finished migration.
type Step struct {
	Name string  `json:"name"`
	MS   float64 `json:"ms"`
}

// Milliseconds is d as events and reports give it: milliseconds with three decimals.
func Milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}
