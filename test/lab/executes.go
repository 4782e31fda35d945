package lab

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Executes says whether a process may execute its own instructions: it is not stopped, traced, killed or dead
// (proc_pid_stat(5), proc_pid_status(5)). What is killed while it is frozen is thawed to die.
func Executes(pid string) bool {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name {
		case "State":
			if !strings.ContainsAny(value[:1], "RSD") {
				return false
			}
		case "SigPnd", "ShdPnd":
			const kill = 1 << (unix.SIGKILL - 1)
			if set, err := strconv.ParseUint(value, 16, 64); err != nil || set&kill != 0 {
				return false
			}
		}
	}
	const exiting = 0x4 // PF_EXITING of include/linux/sched.h
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	_, after, ok := bytes.Cut(stat, []byte(") "))
	fields := bytes.Fields(after)
	if err != nil || !ok || len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64) // the ninth of all
	return err == nil && flags&exiting == 0
}
