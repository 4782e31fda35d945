package criu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The logs in testdata are CRIU 4.2.1's own, cut down to their last lines.
func TestDecisiveErrorIsTheCause(t *testing.T) {
	for log, want := range map[string]string{
		"mptcp.log":        "inet: Unsupported proto 262",
		"address.log":      "Can't connect inet socket back: Cannot assign requested address (soccr/soccr.c:529)",
		"missing.log":      "No core-1.img image: Unexpected EOF on (empty-image) (criu/protobuf.c:72)",
		"magic.log":        "Magic doesn't match for inventory.img (criu/image.c:563)",
		"agent-killed.log": "One of more action scripts failed",
	} {
		t.Run(log, func(t *testing.T) {
			require.Contains(t, DecisiveError(filepath.Join("testdata", log)), want)
		})
	}
}

func TestDecisiveErrorWithoutAnError(t *testing.T) {
	require.Empty(t, DecisiveError(filepath.Join(t.TempDir(), "none")))
	path := filepath.Join(t.TempDir(), "log")
	for _, text := range []string{
		"", "(00.1) all is well\n", "Error", "(00.1) Error (", strings.Repeat("x", 2<<20), "\x00\xff Error (a): ",
		"(00.1) Error (criu/files-reg.c:1165): trim failed: @link_remap.13@\n",
		"(00.1) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.Empty(t, DecisiveError(path))
	}
}

func TestLastLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	require.Empty(t, lastLine(path))
	for text, want := range map[string]string{
		"": "", "one": "one", "one\ntwo\nthr": "two", strings.Repeat("y", 5000) + "\nlast whole\npart": "last whole",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.Equal(t, want, lastLine(path))
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]Version{
		"Version: 4.2.1\n":                  {4, 2, 1},
		"Version: 4.2\nGitID: v4.2-1-gab\n": {4, 2, 0},
		"Version: 3.17.1\n":                 {3, 17, 1},
	} {
		v, err := ParseVersion(text)
		require.NoError(t, err)
		require.Equal(t, want, v)
	}
	for _, text := range []string{"", "criu", "Version: x.y", "Version: 99999999999999999999.1"} {
		_, err := ParseVersion(text)
		require.Error(t, err, text)
	}
	require.True(t, Version{4, 1, 9}.Less(Version{4, 2, 0}))
	require.False(t, Version{4, 2, 0}.Less(Version{4, 2, 0}))
	require.False(t, Version{5, 0, 0}.Less(Version{4, 2, 0}))
	require.ErrorContains(t, Features{Version: Version{3, 17, 1}}.Usable(), "too old")
	require.ErrorContains(t, Features{Version: Version{4, 2, 1}, Check: "no vDSO"}.Usable(), "no vDSO")
	require.NoError(t, Features{Version: Version{4, 2, 1}}.Usable())
}
