//go:build hosts

package hosts

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// suite is the release of the guests: the first whose CRIU can move pods.
const suite = "trixie"

// staleAfter is when a cached image is built anew, so that updates of its packages arrive.
const staleAfter = 7 * 24 * time.Hour

// image is what guests boot from: disk.img, vmlinuz, initrd, and key to log in with.
type image struct{ dir string }

func (i image) file(name string) string { return filepath.Join(i.dir, name) }

// cacheDir keeps what takes long to make.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("looking for a cache directory: %w", err)
	}
	return filepath.Join(base, "drover", "hosts"), nil
}

// makeImage returns the cached image, or builds it. One whose recipe has changed counts as stale.
func makeImage(ctx context.Context) (image, error) {
	recipe, err := os.ReadFile("image.sh")
	if err != nil {
		return image{}, err
	}
	cache, err := cacheDir()
	if err != nil {
		return image{}, err
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return image{}, err
	}
	sum := sha256.Sum256(recipe)
	i := image{filepath.Join(cache, fmt.Sprintf("%s-%x", suite, sum[:4]))}
	lock, err := os.OpenFile(i.dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return image{}, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return image{}, fmt.Errorf("locking the image: %w", err)
	}
	if info, err := os.Stat(i.file("disk.img")); err == nil && time.Since(info.ModTime()) < staleAfter {
		return i, nil
	}
	mirror, err := exec.CommandContext(ctx, "../../configs/deps.sh", "mirror").Output()
	if err != nil {
		return image{}, fmt.Errorf("asking for a Debian mirror: %w", err)
	}
	build := exec.CommandContext(ctx, "./image.sh", suite, i.dir, strings.TrimSpace(string(mirror)))
	if out, err := build.CombinedOutput(); err != nil {
		return image{}, fmt.Errorf("building an image of %s: %w: %s", suite, err, out)
	}
	return i, nil
}
