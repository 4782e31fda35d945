package pod

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// bundle is the OCI configuration of a container.
//
// It is lean on purpose: what CRIU has to dump and restore is downtime. /dev is no mount, its nodes lie in the root file
// system and move with it; so do /etc/hosts and the like. /dev/shm and volumes are made outside and bound in, so that CRIU
// doesn't pack them with a tar and a gzip each. Masked directories would each be one more tmpfs. There is no cgroup mount.
func (r *Runtime) bundle(s Spec, c Container) (*specs.Spec, error) {
	wanted, err := s.wanted(c)
	if err != nil {
		return nil, err
	}
	security := s.Manifest.security(wanted)
	env, values := s.environment(wanted, c.Image)
	args, err := arguments(wanted, c.Image, values)
	if err != nil {
		return nil, err
	}
	user, err := security.identity(c.Root, c.Image.User)
	if err != nil {
		return nil, err
	}
	binds, err := r.binds(s, c)
	if err != nil {
		return nil, err
	}
	caps := security.capabilities
	bundle := &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: c.Root, Readonly: security.readOnlyRoot},
		Process: &specs.Process{
			Args: args, Env: env, Cwd: workingDir(wanted.WorkingDir, c.Image.WorkingDir), User: user,
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			NoNewPrivileges: security.noNewPrivs,
			// The agent's own, which is low, would be inherited: when memory is short a pod has to go before it.
			OOMScoreAdj: ptr(0),
		},
		Mounts:      append(ownMounts(), binds...),
		Annotations: map[string]string{"org.criu.config": r.container(s.UID, c.Name).criuConfig()},
		Linux: &specs.Linux{
			CgroupsPath:       r.cgroups.forRuntime(s.UID, c.Name),
			Resources:         resources(wanted, limitsSwap(hierarchies)),
			RootfsPropagation: "private",
			Namespaces:        r.namespaces(s),
			MaskedPaths:       maskedFiles(),
			ReadonlyPaths:     []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	bundle.Linux.Seccomp, err = r.seccomp(security.seccomp, bundle)
	return bundle, err
}

// workingDir is the first of those directories that is one: relative ones count from the root.
func workingDir(asked ...string) string {
	for _, dir := range asked {
		if dir != "" {
			return filepath.Join("/", dir)
		}
	}
	return "/"
}

// namespaces are a PID and a mount namespace of the container's own, and those that the pod shares.
func (r *Runtime) namespaces(s Spec) []specs.LinuxNamespace {
	all := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.NetworkNamespace, Path: s.NetNS},
	}
	for kind, name := range shared() {
		all = append(all, specs.LinuxNamespace{Type: kind, Path: r.pod(s.UID).namespace(name)})
	}
	return all
}

// ownMounts are those whose content is the container's own, or the kernel's.
func ownMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
	}
}

// maskedFiles are those of Docker's masked paths that are files.
func maskedFiles() []string {
	return []string{"/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug"}
}

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
