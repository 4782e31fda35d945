//go:build root

package offender

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/preflight"
)

// offender is something that keeps a container from moving.
type offender struct {
	name    string // of its role, unless that is given
	role    string
	options options
	after   func(*testing.T, *container) // what is done to it when it runs
	reason  string                       // part of what preflight says
	nobody  bool                         // none of the processes is to blame
	more    int                          // how many other reasons there are, because of the same
	criu    string                       // part of what CRIU says
	slow    bool                         // CRIU runs into its time-out, and isn't asked
}

// lost stands for what CRIU says when it doesn't notice: it dumps the container, and something would be lost.
const lost = "lost"

// mighty is a container that may do more than most.
func mighty() options {
	return options{capabilities: []string{"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_NICE", "CAP_WAKE_ALARM", "CAP_BPF", "CAP_PERFMON"}, devices: true}
}

func offenders() []offender {
	given := func(open func() (int, error)) options { return options{before: gives(open)} }
	return []offender{
		{name: "io_uring", reason: "it uses io_uring", criu: "Can't retrieve FDs"}, // the kernel lets no one have another's
		{name: "io_uring mapped", reason: "it uses io_uring", criu: "io_uring"},
		{name: "MPTCP", reason: "it has an MPTCP socket", criu: "Unsupported proto 262"},
		{name: "vsock", reason: "a socket of the kind VSOCK", criu: "family 40"},
		{name: "XDP", reason: "a socket of the kind XDP", criu: "family 44"},
		{name: "MD5", reason: "MD5 signatures", criu: lost},
		{name: "accept queue", reason: "wait at a listener of it (port 7000)", criu: "In-flight connection"},
		{name: "netlink groups", reason: "netlink groups above 32", criu: "netlink"},
		{name: "netlink events", reason: "nobody reads them", criu: "The socket has data to read"},
		{name: "peer outside", role: "client", options: options{before: accepts}, reason: "that is connected with a process outside of the pod", criu: "External socket is used"},

		{name: "device", options: mighty(), reason: "the device /dev/fuse open (10:229)", criu: "chr 10:229"},
		{name: "block device", options: mighty(), reason: "the device /dev/loop7 open (7:7)", criu: "/dev/loop7"},
		{name: "mapped device", options: mighty(), reason: "the device /dev/loop7 open (7:7)", criu: "device"},
		{name: "GPU", options: mighty(), reason: "it uses a GPU (/dev/nvidia0)", criu: "chr 10:229"},
		{name: "tunnel", options: mighty(), reason: "it has a tunnel open (/dev/tun)", more: 1, criu: lost},

		{name: "executed", role: "idle", after: executes, reason: "it was started in the container from outside", criu: lost},
		{name: "traced", reason: "it is traced by offender (pid 1)", criu: "found while seizing"},
		{name: "traced from outside", role: "idle", after: traces, reason: "it is traced by exe (pid ", slow: true},
		{name: "vfork", reason: "it shares its memory with its parent", more: 1, criu: "Timeout", slow: true},
		{name: "shared directories", reason: "it shares its directories", criu: "Can't make FS id"},
		{name: "first thread ended", reason: "its first thread has ended", criu: "Zombies with threads"},
		{name: "deadline", options: mighty(), reason: "SCHED_DEADLINE", criu: lost},

		{name: "user namespace", options: mighty(), reason: "in a user namespace of its own", criu: "nested user namespace"},
		{name: "PID namespace", options: mighty(), reason: "in a PID namespace of its own", criu: "nested pid namespace"},
		{name: "network namespace", options: mighty(), reason: "in a network namespace of its own"},
		{name: "mount namespace", options: mighty(), reason: "in a mount namespace of its own"},
		{name: "thread's namespace", options: mighty(), reason: "a thread of it is in a network namespace of its own", criu: lost},
		{name: "namespace of another", role: "receiver", options: given(func() (int, error) { return unix.Open("/proc/self/ns/net", unix.O_RDONLY, 0) }),
			reason: "a network namespace open that is not the container's", criu: lost},

		{name: "foreign mount", role: "idle", after: mounts, reason: "somebody has mounted /mnt in it", nobody: true, criu: "proper root mount"},
		{name: "file outside", role: "receiver", options: given(func() (int, error) { return unix.Open("/etc/hostname", unix.O_RDONLY, 0) }),
			reason: "a file open that is not in its container: /etc/hostname", criu: "Can't lookup mount"},
		{name: "process outside", role: "receiver", options: given(func() (int, error) { return unix.PidfdOpen(os.Getpid(), 0) }),
			reason: "a descriptor of a process outside of its container: exe (pid ", criu: "not a part of process tree"},
		{name: "large deleted file", reason: "a deleted file of 1100 MiB open (/large)", criu: "Can't dump ghost file"},
		{name: "message queue", reason: "the POSIX message queue /queue", criu: "Can't lookup mount"},
		{name: "watch of the deleted", reason: "a file whose path can't be found", criu: "Can't dump that handle"},
		{name: "fanotify system", options: mighty(), reason: "a whole file system by fanotify", criu: lost},
		{name: "packet pipe", reason: "a pipe in packet mode", criu: "packetized mode"},
		{name: "pipes", reason: "pipes, and CRIU can dump 1024", nobody: true, criu: "OOM storing pipe"},
		{name: "closed but polled", reason: "it polls a file (descriptor ", criu: "Dump eventpoll"},
		{name: "alarm clock", options: mighty(), reason: "a timer of an alarm clock", criu: "Unknown clock type 9"},

		{name: "userfaultfd", reason: "page faults by userfaultfd", criu: "userfaultfd"},
		{name: "BPF", options: mighty(), reason: "BPF programs or maps", criu: "bpf-map"},
		{name: "perf", options: mighty(), reason: "performance events", criu: "perf_event"},
		{name: "secret memory", reason: "secret memory", criu: "secretmem"},
		{name: "Landlock", reason: "a Landlock ruleset", criu: "landlock-ruleset"},
		{name: "seccomp supervisor", reason: "seccomp user notification", criu: "seccomp notify"},

		{name: "network device", role: "idle", after: addsDevice, reason: "the device extra0 (veth)", nobody: true, more: 1, criu: lost},
		{name: "packet filter", role: "idle", after: addsRules, reason: "rules of nftables", nobody: true, criu: lost},
	}
}

func TestOffenders(t *testing.T) {
	for _, o := range offenders() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			if o.role == "" {
				o.role = o.name
			}
			c := p.run(t, "app", o.role, o.options)
			if o.after != nil {
				o.after(t, c)
			}
			refused := p.look(t).Refusals
			require.Len(t, refused, 1+o.more, "%+v", refused)
			r := find(refused, o.reason)
			require.NotNil(t, r, "%+v", refused)
			t.Logf("%s: %s [%s]", r.Who(), r.Reason, r.Cure)
			assert.Equal(t, "app", r.Container)
			assert.NotEmpty(t, r.Cure)
			if o.nobody {
				assert.Empty(t, r.Process)
			} else {
				assert.Equal(t, "offender", r.Process)
				assert.Equal(t, r.PID, inside(t, r.HostPID), "what the container counts and what the host counts is one process")
			}
			if o.criu == "" || o.slow {
				return
			}
			err := c.dump(t)
			if o.criu == lost {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, o.criu)
			}
		})
	}
}

func find(refused []preflight.Refusal, reason string) *preflight.Refusal {
	for i := range refused {
		if strings.Contains(refused[i].Reason, reason) {
			return &refused[i]
		}
	}
	return nil
}

// inside is a process's id in its own PID namespace.
func inside(t *testing.T, pid int) int {
	t.Helper()
	for line := range strings.Lines(read(fmt.Sprintf("/proc/%d/status", pid))) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(ids)
			n, err := strconv.Atoi(fields[min(1, len(fields)-1)])
			require.NoError(t, err)
			return n
		}
	}
	t.Fatal("no process ", pid)
	return 0
}

// What CRIU dumps is not refused.
func TestClean(t *testing.T) {
	for _, role := range []string{"idle", "clean", "packet socket", "raw socket", "watch", "deleted names", "fanotify", "tmpfs", "bind mount of its own", "workers"} {
		t.Run(role, func(t *testing.T) {
			p := newPod(t)
			c := p.run(t, "app", role, mighty())
			report := p.look(t)
			t.Logf("%d processes, %d descriptors, %d MiB in %v", report.Processes, report.Descriptors, report.Memory>>20, report.Took)
			require.Empty(t, report.Refusals)
			require.NoError(t, c.dump(t))
		})
	}
}

// Containers are dumped apart from each other.
func TestBetweenContainers(t *testing.T) {
	for _, x := range []struct{ first, second, reason, from string }{
		{"abstract listener", "abstract client", "a unix socket (@offender) that is connected with offender (pid 1) of container", "both"},
		{"memory giver", "memory taker", "it shares memory with offender (pid 1) of container a", "b"},
		{"segment", "segment", "it is attached to System V shared memory, as is offender (pid 1) of container a", "b"},
	} {
		t.Run(x.first, func(t *testing.T) {
			p := newPod(t)
			p.run(t, "a", x.first, options{})
			require.Empty(t, p.look(t).Refusals)
			p.run(t, "b", x.second, options{})
			refused := p.look(t).Refusals
			if x.from == "both" {
				require.Len(t, refused, 2, "%+v", refused)
			} else {
				require.Len(t, refused, 1, "%+v", refused)
				require.Equal(t, x.from, refused[0].Container)
			}
			for _, r := range refused {
				t.Logf("%s: %s: %s", r.Container, r.Who(), r.Reason)
				require.Contains(t, r.Reason, x.reason)
			}
		})
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
