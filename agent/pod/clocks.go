package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// startField is what runc's state says of when a container's first process began: libcontainer, BaseState.
const startField = "init_process_start"

// runcIn is how runc has to be called so that what it starts in a container lives by the container's clocks. A pod that has
// moved has a time namespace of its own, and runc, before 1.2, knows of none; so runc is started there. Seen from there the
// container's first process began at another time, by which runc would take it for another: it gets a state that says so, in
// dir, which belongs to the caller.
func (r *Runtime) runcIn(uid, container, dir string) (command []string, err error) {
	state, err := r.container(uid, container).state()
	if err != nil {
		return nil, err
	}
	shared, err := sharesClocks(state.Pid)
	if err != nil || shared {
		return []string{r.runc, "--root", r.runcRoot()}, err
	}
	enter := []string{"nsenter", fmt.Sprintf("--time=/proc/%d/ns/time", state.Pid), "--no-fork", "--"}
	start, err := startSeen(enter, state.Pid)
	if err != nil {
		return nil, fmt.Errorf("entering the container's clocks: %w", err)
	}
	root := filepath.Join(dir, "runc")
	copied := filepath.Join(root, containerID(uid, container), "state.json")
	if err := copyState(r.container(uid, container).runcState(), copied, start); err != nil {
		return nil, fmt.Errorf("entering the container's clocks: %w", err)
	}
	return append(enter, r.runc, "--root", root), nil
}

// sharesClocks says whether a process is in the agent's own time namespace. A kernel before 5.6 has only one.
func sharesClocks(pid int) (bool, error) {
	own, err := os.Readlink("/proc/self/ns/time")
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/time", pid))
	return own == theirs, err
}

// startSeen is when a process began, as who is started by the command enter sees it.
func startSeen(enter []string, pid int) (uint64, error) {
	args := append(enter[1:len(enter):len(enter)], "cat", fmt.Sprintf("/proc/%d/stat", pid))
	stat, err := exec.Command(enter[0], args...).Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", enter[0], err)
	}
	start, ok := parseStart(string(stat))
	if !ok {
		return 0, ErrNotRunning
	}
	return start, nil
}

// copyState copies runc's state of a container, with another start of its first process.
func copyState(from, to string, start uint64) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var state map[string]json.RawMessage // numbers stay as they are
	if err := json.Unmarshal(text, &state); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	state[startField] = fmt.Appendf(nil, "%d", start)
	if text, err = json.Marshal(state); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}
