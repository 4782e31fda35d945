package pod

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// sysctls are those that a pod may set: those that Kubernetes calls safe, and what a pod has to itself of System V IPC. What
// the mesh itself sets in a pod's network is not among them.
func sysctls() []string {
	return []string{
		"kernel.shm_rmid_forced", "kernel.shmmax", "kernel.shmall", "kernel.shmmni", "kernel.sem", "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni",
		"net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range",
		"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
		"net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
	}
}

// sysctls are those of the manifest, by their names with dots.
func (m *Manifest) sysctls() map[string]string {
	values := map[string]string{}
	if s := m.pod.Spec.SecurityContext; s != nil {
		for _, v := range s.Sysctls {
			values[strings.ReplaceAll(v.Name, "/", ".")] = v.Value
		}
	}
	return values
}

// applySysctls sets the manifest's sysctls in the pod's namespaces, which are made at each site anew.
func (r *Runtime) applySysctls(s Spec) error {
	values := s.Manifest.sysctls()
	if len(values) == 0 {
		return nil
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespaces
		done <- setSysctls(values, map[string]int{s.NetNS: unix.CLONE_NEWNET, r.pod(s.UID).namespace("ipc"): unix.CLONE_NEWIPC})
	}()
	return <-done
}

// setSysctls moves the calling thread into those namespaces: /proc/sys shows those of whoever opens it.
func setSysctls(values map[string]string, namespaces map[string]int) error {
	for path, kind := range namespaces {
		if err := enter(path, kind); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
		if err := os.WriteFile(path, []byte(values[name]), 0); err != nil {
			return fmt.Errorf("setting sysctl %s to %q: %w", name, values[name], err)
		}
	}
	return nil
}

// enter moves the calling thread into a namespace.
func enter(path string, kind int) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), kind); err != nil {
		return fmt.Errorf("entering %s: %w", path, err)
	}
	return nil
}
