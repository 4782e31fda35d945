package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/criu"
	"github.com/drover-mesh/drover/agent/migrate"
)

// unpacked is how much room a layer takes, packed and unpacked, over what it takes packed: root file systems shrink to a
// quarter or so.
const unpacked = 5

// Check implements [migrate.Destination].
func (d destination) Check(ctx context.Context, p migrate.Plan, f migrate.Facts) (migrate.Offer, error) {
	features, err := d.features(ctx)
	if err != nil {
		return migrate.Offer{}, err
	}
	var o migrate.Offer
	if err := features.Usable(); err != nil {
		o.Refusals = append(o.Refusals, migrate.Refusal{Reason: err.Error(), Cure: "run drover doctor at " + d.node})
	}
	refuse := func(cure, reason string, args ...any) {
		o.Refusals = append(o.Refusals, migrate.Refusal{Reason: fmt.Sprintf(reason, args...), Cure: cure})
	}
	if wrote := criu.Version(f.CRIU); features.Version.Less(wrote) {
		refuse("install the same CRIU or a newer one at "+d.node, "its CRIU is %s, older than the %s that would write the images",
			features.Version, wrote)
	}
	if f.Arch != runtime.GOARCH {
		refuse("choose a node of that architecture", "it is %s, and the pod runs on %s", runtime.GOARCH, f.Arch)
	}
	if err := criu.CheckCPU(ctx, "", f.CPU); err != nil {
		refuse("choose a node with a newer or the same CPU", "its CPU lacks what the pod's processes may use: %v", err)
	}
	if _, err := d.runtime.Status(p.Pod.UID); err == nil {
		refuse("wait, or look at the agent's log", "it still has an earlier copy of the pod")
	}
	if err := d.room(d.runDir, f.MemoryBytes, "the pod's memory", refuse); err != nil {
		return o, err
	}
	need := f.UpperBytes
	for _, layer := range p.Pod.Layers() {
		here, err := d.layers.Use(layer)
		if err != nil {
			return o, err
		}
		if !here {
			o.Missing = append(o.Missing, layer)
			need += unpacked * f.Layers[layer]
		}
	}
	if err := d.room(filepath.Join(d.stateDir, volumesDir), need, "the pod's files", refuse); err != nil {
		return o, err
	}
	o.Note = fmt.Sprintf("%s can take it: CRIU %s, %s free", d.node, features.Version, p.Pod.Addr)
	return o, nil
}

func (d destination) room(dir string, need int64, what string, refuse func(cure, reason string, args ...any)) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("asking for free space in %s: %w", dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < need+spare {
		refuse("free some space in "+dir, "%s has %d MiB free in %s, and %s needs %d MiB and a spare %d",
			d.node, free>>20, dir, what, need>>20, spare>>20)
	}
	return nil
}
