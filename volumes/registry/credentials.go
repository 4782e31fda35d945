package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/drover-mesh/drover/volumes/oci"
)

// Credentials let one into a registry. The zero value is nobody's.
type Credentials authn.AuthConfig

// FindCredentials looks for the credentials of a name's registry where Docker's and Podman's users have them: in the
// file authFile if one is given, else in the one that REGISTRY_AUTH_FILE names, else, one after the other, in
// $DOCKER_CONFIG/config.json or ~/.docker/config.json, $XDG_RUNTIME_DIR/containers/auth.json and
// ~/.config/containers/auth.json. A file may name credential helpers, which are programs. If none knows the registry
// that is no error.
func FindCredentials(n oci.Name, authFile string) (Credentials, error) {
	if authFile == "" {
		authFile = os.Getenv("REGISTRY_AUTH_FILE")
	}
	for _, candidate := range authFiles(authFile) {
		file, err := readAuthFile(candidate)
		if errors.Is(err, fs.ErrNotExist) && authFile == "" {
			continue
		}
		if err != nil {
			return Credentials{}, fmt.Errorf("reading credentials for %s from %s: %w", n.Registry, candidate, err)
		}
		found, err := find(file, n)
		if err != nil || found != (Credentials{}) {
			return found, err
		}
	}
	return Credentials{}, nil
}

func authFiles(given string) []string {
	if given != "" {
		return []string{given}
	}
	var files []string
	home, _ := os.UserHomeDir() // "" for a service that has none
	switch dir := os.Getenv("DOCKER_CONFIG"); {
	case dir != "":
		files = append(files, filepath.Join(dir, "config.json"))
	case home != "":
		files = append(files, filepath.Join(home, ".docker", "config.json"))
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		files = append(files, filepath.Join(dir, "containers", "auth.json"))
	}
	if home != "" {
		files = append(files, filepath.Join(home, ".config", "containers", "auth.json"))
	}
	return files
}

func readAuthFile(path string) (*configfile.ConfigFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return config.LoadFromReader(f)
}

// find takes the credentials of the longest part of a name that the file has.
func find(file *configfile.ConfigFile, n oci.Name) (Credentials, error) {
	var keys []string
	for key := n.Registry + "/" + n.Repository; key != "."; key = path.Dir(key) {
		keys = append(keys, key)
	}
	if n.Registry == "docker.io" {
		keys = append(keys, authn.DefaultAuthKey, name.DefaultRegistry)
	}
	for _, key := range keys {
		c, err := file.GetAuthConfig(key)
		if err != nil {
			return Credentials{}, fmt.Errorf("credentials for %s: %w", n.Registry, err)
		}
		found := Credentials{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}
		if found != (Credentials{}) {
			return found, nil
		}
	}
	return Credentials{}, nil
}
