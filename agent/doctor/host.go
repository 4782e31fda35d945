package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// capabilities that the agent uses, by their bits in linux/capability.h.
var capabilities = []struct {
	bit  uint
	name string
	need Level
}{
	{21, "CAP_SYS_ADMIN", Fail},
	{12, "CAP_NET_ADMIN", Fail},
	{19, "CAP_SYS_PTRACE", Fail},
	{24, "CAP_SYS_RESOURCE", Warn},
}

func checkPrivileges(_ context.Context, host Host, _ Config) []Finding {
	const why = "mounts, namespaces, routes and dumps are the superuser's"
	f := Finding{Check: "privileges", Level: OK, Found: "root", Why: why}
	status, err := host.Read("/proc/self/status")
	if err != nil {
		return []Finding{judge("privileges", why, "", err, Fail, "")}
	}
	var effective uint64
	for line := range strings.SplitSeq(status, "\n") {
		key, value, _ := strings.Cut(line, ":")
		switch fields := strings.Fields(value); {
		case key == "Uid" && len(fields) > 1 && fields[1] != "0":
			return []Finding{{Check: "privileges", Level: Fail, Found: "user " + fields[1], Why: why, Cure: "sudo drover doctor"}}
		case key == "CapEff" && len(fields) == 1:
			effective, err = strconv.ParseUint(fields[0], 16, 64)
			if err != nil {
				return []Finding{judge("privileges", why, "", fmt.Errorf("reading the capabilities: %w", err), Fail, "")}
			}
		}
	}
	var missing []string
	for _, c := range capabilities {
		if effective&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
			if f.Level != Fail {
				f.Level = c.need
			}
		}
	}
	if missing != nil {
		f.Found = "root without " + strings.Join(missing, ", ")
		f.Cure = "run drover outside of the container, or give it these capabilities"
	}
	return []Finding{f}
}

func checkConfiguration(_ context.Context, _ Host, cfg Config) []Finding {
	f := Finding{Check: "configuration", Level: OK, Found: cfg.File, Why: "the agent doesn't start with a wrong one"}
	switch {
	case cfg.Wrong != nil:
		first, _, _ := strings.Cut(cfg.Wrong.Error(), "\n")
		f.Level, f.Found = Fail, first
		f.Cure = "drover agent --config " + cfg.File + " # says all that is wrong with it"
	case cfg.File == "":
		f.Found = "none yet"
	}
	return []Finding{f}
}

func checkCgroups(_ context.Context, host Host, _ Config) []Finding {
	const why = "a pod is held by the freezer while it moves, and kept to its resources"
	groups, err := host.Cgroups()
	if err != nil {
		return []Finding{judge("cgroups", why, "", err, Fail, "mount -t cgroup2 cgroup2 /sys/fs/cgroup")}
	}
	found := fmt.Sprintf("version %d, %s", groups.Version, strings.Join(groups.Controllers, " "))
	f := Finding{Check: "cgroups", Level: OK, Found: found, Why: why}
	switch {
	case groups.Refusal != nil:
		f.Level, f.Found = Fail, groups.Refusal.Error()
		f.Cure = "mount -o remount,rw /sys/fs/cgroup"
	case !slices.Contains(groups.Controllers, "freezer"):
		f.Level, f.Found = Fail, found+"; no freezer"
		f.Cure = "boot with systemd.unified_cgroup_hierarchy=1, or mount -t cgroup -o freezer freezer /sys/fs/cgroup/freezer"
	case !slices.Contains(groups.Controllers, "memory") || !slices.Contains(groups.Controllers, "cpu"):
		f.Level, f.Found = Warn, found+"; without memory and cpu limits of pods have no effect"
		f.Cure = "boot with cgroup_enable=memory"
	case len(groups.Withheld) > 0:
		f.Level, f.Found = Warn, fmt.Sprintf("%s; but groups get no %s while processes are in the root", found, strings.Join(groups.Withheld, " "))
		f.Cure = "cd /sys/fs/cgroup && mkdir init && for p in $(cat cgroup.procs); do echo $p > init/cgroup.procs; done && echo '+" +
			strings.Join(groups.Withheld, " +") + "' > cgroup.subtree_control"
	}
	return []Finding{f}
}

func checkClock(_ context.Context, host Host, _ Config) []Finding {
	const why = "a clock that jumps ends leases; certificates have dates"
	const cure = "apt-get install chrony"
	bound, synced, err := host.ClockError()
	if err == nil && !synced {
		err = errors.New("nothing synchronises it")
	}
	return []Finding{judge("clock", why, fmt.Sprintf("synchronised, off by at most %s", bound.Round(time.Millisecond)), err, Warn, cure)}
}
