package pod

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// ownVolumes gives the pod's volumes to its fsGroup, if it has one: all in them belongs to that group, which may do what the
// owner may, and so will what is made there. Files of the host are left alone. As in Kubernetes: pkg/volume/volume_linux.go.
func (r *Runtime) ownVolumes(s Spec) error {
	context := s.Manifest.pod.Spec.SecurityContext
	if context == nil || context.FSGroup == nil {
		return nil
	}
	rootOnly := context.FSGroupChangePolicy != nil && *context.FSGroupChangePolicy == corev1.FSGroupChangeOnRootMismatch
	for _, v := range s.Manifest.Volumes() {
		if v.Kind == HostVolume || v.ReadOnly {
			continue
		}
		if err := own(r.volumeDir(s, v), int(*context.FSGroup), rootOnly); err != nil {
			return fmt.Errorf("giving volume %s to group %d: %w", v.Name, *context.FSGroup, err)
		}
	}
	return nil
}

// own goes from the leaves to the root, so that a root that is right says that all was done. Nothing else uses the directory.
func own(dir string, group int, unlessRoot bool) error {
	if unlessRoot {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if owner, bits := owned(info); int(owner.Gid) == group && mode(info)&bits == bits {
			return nil
		}
	}
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		return ownOne(path, group)
	})
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		err = ownOne(dirs[i], group)
	}
	return err
}

// ownOne changes nothing that is right already: on an overlay a change would copy the file.
func ownOne(path string, group int) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	owner, bits := owned(info)
	if int(owner.Gid) != group {
		if err := os.Lchown(path, -1, group); err != nil {
			return err
		}
	}
	if info.Mode()&fs.ModeSymlink != 0 || mode(info)&bits == bits {
		return nil
	}
	// As it was before the change of owner, which takes set-ID bits away.
	return unix.Chmod(path, owner.Mode&0o7777|bits)
}

// owned tells whose a file is, and which bits the group needs.
func owned(info fs.FileInfo) (owner *syscall.Stat_t, bits uint32) {
	owner, bits = info.Sys().(*syscall.Stat_t), 0o660
	if info.IsDir() {
		bits = unix.S_ISGID | 0o770
	}
	return owner, bits
}
