package pod

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	mobyseccomp "github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
)

// maxProfile bounds a seccomp profile in bytes.
const maxProfile = 1 << 20

// seccompDir is where a node's own seccomp profiles lie.
func (r *Runtime) seccompDir() string { return filepath.Join(r.config.StateDir, "seccomp") }

// seccomp is the system calls that the container with that configuration may make; nil is all. The default profile, which
// depends on its capabilities, is that of Docker and containerd.
func (r *Runtime) seccomp(p corev1.SeccompProfile, container *specs.Spec) (*specs.LinuxSeccomp, error) {
	switch p.Type {
	case corev1.SeccompProfileTypeUnconfined:
		return nil, nil
	case corev1.SeccompProfileTypeLocalhost:
		profile, err := readProfile(r.seccompDir(), *p.LocalhostProfile)
		if err != nil {
			return nil, fmt.Errorf("reading seccomp profile %s of this node: %w", *p.LocalhostProfile, err)
		}
		return profile, nil
	}
	profile, err := mobyseccomp.GetDefaultProfile(container)
	if err != nil {
		return nil, fmt.Errorf("making the default seccomp profile: %w", err)
	}
	return profile, nil
}

// readProfile reads a profile in the form of the OCI runtime specification, config-linux.md, as containerd does.
func readProfile(dir, name string) (*specs.LinuxSeccomp, error) {
	f, err := os.OpenInRoot(dir, filepath.Clean(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxProfile))
	if err != nil {
		return nil, err
	}
	// Docker's form has more fields; ignoring them would make another profile of it.
	in := json.NewDecoder(bytes.NewReader(data))
	in.DisallowUnknownFields()
	profile := &specs.LinuxSeccomp{}
	if err := in.Decode(profile); err != nil {
		return nil, err
	}
	if profile.DefaultAction == "" {
		return nil, errors.New("it has no defaultAction")
	}
	if profile.ListenerPath != "" {
		return nil, errors.New("a listener can't be moved to another node")
	}
	return profile, nil
}
