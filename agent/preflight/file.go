package preflight

import (
	"strings"

	"golang.org/x/sys/unix"
)

// maxGhost is how large a file that is open and deleted may be, in bytes: what the dump tells CRIU, whose own limit is lower.
const maxGhost = 1 << 30

// Numbers of devices (Documentation/admin-guide/devices.txt in the kernel's source).
const (
	majorMemory = 1
	majorTTY    = 4
	majorAux    = 5
	majorMisc   = 10
	majorSerial = 188
	minorTUN    = 200

	majorPTYMaster, majorPTYSlave, majorPTYEnd = 128, 136, 144
)

// checkFile looks at an open or mapped file; link is where it can be asked more.
func (l *look) checkFile(p *process, f file, path, link string) error {
	switch {
	case f.dev == l.shmem:
		kind := "memory"
		if strings.HasPrefix(path, "/SYSV") { // the inode number is the segment's id, and may be that of another file too
			kind = "segment"
		}
		if l.objects[object{kind, f.ino}] == nil {
			l.report.Memory += f.size
		}
		l.note(kind, f.ino, p)
		return nil
	case f.is(unix.S_IFCHR), f.is(unix.S_IFBLK):
		if l.checkDevice(p, f, path) {
			return nil // its mount doesn't matter any more
		}
	case strings.HasPrefix(path, "/secretmem"):
		l.refuse(p, "switch secret memory off in the program", "it has secret memory (memfd_secret), which nobody else can read")
		return nil
	case strings.HasPrefix(path, "/dmabuf:"):
		l.refuse(p, "run it without the GPU", "it uses a GPU")
		return nil
	case isInternal(path):
		return nil
	}
	if _, ok := p.container.mounts[f.mount]; !ok && f.mount != 0 && !p.apart {
		l.checkOutside(p, path, link)
		return nil
	}
	deleted := strings.HasSuffix(path, " (deleted)")
	if deleted && f.nlink == 0 && f.size > maxGhost { // criu/files-reg.c, dump_ghost_remap
		l.refuse(p, "let it close the file, or restart the container",
			"it has a deleted file of %d MiB open (%s), and %d MiB can be taken along", f.size>>20, strings.TrimSuffix(path, " (deleted)"), maxGhost>>20)
	}
	if deleted && f.is(unix.S_IFREG) && f.nlink == 0 {
		l.report.Memory += f.size // it travels with the memory
	}
	return nil
}

// isInternal tells files of the kernel's own that have no mount: huge pages, rings of asynchronous I/O.
func isInternal(path string) bool {
	return strings.HasPrefix(path, "/anon_hugepage") || strings.HasPrefix(path, "/memfd:") || strings.HasPrefix(path, "/SYSV") || strings.HasPrefix(path, "/[aio]")
}

// checkOutside refuses a file that no mount of the container leads to (criu/files-reg.c, dump_one_reg_file).
func (l *look) checkOutside(p *process, path, link string) {
	const mqueueMagic = 0x19800202 // MQUEUE_MAGIC in linux/magic.h
	var st unix.Statfs_t
	if err := unix.Statfs(link, &st); err == nil && st.Type == mqueueMagic {
		l.refuse(p, "let it use another kind of queue", "it has the POSIX message queue %s open", path)
		return
	}
	l.refuse(p, "let it close the file", "it has a file open that is not in its container: %s", path)
}

// checkDevice refuses devices that CRIU can't dump (criu/files.c, dump_chrdev; criu/tty.c, get_tty_driver), or that a move
// would leave behind. It tells whether it did.
func (l *look) checkDevice(p *process, f file, path string) bool {
	major, minor := unix.Major(f.rdev), unix.Minor(f.rdev)
	switch {
	case f.is(unix.S_IFBLK):
	case major == majorMemory && minor != 1 && minor != 2 && minor != 4: // all but the memory and the ports of the host
		return false
	case major == majorAux && minor <= 2, major >= majorPTYMaster && major < majorPTYEnd: // terminals; of a host's, the mount is looked at
		return false
	case major == majorMisc && minor == minorTUN:
		// criu/tun.c restores the device with the network namespace, but a pod's is made anew at the target.
		l.refuse(p, "run the tunnel outside of the pod", "it has a tunnel open (%s): its device would stay behind", path)
		return true
	case strings.HasPrefix(path, "/dev/nvidia"), strings.HasPrefix(path, "/dev/dri/"), path == "/dev/kfd":
		l.refuse(p, "run it without the GPU", "it uses a GPU (%s)", path)
		return true
	}
	l.refuse(p, "run it without the device", "it has the device %s open (%d:%d)", path, major, minor)
	return true
}
