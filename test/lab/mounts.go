package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// stage is where a site's mounts are prepared; nothing of it stays.
const stage = "/run/stage"

// step is one mount, or a directory to make before it.
type step struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

// arrangeMounts makes the file system of the host into that of the site, in this process's mount
// namespace, which must be new:
//
//	/run                a tmpfs of its own
//	/etc, /var/lib      the host's, copied on write into memory
//	/etc/drover         the site's directory etc
//	/var/lib/drover     the site's directory lib, or a disk of its own
//	/var/lib/drover-lab hidden
//	/proc, /sys         of its own namespaces
//	/sys/fs/cgroup      the site's cgroup of each hierarchy
func (l *Lab) arrangeMounts(me Site) error {
	groups, err := openHierarchies()
	if err != nil {
		return err
	}
	if err := run(
		step{target: "/", flags: unix.MS_REC | unix.MS_PRIVATE},
		step{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		step{"tmpfs", stage, "tmpfs", 0, "mode=700"},
		step{l.sitePath(me.Name, "etc"), stage + "/etc", "", unix.MS_BIND, ""},
		step{cgroupRoot, stage + "/cgroup", "", unix.MS_BIND | unix.MS_REC, ""},
	); err != nil {
		return err
	}
	if err := l.arrangeState(me); err != nil {
		return err
	}
	for _, dir := range []string{"/etc", "/var/lib"} {
		if err := coverWithMemory(dir); err != nil {
			return err
		}
	}
	// Not only covered: who looks for a hierarchy in the list of mounts must find the site's.
	if err := unix.Unmount("/sys", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmounting the host's /sys: %w", err)
	}
	if err := run(
		step{stage + "/etc", "/etc/drover", "", unix.MS_BIND, ""},
		step{stage + "/lib", "/var/lib/drover", "", unix.MS_BIND, ""},
		step{"tmpfs", stateRoot, "tmpfs", unix.MS_RDONLY, "mode=700,size=4k"},
		step{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		step{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	); err != nil {
		return err
	}
	if err := arrangeCPU(me.CPUMask); err != nil {
		return err
	}
	if err := arrangeCgroups(stage+"/cgroup", groups, l.cgroup(me.Name)); err != nil {
		return err
	}
	if err := unix.Unmount(stage, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("removing the stage: %w", err)
	}
	if err := os.Remove(stage); err != nil {
		return err
	}
	if err := os.Mkdir("/run/lock", 0o755); err != nil {
		return err
	}
	return os.Chmod("/run/lock", 0o1777)
}

// arrangeState stages what will be the site's /var/lib/drover.
func (l *Lab) arrangeState(me Site) error {
	if me.Disk > 0 {
		return mountDisk(l.sitePath(me.Name, "disk.img"), me.Disk, stage+"/lib")
	}
	return run(step{l.sitePath(me.Name, "lib"), stage + "/lib", "", unix.MS_BIND, ""})
}

// arrangeCgroups mounts of each hierarchy, whose mounts are staged, the cgroup at path, and repeats the links by which v1
// names controllers that share a hierarchy.
func arrangeCgroups(staged string, groups hierarchies, path string) error {
	for _, point := range groups {
		if point == cgroupRoot {
			return run(step{filepath.Join(staged, path), cgroupRoot, "", unix.MS_BIND, ""})
		}
	}
	if err := run(step{"tmpfs", cgroupRoot, "tmpfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "mode=755"}); err != nil {
		return err
	}
	for _, point := range groups {
		name := strings.TrimPrefix(point, cgroupRoot)
		if err := run(step{filepath.Join(staged, name, path), point, "", unix.MS_BIND, ""}); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(staged)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(staged, entry.Name()))
		if err != nil {
			continue // a mount point
		}
		if err := os.Symlink(target, filepath.Join(cgroupRoot, entry.Name())); err != nil {
			return fmt.Errorf("naming a cgroup hierarchy: %w", err)
		}
	}
	return nil
}

// coverWithMemory mounts an overlay on dir whose writable layer is in memory, so that the site can
// make mount points and change files that other sites don't see.
func coverWithMemory(dir string) error {
	layer := stage + "/cover" + strings.ReplaceAll(dir, "/", "-")
	for _, sub := range []string{"/upper", "/work"} {
		if err := os.MkdirAll(layer+sub, 0o755); err != nil {
			return err
		}
	}
	return run(step{"overlay", dir, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%[2]s/work", dir, layer)})
}

// bindFile mounts a file on another.
func bindFile(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", source, target, err)
	}
	return nil
}

func run(steps ...step) error {
	for _, s := range steps {
		if err := os.MkdirAll(s.target, 0o755); err != nil {
			return fmt.Errorf("making the mount point %s: %w", s.target, err)
		}
		if err := unix.Mount(s.source, s.target, s.fstype, s.flags, s.data); err != nil {
			return fmt.Errorf("mounting %s%s on %s: %w", s.fstype, s.source, s.target, err)
		}
	}
	return nil
}
