package pod

import (
	"fmt"
	"maps"
	"slices"
)

// field says what a manifest may hold at one place. One that is missing from its parent's members isn't supported.
type field struct {
	members map[string]*field // of a mapping
	items   *field            // of a sequence
	open    bool              // anything below is fine: labels, annotations, lists of strings
	only    []any             // besides what is unset: just these values, which ask for what happens anyway
	why     string            // it isn't supported, or no other value is, and this is the reason
}

// refuse reports every field that is set and would not be honoured. strange holds the paths that Kubernetes itself doesn't
// know, which have been reported already.
func (e *ManifestError) refuse(document map[string]any, strange map[string]bool) {
	e.walk("", document, supported(), strange)
}

func (e *ManifestError) walk(at string, value any, allowed *field, strange map[string]bool) {
	if strange[at] || unset(value) {
		return
	}
	switch {
	case allowed == nil:
		e.add(at, "not supported yet")
		return
	case allowed.open:
		return
	case allowed.only != nil:
		if !slices.Contains(allowed.only, value) {
			e.add(at, "%v is not supported%s", value, because(allowed.why))
		}
		return
	case allowed.members == nil && allowed.items == nil:
		e.add(at, "not supported%s", because(allowed.why))
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			path := name
			if at != "" {
				path = at + "." + name
			}
			e.walk(path, value[name], allowed.members[name], strange)
		}
	case []any:
		for i, item := range value {
			e.walk(fmt.Sprintf("%s[%d]", at, i), item, allowed.items, strange)
		}
	}
}

func because(why string) string {
	if why == "" {
		return " yet"
	}
	return ": " + why
}

// unset tells whether a value says nothing, as in what `kubectl --dry-run -o yaml` writes: null, "", {} or [].
func unset(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return value == ""
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	}
	return false
}
