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
		if groups.Version == 2 {
			f.Cure = "echo '+memory +cpu' > /sys/fs/cgroup/cgroup.subtree_control"
		}
	}
	return []Finding{f}
}

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

func checkStorage(_ context.Context, host Host, cfg Config) []Finding {
	return []Finding{
		space(host, "state directory", cfg.StateDir, "images and root file systems of pods are kept there", 256*mebibyte, 2*gibibyte),
		space(host, "run directory", cfg.RunDir, "the memory image of a moving pod passes through it", 16*mebibyte, 256*mebibyte),
		runIsMemory(host),
	}
}

// space judges the free bytes below which a file system is hopeless, and below which it is tight.
func space(host Host, check, path, why string, hopeless, tight uint64) Finding {
	s, err := host.Storage(path)
	if err != nil {
		return judge(check, why, "", err, Fail, "mkdir -p "+path)
	}
	f := Finding{Check: check, Level: OK, Found: fmt.Sprintf("%s: %s free on %s", path, size(s.Free), s.Type), Why: why}
	if s.Free < tight {
		f.Level, f.Cure = Warn, "df -h "+path+" # then make room"
	}
	if s.Free < hopeless {
		f.Level = Fail
	}
	return f
}

func size(bytes uint64) string {
	if bytes >= 10*gibibyte {
		return fmt.Sprintf("%d GiB", bytes/gibibyte)
	}
	return fmt.Sprintf("%d MiB", bytes/mebibyte)
}

func runIsMemory(host Host) Finding {
	const why = "CRIU remembers there what the kernel can do; if it outlives a boot, CRIU asks the kernel anew at each start"
	const cure = "echo 'tmpfs /run tmpfs mode=755,nosuid,nodev 0 0' >> /etc/fstab # then reboot"
	s, err := host.Storage("/run")
	if err == nil && s.Type != "tmpfs" {
		err = fmt.Errorf("on %s, not tmpfs", s.Type)
	}
	return judge("/run", why, "tmpfs", err, Warn, cure)
}

func checkClock(_ context.Context, host Host, _ Config) []Finding {
	const why = "leases compare wall clocks of nodes; certificates have dates"
	const cure = "apt-get install chrony"
	bound, synced, err := host.ClockError()
	if err == nil && !synced {
		err = errors.New("nothing synchronises it")
	}
	return []Finding{judge("clock", why, fmt.Sprintf("synchronised, off by at most %s", bound.Round(time.Millisecond)), err, Warn, cure)}
}
