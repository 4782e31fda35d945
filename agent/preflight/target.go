package preflight

import (
	"fmt"
	"time"
)

// Target is a pod that is to be looked at.
type Target struct {
	Containers []Container
	NetNS      string // path of its network namespace
}

// Container is one container of a pod. CRIU dumps each by itself.
type Container struct {
	Name    string
	Init    int      // its first process, as this host counts
	Cgroups []string // directories of the cgroups that hold its processes; those below them count too
	Mounts  []string // mount points that a move makes anew at the target, besides the root and the kernel's file systems
}

// Refusal is one reason why a pod can't move, and what can be done about it.
type Refusal struct {
	Container string
	Process   string // its name; "" when no process is to blame
	PID       int    // as the container counts
	HostPID   int    // as this host counts
	Others    []int  // more processes of the container of which the same is true, as it counts
	Reason    string // says of the process what it has or does
	Cure      string
}

// Who is the process, as people are told.
func (r Refusal) Who() string {
	switch {
	case r.Process == "":
		return r.Container
	case len(r.Others) == 0:
		return fmt.Sprintf("%s (pid %d)", r.Process, r.PID)
	}
	return fmt.Sprintf("%s (pid %d and %d more)", r.Process, r.PID, len(r.Others))
}

// Report is what was found.
type Report struct {
	Refusals    []Refusal
	Processes   int
	Descriptors int
	Memory      int64 // bytes that a dump would hold at most
	HugePages   int64 // bytes of them in huge pages
	MaxPID      int   // the highest process or thread id, as the containers count
	MaxMappings int   // the most mappings that one process has
	Watches     int   // of inotify
	// Watched are the watched files that CRIU finds only if it is told their paths, by container.
	Watched map[string][]string
	Took    time.Duration
}
