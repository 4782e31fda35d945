package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// leastDisk is what an agent needs to begin, in bytes.
const leastDisk = 32 << 20

func checkDisk(size int64) error {
	if size != 0 && size < leastDisk {
		return fmt.Errorf("disk of %d bytes: want at least %d MiB", size, leastDisk>>20)
	}
	return nil
}

// mountDisk mounts a file system of that size: ext4 in a sparse file at path; where there are no loop devices, in memory.
// The file is the lab's. The device frees itself with the last mount, so it ends with the site's mount namespace.
func mountDisk(path string, size int64, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	device, err := makeDisk(path, size)
	if errors.Is(err, errNoLoop) {
		return run(step{"tmpfs", target, "tmpfs", 0, fmt.Sprintf("mode=755,size=%d", size)})
	}
	if err != nil {
		return fmt.Errorf("making a disk: %w", err)
	}
	defer device.Close()
	if err := unix.Mount(device.Name(), target, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", device.Name(), target, err)
	}
	if err := os.Remove(filepath.Join(target, "lost+found")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// errNoLoop says that this machine has no loop devices, or no ext4 to put on one.
var errNoLoop = errors.New("no loop devices")

// makeDisk makes the file, and returns the block device that it is. The caller closes it once it is mounted.
func makeDisk(path string, size int64) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoLoop, err)
	}
	defer control.Close()
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoLoop, err)
	}
	_, err = os.Stat(path)
	made := err == nil // before the site's last boot: what is on it has to outlive that
	image, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer image.Close()
	if made {
		return attachFree(control, image)
	}
	if err := image.Truncate(size); err != nil {
		return nil, err
	}
	// Without a journal and room that only root may use: it need not outlive a crash, and all who write are root.
	if out, err := exec.Command(mkfs, "-q", "-F", "-m", "0", "-O", "^has_journal", path).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mkfs.ext4: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return attachFree(control, image)
}

// AttachLoop returns a loop device that is that file. It frees itself when nobody has it open or mounted any more; who calls
// closes what he gets.
func AttachLoop(image *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoLoop, err)
	}
	defer control.Close()
	return attachFree(control, image)
}

// attachFree makes any free loop device of the image.
func attachFree(control, image *os.File) (*os.File, error) {
	const attempts = 32 // others may take the same free device
	for range attempts {
		device, err := attach(control, image)
		if !errors.Is(err, unix.EBUSY) {
			return device, err
		}
	}
	return nil, errors.New("no loop device stays free")
}

// attach makes a free loop device (loop(4)) of the image.
func attach(control, image *os.File) (*os.File, error) {
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoLoop, err)
	}
	device, err := openLoop(number)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoLoop, err)
	}
	config := unix.LoopConfig{Fd: uint32(image.Fd())}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	copy(config.Info.File_name[:], image.Name())
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &config); err != nil {
		return nil, errors.Join(fmt.Errorf("attaching %s to %s: %w", image.Name(), device.Name(), err), device.Close())
	}
	return device, nil
}

// openLoop opens a loop device, of which a machine without udev may have no node.
func openLoop(number int) (*os.File, error) {
	device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", number), os.O_RDWR, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return device, err
	}
	const major = 7 // Documentation/admin-guide/devices.txt
	node := fmt.Sprintf("%s/loop%d", stage, number)
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(major, uint32(number)))); err != nil {
		return nil, fmt.Errorf("making %s: %w", node, err)
	}
	return os.OpenFile(node, os.O_RDWR, 0)
}

// loops returns the loop devices that are files below dir, with these.
func loops(dir string) ([]string, error) {
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, path := range backing {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it was detached since
		}
		if file := strings.TrimSpace(string(text)); strings.HasPrefix(file, dir+"/") {
			found = append(found, strings.Split(path, "/")[3]+" of "+file)
		}
	}
	return found, nil
}

// awaitLoops waits until no loop device is a file below dir.
func awaitLoops(ctx context.Context, dir string) error {
	for {
		left, err := loops(dir)
		if err != nil || len(left) == 0 {
			return err
		}
		if late := pause(ctx, 10*time.Millisecond); late != nil {
			return fmt.Errorf("waiting for %s to be detached: %w", strings.Join(left, ", "), late)
		}
	}
}
