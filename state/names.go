package state

import (
	"fmt"
	"unicode/utf8"
)

// Longest name of anything, in bytes: a DNS subdomain, as Kubernetes has it for the names of pods.
const maxName = 253

// checkName says why name can't name the thing called what, or returns "". Names become parts of paths,
// cgroups and links on every node, so they have the letters of a DNS subdomain and begin and end with a
// letter or digit: no slash, no leading dot, nothing to quote.
func checkName(what, name string) (reason string) {
	if name == "" {
		return "the " + what + " is empty"
	}
	if len(name) > maxName {
		return fmt.Sprintf("the %s %.20q... is longer than %d bytes", what, name, maxName)
	}
	for i := range len(name) {
		c := name[i]
		inner := i > 0 && i < len(name)-1
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case inner && (c == '-' || c == '.'):
		default:
			return fmt.Sprintf("the %s %q may have lower-case letters, digits, and between them '-' and '.'", what, name)
		}
	}
	return ""
}

// clip makes free text fit to be kept: valid UTF-8 of at most limit bytes.
func clip(text string, limit int) string {
	if len(text) > limit {
		for limit > 0 && !utf8.RuneStart(text[limit]) {
			limit--
		}
		text = text[:limit]
	}
	return string([]rune(text)) // an invalid byte becomes U+FFFD, as JSON would make it
}
