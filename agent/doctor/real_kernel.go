package doctor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Try implements Host.
func (Real) Try(feature Feature, cfg Config) error {
	switch feature {
	case CheckpointRestore:
		return tryCheckpointRestore()
	case TimeNamespace:
		err := apart(unix.CLONE_NEWTIME, func() error { return nil })
		if errors.Is(err, unix.EINVAL) { // unshare(2) of what it doesn't know
			err = fmt.Errorf("this kernel lacks it: %w", err)
		}
		return err
	case Userfaultfd:
		return tryUserfaultfd()
	case PagemapScan:
		return tryPagemapScan()
	case Overlay:
		return tryOverlay(cfg.StateDir)
	case Veth:
		return tryLink(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "probe0"}, PeerName: "probe1"})
	case VXLAN:
		return tryLink(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "probe0"}, VxlanId: 1, Port: 4789})
	case TUN:
		return tryLink(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "probe0"}, Mode: netlink.TUNTAP_MODE_TUN})
	case PolicyRouting:
		return apart(unix.CLONE_NEWNET, func() error {
			rule := netlink.NewRule()
			rule.Table, rule.Priority, rule.Family = 4088, 4088, netlink.FAMILY_V4
			return explain(netlink.RuleAdd(rule))
		})
	case SocketDestroy:
		return apart(unix.CLONE_NEWNET, trySocketDestroy)
	case NFTables:
		return apart(unix.CLONE_NEWNET, tryNFTables)
	case NFTablesNetdev:
		return apart(unix.CLONE_NEWNET, tryNFTablesNetdev)
	}
	return fmt.Errorf("%s: no probe knows it", feature)
}

// apart runs f on a thread of its own in new namespaces, which end with it: the thread is never given back.
func apart(namespaces int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The process's first thread outlives its goroutines, and its namespaces are taken for the process's: while
			// this one keeps it, another thread is used.
			done <- apart(namespaces, f)
			runtime.UnlockOSThread()
			return
		}
		if err := unix.Unshare(namespaces); err != nil {
			done <- explain(fmt.Errorf("making namespaces to try it in: %w", err))
			return
		}
		done <- f()
	}()
	return <-done
}

// explain says in words what the kernel's usual refusals of an unknown thing mean.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("this kernel lacks it: %w", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("not permitted to try: %w", err)
	}
	return err
}

func tryLink(link netlink.Link) error {
	return apart(unix.CLONE_NEWNET, func() error { return explain(netlink.LinkAdd(link)) })
}

// trySocketDestroy asks for the end of a connection that isn't there.
func trySocketDestroy() error {
	nobody := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	if err := netlink.SocketDestroy(nobody, nobody); !errors.Is(err, unix.ENOENT) {
		return explain(err)
	}
	return nil
}

func tryNFTables() error {
	var conn nftables.Conn
	conn.AddTable(&nftables.Table{Name: "drover-doctor", Family: nftables.TableFamilyINet})
	return explain(conn.Flush())
}

// tryNFTablesNetdev filters what comes in by a device by a set whose elements time out.
func tryNFTablesNetdev() error {
	var conn nftables.Conn
	table := conn.AddTable(&nftables.Table{Name: "drover-doctor", Family: nftables.TableFamilyNetdev})
	set := &nftables.Set{Table: table, Name: "leased", KeyType: nftables.TypeIFName, HasTimeout: true}
	if err := conn.AddSet(set, nil); err != nil {
		return err
	}
	conn.AddChain(&nftables.Chain{
		Table: table, Name: "lo", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter, Device: "lo",
	})
	return explain(conn.Flush())
}

// tryOverlay mounts an overlay whose layers lie where those of pods would, in a mount namespace of its own.
func tryOverlay(stateDir string) (err error) {
	dir, err := os.MkdirTemp(existing(stateDir), ".drover-doctor-")
	if err != nil {
		return fmt.Errorf("making a directory for layers: %w", err)
	}
	// The kernel makes a directory without permissions in the working directory, which only RemoveAll as root removes.
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, sub := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return fmt.Errorf("making a directory for layers: %w", err)
		}
	}
	return apart(unix.CLONE_NEWNS|unix.CLONE_FS, func() (err error) {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("keeping the mount to itself: %w", err)
		}
		merged := filepath.Join(dir, "merged")
		options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", dir)
		if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
			return explain(fmt.Errorf("mounting an overlay in %s: %w", existing(stateDir), err))
		}
		// The namespace goes when the kernel has reaped the thread; the directory must be free before.
		defer func() { err = errors.Join(err, unix.Unmount(merged, unix.MNT_DETACH)) }()
		if err := os.WriteFile(filepath.Join(merged, "probe"), nil, 0o600); err != nil {
			return fmt.Errorf("writing to an overlay: %w", err)
		}
		return nil
	})
}

// tryCheckpointRestore asks for the size of the map that PR_SET_MM_MAP takes: kernel/sys.c answers that only with
// CONFIG_CHECKPOINT_RESTORE.
func tryCheckpointRestore() error {
	var size uint32
	if err := unix.Prctl(unix.PR_SET_MM, unix.PR_SET_MM_MAP_SIZE, uintptr(unsafe.Pointer(&size)), 0, 0); err != nil {
		return fmt.Errorf("this kernel lacks it: %w", err)
	}
	return nil
}

// userModeOnly is UFFD_USER_MODE_ONLY of linux/userfaultfd.h.
const userModeOnly = 1

func tryUserfaultfd() error {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK|userModeOnly, 0, 0)
	if errno != 0 {
		return explain(fmt.Errorf("userfaultfd: %w", errno))
	}
	return unix.Close(int(fd))
}

// pmScanArg is struct pm_scan_arg of linux/fs.h.
type pmScanArg struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages             uint64
	categoryInverted, categoryMask, categoryAnyofMask, returnCategories uint64
}

// pagemapScan is PAGEMAP_SCAN of linux/fs.h: _IOWR('f', 16, struct pm_scan_arg), here with the struct's 96 bytes.
const pagemapScan = 3<<30 | 96<<16 | 'f'<<8 | 16

// tryPagemapScan asks for the present pages of an empty range.
func tryPagemapScan() error {
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return err
	}
	defer pagemap.Close()
	const pageIsPresent = 1 << 3
	arg := pmScanArg{size: 96, categoryMask: pageIsPresent}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, pagemap.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		if errno == unix.ENOTTY {
			return fmt.Errorf("this kernel lacks it: %w", errno)
		}
		return fmt.Errorf("PAGEMAP_SCAN: %w", errno)
	}
	return nil
}
