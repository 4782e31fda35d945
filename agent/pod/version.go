package pod

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
)

// Version is that of runc, such as "1.3.0".
func (r *Runtime) Version(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, r.runc, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("asking runc for its version: %w", err)
	}
	version := regexp.MustCompile(`\d+\.\d+(\.\d+)?`).Find(out)
	if version == nil {
		return "", fmt.Errorf("asking runc for its version: it says %q", out)
	}
	return string(version), nil
}
