package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/drover-mesh/drover/state"
)

// sharedMemoryUser is the container that is attached to System V shared memory, "" if none is. Two can't move: CRIU brings
// a segment back together with the processes that are attached to it, and knows those of one container only.
func (h *host) sharedMemoryUser(p state.Pod) (string, error) {
	user := ""
	for _, c := range p.Containers {
		uses, err := attachesSharedMemory(h.runtime.Freezer(p.UID, c.Name).Path())
		switch {
		case err != nil:
			return "", err
		case uses && user != "":
			return "", fmt.Errorf("containers %s and %s of pod %s are both attached to System V shared memory: let them share files in /dev/shm instead",
				user, c.Name, p.Name)
		case uses:
			user = c.Name
		}
	}
	return user, nil
}

// attachesSharedMemory looks for segments among what the processes of a cgroup map; the kernel names those /SYSV and their key
// (ipc/shm.c).
func attachesSharedMemory(cgroup string) (bool, error) {
	pids, err := processes(cgroup)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		return false, err
	}
	for _, pid := range pids {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		if err == nil && bytes.Contains(maps, []byte(" /SYSV")) {
			return true, nil
		}
	}
	return false, nil
}
