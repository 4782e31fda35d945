package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// OwnStreams gives the standard streams of the pod's restored containers to their users, as runc does when it starts one: a
// program that isn't root opens /dev/stderr again and again, and the pipes of a new monitor are root's. The containers need
// not run yet. Done again it does nothing.
func (r *Runtime) OwnStreams(uid string) error {
	s, err := r.spec(uid)
	if err != nil {
		return err
	}
	for _, c := range s.Containers {
		if err := r.ownStreams(uid, c.Name); err != nil {
			return fmt.Errorf("giving container %s of pod %s its streams: %w", c.Name, s.Name, err)
		}
	}
	return nil
}

func (r *Runtime) ownStreams(uid, container string) error {
	config, err := os.ReadFile(r.container(uid, container).config())
	if err != nil {
		return err
	}
	var bundle specs.Spec
	if err := json.Unmarshal(config, &bundle); err != nil {
		return err
	}
	pids, err := r.Freezer(uid, container).pids()
	if err != nil || bundle.Process.User.UID == 0 {
		return err
	}
	for _, pid := range pids {
		if !isFirst(pid) {
			continue
		}
		for stream := range 3 {
			path := fmt.Sprintf("/proc/%d/fd/%d", pid, stream)
			info, err := os.Stat(path)
			if errors.Is(err, os.ErrNotExist) || err == nil && info.Mode()&fs.ModeNamedPipe == 0 {
				continue
			}
			if err == nil {
				err = os.Chown(path, int(bundle.Process.User.UID), -1)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// isFirst tells whether a process is number 1 of a PID namespace below ours: proc_pid_status(5), NSpid.
func isFirst(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	_, ids, _ := strings.Cut(string(status), "\nNSpid:")
	ids, _, _ = strings.Cut(ids, "\n")
	fields := strings.Fields(ids)
	return len(fields) > 1 && fields[len(fields)-1] == "1"
}
