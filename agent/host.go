package agent

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/criu"
	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes"
)

// volumesDir is where below its state directory a node keeps layers and the writable files of pods.
const volumesDir = "volumes"

// host is what this node's pods live on.
type host struct {
	node             string
	stateDir, runDir string
	layers           *volumes.Store
	router           *router
	runtime          *pod.Runtime
	fenced           *fenced
	log              *slog.Logger

	probe sync.Mutex
	known *criu.Features
}

// moveDir is where the images and the work files of a move are: in memory, since they are worth nothing after a reboot.
func (h *host) moveDir(id string) string { return filepath.Join(h.runDir, "moves", id) }

// features asks CRIU once what it can.
func (h *host) features(ctx context.Context) (criu.Features, error) {
	h.probe.Lock()
	defer h.probe.Unlock()
	if h.known == nil {
		f, err := criu.Probe(ctx, "")
		if err != nil {
			return criu.Features{}, err
		}
		h.known = &f
	}
	return *h.known, nil
}

// settleTime bounds how long the end of a move waits for the limits of its pod to be set.
const settleTime = 3 * time.Second

// settle gives a pod its limits after a move, for which it had none. Whoever keeps pods running tries again.
func (h *host) settle(ctx context.Context, p state.Pod) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := h.runtime.Settle(ctx, p.UID); err != nil {
		h.log.Warn("a pod has no limits yet", "pod", p.Name, "err", err)
	}
}

// freshDirs makes directories that are empty.
func freshDirs(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// processes lists the processes of a cgroup: cgroup.procs, in v1 and v2.
func processes(cgroup string) ([]int, error) {
	text, err := os.ReadFile(filepath.Join(cgroup, "cgroup.procs"))
	if err != nil {
		return nil, fmt.Errorf("listing the pod's processes: %w", err)
	}
	var pids []int
	for _, word := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("listing the pod's processes: %w", err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// mappedFiles lists the files that a pod's processes map shared and writable, by their path in its root file system,
// without the leading slash: a store through such a mapping need not show in the file's times.
func mappedFiles(cgroup string) (map[string]bool, error) {
	pids, err := processes(cgroup)
	if err != nil {
		return nil, err
	}
	mapped := map[string]bool{}
	for _, pid := range pids {
		f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
		if err != nil {
			continue // it has ended
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			// 7f00-7f01 rw-s 00000000 08:01 42    /var/lib/file
			if fields := strings.Fields(lines.Text()); len(fields) >= 6 && strings.HasPrefix(fields[1], "rw-s") {
				if path, ok := strings.CutPrefix(strings.Join(fields[5:], " "), "/"); ok {
					mapped[path] = true
				}
			}
		}
		f.Close()
	}
	return mapped, nil
}
