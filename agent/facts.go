package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"

	"github.com/drover-mesh/drover/agent/criu"
	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/state"
)

// Facts implements [migrate.Source].
func (s source) Facts(ctx context.Context, p state.Pod) (migrate.Facts, error) {
	status, err := s.runtime.Status(p.UID)
	if err != nil {
		return migrate.Facts{}, err
	}
	if status.Phase != pod.Running {
		return migrate.Facts{}, fmt.Errorf("pod %s is %s: only a running pod can move", p.Name, status.Phase)
	}
	features, err := s.features(ctx)
	if err != nil {
		return migrate.Facts{}, err
	}
	memory, err := residentBytes(s.runtime.Freezer(p.UID).Path())
	if err != nil {
		return migrate.Facts{}, err
	}
	root, err := s.root(p)
	if err != nil {
		return migrate.Facts{}, err
	}
	upper, err := sizeOf(root.Upper)
	if err != nil {
		return migrate.Facts{}, err
	}
	cpu, err := criu.DumpCPU(ctx, "")
	if err != nil {
		return migrate.Facts{}, err
	}
	layers, err := s.layerBytes(p.Image)
	if err != nil {
		return migrate.Facts{}, err
	}
	return migrate.Facts{
		CRIU: features.Version, Arch: runtime.GOARCH, CPU: cpu, MemoryBytes: memory, UpperBytes: upper, LayerBytes: layers,
	}, nil
}

// layerBytes is the packed size of a layer, 0 if no image has it any more.
func (s source) layerBytes(d state.Digest) (int64, error) {
	images, err := s.layers.Images()
	if err != nil {
		return 0, err
	}
	for _, i := range images {
		if i.Digest == d {
			return i.Size, nil
		}
	}
	return 0, nil
}

// sizeOf adds up the files of a tree that may change meanwhile.
func sizeOf(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	return bytes, err
}
