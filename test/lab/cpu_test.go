package lab

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCPUFlagsAreMasked(t *testing.T) {
	const x86 = "processor\t: 0\nflags\t\t: fpu avx avx2 bmi2\nvmx flags\t: vnmi avx2\nbugs\t\t: avx2\n\nprocessor\t: 1\nflags\t\t: fpu avx avx2 bmi2\n"
	require.Equal(t,
		"processor\t: 0\nflags\t\t: fpu avx\nvmx flags\t: vnmi avx2\nbugs\t\t: avx2\n\nprocessor\t: 1\nflags\t\t: fpu avx\n",
		maskCPU(x86, []string{"avx2", "bmi2"}))
	require.Equal(t, x86, maskCPU(x86, nil))
	require.Equal(t, "Features\t: fp asimd\n", maskCPU("Features\t: fp asimd sve\n", []string{"sve"}))

	require.NoError(t, checkMask(nil))
	require.ErrorContains(t, checkMask([]string{"avx9000"}), `"avx9000" is no flag of this machine's CPU`)
}

func TestDisksAreNotTooSmall(t *testing.T) {
	require.NoError(t, checkDisk(0))
	require.NoError(t, checkDisk(leastDisk))
	for _, size := range []int64{-1, 1, leastDisk - 1} {
		require.ErrorContains(t, checkDisk(size), "want at least 32 MiB")
	}
}
