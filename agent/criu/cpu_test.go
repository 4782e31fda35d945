package criu

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCPUFlags(t *testing.T) {
	x86 := "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vme sse2 avx2 avx512f constant_tsc hypervisor\nbugs\t\t: spectre_v1\n\nprocessor\t: 1\nflags\t\t: fpu\n"
	assert.Equal(t, []string{"fpu", "sse2", "avx2", "avx512f"}, parseCPUFlags(x86), "of the first processor, those that programs look for")
	assert.Equal(t, []string{"fp", "asimd", "sve"}, parseCPUFlags("processor\t: 0\nFeatures\t: fp asimd sve\n"))
	assert.Empty(t, parseCPUFlags(""))
	assert.Equal(t, []string{"avx512f"}, MissingFlags(parseCPUFlags(x86), []string{"avx2", "fpu", "sse2", "sse4_2"}))
	assert.Empty(t, MissingFlags(nil, nil))
	here, err := CPUFlags()
	require.NoError(t, err)
	assert.NotEmpty(t, here)
}
