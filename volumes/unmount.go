package volumes

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// UnmountBelow takes away, in this mount namespace, whatever is mounted below dir, also what is in use: who has it open keeps it
// until the end. What is mounted at dir itself stays. dir is absolute and without symbolic links.
func UnmountBelow(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	slices.Reverse(mounts) // what was mounted later may stand on what was mounted before
	for _, m := range mounts {
		if m.point == dir {
			continue
		}
		err := unix.Unmount(m.point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // gone with what it stood on
			return fmt.Errorf("unmounting %s: %w", m.point, err)
		}
	}
	return nil
}
