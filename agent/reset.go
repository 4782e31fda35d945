package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/fence"
	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/agent/route"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/volumes"
)

// Reset makes the host as it was before it had an agent: it ends the pods that are here, at once, and removes them with all of
// their files, the images, the named volumes, what the agent knew of the mesh, and the devices, routes, mounts and control groups
// that outlive an agent. The configuration, the identity, and the node's record in the mesh stay. It refuses while an agent runs. Done
// again it does nothing.
//
// Of what it can't remove it goes on to the rest; the error names all of it.
func Reset(ctx context.Context, c configs.Config, log *slog.Logger) error {
	if err := os.MkdirAll(filepath.Dir(c.Socket), 0o700); err != nil {
		return fmt.Errorf("resetting the host: %w", err)
	}
	place, err := api.ListenUnix(c.Socket) // so that none is started meanwhile
	if err != nil {
		return fmt.Errorf("resetting the host: %w", err)
	}
	// Their network goes first: a copy that waits here for its pod's arrival elsewhere must not tell clients that it ends.
	errs := []error{endFences(ctx, c.RunDir), route.Sweep(ctx, route.Config{Log: log}), fence.NewMute(0).Sweep()}
	runtime, err := openBareRuntime(c, log)
	if err == nil {
		err = runtime.RemoveAll(ctx)
	}
	if err == nil {
		err = removeCgroups(ctx, c)
	}
	errs = append(errs, err, place.Close())
	for _, dir := range []string{c.RunDir, c.StateDir} {
		if err := errors.Join(errs...); err != nil { // a removal would go through what is mounted, and take the traces of what runs
			return fmt.Errorf("resetting the host: %w", err)
		}
		errs = append(errs, clearOut(dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("resetting the host: %w", err)
	}
	return nil
}

// removeCgroups removes the cgroup of all pods, also that of an agent before with the other driver.
func removeCgroups(ctx context.Context, c configs.Config) error {
	before := configs.Assumed()
	return errors.Join(
		pod.RemoveCgroups(ctx, pod.CgroupDriver(c.CgroupDriver), c.CgroupParent),
		pod.RemoveCgroups(ctx, pod.CgroupDriver(before.CgroupDriver), before.CgroupParent),
	)
}

// Leftovers names the pods that a Reset would end and remove.
func Leftovers(c configs.Config, log *slog.Logger) ([]string, error) {
	names := []string{}
	if _, err := os.Stat(runtimeConfig(c, log).StateDir); errors.Is(err, fs.ErrNotExist) {
		return names, nil
	}
	runtime, err := openBareRuntime(c, log)
	if err != nil {
		return nil, err
	}
	pods, err := runtime.List()
	if err != nil {
		return nil, err
	}
	for _, p := range pods {
		names = append(names, p.Name)
	}
	return names, nil
}

// openBareRuntime opens the runtime also where its programs have been removed, and nothing can run any more.
func openBareRuntime(c configs.Config, log *slog.Logger) (*pod.Runtime, error) {
	settings := runtimeConfig(c, log)
	for name, program := range map[string]*string{"runc": &settings.Runc, "conmon": &settings.Conmon} {
		if path, err := exec.LookPath(name); err == nil {
			name = path
		}
		*program = name
	}
	return pod.Open(settings)
}

// clearOut removes a directory of the agent's, with what is mounted below it; a mount point itself is left empty.
func clearOut(dir string) error {
	path, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 { // as no agent makes it: it may be anybody's
		return fmt.Errorf("%s is open to others than root, so that drover didn't make it: remove what drover has there yourself", path)
	}
	if err := volumes.UnmountBelow(path); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil && !errors.Is(err, unix.EBUSY) {
		return err
	}
	return nil
}
