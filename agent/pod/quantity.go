package pod

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// What is more than any node has, and still can be reckoned with: cores, and bytes.
const (
	maxCores = 1_000_000
	maxBytes = 1 << 50
)

// plausible is a quantity with no more digits than anyone needs. Kubernetes' own parser computes 1e-999999999 to the last one.
var plausible = regexp.MustCompile(`^[+-]?[0-9.]{1,32}([eE][+-]?[0-9]{1,2}|[numkKMGTPE]?i?)$`)

// implausible reports quantities in a document that must not be decoded.
func (e *ManifestError) implausible(at string, value any) {
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			path := at + "." + key
			switch child := value[key]; key {
			case "limits", "requests", "overhead", "capacity", "allocatedResources":
				if amounts, ok := child.(map[string]any); ok {
					for _, name := range slices.Sorted(maps.Keys(amounts)) {
						e.amount(path+"."+name, amounts[name])
					}
				}
				e.implausible(path, child)
			case "sizeLimit", "divisor":
				e.amount(path, child)
			default:
				e.implausible(path, child)
			}
		}
	case []any:
		for i, item := range value {
			e.implausible(fmt.Sprintf("%s[%d]", at, i), item)
		}
	}
}

func (e *ManifestError) amount(field string, value any) {
	if text, ok := value.(string); ok && text != "" && !plausible.MatchString(text) {
		e.add(field[1:], "%.40q is not a quantity such as 500m, 2, 64Mi or 1G", text)
	}
}

// bound reports what is more than can be.
func (e *ManifestError) bound(field string, name corev1.ResourceName, q resource.Quantity) {
	limit := resource.NewQuantity(maxBytes, resource.BinarySI)
	if name == corev1.ResourceCPU {
		limit = resource.NewQuantity(maxCores, resource.DecimalSI)
	}
	if q.Cmp(*limit) > 0 {
		e.add(field, "%s is more than any node has", q.String())
	}
}
