package pod

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// shared are the namespaces that all containers of a pod have in common, beside the network's. They belong to no container,
// so that each of them may end and be started again.
func shared() map[specs.LinuxNamespaceType]string {
	return map[specs.LinuxNamespaceType]string{specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts"}
}

// makeNamespaces makes the pod's shared namespaces where they are missing, bound to files. A restored pod gets what is in
// them from its images.
func makeNamespaces(p podPaths, hostname string) error {
	missing := false
	for _, kind := range shared() {
		mounted, err := isMount(p.namespace(kind))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		missing = missing || !mounted
	}
	if !missing {
		return nil
	}
	if err := removeNamespaces(p); err != nil {
		return err
	}
	if err := os.MkdirAll(p.namespaces(), 0o700); err != nil {
		return err
	}
	for _, kind := range shared() {
		f, err := os.OpenFile(p.namespace(kind), os.O_CREATE|os.O_RDONLY, 0o400)
		if err != nil {
			return err
		}
		f.Close()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends, and the namespaces live on where they are bound
		done <- bindNamespaces(p, hostname)
	}()
	return <-done
}

// bindNamespaces moves the calling thread into new namespaces and binds them to their files.
func bindNamespaces(p podPaths, hostname string) error {
	if err := unix.Unshare(unix.CLONE_NEWIPC | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("making namespaces: %w", err)
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("naming the pod's host %s: %w", hostname, err)
	}
	for _, kind := range shared() {
		if err := unix.Mount("/proc/thread-self/ns/"+kind, p.namespace(kind), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("binding the %s namespace: %w", kind, err)
		}
	}
	return nil
}

func removeNamespaces(p podPaths) error {
	for _, kind := range shared() {
		if err := unmount(p.namespace(kind)); err != nil {
			return err
		}
	}
	return os.RemoveAll(p.namespaces())
}
