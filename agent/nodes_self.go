package agent

import (
	"context"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/criu"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/state"
)

// self is this node as it describes itself to the mesh.
func (a *agent) self(ctx context.Context) state.Node {
	c := a.config
	n := state.Node{
		Name: c.Node, Site: c.Site, Addr: c.Address, Gossip: c.Gossip, Arch: runtime.GOARCH, Version: a.version,
		Server: c.Role == configs.Server, Configured: c.Labels,
	}
	features, err := a.host.features(ctx)
	if err != nil {
		a.log.Warn("asking CRIU for its version", "err", err) // pods can't move then, as drover doctor says too
	} else {
		n.CRIU, n.Kernel = features.Version.String(), features.KernelRelease
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		a.log.Warn("asking for the size of the memory", "err", err)
	} else {
		n.Capacity = state.Resources{CPU: 1000 * int64(runtime.NumCPU()), Memory: int64(info.Totalram) * int64(info.Unit)}
	}
	if n.CPUFlags, err = criu.CPUFlags(); err != nil {
		a.log.Warn("describing this node", "err", err)
	}
	slices.Sort(n.CPUFlags)
	return n
}
