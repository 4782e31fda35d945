package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// apartKey in the environment of a site's init says that it has all of its namespaces.
const apartKey = "DROVER_LAB_APART"

// initGroup is the cgroup of a site's init, and of what is started in the site from outside.
const initGroup = "init"

// setApart gives a site's init the namespaces that depend on what it does before it enters them. Only this thread enters
// them; so the program begins anew on it, and that is all that is left of the process. It returns only an error.
func (l *Lab) setApart(me Site) error {
	runtime.LockOSThread()
	if err := l.ownCgroups(me); err != nil {
		return err
	}
	if me.Clock != 0 {
		if err := ownClocks(me.Clock); err != nil {
			return err
		}
	}
	err := unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), apartKey+"=1"))
	return fmt.Errorf("starting site %s anew: %w", me.Name, err)
}

// ownCgroups makes the site's cgroup the root of all that it sees (cgroup_namespaces(7)): the root of a new namespace is
// where its maker is.
func (l *Lab) ownCgroups(me Site) error {
	groups, err := openHierarchies()
	if err != nil {
		return err
	}
	root := l.cgroup(me.Name)
	if err := groups.join(root); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("making a cgroup namespace: %w", err)
	}
	if err := groups.make(filepath.Join(root, initGroup)); err != nil {
		return err
	}
	if err := groups.join(filepath.Join(root, initGroup)); err != nil {
		return err
	}
	groups.delegate(root)
	return nil
}
