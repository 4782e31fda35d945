package configs

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func debianVersion(t *testing.T, version, time string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "package/deb.sh", "version", version)
	cmd.Env = append(cmd.Environ(), "SOURCE_DATE_EPOCH="+time)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return strings.TrimSpace(string(out))
}

// Whatever was built later is an upgrade.
func TestPackagesAreNumberedInTheirOrder(t *testing.T) {
	const earlier, later = "1700000000", "1700000001"
	versions := []string{
		debianVersion(t, "fedcba9", earlier), debianVersion(t, "0123456", later), debianVersion(t, "0123456-dirty", later),
		debianVersion(t, "v0.9.0", earlier), debianVersion(t, "v1.0.0-beta2", earlier), debianVersion(t, "v1.0.0-rc1", earlier),
		debianVersion(t, "v1.0.0-rc1-3-g0123456", earlier), debianVersion(t, "v1.0.0", earlier), debianVersion(t, "v1.0.0-9-gfedcba9", earlier),
		debianVersion(t, "v1.0.0-10-g0123456", earlier), debianVersion(t, "v1.0.0-10-g0123456-dirty", earlier), debianVersion(t, "v1.0.1", earlier),
	}
	assert.Equal(t, "0~20231114221320.fedcba9-1", versions[0])
	assert.Equal(t, "1.0.0~rc1+3.0123456-1", versions[6])
	assert.Equal(t, "1.0.0+10.0123456+dirty-1", versions[10])
	for i := range len(versions) - 1 {
		out, err := exec.CommandContext(t.Context(), "dpkg", "--compare-versions", versions[i], "lt", versions[i+1]).CombinedOutput()
		assert.NoError(t, err, "%s is not before %s: %s", versions[i], versions[i+1], out)
	}
}
