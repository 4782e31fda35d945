package oci

import (
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

var (
	// ErrName says that something can't be the name of an image, or of a platform.
	ErrName = errors.New("malformed")
	// ErrInvalid says that something isn't an image, or isn't the one that it says it is.
	ErrInvalid = errors.New("invalid image")
	// ErrUnnamed says that nothing tells what an image shall be called, or which of several is meant.
	ErrUnnamed = errors.New("it is not clear which image is meant")
)

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// A PlatformError reports that there is no image for a platform.
type PlatformError struct {
	Want v1.Platform
	Have []string // the platforms that there are, for people
}

func (e *PlatformError) Error() string {
	return fmt.Sprintf("there is no image for %s, only for %s", e.Want, strings.Join(e.Have, ", "))
}
