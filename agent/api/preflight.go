package api

import (
	"fmt"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

// Preflight is what a move would be.
type Preflight struct {
	Pod           string    `json:"pod"`
	From          string    `json:"from"`
	To            string    `json:"to"`       // the node that was chosen
	Refusals      []Refusal `json:"refusals"` // everything that is against it; without any it can be
	Warnings      []string  `json:"warnings"` // what may go wrong after it
	Processes     int       `json:"processes"`
	Descriptors   int       `json:"descriptors"`
	MemoryBytes   int64     `json:"memory_bytes"` // at most
	FilesBytes    int64     `json:"files_bytes"`  // in the pod's writable layers and volumes
	Files         int64     `json:"files"`
	MissingLayers []string  `json:"missing_layers"` // that the node lacks
	MissingBytes  int64     `json:"missing_bytes"`  // their packed size
	MS            float64   `json:"ms"`             // that it took to find all of this out
}

// Refusal is one reason why a pod can't move, and what can be done about it.
type Refusal struct {
	Node      string `json:"node"`      // that says so: the pod's, or the one that it would go to
	Container string `json:"container"` // "" if it is of the whole pod, or of the node
	Process   string `json:"process"`   // its name; "" if none is to blame
	PID       int    `json:"pid"`       // as the container counts
	HostPID   int    `json:"host_pid"`  // as the node counts
	Others    []int  `json:"others"`    // more processes of the container of which the same is true, as it counts
	Reason    string `json:"reason"`
	Cure      string `json:"cure"`
}

// Who is what the reason is about: a process of a container, a container, or a node.
func (r Refusal) Who() string {
	switch {
	case r.Process == "" && r.Container == "":
		return r.Node
	case r.Process == "":
		return r.Container
	case len(r.Others) > 0:
		return fmt.Sprintf("%s: %s (pid %d, %d on %s; and %d more)", r.Container, r.Process, r.PID, r.HostPID, r.Node, len(r.Others))
	}
	return fmt.Sprintf("%s: %s (pid %d, %d on %s)", r.Container, r.Process, r.PID, r.HostPID, r.Node)
}

func refusalToProto(r Refusal) *droverv1.Refusal {
	return &droverv1.Refusal{
		Node: r.Node, Container: r.Container, Process: r.Process, Pid: int32(r.PID), HostPid: int32(r.HostPID),
		Others: each(r.Others, func(pid int) int32 { return int32(pid) }), Reason: r.Reason, Cure: r.Cure,
	}
}

func refusalFromProto(r *droverv1.Refusal) Refusal {
	return Refusal{
		Node: r.GetNode(), Container: r.GetContainer(), Process: r.GetProcess(), PID: int(r.GetPid()), HostPID: int(r.GetHostPid()),
		Others: each(r.GetOthers(), func(pid int32) int { return int(pid) }), Reason: r.GetReason(), Cure: r.GetCure(),
	}
}

func preflightToProto(p Preflight) *droverv1.Preflight {
	return &droverv1.Preflight{
		Pod: p.Pod, From: p.From, To: p.To, Refusals: each(p.Refusals, refusalToProto), Warnings: p.Warnings,
		Processes: int32(p.Processes), Descriptors: int32(p.Descriptors), MemoryBytes: p.MemoryBytes, FilesBytes: p.FilesBytes, Files: p.Files,
		MissingLayers: p.MissingLayers, MissingBytes: p.MissingBytes, Ms: p.MS,
	}
}

func preflightFromProto(p *droverv1.Preflight) Preflight {
	return Preflight{
		Pod: p.GetPod(), From: p.GetFrom(), To: p.GetTo(), Refusals: each(p.GetRefusals(), refusalFromProto), Warnings: append([]string{}, p.GetWarnings()...),
		Processes: int(p.GetProcesses()), Descriptors: int(p.GetDescriptors()), MemoryBytes: p.GetMemoryBytes(), FilesBytes: p.GetFilesBytes(), Files: p.GetFiles(),
		MissingLayers: append([]string{}, p.GetMissingLayers()...), MissingBytes: p.GetMissingBytes(), MS: p.GetMs(),
	}
}
