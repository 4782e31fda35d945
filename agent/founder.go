package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/durable"
	"github.com/drover-mesh/drover/state/quorum"
)

// A mesh that one server begins needs nobody's consent to begin. Should that server lose its log while it is cut off,
// it would begin a second mesh of the same name and authority. So it leaves a mark beside its identity, which it can't
// lose without ceasing to be that node, when it has seen the mesh begin.
const (
	foundedMark = "founded"
	foundedText = "The mesh of this node has begun. It never begins it again, should it lose its log: it looks for the others.\n"
)

// founders are the servers with which this node may begin a mesh.
func founders(c configs.Config) ([]quorum.Server, error) {
	_, err := os.Lstat(filepath.Join(c.Identity, foundedMark))
	switch {
	case err == nil && alone(c):
		return nil, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("looking whether the mesh has begun: %w", err)
	}
	var servers []quorum.Server
	for _, name := range c.Servers {
		servers = append(servers, quorum.Server{Name: name})
	}
	return servers, nil
}

// alone says whether this node would begin a mesh by itself.
func alone(c configs.Config) bool { return len(c.Servers) == 1 && c.Servers[0] == c.Node }

// markFounded notes that the mesh has begun.
func markFounded(c configs.Config) error {
	if !alone(c) {
		return nil
	}
	if err := durable.WriteFile(filepath.Join(c.Identity, foundedMark), []byte(foundedText), 0o600); err != nil {
		return fmt.Errorf("noting that the mesh has begun: %w", err)
	}
	return nil
}
