package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/drover-mesh/drover/agent/criu"
	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/agent/preflight"
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
	found, err := s.lookAt(ctx, p)
	if err != nil {
		return migrate.Facts{}, err
	}
	facts := migrate.Facts{
		Processes: found.Processes, Descriptors: found.Descriptors, MemoryBytes: found.Memory, HugeBytes: found.HugePages,
		MaxPID: found.MaxPID, MaxMappings: found.MaxMappings, Watches: found.Watches, Layers: map[state.Digest]int64{},
	}
	if p.Needs.Pinned != "" {
		facts.Refusals = append(facts.Refusals, migrate.Refusal{Node: s.node, Reason: p.Needs.Pinned, Cure: "run it anew on the other node, or give it another kind of volume"})
	}
	facts.Refusals = append(facts.Refusals, s.refusals(found)...)
	if facts.Host, err = s.hostFacts(ctx); err != nil {
		return migrate.Facts{}, err
	}
	if facts.UpperBytes, facts.UpperFiles, err = s.size(p); err != nil {
		return migrate.Facts{}, err
	}
	for _, d := range p.Layers() {
		if facts.Layers[d], err = s.layers.Size(d); err != nil {
			return migrate.Facts{}, err
		}
	}
	return facts, nil
}

// lookAt lets preflight look at a pod.
func (h *host) lookAt(ctx context.Context, p state.Pod) (preflight.Report, error) {
	c, err := h.runtime.Checkpoint(p.UID)
	if err != nil {
		return preflight.Report{}, err
	}
	t := preflight.Target{NetNS: c.NetNS}
	for _, one := range c.Containers {
		t.Containers = append(t.Containers, preflight.Container{
			Name: one.Name, Init: one.Pid, Cgroups: []string{one.Freezer.Path()}, Mounts: slices.Collect(maps.Keys(one.External)),
		})
	}
	return preflight.Scan(ctx, t)
}

func (h *host) refusals(found preflight.Report) []migrate.Refusal {
	var all []migrate.Refusal
	for _, r := range found.Refusals {
		all = append(all, migrate.Refusal{
			Node: h.node, Container: r.Container, Process: r.Process, PID: r.PID, HostPID: r.HostPID, Others: r.Others, Reason: r.Reason, Cure: r.Cure,
		})
	}
	return all
}

// hostFacts is what programs and CRIU find here.
func (h *host) hostFacts(ctx context.Context) (migrate.HostFacts, error) {
	features, err := h.features(ctx)
	if err != nil {
		return migrate.HostFacts{}, err
	}
	f := migrate.HostFacts{
		Arch: runtime.GOARCH, Kernel: features.KernelRelease, PageSize: os.Getpagesize(), CRIU: features.Version, TimeNS: features.TimeNS,
	}
	if f.CPU, err = criu.DumpCPU(ctx, ""); err != nil {
		return f, err
	}
	if f.CPUFlags, err = criu.CPUFlags(); err != nil {
		return f, err
	}
	f.Runtime, err = h.runtime.Version(ctx)
	return f, err
}

// size adds up a pod's own files, which may change meanwhile.
func (h *host) size(p state.Pod) (bytes, files int64, err error) {
	trees, err := h.trees(p)
	if err != nil {
		return 0, 0, err
	}
	for _, t := range trees {
		err := filepath.WalkDir(t.dir, func(_ string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			files++
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
				bytes += info.Size()
			}
			return nil
		})
		if err != nil {
			return 0, 0, err
		}
	}
	return bytes, files, nil
}
