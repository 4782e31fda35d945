package pod

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// validateVolumes returns the names of the volumes.
func (e *ManifestError) validateVolumes(volumes []corev1.Volume) map[string]bool {
	names := map[string]bool{}
	for i := range volumes {
		at, v := fmt.Sprintf("spec.volumes[%d]", i), &volumes[i]
		e.check(at+".name", validation.IsDNS1123Label(v.Name))
		e.unique(at+".name", v.Name, names)
		e.validateVolume(at, v)
	}
	return names
}

func (e *ManifestError) validateVolume(at string, v *corev1.Volume) {
	kinds := 0
	if dir := v.EmptyDir; dir != nil {
		kinds++
		oneOf(e, at+".emptyDir.medium", dir.Medium, corev1.StorageMediumMemory)
		if dir.SizeLimit != nil {
			e.bound(at+".emptyDir.sizeLimit", corev1.ResourceMemory, *dir.SizeLimit)
		}
		switch limit := dir.SizeLimit; {
		case limit == nil:
		case limit.Sign() < 0:
			e.add(at+".emptyDir.sizeLimit", "%s is negative", limit.String())
		case limit.Sign() > 0 && dir.Medium != corev1.StorageMediumMemory:
			e.add(at+".emptyDir.sizeLimit", "not supported: what is written to a disk is not limited here; with medium Memory it is")
		}
	}
	if host := v.HostPath; host != nil {
		kinds++
		if !path.IsAbs(host.Path) || slices.Contains(strings.Split(host.Path, "/"), "..") {
			e.add(at+".hostPath.path", "%q is not an absolute path without ..", host.Path)
		}
		if host.Type != nil {
			oneOf(e, at+".hostPath.type", *host.Type, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory,
				corev1.HostPathFileOrCreate, corev1.HostPathFile, corev1.HostPathSocket)
		}
	}
	if claim := v.PersistentVolumeClaim; claim != nil {
		kinds++
		e.check(at+".persistentVolumeClaim.claimName", validation.IsDNS1123Subdomain(claim.ClaimName))
	}
	if kinds > 1 {
		e.add(at, "it is of more than one kind")
	}
}
