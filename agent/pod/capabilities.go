package pod

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// allCapabilities stands for each of them in a list of those to drop.
const allCapabilities = "CAP_ALL"

// usualCapabilities are Docker's and containerd's default set.
func usualCapabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

// otherCapabilities are the rest of those in linux/capability.h.
func otherCapabilities() []string {
	return []string{
		"CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_BLOCK_SUSPEND", "CAP_BPF", "CAP_CHECKPOINT_RESTORE", "CAP_DAC_READ_SEARCH",
		"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_NET_ADMIN",
		"CAP_NET_BROADCAST", "CAP_PERFMON", "CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_MODULE", "CAP_SYS_NICE",
		"CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_WAKE_ALARM",
	}
}

// capability is the kernel's name of a capability in a manifest, which may lack the prefix.
func capability(name corev1.Capability) string {
	return "CAP_" + strings.TrimPrefix(strings.ToUpper(string(name)), "CAP_")
}

// grant is the usual set, or nothing when ALL are dropped, then with what is added, then less what is dropped by name: the
// order of containerd, internal/cri/server/container_create.go. It is sorted.
func grant(change *corev1.Capabilities) []string {
	granted := usualCapabilities()
	if change == nil {
		return granted
	}
	if slices.ContainsFunc(change.Drop, func(name corev1.Capability) bool { return capability(name) == allCapabilities }) {
		granted = nil
	}
	for _, name := range change.Add {
		granted = append(granted, capability(name))
	}
	slices.Sort(granted)
	granted = slices.Compact(granted)
	for _, name := range change.Drop {
		granted = slices.DeleteFunc(granted, func(c string) bool { return c == capability(name) })
	}
	return granted
}

func (e *ManifestError) validateCapability(field string, name corev1.Capability) {
	if !slices.Contains(usualCapabilities(), capability(name)) && !slices.Contains(otherCapabilities(), capability(name)) {
		e.add(field, "there is no capability %q", name)
	}
}
