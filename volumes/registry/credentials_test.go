package registry

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/volumes/oci"
)

func TestCredentialsAreFoundWhereDockerAndPodmanHaveThem(t *testing.T) {
	write := func(path, content string) string {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	ann := Credentials{Username: "ann", Password: "secret"}
	parse := func(s string) oci.Name {
		n, err := oci.ParseName(s)
		require.NoError(t, err)
		return n
	}
	hosts := func(host string) string { // ann:secret
		return `{"auths":{"` + host + `":{"auth":"YW5uOnNlY3JldA=="}}}`
	}
	clean := func(t *testing.T) (home string) {
		home = t.TempDir()
		t.Setenv("HOME", home)
		for _, name := range []string{"DOCKER_CONFIG", "XDG_RUNTIME_DIR", "REGISTRY_AUTH_FILE"} {
			t.Setenv(name, "")
		}
		return home
	}
	t.Run("none", func(t *testing.T) {
		clean(t)
		found, err := FindCredentials(parse("example.org/a"), "")
		require.NoError(t, err)
		require.Zero(t, found)
	})
	t.Run("docker", func(t *testing.T) {
		write(filepath.Join(clean(t), ".docker/config.json"), hosts("https://index.docker.io/v1/"))
		found, err := FindCredentials(parse("redis"), "")
		require.NoError(t, err)
		require.Equal(t, ann, found)
		found, err = FindCredentials(parse("example.org/a"), "")
		require.NoError(t, err)
		require.Zero(t, found, "another registry's are not given away")
	})
	t.Run("podman, beside a docker that knows nothing", func(t *testing.T) {
		home := clean(t)
		write(filepath.Join(home, ".docker/config.json"), `{}`)
		t.Setenv("XDG_RUNTIME_DIR", filepath.Join(home, "run"))
		write(filepath.Join(home, "run/containers/auth.json"), hosts("example.org/team/a"))
		found, err := FindCredentials(parse("example.org/team/a"), "")
		require.NoError(t, err)
		require.Equal(t, ann, found)
		found, err = FindCredentials(parse("example.com/team/a"), "")
		require.NoError(t, err)
		require.Zero(t, found)
	})
	t.Run("environment", func(t *testing.T) {
		home := clean(t)
		write(filepath.Join(home, ".docker/config.json"), hosts("other.org"))
		t.Setenv("REGISTRY_AUTH_FILE", write(filepath.Join(home, "auth.json"), hosts("example.org")))
		found, err := FindCredentials(parse("example.org/a"), "")
		require.NoError(t, err)
		require.Equal(t, ann, found)
	})
	t.Run("given", func(t *testing.T) {
		home := clean(t)
		t.Setenv("REGISTRY_AUTH_FILE", "/no/such/file")
		found, err := FindCredentials(parse("example.org/a"), write(filepath.Join(home, "mine.json"), hosts("example.org")))
		require.NoError(t, err)
		require.Equal(t, ann, found)
		_, err = FindCredentials(parse("example.org/a"), filepath.Join(home, "none.json"))
		require.ErrorIs(t, err, os.ErrNotExist)
		_, err = FindCredentials(parse("example.org/a"), write(filepath.Join(home, "bad.json"), `{"auths":3}`))
		require.ErrorContains(t, err, "bad.json")
	})
	t.Run("helper", func(t *testing.T) {
		home := clean(t)
		bin := filepath.Join(home, "bin")
		helper := write(filepath.Join(bin, "docker-credential-test"), "#!/bin/sh\necho '{\"Username\":\"<token>\",\"Secret\":\"t0k3n\"}'\n")
		require.NoError(t, os.Chmod(helper, 0o700))
		t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
		write(filepath.Join(home, ".docker/config.json"), `{"credHelpers":{"example.org":"test"}}`)
		found, err := FindCredentials(parse("example.org/a"), "")
		require.NoError(t, err)
		require.Equal(t, Credentials{IdentityToken: "t0k3n"}, found)
	})
}
