package pod

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
)

// Container is one of a pod's: a container of the OCI runtime with a root file system, a PID namespace, a cgroup and a monitor
// of its own. Network, IPC and host name are the pod's.
type Container struct {
	Name  string      // as the manifest has it
	Init  bool        // runs once, to its end, before those that are not
	Root  string      // its root file system, mounted and writable
	Image ImageConfig // what its image says, where the manifest is silent
}

// ImageConfig is what an image says about how it is run: "config" in the OCI image specification, config.md.
type ImageConfig struct {
	Entrypoint, Cmd, Env         []string
	User, WorkingDir, StopSignal string
}

// ParseImageConfig reads the config object of an OCI image; null or nothing is an image that says nothing.
func ParseImageConfig(data []byte) (ImageConfig, error) {
	var c ImageConfig
	if len(data) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("reading an image's configuration: %w", err)
	}
	return c, nil
}

// validID is what runc and conmon take, and what is no path.
var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$`)

// containerID names a container for runc and conmon, and nothing else on this node.
func containerID(uid, container string) string { return uid + "." + container }

// containerPaths are the places of one container.
type containerPaths struct{ bundle, run, exit, runc string }

func (r *Runtime) container(uid, name string) containerPaths {
	p, id := r.pod(uid), containerID(uid, name)
	return containerPaths{
		bundle: filepath.Join(p.bundles, name),
		run:    filepath.Join(p.run, name),
		exit:   filepath.Join(r.exits(), id),
		runc:   filepath.Join(r.runcRoot(), id),
	}
}

func (p containerPaths) config() string     { return filepath.Join(p.bundle, "config.json") }
func (p containerPaths) log() string        { return filepath.Join(p.bundle, "log") }
func (p containerPaths) gate() string       { return filepath.Join(p.bundle, "gate.sh") }
func (p containerPaths) starts() string     { return filepath.Join(p.bundle, "starts") }
func (p containerPaths) criuConfig() string { return filepath.Join(p.run, "criu.conf") }
func (p containerPaths) pid() string        { return filepath.Join(p.run, "pid") }
func (p containerPaths) conmonPid() string  { return filepath.Join(p.run, "conmon.pid") }
func (p containerPaths) limits() string     { return filepath.Join(p.run, "limits.json") }
func (p containerPaths) runcLog() string    { return filepath.Join(p.run, "runc.log") }
func (p containerPaths) runcState() string  { return filepath.Join(p.runc, "state.json") }
func (p containerPaths) criuRoot() string   { return filepath.Join(p.runc, "criu-root") }

// podPaths are the places of a pod that its containers share.
type podPaths struct{ bundles, run string }

func (r *Runtime) pod(uid string) podPaths {
	return podPaths{bundles: filepath.Join(r.bundles(), uid), run: filepath.Join(r.config.RunDir, "pods", uid)}
}

// The names of a container are DNS labels: none of these is one.
func (p podPaths) spec() string                 { return filepath.Join(p.bundles, "spec.json") }
func (p podPaths) unsettled() string            { return filepath.Join(p.bundles, "unsettled") }
func (p podPaths) shm() string                  { return filepath.Join(p.run, "_shm") }
func (p podPaths) namespaces() string           { return filepath.Join(p.run, "_ns") }
func (p podPaths) namespace(kind string) string { return filepath.Join(p.namespaces(), kind) }
func (p podPaths) memory(volume string) string  { return filepath.Join(p.run, "_volumes", volume) }

// subPath is where the part of a volume that a container mounts is bound to; each of its mounts has a number.
func (p podPaths) subPath(container, mount string) string {
	return filepath.Join(p.run, "_subpaths", container, mount)
}
