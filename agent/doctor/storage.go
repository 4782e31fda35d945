package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

func checkStorage(_ context.Context, host Host, cfg Config) []Finding {
	return []Finding{
		layersFit(space(host, "state directory", cfg.StateDir, "images and root file systems of pods are kept there", 256*mebibyte, 2*gibibyte), host, cfg.StateDir),
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

// layersFit looks at what the state directory lies on besides: layers of pods must be writable there, and outlive a reboot.
func layersFit(f Finding, host Host, path string) Finding {
	cure := "mount a disk with ext4, xfs or btrfs on " + path
	switch s, err := host.Storage(path); {
	case err != nil:
	case s.Type == "overlay" || s.Type == "nfs":
		f.Level, f.Cure = Fail, cure
		f.Found += ", which can't hold the writable layers of pods"
	case s.Type == "tmpfs" && f.Level == OK:
		f.Level, f.Cure = Warn, cure
		f.Found += ", which a reboot empties"
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

// checkSwap finds memory that is on a disk: what of a pod is there has to be read back while the pod stands still.
func checkSwap(_ context.Context, host Host, _ Config) []Finding {
	const why = "what of a pod is swapped out is read back while it stands still"
	f := Finding{Check: "swap", Level: OK, Found: "none in use", Why: why}
	text, err := host.Read("/proc/meminfo")
	if err != nil {
		return []Finding{judge("swap", why, "", err, Warn, "")}
	}
	kib := map[string]uint64{}
	for line := range strings.SplitSeq(text, "\n") {
		name, value, _ := strings.Cut(line, ":")
		if fields := strings.Fields(value); len(fields) > 0 {
			kib[name], _ = strconv.ParseUint(fields[0], 10, 64) // those that matter are numbers
		}
	}
	const little = 64 << 10
	if used := kib["SwapTotal"] - min(kib["SwapTotal"], kib["SwapFree"]); used > little {
		f.Level, f.Found = Warn, fmt.Sprintf("%s in use", size(used<<10))
		f.Cure = "sysctl -w vm.swappiness=1 # or more memory, or fewer pods"
	}
	return []Finding{f}
}
