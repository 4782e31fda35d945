package pod

import corev1 "k8s.io/api/core/v1"

// VolumeKind says where a volume's files are.
type VolumeKind string

// The kinds of volumes.
const (
	DiskVolume   VolumeKind = "disk"     // an emptyDir on disk: made with the pod, moves with it and ends with it
	MemoryVolume VolumeKind = "memory"   // an emptyDir in memory: the same
	NamedVolume  VolumeKind = "named"    // outlives the pod, and moves with it
	HostVolume   VolumeKind = "hostPath" // the node's own files
)

// Volume is one of a pod's volumes.
type Volume struct {
	Name  string // within the pod
	Kind  VolumeKind
	Size  int64  // most that a MemoryVolume takes, in bytes; 0 is unlimited
	Claim string // the NamedVolume's own name
	Path  string // on the host, of a HostVolume
	Type  string // what the Path of a HostVolume has to be, as in Kubernetes

	ReadOnly bool // for every container
}

// Volumes are the pod's volumes, in the manifest's order.
func (m *Manifest) Volumes() []Volume {
	var all []Volume
	for _, v := range m.pod.Spec.Volumes {
		volume := Volume{Name: v.Name, Kind: DiskVolume}
		switch {
		case v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumMemory:
			volume.Kind = MemoryVolume
			if v.EmptyDir.SizeLimit != nil {
				volume.Size = v.EmptyDir.SizeLimit.Value()
			}
		case v.PersistentVolumeClaim != nil:
			volume.Kind, volume.Claim = NamedVolume, v.PersistentVolumeClaim.ClaimName
			volume.ReadOnly = v.PersistentVolumeClaim.ReadOnly
		case v.HostPath != nil:
			volume.Kind, volume.Path = HostVolume, v.HostPath.Path
			if v.HostPath.Type != nil {
				volume.Type = string(*v.HostPath.Type)
			}
		}
		all = append(all, volume)
	}
	return all
}

// volume is that of a name.
func (m *Manifest) volume(name string) (Volume, bool) {
	for _, v := range m.Volumes() {
		if v.Name == name {
			return v, true
		}
	}
	return Volume{}, false
}

// volumeDir is where a volume's files are on this host.
func (r *Runtime) volumeDir(s Spec, v Volume) string {
	switch v.Kind {
	case MemoryVolume:
		return r.pod(s.UID).memory(v.Name)
	case HostVolume:
		return v.Path
	}
	return s.Volumes[v.Name]
}
