package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/state"
)

// Where below its state directory a node keeps the files of pods that are no overlay.
const (
	emptyDirs    = "emptydirs" // UID/VOLUME/data: ends with its pod
	namedVolumes = "named"     // VOLUME/data: outlives its pods
)

// rootID names the root file system of a container in the store of layers.
func rootID(uid, container string) string { return uid + "." + container }

// tree is a directory that moves with its pod.
type tree struct {
	name string // the same at every site
	dir  string
}

// trees are the pod's directories on this host: the writable layers of its containers, and its volumes on disk. They need
// not exist yet.
func (h *host) trees(p state.Pod) ([]tree, error) {
	var all []tree
	for _, c := range p.Containers {
		root, err := h.layers.Prepare(context.Background(), rootID(p.UID, c.Name), c.Layers)
		if err != nil {
			return nil, err
		}
		all = append(all, tree{"root/" + c.Name, root.Upper})
	}
	dirs, err := h.volumeDirs(p)
	if err != nil {
		return nil, err
	}
	for name, dir := range dirs {
		all = append(all, tree{"volume/" + name, dir})
	}
	slices.SortFunc(all, func(a, b tree) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return all, nil
}

// volumeDirs are the directories of the pod's volumes on disk, by their names in the pod; they are made where they are
// missing.
func (h *host) volumeDirs(p state.Pod) (map[string]string, error) {
	m, err := pod.ParseManifest(p.Manifest)
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	for _, v := range m.Volumes() {
		mode := os.FileMode(0o777) // as the kubelet makes an emptyDir
		switch v.Kind {
		case pod.DiskVolume:
			dirs[v.Name] = filepath.Join(h.stateDir, emptyDirs, p.UID, v.Name, "data")
		case pod.NamedVolume:
			dirs[v.Name], mode = filepath.Join(h.stateDir, namedVolumes, v.Claim, "data"), 0o755
		case pod.MemoryVolume, pod.HostVolume:
			continue
		}
		if err := makeDir(dirs[v.Name], mode); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

// makeDir makes a directory with that mode, whatever the umask, unless there is one.
func makeDir(dir string, mode os.FileMode) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(dir, mode); err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}

// spec mounts the pod's root file systems and says what the runtime needs to know of the pod.
func (h *host) spec(ctx context.Context, p state.Pod, netns string) (pod.Spec, error) {
	m, err := pod.ParseManifest(p.Manifest)
	if err != nil {
		return pod.Spec{}, err
	}
	s := pod.Spec{UID: p.UID, Name: p.Name, Epoch: p.Epoch, Manifest: m, NetNS: netns, Address: p.Addr}
	if s.Volumes, err = h.volumeDirs(p); err != nil {
		return s, err
	}
	for _, c := range p.Containers {
		root, err := h.layers.Mount(ctx, rootID(p.UID, c.Name), c.Layers)
		if err != nil {
			return s, err
		}
		image, err := pod.ParseImageConfig(c.Config)
		if err != nil {
			return s, err
		}
		s.Containers = append(s.Containers, pod.Container{Name: c.Name, Init: c.Init, Root: root.Path, Image: image})
	}
	return s, nil
}

// removePod removes a pod and everything of it, without a packet of its connections leaving. Its named volumes are removed
// too if they have left with it. Idempotent.
func (h *host) removePod(ctx context.Context, p state.Pod, left bool) error {
	return h.fenced.without(ctx, p.UID, func() error { return h.removeAll(ctx, p, left) })
}

func (h *host) removeAll(ctx context.Context, p state.Pod, left bool) error {
	// Its network goes first, or the kernel would end its connections as its processes die.
	if err := h.router.RemovePod(ctx, p.UID); err != nil {
		return err
	}
	if err := h.runtime.Remove(ctx, p.UID); err != nil && !errors.Is(err, pod.ErrNotFound) {
		return err
	}
	for _, c := range p.Containers {
		id := rootID(p.UID, c.Name)
		if err := h.layers.Unmount(id); err != nil {
			return err
		}
		if err := h.layers.RemoveRoot(id); err != nil {
			return err
		}
	}
	if left {
		for _, name := range p.Needs.Volumes {
			if err := os.RemoveAll(filepath.Join(h.stateDir, namedVolumes, name)); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(filepath.Join(h.stateDir, emptyDirs, p.UID))
}
