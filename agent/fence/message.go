package fence

import "time"

// maxMessage bounds a message on the fence's socket, in bytes.
const maxMessage = 64 << 10

// What a fence is asked to do.
const (
	opHold   = "hold"   // put a pod under it
	opDrop   = "drop"   // let go of a pod, in the state in which it is
	opLease  = "lease"  // the lease ends then
	opThaw   = "thaw"   // let a pod go on, if there is a lease
	opStatus = "status" // change nothing
	opEnd    = "end"    // end, if nothing is under it or force is set
)

// request and answer are JSON, one a packet of the seqpacket socket. Each request has one answer, in order.
type request struct {
	Op      string   `json:"op"`
	UID     string   `json:"uid,omitempty"`
	Cgroups []string `json:"cgroups,omitempty"` // directories whose freezers stop all of the pod
	Lease   *Instant `json:"lease,omitempty"`   // when it ends
	Force   bool     `json:"force,omitempty"`
}

type answer struct {
	Error  string `json:"error,omitempty"`
	Status Status `json:"status"`
}

// Status is what a fence says of itself.
type Status struct {
	Version string  `json:"version"` // of the program that it is
	Pid     int     `json:"pid"`
	Lease   Instant `json:"lease"`          // when the last one that it was told ends; zero if it was told none
	Valid   bool    `json:"valid"`          // that has not ended
	Weak    string  `json:"weak,omitempty"` // what it could not get from the host, and what that means
	Pods    []Held  `json:"pods"`           // in the order of their UIDs
}

// Held is a pod under a fence.
type Held struct {
	UID    string        `json:"uid"`
	Frozen bool          `json:"frozen"`           // the fence has asked its processes to stand still
	Still  bool          `json:"still"`            // and they do
	Since  int64         `json:"since,omitempty"`  // when the fence asked, in nanoseconds since 1970
	After  time.Duration `json:"after,omitempty"`  // from the end of the lease until they stood still; 0 if it was under no lease before
	Undone int           `json:"undone,omitempty"` // how often somebody else let it go, and the fence froze it again
}
