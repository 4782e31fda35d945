package pod

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Checkpoint is what a dump of a running pod needs to know.
type Checkpoint struct {
	Pid         int               // its first process
	Root        string            // its root file system
	NetNS       string            // its network namespace, which is not dumped
	Freezer     Freezer           // its cgroup
	External    map[string]string // mount points that are not dumped -> the names by which a restore finds their sources
	Tmpfs       map[string]string // mount points of External whose content belongs to the pod -> the directory outside
	Descriptors []string          // what its first three file descriptors were opened on, in runc's notation
}

// Checkpoint says what a dump of the pod needs to know.
func (r *Runtime) Checkpoint(uid string) (Checkpoint, error) {
	s, err := r.spec(uid)
	if err != nil {
		return Checkpoint{}, err
	}
	state, err := r.containerState(uid)
	if err != nil {
		return Checkpoint{}, err
	}
	if start, ok := startTime(state.Pid); !ok || start != state.Start {
		return Checkpoint{}, fmt.Errorf("pod %s doesn't run", s.Name)
	}
	c := Checkpoint{
		Pid: state.Pid, Root: s.Root, NetNS: s.NetNS, Freezer: r.Freezer(uid), Descriptors: state.Descriptors,
		External: map[string]string{shmMount: shmMount},
		Tmpfs:    map[string]string{shmMount: r.paths(uid).shm()},
	}
	for _, path := range maskedFiles() {
		if _, err := os.Stat(filepath.Join("/proc", fmt.Sprint(state.Pid), "root", path)); err == nil {
			c.External[path] = "/dev/null" // as runc has it: libcontainer, addMaskPaths
		}
	}
	return c, nil
}

// Restore is what a restore of a pod needs to know.
type Restore struct {
	Command    []string          // starts the pod's monitor; the options that make it restore are to be appended
	Env        []string          // its environment
	MonitorPid string            // file in which the monitor's process id is found once Command has ended
	CRIUConfig string            // file of CRIU options that the runtime passes on
	Gate       string            // file for a script that CRIU executes, in the pod's bundle
	Tmpfs      map[string]string // mount points whose content belongs to the pod -> the directory outside
	Freezer    Freezer           // the cgroup in which all of the restore happens
	RuntimeLog string            // where runc complains, a JSON object a line
}

// Restore prepares the restore of a pod that was dumped elsewhere, and says what it needs to know. What an earlier attempt has
// left is removed first. Nothing runs yet.
func (r *Runtime) Restore(ctx context.Context, s Spec) (Restore, error) {
	if status, err := r.Status(s.UID); err == nil && status.Pid != 0 {
		return Restore{}, fmt.Errorf("restoring pod %s: it runs here already", s.Name)
	}
	if err := r.Remove(ctx, s.UID); err != nil {
		return Restore{}, fmt.Errorf("restoring pod %s: %w", s.Name, err)
	}
	if err := r.Create(ctx, s); err != nil {
		return Restore{}, err
	}
	p := r.paths(s.UID)
	return Restore{
		Command: r.command(s.UID, s.Name), Env: environment(), MonitorPid: p.conmonPid(), CRIUConfig: p.criuConfig(),
		Gate:  p.gate(),
		Tmpfs: map[string]string{shmMount: p.shm()}, Freezer: r.Freezer(s.UID), RuntimeLog: p.runcLog(),
	}, nil
}
