//go:build hosts

package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/drover-mesh/drover/test/workload"
)

// The versions of the package that are installed first, and then.
const (
	firstVersion  = "v0.1.0"
	secondVersion = "v0.1.1"
)

// packCargo makes what the guests find as their second disk: a tar with old.deb, new.deb, redis.tar and redis.yaml.
func packCargo(ctx context.Context, dir string) (string, error) {
	content := filepath.Join(dir, "cargo")
	if err := os.MkdirAll(content, 0o700); err != nil {
		return "", err
	}
	for name, version := range map[string]string{"old.deb": firstVersion, "new.deb": secondVersion} {
		if err := pack(ctx, content, name, version); err != nil {
			return "", fmt.Errorf("packing %s: %w", version, err)
		}
	}
	tar, err := workload.Image(ctx, func(line string) { say("%s", line) }, "redis-server")
	if err != nil {
		return "", err
	}
	err = errors.Join(
		lean(tar, "usr/bin/redis-server", filepath.Join(content, "redis.tar")),
		os.WriteFile(filepath.Join(content, "redis.yaml"), workload.Redis, 0o600),
	)
	if err != nil {
		return "", err
	}
	cargo := filepath.Join(dir, "cargo.tar")
	return cargo, run(ctx, "tar", "--create", "--file", cargo, "--directory", content, ".")
}

// pack builds drover of that version and packs it for Debian, quickly rather than tightly.
func pack(ctx context.Context, dir, name, version string) error {
	binary, out := filepath.Join(dir, version), filepath.Join(dir, version+".d")
	if err := run(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", binary, "../../cmd/drover"); err != nil {
		return err
	}
	if err := run(ctx, "../../configs/package/deb.sh", binary, version, out); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(out, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("%d packages in %s instead of one", len(debs), out)
	}
	return errors.Join(os.Rename(debs[0], filepath.Join(dir, name)), os.RemoveAll(out), os.Remove(binary))
}

func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "DEB_COMPRESSION=gzip")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
