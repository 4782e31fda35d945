package pod

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// binds are the mounts of a container whose content lies outside of it: its volumes, and the pod's shared memory unless a
// volume stands in its place. A dump leaves them out, a restore binds them again: what isn't listed here is CRIU's to dump.
func (r *Runtime) binds(s Spec, c Container) ([]specs.Mount, error) {
	wanted, err := s.wanted(c)
	if err != nil {
		return nil, err
	}
	p := r.pod(s.UID)
	shm := specs.Mount{Destination: shmMount, Type: "bind", Source: p.shm(), Options: []string{"bind", "nosuid", "noexec", "nodev", "rprivate"}}
	var mounts []specs.Mount
	for i, m := range wanted.VolumeMounts {
		v, ok := s.Manifest.volume(m.Name)
		if !ok {
			return nil, fmt.Errorf("the pod has no volume %s", m.Name)
		}
		// As runc resolves it, and as it therefore stands among the mounts that CRIU sees.
		destination, err := securejoin.SecureJoin(c.Root, m.MountPath)
		if err != nil {
			return nil, fmt.Errorf("mounting volume %s: %w", v.Name, err)
		}
		bind := specs.Mount{Destination: strings.TrimPrefix(destination, path.Clean(c.Root)), Type: "bind", Source: r.volumeDir(s, v)}
		bind.Options = []string{"bind", "rprivate"}
		if v.Kind == HostVolume {
			bind.Options[0] = "rbind" // it never moves, so that nobody has to know what is mounted in it
		}
		if m.SubPath != "" {
			bind.Source = p.subPath(c.Name, strconv.Itoa(i))
		}
		if m.ReadOnly || v.ReadOnly {
			bind.Options = append(bind.Options, "ro")
		}
		if bind.Destination == shmMount {
			shm = bind
			continue
		}
		mounts = append(mounts, bind)
	}
	mounts = append(mounts, shm)
	// What is mounted within another comes after it.
	slices.SortStableFunc(mounts, func(a, b specs.Mount) int {
		return cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/"))
	})
	return mounts, nil
}

// wanted is what the manifest asks of a container.
func (s Spec) wanted(c Container) (*corev1.Container, error) {
	if wanted := s.Manifest.container(c.Name); wanted != nil {
		return wanted, nil
	}
	return nil, fmt.Errorf("the manifest has no container %q", c.Name)
}

// furnish does what comes before each start of a container: the files that tell it who it is, and what its mounts stand on.
func (r *Runtime) furnish(s Spec, c Container) error {
	wanted, err := s.wanted(c)
	if err != nil {
		return err
	}
	if err := s.writeNames(c.Root); err != nil {
		return err
	}
	for _, m := range wanted.VolumeMounts {
		if v, ok := s.Manifest.volume(m.Name); ok && v.Kind == HostVolume {
			if err := prepareHost(v); err != nil {
				return fmt.Errorf("volume %s: %w", v.Name, err)
			}
		}
	}
	return r.bindSubPaths(s, c)
}

// bindSubPaths binds the parts of volumes that a container mounts to places of our own. A path would not do: another container
// could put a link into it between our look and the mount, and have the host's files.
func (r *Runtime) bindSubPaths(s Spec, c Container) error {
	wanted, err := s.wanted(c)
	if err != nil {
		return err
	}
	for i, m := range wanted.VolumeMounts {
		if m.SubPath == "" {
			continue
		}
		v, _ := s.Manifest.volume(m.Name)
		if err := bindPart(r.volumeDir(s, v), m.SubPath, r.pod(s.UID).subPath(c.Name, strconv.Itoa(i))); err != nil {
			return fmt.Errorf("path %s of volume %s: %w", m.SubPath, v.Name, err)
		}
	}
	return nil
}

// bindPart binds what is at a path within a directory to a place; a directory is made if nothing is there.
func bindPart(dir, name, at string) error {
	part, err := openBeneath(dir, name, unix.O_PATH)
	if errors.Is(err, os.ErrNotExist) {
		if err = mkdirBeneath(dir, name); err == nil {
			part, err = openBeneath(dir, name, unix.O_PATH)
		}
	}
	if errors.Is(err, unix.EXDEV) {
		return errors.New("it leads out of the volume")
	}
	if err != nil {
		return err
	}
	defer part.Close()
	info, err := part.Stat()
	if err != nil {
		return err
	}
	if err := unmount(at); err != nil { // of an earlier start: what the path leads to may be another
		return err
	}
	if err := os.RemoveAll(at); err != nil {
		return err
	}
	if err := makePlace(at, info.IsDir()); err != nil {
		return err
	}
	return unix.Mount(fmt.Sprintf("/proc/self/fd/%d", part.Fd()), at, "", unix.MS_BIND, "")
}

// makePlace makes what something can be bound to.
func makePlace(at string, dir bool) error {
	if dir {
		return os.MkdirAll(at, 0o700)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	return os.WriteFile(at, nil, 0o600)
}

// mkdirBeneath makes a directory and its parents, with the mode of the one in which all of them are.
func mkdirBeneath(dir, name string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	words := strings.Split(path.Clean(name), "/")
	for i := range words {
		at, err := openBeneath(dir, path.Join(".", path.Join(words[:i]...)), unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		err = unix.Mkdirat(int(at.Fd()), words[i], uint32(info.Mode().Perm()))
		if err == nil {
			err = unix.Fchmodat(int(at.Fd()), words[i], mode(info), 0) // whatever the umask
		}
		at.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return nil
}

// mode is a file's permissions as the kernel has them, the set-group-ID bit among them.
func mode(info fs.FileInfo) uint32 {
	bits := uint32(info.Mode().Perm())
	if info.Mode()&fs.ModeSetgid != 0 {
		bits |= unix.S_ISGID
	}
	return bits
}

// prepareHost makes sure that a path of the host is what the manifest says. Without a type it is made as a directory if it is
// missing, as containerd does.
func prepareHost(v Volume) error {
	info, err := os.Stat(v.Path)
	missing := errors.Is(err, os.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	kind := corev1.HostPathType(v.Type)
	switch {
	case missing && (kind == corev1.HostPathUnset || kind == corev1.HostPathDirectoryOrCreate):
		return os.MkdirAll(v.Path, 0o755)
	case missing && kind == corev1.HostPathFileOrCreate:
		return os.WriteFile(v.Path, nil, 0o644)
	case missing:
		return fmt.Errorf("%s is not on this node", v.Path)
	}
	is := true
	switch kind {
	case corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory:
		is = info.IsDir()
	case corev1.HostPathFileOrCreate, corev1.HostPathFile:
		is = info.Mode().IsRegular()
	case corev1.HostPathSocket:
		is = info.Mode()&fs.ModeSocket != 0
	}
	if !is {
		return fmt.Errorf("%s of this node is no %s", v.Path, strings.TrimSuffix(v.Type, "OrCreate"))
	}
	return nil
}
