package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/drover-mesh/drover/agent/fence"
	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/state"
)

// fenceDir is where below its run directory a node's fences have their sockets.
const fenceDir = "fence"

// newFenced is the fence of a node. program is the command of one.
func newFenced(h *host, l leases, version string, program []string) *fenced {
	// Where it is a unit of systemd's that must not wait for its end: it ignores SIGTERM, as its pods would run on without it.
	p := fencePrograms{dir: filepath.Join(h.runDir, fenceDir), command: slices.Concat(h.runtime.Apart("KillSignal=SIGKILL"), program)}
	return &fenced{
		node: h.node, version: version, leases: l, pods: enclosed{h.runtime}, mute: fence.NewMute(0), start: p.start, find: p.find,
		clock: fence.Now, log: h.log.With("part", "fence"), under: map[string]bool{}, leaving: map[string]bool{}, expected: map[string]bool{},
	}
}

// fencePrograms starts and finds fences.
type fencePrograms struct {
	dir     string
	command []string
}

func (p fencePrograms) start(ctx context.Context) (guard, error) {
	f, err := fence.Start(ctx, p.dir, p.command...)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// find returns the fences that live.
func (p fencePrograms) find() ([]guard, error) {
	found, err := fence.Find(p.dir)
	var all []guard
	for _, f := range found {
		all = append(all, f)
	}
	return all, err
}

// fenceProgram is the command that is a fence.
func fenceProgram() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the program of the fence: %w", err)
	}
	return []string{self, "fence"}, nil
}

// enclosed are the cgroups that the runtime makes.
type enclosed struct{ runtime *pod.Runtime }

func (e enclosed) Enclose(ctx context.Context, uid string) (string, error) {
	f, err := e.runtime.Whole(ctx, uid)
	return f.Path(), err
}

func (e enclosed) Freeze(ctx context.Context, uid string) error {
	f, err := e.runtime.Whole(ctx, uid)
	if err != nil {
		return err
	}
	return f.Freeze(ctx)
}

func (e enclosed) Frozen(uid string) bool {
	frozen, err := e.runtime.WholeFrozen(uid)
	return err == nil && frozen
}

func (e enclosed) Known(uid string) bool {
	_, err := e.runtime.Spec(uid)
	return err == nil
}

func (e enclosed) Stale(s state.Pod) bool {
	anew, err := awaitsStart(e.runtime, s)
	return anew || err != nil
}

func (e enclosed) Live() ([]string, error) {
	all, err := e.runtime.List()
	if err != nil {
		return nil, err
	}
	var uids []string
	for _, s := range all {
		if len(s.Live()) == 0 {
			continue
		}
		if spec, err := e.runtime.Spec(s.UID); err == nil && spec.Manifest.Failover() != "" {
			uids = append(uids, s.UID)
		}
	}
	return uids, nil
}

// endFences ends what fences there are: nothing of this host's pods is to be left.
func endFences(ctx context.Context, runDir string) error {
	found, err := fence.Find(filepath.Join(runDir, fenceDir))
	if err != nil {
		return err
	}
	for _, f := range found {
		if err := f.End(ctx, true); err != nil {
			return fmt.Errorf("ending the fence: %w", err)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
