package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/drover-mesh/drover/state"
)

// Facts is what the pod needs of its next host, and what keeps it from leaving this one.
type Facts struct {
	Host     HostFacts `json:"host"` // that it runs on now: its processes may have found all of this
	Refusals []Refusal `json:"refusals,omitempty"`

	Processes   int   `json:"processes"`
	Descriptors int   `json:"descriptors"`
	MemoryBytes int64 `json:"memory_bytes"` // that a dump would hold, at most
	HugeBytes   int64 `json:"huge_bytes"`   // of them in huge pages
	UpperBytes  int64 `json:"upper_bytes"`  // in its writable layers and volumes now
	UpperFiles  int64 `json:"upper_files"`
	// Layers are the sizes of the layers that it stands on, packed, in bytes.
	Layers map[state.Digest]int64 `json:"layers"`

	MaxPID      int `json:"max_pid"`      // the highest id of a process or a thread
	MaxMappings int `json:"max_mappings"` // the most mappings of one process
	Watches     int `json:"watches"`      // of inotify
}

// HostFacts is what programs, and CRIU, find at a host.
type HostFacts struct {
	Arch     string   `json:"arch"`      // as in GOARCH
	CPU      []byte   `json:"cpu"`       // its features, as CRIU notes them
	CPUFlags []string `json:"cpu_flags"` // those that programs look for, as the kernel names them
	Kernel   string   `json:"kernel"`    // release
	PageSize int      `json:"page_size"` // bytes
	CRIU     [3]int   `json:"criu"`      // version: major, minor, patch
	Runtime  string   `json:"runtime"`   // version of runc
	TimeNS   bool     `json:"time_ns"`   // the kernel has time namespaces
}

// Offer is the target's answer to Facts.
type Offer struct {
	Refusals []Refusal      `json:"refusals,omitempty"`
	Warnings []string       `json:"warnings,omitempty"` // what may go wrong later
	Missing  []state.Digest `json:"missing,omitempty"`  // layers that the target lacks
	Note     string         `json:"note,omitempty"`     // for people: why it can take the pod
}

// Refusal is one reason why a pod can't move, and what an operator can do about it.
type Refusal struct {
	Node      string `json:"node"`                // that says so
	Container string `json:"container,omitempty"` // "" if it is of the whole pod or of the node
	Process   string `json:"process,omitempty"`   // its name
	PID       int    `json:"pid,omitempty"`       // as the container counts
	HostPID   int    `json:"host_pid,omitempty"`  // as the node counts
	Others    []int  `json:"others,omitempty"`    // more processes of the container of which the same is true, as it counts
	Reason    string `json:"reason"`
	Cure      string `json:"cure"`
}

// String is the refusal in a line.
func (r Refusal) String() string {
	line := r.Reason
	if r.Process != "" {
		line = fmt.Sprintf("%s (pid %d): %s", r.Process, r.PID, line)
	}
	if r.Container != "" {
		line = "container " + r.Container + ": " + line
	}
	if r.Cure != "" {
		line += " (" + r.Cure + ")"
	}
	return line
}

// RefusedError says that a pod can't move. Nothing was changed.
type RefusedError struct {
	Target   string
	Refusals []Refusal
}

func (e *RefusedError) Error() string {
	lines := make([]string, len(e.Refusals))
	for i, r := range e.Refusals {
		lines[i] = r.Node + ": " + r.String()
	}
	return fmt.Sprintf("the pod can't move to %s: %s", e.Target, strings.Join(lines, "; "))
}

// ByTarget says that nothing of the pod itself keeps it: another target may take it.
func (e *RefusedError) ByTarget() bool {
	return !slices.ContainsFunc(e.Refusals, func(r Refusal) bool { return r.Node != e.Target })
}

// Summary says how much there is against the move.
func (e *RefusedError) Summary() string {
	if len(e.Refusals) == 1 {
		return "one thing keeps it from moving"
	}
	return fmt.Sprintf("%d things keep it from moving", len(e.Refusals))
}

// Preflight is what a move would be.
type Preflight struct {
	Plan  Plan
	Facts Facts
	Offer Offer
	Took  time.Duration
}

// LookAhead asks both ends whether a move can be, and changes nothing. That it can't is no error.
func LookAhead(ctx context.Context, p Plan, s Source, t Target) (Preflight, error) {
	begun := time.Now()
	facts, err := s.Facts(ctx, p.Pod)
	if err != nil {
		return Preflight{}, err
	}
	offer, err := t.Preflight(ctx, p, facts)
	if err != nil {
		return Preflight{}, err
	}
	return Preflight{Plan: p, Facts: facts, Offer: offer, Took: time.Since(begun)}, nil
}

// Refusals are all reasons against the move, of both ends. The slice is the caller's.
func (p Preflight) Refusals() []Refusal { return slices.Concat(p.Facts.Refusals, p.Offer.Refusals) }

// MissingBytes is the packed size of the layers that the target lacks.
func (p Preflight) MissingBytes() int64 {
	var n int64
	for _, d := range p.Offer.Missing {
		n += p.Facts.Layers[d]
	}
	return n
}

// preflight is the first step of a move.
func (d *Departure) preflight(ctx context.Context) error {
	ahead, err := LookAhead(ctx, d.plan, d.source, d.target)
	if err != nil {
		return err
	}
	if refusals := ahead.Refusals(); len(refusals) > 0 {
		return &RefusedError{Target: d.plan.Target, Refusals: refusals}
	}
	d.offer = ahead.Offer
	d.notes = strings.Join(append([]string{d.offer.Note}, d.offer.Warnings...), "; ")
	return nil
}
