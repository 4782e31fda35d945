//go:build root

package criu

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProbe(t *testing.T) {
	f, err := Probe(limited(t), "")
	require.NoError(t, err)
	require.NoError(t, f.Usable())
	require.NotEmpty(t, f.KernelRelease)
	_, err = Probe(limited(t), "/no/such/criu")
	require.ErrorContains(t, err, "drover doctor")
}

func TestCPUsAreCompared(t *testing.T) {
	image, err := DumpCPU(limited(t), "")
	require.NoError(t, err)
	require.NoError(t, CheckCPU(limited(t), "", image))
	more := append([]byte{}, image...)
	for i := len(more) / 2; i < len(more); i++ {
		more[i] = 0xff
	}
	require.Error(t, CheckCPU(limited(t), "", more))
	require.Error(t, CheckCPU(limited(t), "", make([]byte, maxCPUImage+1)))
}
