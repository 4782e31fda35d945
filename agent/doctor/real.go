package doctor

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

// Real answers for the machine that the program runs on.
type Real struct{}

var _ Host = Real{}

// programTimeout bounds one program; criu check takes 0.1 s, on slow flash some seconds.
const programTimeout = 30 * time.Second

// sbin is searched after PATH: users' shells often leave it out.
var sbin = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// Read implements Host.
func (Real) Read(path string) (string, error) {
	content, err := os.ReadFile(path)
	return strings.TrimSpace(string(content)), err
}

// Run implements Host.
func (Real) Run(ctx context.Context, program string, args ...string) (string, error) {
	path, err := exec.LookPath(program)
	for i := 0; err != nil && i < len(sbin); i++ {
		path, err = exec.LookPath(filepath.Join(sbin[i], program))
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: %w", program, exec.ErrNotFound)
		}
	}
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, programTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("%s gave no answer: %w", program, ctx.Err())
	}
	return string(out), err
}

// fileSystems names the magic numbers of statfs(2), from linux/magic.h.
var fileSystems = map[int64]string{
	unix.TMPFS_MAGIC: "tmpfs", unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs", unix.F2FS_SUPER_MAGIC: "f2fs",
}

// Storage implements Host. Of a path that doesn't exist yet the nearest directory above it is looked at.
func (Real) Storage(path string) (Storage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(existing(path), &st); err != nil {
		return Storage{}, fmt.Errorf("looking at the file system of %s: %w", path, err)
	}
	name := fileSystems[int64(st.Type)]
	if name == "" {
		name = fmt.Sprintf("file system %#x", st.Type)
	}
	return Storage{Type: name, Free: st.Bfree * uint64(st.Bsize)}, nil
}

// existing is path, or the nearest directory above it that exists.
func existing(path string) string {
	for path != "/" && path != "." {
		if _, err := os.Stat(path); err == nil {
			break
		}
		path = filepath.Dir(path)
	}
	return path
}

// ClockError implements Host, by adjtimex(2).
func (Real) ClockError() (time.Duration, bool, error) {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	if err != nil {
		return 0, false, fmt.Errorf("asking the kernel about its clock: %w", err)
	}
	synced := state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0
	return time.Duration(tx.Maxerror) * time.Microsecond, synced, nil
}
