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
	if _, err := s.sharedMemoryUser(p); err != nil {
		return migrate.Facts{}, err
	}
	features, err := s.features(ctx)
	if err != nil {
		return migrate.Facts{}, err
	}
	var memory, files int64
	for _, c := range status.Live() {
		resident, err := residentBytes(s.runtime.Freezer(p.UID, c.Name).Path())
		if err != nil {
			return migrate.Facts{}, err
		}
		memory += resident
	}
	trees, err := s.trees(p)
	if err != nil {
		return migrate.Facts{}, err
	}
	for _, t := range trees {
		size, err := sizeOf(t.dir)
		if err != nil {
			return migrate.Facts{}, err
		}
		files += size
	}
	cpu, err := criu.DumpCPU(ctx, "")
	if err != nil {
		return migrate.Facts{}, err
	}
	layers := map[state.Digest]int64{}
	for _, d := range p.Layers() {
		if layers[d], err = s.layers.Size(d); err != nil {
			return migrate.Facts{}, err
		}
	}
	return migrate.Facts{
		CRIU: features.Version, Arch: runtime.GOARCH, CPU: cpu, MemoryBytes: memory, UpperBytes: files, Layers: layers,
	}, nil
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
