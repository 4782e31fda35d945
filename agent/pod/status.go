package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Phase is what a container, or a pod as a whole, does at the moment.
type Phase string

// The phases of a container. A pod is Running or Frozen as soon as one of its containers has a process, and Exited when all
// of them have ended but those that never began; otherwise it is Created.
const (
	Created Phase = "Created" // it has a bundle and was never started, or its host has been rebooted since
	Running Phase = "Running"
	Frozen  Phase = "Frozen"
	Exited  Phase = "Exited"
)

// Status is what a pod does at the moment.
type Status struct {
	UID, Name  string
	Phase      Phase
	Containers []ContainerStatus // in the order of its Spec
}

// Live are the containers that have a process.
func (s Status) Live() []ContainerStatus {
	var live []ContainerStatus
	for _, c := range s.Containers {
		if c.Pid != 0 {
			live = append(live, c)
		}
	}
	return live
}

// ContainerStatus is what a container does at the moment.
type ContainerStatus struct {
	Name     string
	Init     bool
	Phase    Phase
	Pid      int       // of its first process, as the host sees it; 0 unless it runs or is frozen, and while it is just ending
	ExitCode int       // when Exited; 128 + n after signal n; -1 if nobody saw it end
	Exited   time.Time // when Exited
	Starts   int       // how often it was started, at every site
}

// containerState is the part of runc's state.json that is read here: libcontainer/container.go and container_linux.go in
// opencontainers/runc, the same from 1.0 to 1.3.
type containerState struct {
	Pid         int      `json:"init_process_pid"`
	Start       uint64   `json:"init_process_start"`
	Descriptors []string `json:"external_descriptors"`
}

func (p containerPaths) state() (containerState, error) {
	var state containerState
	data, err := os.ReadFile(p.runcState())
	if err == nil {
		err = json.Unmarshal(data, &state)
	}
	if err != nil {
		return state, fmt.Errorf("reading runc's state: %w", err)
	}
	return state, nil
}

// Status tells what a pod does, ErrNotFound if it isn't here. It starts no process.
func (r *Runtime) Status(uid string) (Status, error) {
	s, err := r.spec(uid)
	if err != nil {
		return Status{}, err
	}
	status := Status{UID: uid, Name: s.Name}
	for _, c := range s.Containers {
		one, err := r.containerStatus(s, c.Name)
		if err != nil {
			return Status{}, fmt.Errorf("pod %s: container %s: %w", s.Name, c.Name, err)
		}
		status.Containers = append(status.Containers, one)
	}
	status.Phase = phase(status.Containers)
	return status, nil
}

// phase is that of the pod.
func phase(containers []ContainerStatus) Phase {
	count := map[Phase]int{}
	for _, c := range containers {
		count[c.Phase]++
	}
	switch {
	case count[Running] > 0:
		return Running
	case count[Frozen] > 0:
		return Frozen
	case count[Exited] > 0:
		return Exited
	}
	return Created
}

func (r *Runtime) containerStatus(s Spec, name string) (ContainerStatus, error) {
	status := ContainerStatus{Name: name, Phase: Created}
	for _, c := range s.Containers {
		if c.Name == name {
			status.Init = c.Init
		}
	}
	p := r.container(s.UID, name)
	if data, err := os.ReadFile(p.starts()); err == nil {
		_, _ = fmt.Sscan(string(data), &status.Starts) // a broken file counts as none
	}
	state, err := p.state()
	if err == nil {
		if start, ok := startTime(state.Pid); ok && start == state.Start {
			status.Phase, status.Pid = Running, state.Pid
			if frozen, err := r.Freezer(s.UID, name).Frozen(); err == nil && frozen {
				status.Phase = Frozen
			}
			return status, nil
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return status, err
	}
	if code, err := os.ReadFile(p.exit); err == nil {
		status.Phase = Exited
		if _, err := fmt.Sscan(strings.TrimSpace(string(code)), &status.ExitCode); err != nil {
			status.ExitCode = -1
		}
		if info, err := os.Stat(p.exit); err == nil {
			status.Exited = info.ModTime()
		}
	} else if monitor, _ := readPid(p.conmonPid()); state.Pid > 0 && ours(monitor, containerID(s.UID, name)) {
		status.Phase = Running // its monitor is about to say how it ended
	} else if state.Pid > 0 {
		status.Phase, status.ExitCode = Exited, -1
	}
	return status, nil
}

// List tells of every pod that has been created here and not removed, in the order of their UIDs: what a restarted agent
// finds.
func (r *Runtime) List() ([]Status, error) {
	entries, err := os.ReadDir(r.bundles())
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	var all []Status
	for _, e := range entries {
		status, err := r.Status(e.Name())
		if errors.Is(err, ErrNotFound) { // killed while it was created or removed
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, status)
	}
	return all, nil
}

// Spec is what the pod was created from.
func (r *Runtime) Spec(uid string) (Spec, error) { return r.spec(uid) }
