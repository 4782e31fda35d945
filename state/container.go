package state

import (
	"encoding/json"
	"fmt"
	"slices"
)

// A Container is one of a pod's, with what its image was when the pod was made: the same at every site, whatever the
// image's name stands for there.
type Container struct {
	Name string `json:"name"`
	// Init says that it runs once, to its end, before the containers that aren't.
	Init bool `json:"init,omitempty"`
	// Image is its image's name, as the manifest gives it.
	Image string `json:"image"`
	// Layers are the read-only layers of its root file system, the lowest first.
	Layers []Digest `json:"layers"`
	// Config is the config object of the OCI image: Entrypoint, Cmd, Env, User and so on; null if it has none.
	Config json.RawMessage `json:"config,omitempty"`
}

// Needs is what a pod asks of the node that runs it.
type Needs struct {
	// CPU is what it requests, in thousandths of a core.
	CPU int64 `json:"cpu,omitempty"`
	// Memory is what it requests, in bytes.
	Memory int64 `json:"memory,omitempty"`
	// Selector names the labels that the node must have.
	Selector map[string]string `json:"selector,omitempty"`
	// Pinned is why the pod can't leave its node, for people; "" if it can.
	Pinned string `json:"pinned,omitempty"`
	// Volumes are the named volumes that it uses, sorted.
	Volumes []string `json:"volumes,omitempty"`
}

// Bounds of what a command may carry: the log keeps it.
const (
	maxContainers  = 64
	maxLayers      = 128
	maxImageConfig = 64 << 10
)

// Layers returns the layers that the pod's containers stand on, each once, sorted. The slice is the caller's.
func (p Pod) Layers() []Digest {
	var all []Digest
	for _, c := range p.Containers {
		all = append(all, c.Layers...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// checkContainers says what is wrong with the containers of a pod.
func checkContainers(pod string, containers []Container) (reason string) {
	if len(containers) == 0 || len(containers) > maxContainers {
		return fmt.Sprintf("pod %s has %d containers: want 1 to %d", pod, len(containers), maxContainers)
	}
	seen := map[string]bool{}
	for _, c := range containers {
		if reason := checkName("name of a container of pod "+pod, c.Name); reason != "" {
			return reason
		}
		if seen[c.Name] {
			return fmt.Sprintf("pod %s has two containers %s", pod, c.Name)
		}
		seen[c.Name] = true
		if reason := c.refusal(); reason != "" {
			return fmt.Sprintf("container %s of pod %s: %s", c.Name, pod, reason)
		}
	}
	return ""
}

func (c Container) refusal() string {
	if len(c.Layers) == 0 || len(c.Layers) > maxLayers {
		return fmt.Sprintf("its image has %d layers: want 1 to %d", len(c.Layers), maxLayers)
	}
	for _, d := range c.Layers {
		if err := d.Validate(); err != nil {
			return "a layer of its image: " + err.Error()
		}
	}
	if len(c.Config) > maxImageConfig {
		return fmt.Sprintf("its image's configuration has %d bytes: at most %d are kept", len(c.Config), maxImageConfig)
	}
	return ""
}

// compactContainers returns containers whose configurations are in the one form in which they are kept.
func compactContainers(containers []Container) ([]Container, error) {
	out := slices.Clone(containers)
	for i, c := range out {
		if len(c.Config) == 0 || string(c.Config) == "null" {
			out[i].Config = nil
			continue
		}
		config, err := compactObject(c.Config)
		if err != nil {
			return nil, fmt.Errorf("the image configuration of its container %s is not a JSON object: %w", c.Name, err)
		}
		out[i].Config = config
	}
	return out, nil
}
