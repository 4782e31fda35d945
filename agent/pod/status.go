package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Phase is what a pod does at the moment.
type Phase string

// The phases of a pod.
const (
	Created Phase = "Created" // it has a bundle and was never started, or its host has been rebooted since
	Running Phase = "Running"
	Frozen  Phase = "Frozen"
	Exited  Phase = "Exited"
)

// Status is what a pod does at the moment.
type Status struct {
	UID, Name string
	Phase     Phase
	Pid       int       // of its first process, as the host sees it; 0 unless it runs or is frozen
	ExitCode  int       // when Exited; 128 + n after signal n; -1 if nobody saw it end
	Exited    time.Time // when Exited
}

// containerState is the part of runc's state.json that is read here: libcontainer/container.go and container_linux.go in
// opencontainers/runc, the same from 1.0 to 1.3.
type containerState struct {
	Pid         int      `json:"init_process_pid"`
	Start       uint64   `json:"init_process_start"`
	Descriptors []string `json:"external_descriptors"`
}

func (r *Runtime) containerState(uid string) (containerState, error) {
	var state containerState
	data, err := os.ReadFile(r.paths(uid).runcState())
	if err == nil {
		err = json.Unmarshal(data, &state)
	}
	if err != nil {
		return state, fmt.Errorf("reading runc's state of pod %s: %w", uid, err)
	}
	return state, nil
}

// Status tells what a pod does, ErrNotFound if it isn't here. It starts no process.
func (r *Runtime) Status(uid string) (Status, error) {
	s, err := r.spec(uid)
	if err != nil {
		return Status{}, err
	}
	status := Status{UID: uid, Name: s.Name, Phase: Created}
	state, err := r.containerState(uid)
	if err == nil {
		if start, ok := startTime(state.Pid); ok && start == state.Start {
			status.Phase, status.Pid = Running, state.Pid
			if frozen, err := r.Freezer(uid).Frozen(); err == nil && frozen {
				status.Phase = Frozen
			}
			return status, nil
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return Status{}, err
	}
	p := r.paths(uid)
	if code, err := os.ReadFile(p.exit); err == nil {
		status.Phase = Exited
		if _, err := fmt.Sscan(strings.TrimSpace(string(code)), &status.ExitCode); err != nil {
			status.ExitCode = -1
		}
		if info, err := os.Stat(p.exit); err == nil {
			status.Exited = info.ModTime()
		}
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
