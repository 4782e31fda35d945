package oci

import (
	"fmt"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Host is the platform of this machine.
func Host() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// ParsePlatform reads "linux/arm64" or "linux/arm/v7"; "" is that of this machine.
func ParsePlatform(s string) (v1.Platform, error) {
	if s == "" {
		return Host(), nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] != "linux" || parts[1] == "" {
		return v1.Platform{}, fmt.Errorf("platform %.40q is %w: take linux/ARCHITECTURE[/VARIANT], e.g. linux/arm64", s, ErrName)
	}
	p := v1.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// Fits says whether what is for one platform runs on another. What isn't said fits.
func Fits(have, want v1.Platform) bool {
	fits := func(have, want string) bool { return have == "" || want == "" || have == want }
	return fits(have.OS, want.OS) && fits(have.Architecture, want.Architecture) && fits(variant(have), variant(want))
}

// variant leaves out those that are the same as none (image-spec, image-index.md; Go's GOAMD64).
func variant(p v1.Platform) string {
	switch p.Architecture + "/" + p.Variant {
	case "arm64/v8", "amd64/v1":
		return ""
	}
	return p.Variant
}
