package pod

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Checkpoint is what a dump of a pod needs to know.
type Checkpoint struct {
	NetNS      string                // its network namespace, which is not dumped
	Containers []ContainerCheckpoint // those that have a process, in the order of its Spec
	Memory     map[string]string     // what it has in memory beside its processes: a name that is the same at every site -> the directory
	Record     Record                // what else the next site has to know
	Apart      []string              // a command that starts the one behind it where it outlives the agent
}

// ContainerCheckpoint is what a dump of one container needs to know.
type ContainerCheckpoint struct {
	Name        string
	Pid         int               // its first process
	Root        string            // its root file system
	Freezer     Freezer           // its cgroup
	External    map[string]string // mount points that are not dumped -> the names by which a restore finds their sources
	Descriptors []string          // what its first three file descriptors were opened on, in runc's notation
}

// Record is the history of a pod's containers. It moves with the pod.
type Record struct {
	Containers []ContainerRecord `json:"containers"`
	// IPC is the container whose images bring the System V objects that all share.
	IPC string `json:"ipc"`
}

// ContainerRecord is the history of one container.
type ContainerRecord struct {
	Name     string    `json:"name"`
	Live     bool      `json:"live,omitempty"` // it has a process
	Starts   int       `json:"starts"`
	Ended    bool      `json:"ended,omitempty"`
	ExitCode int       `json:"exit_code,omitempty"` // when Ended
	Exited   time.Time `json:"exited,omitzero"`     // when Ended
}

// Checkpoint says what a dump of the pod needs to know.
func (r *Runtime) Checkpoint(uid string) (Checkpoint, error) {
	s, err := r.spec(uid)
	if err != nil {
		return Checkpoint{}, err
	}
	status, err := r.Status(uid)
	if err != nil {
		return Checkpoint{}, err
	}
	if len(status.Live()) == 0 {
		return Checkpoint{}, fmt.Errorf("pod %s doesn't run", s.Name)
	}
	c := Checkpoint{NetNS: s.NetNS, Memory: r.memory(s), Apart: r.cgroups.apart()}
	for _, one := range status.Containers {
		c.Record.Containers = append(c.Record.Containers, ContainerRecord{
			Name: one.Name, Live: one.Pid != 0, Starts: one.Starts, Ended: one.Phase == Exited, ExitCode: one.ExitCode, Exited: one.Exited,
		})
		if one.Phase == Running && one.Pid == 0 {
			return Checkpoint{}, fmt.Errorf("container %s of pod %s is just ending", one.Name, s.Name)
		}
		if one.Pid == 0 {
			continue
		}
		state, err := r.container(uid, one.Name).state()
		if err != nil {
			return Checkpoint{}, err
		}
		if c.Record.IPC == "" {
			c.Record.IPC = one.Name
		}
		container := s.container(one.Name)
		external, err := r.external(s, container, one.Pid)
		if err != nil {
			return Checkpoint{}, err
		}
		c.Containers = append(c.Containers, ContainerCheckpoint{
			Name: one.Name, Pid: one.Pid, Root: container.Root, Freezer: r.Freezer(uid, one.Name),
			External: external, Descriptors: state.Descriptors,
		})
	}
	return c, nil
}

// external are the mount points of a container whose content is not its own.
func (r *Runtime) external(s Spec, c Container, pid int) (map[string]string, error) {
	binds, err := r.binds(s, c)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, b := range binds {
		all[b.Destination] = b.Destination // as runc has it: libcontainer, addCriuDumpMount
	}
	for _, path := range maskedFiles() {
		if _, err := os.Stat(filepath.Join("/proc", fmt.Sprint(pid), "root", path)); err == nil {
			all[path] = "/dev/null" // as runc has it: libcontainer, addMaskPaths
		}
	}
	return all, nil
}

// memory are the directories of what the pod has in memory, by names that are the same at every site.
func (r *Runtime) memory(s Spec) map[string]string {
	p := r.pod(s.UID)
	all := map[string]string{shmMount: p.shm()}
	for _, v := range s.Manifest.Volumes() {
		if v.Kind == MemoryVolume {
			all["/volume/"+v.Name] = p.memory(v.Name)
		}
	}
	return all
}

// Restore is what a restore of a pod needs to know.
type Restore struct {
	UID        string
	Containers []ContainerRestore // those that had a process, in the order of its Spec
	Memory     map[string]string  // as in Checkpoint
}

// ContainerRestore is what a restore of one container needs to know.
type ContainerRestore struct {
	Name       string
	Command    []string // starts the container's monitor; the options that make it restore are to be appended
	Env        []string // its environment
	MonitorPid string   // file in which the monitor's process id is found once Command has ended
	CRIUConfig string   // file of CRIU options that the runtime passes on
	Gate       string   // file for a script that CRIU executes, in the container's bundle
	Freezer    Freezer  // the cgroup in which all of the restore happens
	RuntimeLog string   // where runc complains, a JSON object a line
}

// Restore prepares the restore of a pod that was dumped elsewhere, and says what it needs to know. What an earlier attempt has
// left is removed first, but the logs. Nothing runs yet. The containers have no limits until Settle.
func (r *Runtime) Restore(ctx context.Context, s Spec, record Record) (Restore, error) {
	if status, err := r.Status(s.UID); err == nil && len(status.Live()) > 0 {
		return Restore{}, fmt.Errorf("restoring pod %s: it runs here already", s.Name)
	}
	if err := r.Kill(ctx, s.UID); err != nil {
		return Restore{}, fmt.Errorf("restoring pod %s: %w", s.Name, err)
	}
	if s.Hostname == "" {
		s.Hostname = s.Manifest.Hostname()
	}
	err := os.MkdirAll(r.pod(s.UID).bundles, 0o700)
	if err == nil {
		err = os.WriteFile(r.pod(s.UID).unsettled(), nil, 0o600)
	}
	if err == nil {
		err = r.create(s, false)
	}
	if err != nil {
		return Restore{}, fmt.Errorf("restoring pod %s: %w", s.Name, err)
	}
	out := Restore{UID: s.UID, Memory: r.memory(s)}
	for _, past := range record.Containers {
		if s.container(past.Name).Name == "" {
			return Restore{}, fmt.Errorf("restoring pod %s: it has no container %q", s.Name, past.Name)
		}
		p := r.container(s.UID, past.Name)
		if err := p.remember(past); err != nil {
			return Restore{}, fmt.Errorf("restoring pod %s: container %s: %w", s.Name, past.Name, err)
		}
		if !past.Live {
			continue
		}
		if err := r.bindSubPaths(s, s.container(past.Name)); err != nil {
			return Restore{}, fmt.Errorf("restoring pod %s: container %s: %w", s.Name, past.Name, err)
		}
		out.Containers = append(out.Containers, ContainerRestore{
			Name: past.Name, Command: r.command(s, past.Name), Env: environment(), MonitorPid: p.conmonPid(),
			CRIUConfig: p.criuConfig(), Gate: p.gate(), Freezer: r.Freezer(s.UID, past.Name), RuntimeLog: p.runcLog(),
		})
	}
	if len(out.Containers) == 0 {
		return Restore{}, fmt.Errorf("restoring pod %s: no container of it ran", s.Name)
	}
	return out, nil
}

// remember writes a container's history where its own would be.
func (p containerPaths) remember(past ContainerRecord) error {
	if err := writeJSON(p.starts(), past.Starts); err != nil {
		return err
	}
	if !past.Ended {
		return os.RemoveAll(p.exit)
	}
	if err := os.WriteFile(p.exit, []byte(fmt.Sprint(past.ExitCode)), 0o600); err != nil {
		return err
	}
	return os.Chtimes(p.exit, past.Exited, past.Exited)
}
