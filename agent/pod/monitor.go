package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxLog is the size in bytes from which conmon begins a container's log anew.
const maxLog = 32 << 20

// command is how conmon is called for a container. It goes into the background by itself, starts the container (or restores it,
// with --restore) and stays until that ends; then it writes the exit code.
//
// It gets no pipe to the agent (_OCI_SYNCPIPE): conmon exits when it can't write to it, and the pod would lose whoever
// reads its output if the agent died at that moment. The pid file tells the same.
func (r *Runtime) command(s Spec, container string) []string {
	p, id := r.container(s.UID, container), containerID(s.UID, container)
	args := append(r.cgroups.apart(),
		r.conmon, "--cid", id, "--cuuid", id, "--name", s.Name+"."+container,
		"--runtime", r.runc, "--runtime-arg=--root", "--runtime-arg="+r.runcRoot(), "--runtime-arg=--log", "--runtime-arg="+p.runcLog(),
		"--runtime-arg=--log-format", "--runtime-arg=json",
		"--bundle", p.bundle, "--container-pidfile", p.pid(), "--conmon-pidfile", p.conmonPid(),
		"--log-path", "k8s-file:"+p.log(), "--log-size-max", fmt.Sprint(maxLog), "--exit-dir", r.exits(), "--full-attach",
	)
	for _, option := range r.cgroups.runtimeOptions() {
		args = append(args, "--runtime-arg="+option)
	}
	return args
}

// monitor starts conmon and waits until it has created the container.
func (r *Runtime) monitor(ctx context.Context, s Spec, container string) error {
	p := r.container(s.UID, container)
	args := r.command(s, container)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = environment()
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("conmon: %w: %s", err, lastLine(string(out)))
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if pid, _ := readPid(p.pid()); pid > 0 {
			return nil
		}
		if conmon, _ := readPid(p.conmonPid()); !alive(conmon) {
			if pid, _ := readPid(p.pid()); pid > 0 { // the container has ended already
				return nil
			}
			return errors.New(complaint(p.runcLog()))
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), r.discard(context.WithoutCancel(ctx), s.UID, container))
		case <-tick.C:
		}
	}
}

// complaint is the last thing that runc complained of in that log.
func complaint(log string) string {
	data, err := os.ReadFile(log)
	if err != nil {
		return "runc failed and left no log"
	}
	reason := ""
	for _, line := range strings.Split(string(data), "\n") {
		var entry struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "error" {
			reason = entry.Msg
		}
	}
	if reason == "" {
		return "runc failed without a reason; its log is " + log
	}
	return reason
}

func readPid(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var pid int
	_, err = fmt.Sscan(string(data), &pid)
	return pid, err
}

// alive tells whether a process runs; one that has ended and was not reaped yet doesn't.
func alive(pid int) bool {
	_, ok := startTime(pid)
	return ok
}

// startTime is when a live process began, in clock ticks since boot: proc_pid_stat(5), field 22. With it a process id that
// was given to another process in between is told apart.
func startTime(pid int) (ticks uint64, ok bool) {
	if pid <= 0 {
		return 0, false
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	return parseStart(string(data))
}

// parseStart reads it from /proc/PID/stat.
func parseStart(stat string) (ticks uint64, ok bool) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // from the third on
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	_, err := fmt.Sscan(fields[19], &ticks)
	return ticks, err == nil
}
