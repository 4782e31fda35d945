package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
)

// capabilities are Docker's and containerd's default set.
func capabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

// bundle is the OCI configuration of a container.
//
// It is lean on purpose: what CRIU has to dump and restore is downtime. /dev is no mount, its nodes lie in the root file
// system and move with it. /dev/shm is a tmpfs made outside and bound in, so that its content is not packed by a tar and
// a gzip of CRIU's. Masked directories would each be one more tmpfs. There is no cgroup mount.
func (r *Runtime) bundle(s Spec, c Container) (*specs.Spec, error) {
	wanted := s.Manifest.container(c.Name)
	if wanted == nil {
		return nil, errors.New("the manifest has no such container")
	}
	args, env := s.Manifest.arguments(wanted)
	cwd := wanted.WorkingDir
	if cwd == "" {
		cwd = "/"
	}
	caps := capabilities()
	p := r.pod(s.UID)
	namespaces := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.NetworkNamespace, Path: s.NetNS},
	}
	for kind, name := range shared() {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: kind, Path: p.namespace(name)})
	}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
	}
	return &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: c.Root},
		Process: &specs.Process{
			Args: args, Env: env, Cwd: cwd,
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			// The agent's own, which is low, would be inherited: when memory is short a pod has to go before it.
			OOMScoreAdj: ptr(0),
		},
		Mounts:      append(mounts, r.binds(s, c)...),
		Annotations: map[string]string{"org.criu.config": r.container(s.UID, c.Name).criuConfig()},
		Linux: &specs.Linux{
			CgroupsPath:       r.cgroups.forRuntime(s.UID, c.Name),
			Resources:         resources(wanted),
			RootfsPropagation: "private",
			Namespaces:        namespaces,
			MaskedPaths:       maskedFiles(),
			ReadonlyPaths:     []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}, nil
}

// binds are the mounts of a container whose content lies outside of it. A dump leaves them out, a restore binds them again: what
// isn't listed here is CRIU's to dump.
func (r *Runtime) binds(s Spec, _ Container) []specs.Mount {
	return []specs.Mount{
		{Destination: shmMount, Type: "bind", Source: r.pod(s.UID).shm(), Options: []string{"bind", "nosuid", "noexec", "nodev", "rprivate"}},
	}
}

// maskedFiles are those of Docker's masked paths that are files.
func maskedFiles() []string {
	return []string{"/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug"}
}

// resources translates as the kubelet does: pkg/kubelet/cm/helpers_linux.go in kubernetes/kubernetes.
func resources(c *corev1.Container) *specs.LinuxResources {
	const (
		period    = 100_000 // microseconds
		minQuota  = 1000    // the kernel's
		minShares = 2
	)
	limits, requests := c.Resources.Limits, c.Resources.Requests
	res := &specs.LinuxResources{
		// The default set of devices (runc adds it) and nothing else.
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
		CPU:     &specs.LinuxCPU{},
	}
	cpu, limited := limits["cpu"]
	if limited {
		res.CPU.Quota = ptr(max(cpu.MilliValue()*period/1000, minQuota))
		res.CPU.Period = ptr(uint64(period))
	}
	if request, ok := requests["cpu"]; ok {
		cpu, limited = request, true
	}
	if limited {
		res.CPU.Shares = ptr(uint64(max(cpu.MilliValue()*1024/1000, minShares)))
	}
	if memory, ok := limits["memory"]; ok {
		res.Memory = &specs.LinuxMemory{Limit: ptr(memory.Value())}
	}
	return res
}

func ptr[T any](v T) *T { return &v }

// writeJSON replaces a file in one step, so that a killed agent leaves the old one or the new one.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(next, path)
}
