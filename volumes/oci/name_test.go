package oci

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesAreReadAsDockersUsersMeanThem(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	for s, want := range map[string]struct{ complete, familiar string }{
		"redis":                           {"docker.io/library/redis:latest", "redis:latest"},
		"redis:7":                         {"docker.io/library/redis:7", "redis:7"},
		"team/app":                        {"docker.io/team/app:latest", "team/app:latest"},
		"docker.io/redis:7":               {"docker.io/library/redis:7", "redis:7"},
		"index.docker.io/library/redis:7": {"docker.io/library/redis:7", "redis:7"},
		"ghcr.io/a/b/c:V1":                {"ghcr.io/a/b/c:V1", "ghcr.io/a/b/c:V1"},
		"localhost/app":                   {"localhost/app:latest", "localhost/app:latest"},
		"localhost:5000/app":              {"localhost:5000/app:latest", "localhost:5000/app:latest"},
		"10.0.0.5:5000/app:2":             {"10.0.0.5:5000/app:2", "10.0.0.5:5000/app:2"},
		"redis@" + digest:                 {"docker.io/library/redis@" + digest, "redis@" + digest},
		"redis:7@" + digest:               {"docker.io/library/redis@" + digest, "redis@" + digest},
	} {
		n, err := ParseName(s)
		require.NoError(t, err, s)
		require.Equal(t, want.complete, n.String())
		require.Equal(t, want.familiar, n.Familiar())
		again, err := ParseName(n.Familiar())
		require.NoError(t, err)
		require.Equal(t, n, again)
	}
	for _, s := range []string{"", " ", "A", "a:", ":1", "a b", "a:b:c", "/a", "a//b", "a@sha256:00", "a@sha512:" + strings.Repeat("0", 128), strings.Repeat("0", 64), "-a", "../a", "a/../b", "https://a/b"} {
		_, err := ParseName(s)
		require.ErrorIs(t, err, ErrName, s)
	}
}

func TestPlatforms(t *testing.T) {
	for s, want := range map[string]string{"": Host().String(), "linux/arm64": "linux/arm64", "linux/arm/v7": "linux/arm/v7"} {
		p, err := ParsePlatform(s)
		require.NoError(t, err)
		require.Equal(t, want, p.String())
	}
	for _, s := range []string{"linux", "arm64", "windows/amd64", "linux/", "linux/arm/v7/x"} {
		_, err := ParsePlatform(s)
		require.ErrorIs(t, err, ErrName, s)
	}
	fits := func(have, want string) bool {
		h, err := ParsePlatform(have)
		require.NoError(t, err)
		w, err := ParsePlatform(want)
		require.NoError(t, err)
		return Fits(h, w)
	}
	require.True(t, fits("linux/arm64/v8", "linux/arm64"))
	require.True(t, fits("linux/arm/v6", "linux/arm"))
	require.False(t, fits("linux/arm/v6", "linux/arm/v7"))
	require.False(t, fits("linux/amd64", "linux/arm64"))
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"redis", "a.b:5/c:d", "a@sha256:" + strings.Repeat("0", 64)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		for _, form := range []string{n.String(), n.Familiar()} {
			again, err := ParseName(form)
			require.NoError(t, err)
			require.Equal(t, n, again)
		}
	})
}
