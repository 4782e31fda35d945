package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/criu"
	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/agent/pod"
)

// unpacked is how much room a layer takes, packed and unpacked, over what it takes packed: root file systems shrink to a
// quarter or so.
const unpacked = 5

// check collects what is against a pod at this host.
type check struct {
	node  string
	offer migrate.Offer
}

func (c *check) refuse(cure, reason string, args ...any) {
	c.offer.Refusals = append(c.offer.Refusals, migrate.Refusal{Node: c.node, Reason: fmt.Sprintf(reason, args...), Cure: cure})
}

func (c *check) warn(format string, args ...any) {
	c.offer.Warnings = append(c.offer.Warnings, fmt.Sprintf(format, args...))
}

// Check implements [migrate.Destination]. It looks at everything, whatever it has found already.
func (d destination) Check(ctx context.Context, p migrate.Plan, f migrate.Facts) (migrate.Offer, error) {
	here, err := d.hostFacts(ctx)
	if err != nil {
		return migrate.Offer{}, err
	}
	features, err := d.features(ctx)
	if err != nil {
		return migrate.Offer{}, err
	}
	c := &check{node: d.node}
	if err := features.Usable(); err != nil {
		c.refuse("run drover doctor there", "%v", err)
	}
	c.programs(f.Host, here)
	c.kernel(f.Host, here)
	c.cpu(ctx, f.Host, here)
	if _, err := d.runtime.Status(p.Pod.UID); err == nil {
		c.refuse("wait, or look at the agent's log", "it still has an earlier copy of the pod")
	}
	if p.Pod.NeedsLease() {
		if err := d.fenced.able(); err != nil {
			c.refuse("run drover doctor there", "it can't fence pods with a failover policy: %v", err)
		}
	}
	if err := c.address(p.Pod.Addr); err != nil {
		return c.offer, err
	}
	c.limits(f)
	manifest, err := pod.ParseManifest(p.Pod.Manifest)
	if err != nil {
		return c.offer, err
	}
	if missing := d.runtime.MissingControllers(manifest); len(missing) > 0 {
		c.refuse("boot it with the controllers (on the kernel's command line: cgroup_enable="+strings.Join(missing, ",")+")",
			"its cgroups have no controller for %s, which the pod's resources need", strings.Join(missing, " and "))
	}
	if err := d.space(c, p, f); err != nil {
		return c.offer, err
	}
	c.offer.Note = fmt.Sprintf("%s can take it: CRIU %s, %s free", d.node, features.Version, p.Pod.Addr)
	return c.offer, nil
}

// programs compares what dumps with what restores.
func (c *check) programs(from, here migrate.HostFacts) {
	if wrote, reads := criu.Version(from.CRIU), criu.Version(here.CRIU); reads.Less(wrote) {
		c.refuse("install the same CRIU there, or a newer one", "its CRIU is %s, older than the %s that would write the images", reads, wrote)
	}
	if older(here.Runtime, from.Runtime) {
		c.warn("%s has runc %s, older than %s's", c.node, here.Runtime, from.Runtime)
	}
}

// kernel compares what programs have been started on with what they would go on on.
func (c *check) kernel(from, here migrate.HostFacts) {
	if from.Arch != here.Arch {
		c.refuse("choose a node of that architecture", "it is %s, and the pod runs on %s", here.Arch, from.Arch)
		return
	}
	if from.PageSize != here.PageSize {
		c.refuse("boot it with a kernel of that page size", "its kernel has pages of %d bytes, and the pod's memory is in pages of %d", here.PageSize, from.PageSize)
	}
	if from.TimeNS && !here.TimeNS {
		c.refuse("boot it with a kernel that has CONFIG_TIME_NS", "its kernel has no time namespaces: the pod's monotonic clock would jump")
	}
	if older(here.Kernel, from.Kernel) {
		c.warn("%s has Linux %s, older than the %s that the pod was started on: a program that has found a newer system call there may miss it",
			c.node, here.Kernel, from.Kernel)
	}
}

// cpu compares CPUs. A program asks at its start what the CPU can do, and never again.
func (c *check) cpu(ctx context.Context, from, here migrate.HostFacts) {
	const cure = "choose a node whose CPU has it all; give virtual machines the same CPU model"
	if from.Arch != here.Arch {
		return // has been said
	}
	if missing := criu.MissingFlags(from.CPUFlags, here.CPUFlags); len(missing) > 0 {
		c.refuse(cure, "its CPU lacks what the pod's programs may have found at their start: %s", strings.Join(missing, " "))
		return
	}
	if err := criu.CheckCPU(ctx, "", from.CPU); err != nil {
		c.refuse(cure, "its CPU differs in what the pod's programs may have found at their start: %v", err)
	}
}

// address looks for somebody else with the pod's address.
func (c *check) address(addr netip.Addr) error {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("listing this host's addresses: %w", err)
	}
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Unmap() == addr {
			c.refuse("take the address from the host, or give the mesh another pod network", "the host itself has the pod's address %s", addr)
		}
	}
	return nil
}

// older compares the first two numbers of versions. What has none isn't older.
func older(version, than string) bool {
	var a, b [2]int
	if n, _ := fmt.Sscanf(version, "%d.%d", &a[0], &a[1]); n != 2 {
		return false
	}
	if n, _ := fmt.Sscanf(than, "%d.%d", &b[0], &b[1]); n != 2 {
		return false
	}
	return a[0] < b[0] || a[0] == b[0] && a[1] < b[1]
}

// space looks for room: for images, for the memory that is restored from them, and for files.
func (d destination) space(c *check, p migrate.Plan, f migrate.Facts) error {
	if err := c.room(d.runDir, f.MemoryBytes, 0, "the pod's memory"); err != nil {
		return err
	}
	c.memory(f)
	need := f.UpperBytes
	for _, layer := range p.Pod.Layers() {
		here, err := d.layers.Use(layer)
		if err != nil {
			return err
		}
		if !here {
			c.offer.Missing = append(c.offer.Missing, layer)
			need += unpacked * f.Layers[layer]
		}
	}
	return c.room(filepath.Join(d.stateDir, volumesDir), need, f.UpperFiles, "the pod's files")
}

// spareFiles is how many more files must fit than a pod brings.
const spareFiles = 1000

func (c *check) room(dir string, bytes, files int64, what string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("asking for free space in %s: %w", dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < bytes+spare {
		c.refuse("free some space there", "it has %d MiB free in %s, and %s needs %d MiB and a spare %d", free>>20, dir, what, bytes>>20, spare>>20)
	}
	// Some file systems make inodes as they need them, and count none.
	if files > 0 && st.Files > 0 && int64(st.Ffree) < files+spareFiles {
		c.refuse("remove some files there", "it has room for %d files in %s, and %s has %d", st.Ffree, dir, what, files)
	}
	return nil
}
