package criu

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCPUFlags(t *testing.T) {
	for name, c := range map[string]struct{ cpuinfo, want string }{
		"x86": {
			"processor\t: 0\nmodel name\t: Intel\nflags\t\t: fpu vme sse sse4_2 ssse3 avx avx2 avx512f amx_tile constant_tsc rep_good ibrs md_clear hypervisor xsave xsavec lahf_lm\nbugs\t\t: spectre_v1\n" +
				"processor\t: 1\nflags\t\t: nothing\n",
			"amx_tile avx avx2 avx512f fpu lahf_lm sse sse4_2 ssse3 xsave xsavec",
		},
		"ARM":   {"processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd sve atomics\n", "asimd atomics fp sve"},
		"none":  {"processor: 0\n", ""},
		"empty": {"", ""},
		"twice": {"flags: sse sse\n", "sse"},
	} {
		assert.Equal(t, c.want, strings.Join(parseCPUFlags(c.cpuinfo), " "), name)
	}
	here, err := CPUFlags()
	require.NoError(t, err)
	assert.NotEmpty(t, here)
}

func TestMissingFlags(t *testing.T) {
	assert.Equal(t, []string{"avx512f"}, MissingFlags([]string{"avx512f", "sse"}, []string{"fpu", "sse", "sse4_2"}))
	assert.Empty(t, MissingFlags(nil, nil))
}
